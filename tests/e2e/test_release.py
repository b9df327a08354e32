"""PromptReleases on the real cluster: real objects, the operator's loop in this process.

What the other rooms would do is written where they would write it: the service's availability and the evaluation's
verdict into their status, the gateway's reports into control.reports. The gateway here splits with the product's own
hash, by what the release's status says.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from llmops.api import PromptRelease, Settings
from llmops.api.report import Report, Unit
from llmops.control import Key, SystemClock
from llmops.control.follow import find_by
from llmops.control.loop import Loop
from llmops.control.reports import Reports
from llmops.desk.explain import explained
from llmops.kube.cache import Cache
from llmops.kube.client import Client
from llmops.kube.cluster import Cluster
from llmops.kube.resources import CONFIG_MAP, EVAL_JOB, LLM_SERVICE, PROMPT_RELEASE, REVISION
from llmops.release.reconcile import CONTROLLER
from llmops.rollout.split import BUCKETS, bucket, meets_candidate, unit_hash

Object = dict[str, Any]


class Operator:
    """The release controller of one namespace; can be killed and started again."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client, self.namespace = client, namespace
        self.running: asyncio.Task[None] | None = None
        self.hear: Callable[[], None] = lambda: None  # what the gateways say before it begins

    async def start(self) -> Operator:
        self.cache = Cache(self.client)
        self.seen = Cluster(self.client, self.cache, Settings())
        loop = Loop([CONTROLLER], self.seen, SystemClock())
        self.seen.reports = Reports(Settings(), changed=lambda kind, name: loop.turn(Key(kind, *name.split("/", 1))))
        find_by(self.cache, [CONTROLLER])
        self.cache.subscribe(loop.changed)
        for resource in {CONTROLLER.resource, *CONTROLLER.owns, *(one.resource for one in CONTROLLER.refers)}:
            self.cache.follow(resource, self.namespace)
        try:
            await self.cache.synced(60)
        except BaseException:
            await self.cache.close()
            raise
        self.hear()
        self.running = asyncio.create_task(loop.run(2))
        return self

    async def kill(self) -> None:
        assert self.running is not None
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        await self.cache.close()

    def release(self) -> PromptRelease:
        raw = self.seen.get(PROMPT_RELEASE, self.namespace, "answer")
        assert raw is not None
        return PromptRelease.parse(raw)

    def phase(self) -> str | None:
        known = self.seen.get(PROMPT_RELEASE, self.namespace, "answer") is not None
        status = self.release().status if known else None
        return status.phase if status else None

    async def reaches(self, *phases: str, seconds: float = 60) -> str:
        return str(await until(lambda: self.phase() if self.phase() in phases else None, seconds))


class Door:
    """A gateway: follows the status, sends users, reports."""

    def __init__(self, operator: Operator) -> None:
        self.operator, self.cursor, self.instance = operator, 0, "g1"
        self.units: list[Unit] = []
        self.next_user = 0
        self.answered = Counter[bool]()  # by whether it met the candidate

    def serving(self) -> Object:
        status = self.operator.release().status
        stable, moving = (status.stable, status.candidate) if status else (None, None)
        return {
            "stable": stable.digest if stable else None, "candidate": moving.digest if moving else None,
            "attempt": moving.attempt or 0 if moving else 0, "weight": moving.weight or 0 if moving else 0,
        }  # fmt: skip

    def users(self, count: int, bad: float) -> None:
        now, name = self.serving(), self.operator.release().qualified
        if not now["weight"]:
            return
        for number in range(self.next_user, self.next_user + count):
            unit = evenly(name, now["candidate"], now["attempt"], number)
            mine = meets_candidate(bucket(name, now["candidate"], now["attempt"], unit), now["weight"])
            nth, self.answered[mine] = self.answered[mine], self.answered[mine] + 1
            one = Unit(
                release=name, digest=now["candidate"], attempt=now["attempt"], unit=unit_hash(unit),
                variant="candidate" if mine else "stable", weight=now["weight"], at=time.time(),
                kind="exposure", signal=None,
            )  # fmt: skip
            self.units.append(one)
            if (mine and nth % 10 < bad * 10) or (not mine and nth % 50 == 0):
                self.units.append({**one, "kind": "failure", "signal": "Feedback"})
        self.next_user += count

    def report(self, whole: bool = False) -> None:
        news = self.units if whole else self.units[self.cursor :]
        self.cursor = len(self.units)
        told = Report(
            instance=self.instance, pod="gateway-0", cursor=self.cursor, services={}, units=list(news), spend=[],
            serving={self.operator.release().qualified: self.serving()},  # type: ignore[dict-item]
        )  # fmt: skip
        self.operator.seen.reports.take("10.0.0.1:8080", told)

    def told(self, test: Callable[[], bool]) -> bool:
        """Whether this is so, once more was reported."""
        self.report()
        return test()

    async def traffic(self, *phases: str, users: int = 100, bad: float = 0.0, seconds: float = 180) -> str:
        """Users come and the gateway reports, five times a second, until the release reaches a phase."""
        async with asyncio.timeout(seconds):
            while self.operator.phase() not in phases:
                self.users(users, bad)
                self.report()
                await asyncio.sleep(0.2)
        return str(self.operator.phase())


