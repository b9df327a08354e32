"""A whole life of a release, with its operator killed before and after every write, and the gateway at every phase.

The first run is left alone. In the second each operator gets to make one write: the one dies in its place, the next
right after it was made. What is left at the end must be the same.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.e2e.test_release import Door, Object, Operator, available_service, change, labels, release, template, until

from llmops.api import EvalJob, PromptRelease
from llmops.api.promptrelease import PromptReleaseStatus
from llmops.kube.client import Client
from llmops.kube.errors import Conflict, NotFound
from llmops.kube.resources import EVAL_JOB, PROMPT_RELEASE

GATES = {"offline": [{"evalJobRef": {"name": "quality"}, "metric": "exact_match", "maxDrop": "0.02"}]}
REFUSED = "3.0.0"
"""The version whose evaluation fails."""
WRITES = ("patch promptreleases", "create revisions", "apply revisions", "apply evaljobs")


class Dead(Exception):
    """The process is gone: it neither reads nor writes any more."""


class Mortal(Client):
    """A client whose process dies at its next write."""

    immortal = True
    dead = False
    before = True  # in the write's place, or right after it
    points: Counter[str]

    async def _call(self, method: str, verb: str, *rest: Any, **more: Any) -> Object:
        if self.dead:
            raise Dead
        if method == "GET" or self.immortal:
            return await super()._call(method, verb, *rest, **more)
        if not self.before:
            await super()._call(method, verb, *rest, **more)
        self.dead = True
        self.points[f"{'before' if self.before else 'after'} {verb} {rest[0].plural}"] += 1
        raise Dead

    def born(self) -> None:
        self.dead, self.before = False, not self.before


class World:
    """The operator, users who never stop asking, and somebody who judges every evaluation."""

    def __init__(self, operator: Operator, client: Client, mortal: Mortal, kill: bool) -> None:
        self.operator, self.client, self.mortal, self.kill = operator, client, mortal, kill
        self.door, self.bad = Door(operator), 0.0
        self.met: set[str] = set()  # digests that some user met
        self.phases: set[str] = set()
        operator.hear = self._report

    def _report(self) -> None:
        if self.operator.phase() is not None:
            self.door.report(whole=True)

    def status(self) -> PromptReleaseStatus | None:
        """None while an operator that has just begun knows nothing yet."""
        raw = self.operator.seen.get(PROMPT_RELEASE, self.operator.namespace, "answer")
        return PromptRelease.parse(raw).status if raw else None

    async def users(self) -> None:
        """Ten times a second; a gateway that is killed forgets whom it served, and is another instance."""
        while True:
            phase = self.operator.phase()
            if self.kill and phase is not None and phase not in self.phases:
                self.door.units, self.door.cursor, self.door.instance = [], 0, f"g{len(self.phases) + 2}"
            if phase is not None:
                self.phases.add(phase)
                serving = self.door.serving()
                if serving["weight"]:
                    self.met.add(serving["candidate"])
                self.door.users(60, self.bad)
                self.door.report(whole=True)
            await asyncio.sleep(0.1)

    def _versions(self) -> dict[str, str]:
        """By their digests."""
        status = self.status()
        known = [status.candidate, status.stable, *status.history] if status else []
        return {one.digest: one.version for one in known if one and one.digest and one.version}

    async def judge(self) -> None:
        """Every evaluation ends at once; that of one version badly."""
        while True:
            for job in self.operator.seen.list(EVAL_JOB, self.operator.namespace):
                parsed = EvalJob.parse(job)
                if parsed.spec.target is None or (parsed.status and parsed.status.verdict):
                    continue
                assert parsed.spec.target.prompt_ref is not None
                version = self._versions().get(parsed.spec.target.prompt_ref.version)
                if version is None:  # an operator that has just begun heard of the evaluation before the release
                    continue
                verdict = "Fail" if version == REFUSED else "Pass"
                told = {"phase": "Succeeded", "verdict": verdict, "observedGeneration": parsed.metadata.generation}
                try:
                    await self.client.patch(EVAL_JOB, self.operator.namespace, parsed.metadata.name,
                                            {"status": told}, sub="status")  # fmt: skip
                except (NotFound, Conflict):
                    continue
            await asyncio.sleep(0.1)

    async def reaper(self) -> None:
        """Another operator begins where one died."""
        while True:
            while not self.mortal.dead:  # for ever, where nobody dies
                await asyncio.sleep(0.02)
            await self.operator.kill()
            self.mortal.born()
            await self.operator.start()

    async def ends(self, version: str, outcome: str) -> None:
        """The newest thing that was remembered."""

        def there() -> bool:
            status = self.status()
            last = status.history[0] if status and status.history else None
            settled = status is not None and status.phase in ("Released", "Rejected")
            return settled and last is not None and (last.version, last.outcome) == (version, outcome)

        try:
            await until(there, 300)
        except TimeoutError:
            status = self.status()
            told = status.wire() if status else None
            raise AssertionError(f"{version} {outcome}: {self.mortal.points}, now {told}") from None


@asynccontextmanager
async def living(client: Client, namespace: str, kill: bool) -> AsyncIterator[World]:
    await available_service(client, namespace)
    await client.create(EVAL_JOB, template(namespace))
    async with await Mortal.connect(timeout=60) as mortal:
        assert isinstance(mortal, Mortal)
        mortal.immortal, mortal.points = not kill, Counter()
        operator = await Operator(mortal, namespace).start()
        world = World(operator, client, mortal, kill)
        tasks = [asyncio.create_task(work()) for work in (world.users, world.judge, world.reaper)]
        try:
            yield world
            for task in tasks:
                assert not task.done(), task
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await operator.kill()


async def life(world: World, namespace: str) -> Object:
    """First one, a better one, one that is refused before users, one that its users refuse, and back again."""
    client = world.client
    await client.create(PROMPT_RELEASE, release(namespace))
    await until(lambda: world.operator.phase() is not None)
    await world.ends("1.0.0", "Released")
    await change(client, namespace, "2.0.0", "Be kind and short.", **GATES)
    await world.ends("2.0.0", "Released")
    await change(client, namespace, REFUSED, "Nonsense.", **GATES)
    await world.ends(REFUSED, "Rejected")
    world.bad = 0.9
    await change(client, namespace, "4.0.0", "Be rude.", **GATES)
    await world.ends("4.0.0", "Rejected")
    world.bad = 0.0
    await change(client, namespace, "5.0.0", "Be kind, short and clear.", **GATES)
    await world.ends("5.0.0", "Released")
    await change(client, namespace, "6.0.0", "Be kind, short, clear and quick.", **GATES)
    await world.ends("6.0.0", "Released")
    wanted = {"1.0.0": "retired", "2.0.0": "retired", REFUSED: "rejected", "4.0.0": "rejected", "5.0.0": "retired",
              "6.0.0": "stable"}  # fmt: skip
    try:
        await until(lambda: labels(world.operator) == wanted, 60)
    except TimeoutError:
        raise AssertionError(f"{labels(world.operator)}, {world.mortal.points}") from None
    return await until(lambda: (found := left(world)) and found["ready"][0] == "True" and found)


def left(world: World) -> Object:
    status = world.status()
    if status is None:
        return {"ready": [""]}
    names = world.operator.seen.list(EVAL_JOB, world.operator.namespace)
    return {
        "stable": status.stable.version if status.stable else None,
        "rejected": [(one.version, one.attempt, one.reason) for one in status.rejected],
        "history": [(one.version, one.attempt, one.outcome) for one in status.history],
        "evaluations": len(names),
        "ready": [one.status for one in status.conditions if one.type in ("Ready", "Available", "Valid")],
    }


END = {
    "stable": "6.0.0",
    "rejected": [("4.0.0", 1, "CandidateWorse"), (REFUSED, 1, "EvaluationFailed")],
    "history": [
        ("6.0.0", 1, "Released"), ("5.0.0", 1, "Released"), ("4.0.0", 1, "Rejected"), (REFUSED, 1, "Rejected"),
        ("2.0.0", 1, "Released"), ("1.0.0", 1, "Released"),
    ],
    "evaluations": 6,
    "ready": ["True", "True", "True"],
}  # fmt: skip


@pytest.mark.parametrize("kill", [False, True], ids=["left alone", "killed"])
async def test_killed_before_and_after_every_write_it_ends_as_if_nothing_had_happened(
    client: Client, namespace: str, kill: bool
) -> None:
    async with living(client, namespace, kill) as world:
        assert await life(world, namespace) == END
        await until(world.status)
        status = world.status()
    assert status is not None
    unfit = next(one.digest for one in status.rejected if one.version == REFUSED)
    assert unfit not in world.met  # what failed its evaluation met nobody
    assert world.phases >= {"Evaluating", "Canary", "Baking", "Released"}
    points = world.mortal.points
    print(f"{points.total()} times killed: {dict(points)}")
    if kill:
        assert points.total() >= 100
        assert {f"{when} {what}" for when in ("before", "after") for what in WRITES} <= set(points)
