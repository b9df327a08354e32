"""Every way from one phase of a release to another that other tests do not take, with users who are OpenAI clients."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator

import openai
import pytest
from demo import acts, install, shop
from demo.stage import NAMESPACE, apply, condition, get, kubectl, until
from tests.cluster.layout import KUBECONFIG
from tests.e2e.test_sleep import Object, service

NAME = "ways"


def release(version: str, *steps: Object, suspend: bool = False, **rollout: object) -> Object:
    spec = {
        "serviceRef": {"name": "support"}, "version": version, "suspend": suspend,
        "messages": [{"role": "system", "content": f"You are desk {version}."},
                     {"role": "user", "content": "{{ question }}"}],
        "variables": {"type": "object", "properties": {"question": {"type": "string", "maxLength": 400}}},
        "parameters": {"temperature": 0, "maxTokens": 12},
        "rollout": {
            "online": [{"signal": "Errors"}, {"signal": "Feedback"}], "margin": {"points": "30"},
            "steps": list(steps) or [FIRST, {"weight": 60, "minUnits": 10, "pause": "Approval"}],
            "bake": "3s", "stickyBy": ["Header:x-user-id"], **rollout,
        },
    }  # fmt: skip
    return {
        "apiVersion": "llmops.dev/v1alpha1", "kind": "PromptRelease",
        "metadata": {"name": NAME, "namespace": NAMESPACE}, "spec": spec,
    }  # fmt: skip


FIRST: Object = {"weight": 30, "minUnits": 10}
LONG: Object = {"weight": 30, "minUnits": 100_000}


class Users:
    """New users, each with one question; whom the candidate answers says thumbs-down while they are angry."""

    def __init__(self, show: acts.Show) -> None:
        self.client = openai.AsyncOpenAI(base_url=show.door, api_key=show.key, max_retries=0, timeout=30)
        self.met: Counter[str] = Counter()
        self.angry = False
        self._questions, self._numbers = itertools.cycle(shop.questions()), itertools.count()
        self._stop = asyncio.Event()

    async def __aenter__(self) -> Users:
        self.tasks = [asyncio.create_task(self._users()) for _ in range(3)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self.tasks)
        await self.client.close()

    async def _users(self) -> None:
        while not self._stop.is_set():
            question, met = next(self._questions)[0], self.met  # as it is when they ask
            got = await self.client.chat.completions.with_raw_response.create(
                model="-", messages=[], extra_body={"prompt": {"id": NAME, "variables": {"question": question}}},
                extra_headers={"x-user-id": f"user-{next(self._numbers)}"},  # the same draws in every run
            )  # fmt: skip
            variant = got.headers["x-llmops-variant"]
            met[variant] += 1
            if self.angry and variant == "candidate":
                said = {"id": got.parse().id, "rating": "down"}
                await self.client.post("/feedback", body=said, cast_to=object)
            await asyncio.sleep(0.05)

    async def more(self, number: int) -> None:
        """So many more were answered."""
        enough = self.met.total() + number
        await holds("more users", lambda: self.met.total() >= enough, 60)


@pytest.fixture(scope="module")
def show(cluster: object) -> Iterator[acts.Show]:
    shown = install.operator(fresh=True)
    apply(service("support", replicas=2))
    acts.until_true("llmservice", "support")
    apply(release("1.0.0"))
    acts.until_true("promptrelease", NAME)
    yield shown
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def status() -> Object:
    found: Object = get("promptrelease", NAME).get("status") or {}
    return found


def observed() -> bool:
    """The status is of the spec as it is now."""
    found = get("promptrelease", NAME)
    return bool((found.get("status") or {}).get("observedGeneration") == found["metadata"]["generation"])


def where() -> tuple[str, str, str]:
    """Phase, the candidate's version, and Ready's reason."""
    found = get("promptrelease", NAME)
    told = found.get("status") or {}
    ready = condition(found, "Ready").get("reason", "")
    progressing = condition(found, "Progressing").get("reason", "")
    return str(told.get("phase")), (told.get("candidate") or {}).get("version", ""), f"{ready} {progressing}"


async def holds(what: str, test: Callable[[], object], seconds: float = 240) -> None:
    await asyncio.to_thread(until, what, test, seconds, lambda: str(where()))


async def reaches(phase: str, version: str = "") -> None:
    await holds(f"{version} {phase}", lambda: where()[0] == phase and where()[1] == version)


def outcomes() -> list[tuple[str, str]]:
    """What became of each version, the newest first."""
    return [(one["version"], one["outcome"]) for one in status()["history"]]


def by_hand(verb: str) -> None:
    """As a person types it."""
    command = [sys.executable, "-m", "llmops.cli", verb, "prel", NAME, "-n", NAMESPACE]
    environment = {**os.environ, "KUBECONFIG": str(KUBECONFIG), "PYTHONPATH": "operator"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


async def test_it_waits_for_a_person_at_a_step_and_goes_on_when_approved(show: acts.Show) -> None:
    apply(release("2.0.0"))
    await reaches("Canary", "2.0.0")  # and stays there until somebody asks
    async with Users(show) as users:
        await reaches("Holding", "2.0.0")
        assert "AwaitingApproval" in where()[2]
        assert status()["candidate"]["weight"] == 60
        await users.more(20)
        assert where()[0] == "Holding"
        by_hand("approve")
        await holds("2.0.0 Released", lambda: outcomes()[0] == ("2.0.0", "Released"))
        await users.more(10)
    assert status()["stable"]["version"] == "2.0.0"


async def test_the_spec_of_before_withdraws_it_and_another_supersedes_it(show: acts.Show) -> None:
    async with Users(show) as users:
        apply(release("3.0.0", LONG))
        await reaches("Canary", "3.0.0")
        apply(release("2.0.0"))
        await holds("3.0.0 Withdrawn", lambda: outcomes()[0] == ("3.0.0", "Withdrawn"))
        await reaches("Released")
        apply(release("4.0.0", LONG))
        await reaches("Canary", "4.0.0")
        await users.more(5)
    apply(release("5.0.0"))  # nobody asks from here on: it stays in its first step for the next test
    await holds("4.0.0 Superseded", lambda: outcomes()[0] == ("4.0.0", "Superseded"))
    await reaches("Canary", "5.0.0")
    assert status()["stable"]["version"] == "2.0.0"


async def test_suspended_nobody_new_meets_it_and_aborted_it_is_taken_back(show: acts.Show) -> None:
    """5.0.0 is in its canary since the test before."""
    apply(release("5.0.0", suspend=True))
    await holds("the suspension is seen", observed)  # before somebody asks, or the step might be over
    async with Users(show) as users:
        await holds("it would go on", lambda: "Suspended" in where()[2])
        weight = status()["candidate"]["weight"]
        await users.more(40)
        assert (where()[0], status()["candidate"]["weight"]) == ("Canary", weight)
        apply(release("5.0.0"))
        await reaches("Holding", "5.0.0")
        by_hand("abort")
        await reaches("Rejected", "5.0.0")
        users.met = Counter()
        await users.more(20)
        assert set(users.met) == {"stable"}
    assert [(one["version"], one["reason"]) for one in status()["rejected"]] == [("5.0.0", "Aborted")]


SLOW: Object = {"weight": 30, "minUnits": 100_000, "minDuration": "1s", "maxDuration": "4s"}


async def test_what_stays_undecided_holds_or_is_taken_back_as_the_spec_says(show: acts.Show) -> None:
    async with Users(show) as users:
        apply(release("6.0.0", SLOW))
        await reaches("Holding", "6.0.0")
        assert "Inconclusive" in where()[2]
        by_hand("approve")
        await holds("6.0.0 Released", lambda: outcomes()[0] == ("6.0.0", "Released"))
        apply(release("7.0.0", SLOW, onInconclusive="Rollback"))
        await reaches("Rejected", "7.0.0")
        await users.more(5)
    assert status()["rejected"][0]["reason"] == "Inconclusive"
    assert status()["stable"]["version"] == "6.0.0"


async def test_what_disappoints_everybody_is_taken_back_from_its_bake(show: acts.Show) -> None:
    async with Users(show) as users:
        apply(release("8.0.0", {"weight": 50, "minUnits": 20}, bake="60s"))
        await reaches("Baking", "8.0.0")
        users.angry = True
        await reaches("Rejected", "8.0.0")
        users.angry = False
        users.met = Counter()
        await users.more(20)
        assert set(users.met) == {"stable"}
    assert status()["rejected"][0]["reason"] == "CandidateWorse"
    assert condition(get("promptrelease", NAME), "Healthy")["status"] == "False"
