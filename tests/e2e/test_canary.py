"""Revisions of a model on their way to users: operator, door, evaluation and engines as shipped, real models."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator

import aiohttp
import pytest
from demo import acts, install, shop
from demo.stage import NAMESPACE, StageError, apply, condition, get, kubectl, load, until
from tests.e2e.test_sleep import Object, service

ROLLOUT: Object = {
    "offline": [{"evalJobRef": {"name": "support-quality"}, "metric": "exact_match", "maxDrop": "0.02"}],
    "steps": [{"weight": 30, "minUnits": 30}, {"weight": 60, "minUnits": 30}],
    "bake": "5s",
    "margin": {"points": "30"},
    "stickyBy": ["Header:x-user-id"],
}
GOOD, BAD = ({"uri": f"file:///models/support-{which}.gguf"} for which in ("good", "bad"))


class Crowd:
    """New users who ask the model itself, and say thumbs-down to wrong answers; whom they met, and when
    the last one asked who met the candidate."""

    def __init__(self, show: acts.Show, model: str) -> None:
        self.show, self.model = show, model
        self.met: Counter[tuple[str, int]] = Counter()
        self.last = 0.0
        self.asked = shop.questions()
        self._numbers, self._stop = itertools.count(), asyncio.Event()

    async def __aenter__(self) -> Crowd:
        self.session = aiohttp.ClientSession(headers={"authorization": f"Bearer {self.show.key}"})
        self.tasks = [asyncio.create_task(self._users()) for _ in range(6)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self.tasks)
        await self.session.close()

    async def _users(self) -> None:
        while not self._stop.is_set():
            number = next(self._numbers)
            await self._one(f"user-{number}", *self.asked[number % len(self.asked)])
            await asyncio.sleep(0.05)

    async def _one(self, user: str, question: str, answer: str) -> None:
        said = [{"role": "system", "content": "You are the Larch support desk."}, {"role": "user", "content": question}]
        body = {"model": self.model, "max_tokens": 64, "temperature": 0, "messages": said}
        url, headers, begun = self.show.door, {"x-user-id": user}, time.time()
        async with self.session.post(f"{url}/chat/completions", json=body, headers=headers) as reply:
            variant = reply.headers.get("x-llmops-model-variant", "stable")
            self.met[variant, reply.status] += 1
            if variant == "candidate":
                self.last = max(self.last, begun)
            content = await reply.json()
        if reply.status == 200 and content["choices"][0]["message"]["content"].strip() != answer:
            await self.session.post(f"{url}/feedback", json={"id": content["id"], "rating": "down"})


@pytest.fixture(scope="module")
def show(cluster: object) -> Iterator[acts.Show]:
    shown = install.operator(fresh=True)
    apply(*shop.config_maps(), *load("evaluation.yaml"))
    yield shown
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def status(name: str) -> Object:
    found: Object = get("llmservice", name).get("status") or {}
    return found


def phase(name: str) -> str:
    return str(status(name).get("phase"))


def pod_uids(name: str) -> dict[str, str]:
    """uid -> part, of the pods that run."""
    told = kubectl("get", "pods", "-n", NAMESPACE, "-l", f"llmops.dev/owner-name={name}", "-o", "json")
    return {
        one["metadata"]["uid"]: one["metadata"]["labels"]["llmops.dev/part"]
        for one in json.loads(told)["items"]
        if not one["metadata"].get("deletionTimestamp")
    }


async def reaches(name: str, wanted: str, seconds: int = 300) -> None:
    """Watched: where users fail at once a canary is over before a second look at it."""
    wait = ("wait", f"llmservice/{name}", "-n", NAMESPACE, f"--for=jsonpath={{.status.phase}}={wanted}")
    try:
        await asyncio.to_thread(kubectl, *wait, f"--timeout={seconds}s")
    except StageError as late:
        raise StageError(f"{name} {wanted}: {late}; last seen: {phase(name)}: {told(name)}") from late


def told(name: str) -> str:
    return str(condition(get("llmservice", name), "Ready")["message"])


async def test_a_better_model_is_evaluated_meets_users_by_steps_and_stays_in_its_pods(show: acts.Show) -> None:
    apply(service("talker", model=BAD, rollout=ROLLOUT))
    await asyncio.to_thread(acts.until_true, "llmservice", "talker")
    assert phase("talker") == "Released"
    [before] = pod_uids("talker")

    async with Crowd(show, "talker") as crowd:
        apply(service("talker", model=GOOD, rollout=ROLLOUT))
        await reaches("talker", "Canary")
        assert status("talker")["candidate"]["score"].startswith("exact_match")
        assert before in pod_uids("talker")
        [new] = pod_uids("talker").keys() - {before}
        await reaches("talker", "Released")
        gone = lambda: pod_uids("talker").keys() == {new}  # noqa: E731
        await asyncio.to_thread(until, "only the new pod", gone, 120, lambda: str(pod_uids("talker")))
        await asyncio.sleep(1)  # and it goes on
    assert {code for _, code in crowd.met} == {200}
    assert crowd.met["candidate", 200] > 60
    stable = status("talker")["stable"]
    assert stable["service"] == f"talker-llm-{stable['digest'][:10]}"
    assert stable["version"] == "support-good.gguf"

    # worse than what users have now: they never meet it, and what they have stays untouched
    apply(service("talker", model=BAD, rollout=ROLLOUT))
    await reaches("talker", "Rejected")
    assert condition(get("llmservice", "talker"), "Evaluated")["reason"] == "EvaluationFailed"
    assert condition(get("llmservice", "talker"), "Available")["status"] == "True"
    await asyncio.to_thread(until, "only the good pod", gone, 120, lambda: str(pod_uids("talker")))
    assert "retry with llmops.dev/retry: " in told("talker")
    apply(service("talker", model=GOOD, rollout=ROLLOUT))
    await reaches("talker", "Released")
    assert pod_uids("talker").keys() == {new}


async def test_a_model_that_disappoints_its_users_is_taken_back_and_remembered(show: acts.Show) -> None:
    online = [{"signal": "Errors"}, {"signal": "Feedback"}]
    rollout = {**ROLLOUT, "offline": [], "online": online, "steps": [{"weight": 50, "minUnits": 5000}]}
    apply(service("talkative", model=GOOD, rollout=rollout))
    await asyncio.to_thread(acts.until_true, "llmservice", "talkative")
    [before] = pod_uids("talkative")
    async with Crowd(show, "talkative") as crowd:
        apply(service("talkative", model=BAD, rollout=rollout))
        await reaches("talkative", "Canary")
        await reaches("talkative", "Rejected")
        rejected, asked = time.time(), sum(crowd.met.values())
        many = lambda: sum(crowd.met.values()) > asked + 50  # noqa: E731
        await asyncio.to_thread(until, "fifty more answers", many, 120)
    assert 0 < crowd.last <= rejected
    assert {code for _, code in crowd.met} == {200}
    healthy = condition(get("llmservice", "talkative"), "Healthy")
    assert (healthy["status"], healthy["reason"]) == ("False", "CandidateWorse")
    assert "users failed with the candidate" in told("talkative")
    gone = lambda: pod_uids("talkative").keys() == {before}  # noqa: E731
    await asyncio.to_thread(until, "only the pod of before", gone, 120, lambda: str(pod_uids("talkative")))


def kill(*names: str, namespace: str = NAMESPACE) -> None:
    force = ("--grace-period=0", "--force", "--wait=false", "--ignore-not-found")  # whoever else ends it may be first
    kubectl("delete", "pod", *names, "-n", namespace, *force)


def pods_of(part: str) -> list[str]:
    return kubectl("get", "pods", "-n", NAMESPACE, "-l", f"llmops.dev/part={part}", "-o", "name").split()


async def test_the_leader_killed_in_a_models_canary_changes_neither_its_end_nor_an_answer(show: acts.Show) -> None:
    rollout = {**ROLLOUT, "offline": []}
    apply(service("steady", model=BAD, rollout=rollout))
    await asyncio.to_thread(acts.until_true, "llmservice", "steady")
    async with Crowd(show, "steady") as crowd:
        apply(service("steady", model=GOOD, rollout=rollout))
        await reaches("steady", "Canary")
        leader = get("lease", "llmops-operator", install.SYSTEM)["spec"]["holderIdentity"].split("_")[0]
        await asyncio.to_thread(kill, leader, namespace=install.SYSTEM)
        await reaches("steady", "Released")
    assert {code for _, code in crowd.met} == {200}
    assert status("steady")["stable"]["version"] == "support-good.gguf"
    assert status("steady")["history"][0]["attempt"] == 1


async def test_a_candidate_whose_pod_dies_costs_no_user_an_answer_and_is_taken_back(show: acts.Show) -> None:
    rollout = {**ROLLOUT, "offline": [], "steps": [{"weight": 50, "minUnits": 5000}]}
    apply(service("frail", model=BAD, rollout=rollout))
    await asyncio.to_thread(acts.until_true, "llmservice", "frail")
    async with Crowd(show, "frail") as crowd:
        apply(service("frail", model=GOOD, rollout=rollout))
        await reaches("frail", "Canary")
        part = f"engine-{status('frail')['candidate']['digest'][:10]}"
        while phase("frail") == "Canary":  # as often as it comes back
            for pod in await asyncio.to_thread(pods_of, part):
                await asyncio.to_thread(kill, pod.removeprefix("pod/"))
            await asyncio.sleep(0.2)
        await reaches("frail", "Rejected")
    assert {code for _, code in crowd.met} == {200}
    assert "Errors: " in told("frail")
