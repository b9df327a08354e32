"""Releases that promise a form of their answers: caught by their users, or unseen; as shipped, with a real model."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator

import aiohttp
import pytest
from demo import acts, install, shop
from demo.stage import NAMESPACE, apply, condition, get, kubectl, until
from tests.e2e.test_sleep import Object, service

pytestmark = pytest.mark.cluster
SCHEMA = {
    "type": "object", "required": ["open"], "additionalProperties": False, "properties": {"open": {"type": "boolean"}},
}  # fmt: skip
ENOUGH, TOO_FEW = 48, 4
"""Tokens: the engine keeps to the schema, and cannot end an answer in so few."""


def release(version: str, tokens: int, **rollout: object) -> Object:
    variables = {"type": "object", "properties": {"question": {"type": "string", "maxLength": 400}}}
    return {
        "apiVersion": "llmops.dev/v1alpha1", "kind": "PromptRelease",
        "metadata": {"name": "open", "namespace": NAMESPACE},
        "spec": {
            "serviceRef": {"name": "support"}, "version": version,
            "messages": [
                {"role": "system", "content": "You are the Larch support desk."},
                {"role": "user", "content": "{{ question }}"},
            ],
            "variables": variables,
            "parameters": {"temperature": 0, "maxTokens": tokens},
            "response": {"schema": SCHEMA, "onInvalid": "Fail"},
            "rollout": {
                "online": [{"signal": "InvalidResponse"}, {"signal": "Latency", "max": "20s"}],
                "steps": [{"weight": 50, "minUnits": 20}], "bake": "3s",
                "margin": {"points": "30"}, "stickyBy": ["Header:x-user-id"], **rollout,
            },
        },
    }  # fmt: skip


class Crowd:
    """New users, each with one question; which version answered whom, with which status and code."""

    def __init__(self, show: acts.Show) -> None:
        self.show = show
        self.met: Counter[tuple[str, int, str]] = Counter()
        self.questions = itertools.cycle(shop.questions())
        self._numbers, self._stop = itertools.count(), asyncio.Event()

    async def __aenter__(self) -> Crowd:
        self.session = aiohttp.ClientSession(headers={"authorization": f"Bearer {self.show.key}"})
        self.tasks = [asyncio.create_task(self._users()) for _ in range(3)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self.tasks)
        await self.session.close()

    async def _users(self) -> None:
        while not self._stop.is_set():
            question, _ = next(self.questions)
            body = {"model": "-", "messages": [], "prompt": {"id": "open", "variables": {"question": question}}}
            headers = {"x-user-id": f"user-{next(self._numbers)}"}
            async with self.session.post(f"{self.show.door}/chat/completions", json=body, headers=headers) as reply:
                code = ((await reply.json()).get("error") or {}).get("code", "")
                self.met[reply.headers["x-llmops-variant"], reply.status, code] += 1
            await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def show(cluster: object) -> Iterator[acts.Show]:
    shown = install.operator(fresh=True)
    apply(service("support", replicas=2))
    acts.until_true("llmservice", "support")
    yield shown
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def status() -> Object:
    found: Object = get("promptrelease", "open").get("status") or {}
    return found


def candidate() -> Object:
    found: Object = status().get("candidate") or {}
    return found


async def reaches(wanted: str, seconds: float = 120) -> None:
    said = lambda: f"{status().get('phase')}: {condition(get('promptrelease', 'open'), 'Ready').get('message')}"  # noqa: E731
    await asyncio.to_thread(until, f"open {wanted}", lambda: status().get("phase") == wanted, seconds, said)


async def refused(version: str) -> Object:
    """The rejection of this version."""
    last = lambda: (status().get("rejected") or [{}])[0]  # noqa: E731
    there = lambda: last().get("version") == version  # noqa: E731
    await asyncio.to_thread(until, f"{version} rejected", there, 120, lambda: str(last()))
    found: Object = last()
    return found


async def goes(version: str) -> None:
    stable = lambda: (status().get("stable") or {}).get("version") == version  # noqa: E731
    await asyncio.to_thread(until, f"{version} is stable", stable, 60)


async def test_a_release_that_breaks_its_promise_is_taken_back_by_its_users(show: acts.Show) -> None:
    apply(release("1.0.0", ENOUGH))
    await goes("1.0.0")
    async with Crowd(show) as crowd:
        apply(release("2.0.0", TOO_FEW))
        rejected = await refused("2.0.0")
        crowd.met.clear()
        enough = lambda: crowd.met.total() > 20  # noqa: E731
        await asyncio.to_thread(until, "twenty more answers", enough, 30)
        after = set(crowd.met)
    assert after == {("stable", 200, "")}
    assert rejected["reason"] == "CandidateWorse"
    assert rejected["message"].startswith("InvalidResponse: ")
    assert condition(get("promptrelease", "open"), "Healthy")["status"] == "False"


async def test_one_that_is_caught_unseen_meets_no_user(show: acts.Show) -> None:
    async with Crowd(show) as crowd:
        apply(release("3.0.0", TOO_FEW - 1, shadow={"percent": 100, "minSamples": 5000}))
        rejected = await refused("3.0.0")
        met = set(crowd.met)
    assert met == {("stable", 200, "")}
    assert rejected["reason"] == "CandidateWorse"
    assert "users answered by both, unseen, only the candidate's answer failed for" in rejected["message"]
    assert candidate()["pairs"] >= 6
    assert candidate()["weight"] == 0


async def test_a_sound_one_is_compared_and_goes_on_whoever_leads(show: acts.Show) -> None:
    async with Crowd(show) as crowd:
        apply(release("4.0.0", ENOUGH + 1, shadow={"percent": 100, "minSamples": 60}))
        await reaches("Shadow")
        some = lambda: candidate().get("pairs", 0) > 0  # noqa: E731
        await asyncio.to_thread(until, "pairs are told", some, 60)
        leader = get("lease", "llmops-operator", install.SYSTEM)["spec"]["holderIdentity"].split("_")[0]
        kubectl("delete", "pod", leader, "-n", install.SYSTEM, "--grace-period=0", "--force", "--wait=false")
        await reaches("Canary")
        assert candidate()["pairs"] >= 60
        await goes("4.0.0")
        seen = set(crowd.met)
    assert {(code, why) for _, code, why in seen} == {(200, "")}
    assert status()["history"][0]["attempt"] == 1