def evenly(release: str, digest: str, attempt: int, number: int) -> str:
    """The name of a user. Of ten in a row one is in each tenth of the split: by chance alone one sound rollout in some
    thousands is held for a split that looks broken (docs/evidence.md), and too few may meet the candidate."""
    names = (f"user-{number}-{again}" for again in itertools.count())
    return next(one for one in names if bucket(release, digest, attempt, one) * 10 // BUCKETS == number % 10)


async def until(test: Callable[[], Any], seconds: float = 60) -> Any:
    async with asyncio.timeout(seconds):
        while not (found := test()):
            await asyncio.sleep(0.05)
    return found


@pytest.fixture
async def client(cluster: Any) -> AsyncIterator[Client]:
    async with await Client.connect(timeout=60) as client:
        yield client


@pytest.fixture
async def operator(client: Client, namespace: str) -> AsyncIterator[Operator]:
    await available_service(client, namespace)
    await client.create(EVAL_JOB, template(namespace))
    operator = await Operator(client, namespace).start()
    yield operator
    await operator.kill()


async def available_service(client: Client, namespace: str) -> None:
    await client.create(LLM_SERVICE, {
        "apiVersion": LLM_SERVICE.api_version, "kind": LLM_SERVICE.kind,
        "metadata": {"name": "support", "namespace": namespace},
        "spec": {"model": {"uri": "file:///models/support.gguf"}, "engine": {"type": "LlamaCpp"}},
    })  # fmt: skip
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    told = {"type": "Available", "status": "True", "reason": "AsWanted", "message": "", "lastTransitionTime": since}
    await client.patch(LLM_SERVICE, namespace, "support", {"status": {"conditions": [told]}}, sub="status")


def template(namespace: str) -> Object:
    return {
        "apiVersion": EVAL_JOB.api_version, "kind": EVAL_JOB.kind,
        "metadata": {"name": "quality", "namespace": namespace},
        "spec": {
            "dataset": {
                "inline": [{"question": "open?", "answer": "at nine"}],
                "fields": {"input": "question", "target": "answer"},
            },
            "metrics": [{"name": "exact_match"}],
        },
    }  # fmt: skip


def release(namespace: str, version: str = "1.0.0", says: str = "Be kind.", **rollout: Any) -> Object:
    return {
        "apiVersion": PROMPT_RELEASE.api_version, "kind": PROMPT_RELEASE.kind,
        "metadata": {"name": "answer", "namespace": namespace},
        "spec": {
            "serviceRef": {"name": "support"}, "version": version,
            "messages": [{"role": "system", "content": says}, {"role": "user", "content": "{{ question }}"}],
            "variables": {
                "type": "object", "required": ["question"],
                "properties": {"question": {"type": "string", "maxLength": 400}},
            },
            "rollout": {
                "online": [{"signal": "Errors"}, {"signal": "Feedback"}],
                "steps": [{"weight": weight, "minUnits": 50, "minDuration": "1s"} for weight in (10, 50)],
                "bake": "2s", "margin": {"ratio": "3", "points": "20"}, **rollout,
            },
        },
    }  # fmt: skip


async def change(client: Client, namespace: str, version: str, says: str, **rollout: Any) -> None:
    wanted = release(namespace, version, says, **rollout)["spec"]
    await client.patch(PROMPT_RELEASE, namespace, "answer", {"spec": wanted})


def labels(operator: Operator) -> dict[str, str]:
    """What became of each version."""
    found = operator.seen.list(REVISION, operator.namespace)
    return {one["spec"]["version"]: one["metadata"]["labels"]["llmops.dev/state"] for one in found}


def stable_version(operator: Operator) -> str | None:
    status = operator.release().status
    return status.stable.version if status and status.stable else None


async def test_a_better_prompt_reaches_everybody_and_a_worse_one_is_taken_back(
    client: Client, operator: Operator, namespace: str
) -> None:
    await client.create(PROMPT_RELEASE, release(namespace))
    await operator.reaches("Released")
    door = Door(operator)
    door.report()

    await change(client, namespace, "2.0.0", "Be kind and short.")
    await operator.reaches("Canary")
    weights = set()
    while operator.phase() != "Released":
        weights.add(door.serving()["weight"])
        await door.traffic("Released", "Canary", "Baking")
        door.users(100, 0.0)
        door.report()
        await asyncio.sleep(0.1)
    assert weights >= {10, 50, 100}

    await change(client, namespace, "3.0.0", "Be rude.")
    await operator.reaches("Canary")
    assert await door.traffic("RollingBack", "Rejected", bad=0.8) in ("RollingBack", "Rejected")
    door.report()
    await until(lambda: door.told(lambda: operator.phase() == "Rejected"))

    told = operator.release()
    assert told.status
    assert told.status.stable
    assert told.status.stable.version == "2.0.0"
    assert told.status.rejected[0].version == "3.0.0"
    assert told.status.rejected[0].reason == "CandidateWorse"
    conditions = {one.type: one for one in told.status.conditions}
    assert (conditions["Available"].status, conditions["Stalled"].status) == ("True", "True")
    assert conditions["Healthy"].status == "False"
    await until(lambda: labels(operator) == {"1.0.0": "retired", "2.0.0": "stable", "3.0.0": "rejected"})
    words = "\n".join(explained(operator.seen.get(PROMPT_RELEASE, namespace, "answer") or {}))
    assert "failed with the candidate" in words


async def test_the_operator_killed_in_the_canary_goes_on_with_the_same_evidence(
    client: Client, operator: Operator, namespace: str
) -> None:
    long: Object = {"steps": [{"weight": 10, "minUnits": 50, "minDuration": "1h"}]}
    await client.create(PROMPT_RELEASE, release(namespace, **long))
    await operator.reaches("Released")
    door = Door(operator)
    await change(client, namespace, "2.0.0", "Be short.", **long)
    await operator.reaches("Canary")
    for _ in range(5):
        door.users(100, 0.0)
        door.report()
        await asyncio.sleep(0.05)

    def saved() -> bool:
        return operator.seen.get(CONFIG_MAP, namespace, "answer-evidence") is not None

    def counted() -> int:
        status = operator.release().status
        return (status.candidate.units or 0) if status and status.candidate else 0

    await until(lambda: saved() and counted() > 30)
    before = counted()
    await operator.kill()
    await operator.start()
    door = Door(operator)  # the gateways were restarted too: nothing is known but what was saved
    door.next_user = 1000
    door.users(100, 0.0)
    await until(lambda: door.told(lambda: counted() > before))
    attempt = operator.release().status
    assert attempt
    assert attempt.candidate
    assert (attempt.candidate.attempt, attempt.candidate.weight) == (1, 10)


async def test_a_candidate_waits_for_its_evaluation_and_its_verdict_is_final(
    client: Client, operator: Operator, namespace: str
) -> None:
    gates: Object = {"offline": [{"evalJobRef": {"name": "quality"}, "metric": "exact_match", "maxDrop": "0.02"}]}
    await client.create(PROMPT_RELEASE, release(namespace, **gates))
    await operator.reaches("Released")
    await change(client, namespace, "2.0.0", "Nonsense.", **gates)
    await operator.reaches("Evaluating")

    def child() -> Object | None:
        ours = {"llmops.dev/owner-kind": PROMPT_RELEASE.kind}
        return next(iter(operator.seen.list(EVAL_JOB, namespace, ours)), None)

    job = await until(child)
    assert job["spec"]["target"]["promptRef"]["version"] != job["spec"]["baseline"]["promptRef"]["version"]
    assert job["spec"]["thresholds"][0]["maxDrop"] == "0.02"
    verdict = {"phase": "Succeeded", "verdict": "Fail", "observedGeneration": job["metadata"]["generation"]}
    await client.patch(EVAL_JOB, namespace, job["metadata"]["name"], {"status": verdict}, sub="status")
    await operator.reaches("Rejected")
    status = operator.release().status
    assert status
    assert status.rejected[0].reason == "EvaluationFailed"

    await client.delete(EVAL_JOB, namespace, job["metadata"]["name"])  # no work for what is rejected
    await until(lambda: child() is None)
    await change(client, namespace, "1.0.0", "Be kind.", **gates)
    await operator.reaches("Released")
    await change(client, namespace, "2.0.0", "Nonsense.", **gates)
    await operator.reaches("Rejected")
    assert child() is None


async def test_what_cannot_be_done_is_said(client: Client, operator: Operator, namespace: str) -> None:
    asks = [{"signal": "Prometheus", "failures": "a", "total": "b"}]
    await client.create(PROMPT_RELEASE, release(namespace, online=asks))

    def said() -> bool:
        status = operator.release().status if operator.seen.get(PROMPT_RELEASE, namespace, "answer") else None
        valid, stalled = (status.condition("Valid"), status.condition("Stalled")) if status else (None, None)
        words = (valid.status, stalled.status) if valid and stalled else ()
        return valid is not None and words == ("False", "True") and "sets LLMOPS_PROMETHEUS_URL" in valid.message

    await until(said)


async def test_something_missing_is_waited_for_by_name(client: Client, operator: Operator, namespace: str) -> None:
    wanted = release(namespace)
    wanted["spec"]["serviceRef"]["name"] = "later"
    await client.create(PROMPT_RELEASE, wanted)
    await operator.reaches("Pending")

    def named() -> bool:
        status = operator.release().status
        ready = status.condition("Ready") if status else None
        return bool(ready and f"LLMService {namespace}/later does not exist" in ready.message)

    await until(named)


async def test_an_undeclared_variable_is_rejected_with_its_name(
    client: Client, operator: Operator, namespace: str
) -> None:
    wanted = release(namespace, says="You know {{ order_id }}.")
    await client.create(PROMPT_RELEASE, wanted)
    await operator.reaches("Rejected")
    status = operator.release().status
    assert status
    assert "order_id" in (status.rejected[0].message or "")


async def test_the_operator_killed_in_each_phase_comes_to_the_same_end(
    client: Client, operator: Operator, namespace: str
) -> None:
    await client.create(PROMPT_RELEASE, release(namespace))
    await operator.reaches("Released")
    await change(client, namespace, "2.0.0", "Be short.")
    door, killed = Door(operator), set()
    async with asyncio.timeout(300):
        while stable_version(operator) != "2.0.0":
            if (phase := operator.phase()) not in killed:
                killed.add(phase)
                await operator.kill()
                door.users(50, 0.0)  # the door goes on meanwhile
                await operator.start()
                door.report(whole=True)
            door.users(40, 0.0)
            door.report()
            await asyncio.sleep(0.2)
    assert killed >= {"Canary", "Baking"}
    status = operator.release().status
    assert status
    assert (status.phase, [one.outcome for one in status.history]) == ("Released", ["Released", "Released"])


async def test_a_candidate_is_aborted_by_name_and_retried_by_name(
    client: Client, operator: Operator, namespace: str
) -> None:
    await client.create(PROMPT_RELEASE, release(namespace))
    await operator.reaches("Released")
    await change(client, namespace, "2.0.0", "Be short.")
    await operator.reaches("Canary")
    door = Door(operator)
    digest = door.serving()["candidate"]

    async def annotate(name: str, value: str) -> None:
        annotations = {"metadata": {"annotations": {f"llmops.dev/{name}": value}}}
        await client.patch(PROMPT_RELEASE, namespace, "answer", annotations)

    await annotate("abort", f"{digest}/7")
    await annotate("abort", f"{digest}/1")
    await until(lambda: door.told(lambda: operator.phase() == "Rejected"))
    await annotate("retry", f"{digest}/1")
    await operator.reaches("Canary")
    assert door.serving()["attempt"] == 2
    await until(lambda: labels(operator) == {"1.0.0": "stable", "2.0.0": "candidate"})
