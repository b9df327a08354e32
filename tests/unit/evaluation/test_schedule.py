"""Turn after turn of a scheduled EvalJob, as its reconcile takes them: observed, planned, applied, reported."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import cast

import pytest

from llmops.api import Settings
from llmops.control import Clock, Key
from llmops.evaluation.reconcile import reconcile
from llmops.evaluation.results import ArmResult, Measured, MetricResult, Results
from llmops.evaluation.run import FINISHED, RESULTS
from llmops.kube.cluster import Cluster
from llmops.kube.resources import CONFIG_MAP, EVAL_JOB, JOB, Object, Resource

KEY = Key("EvalJob", "shop", "quality")


class Objects:
    """A cluster's objects in memory, as a reconcile reads and writes them; and the time."""

    def __init__(self) -> None:
        self.settings, self.time = Settings(), at("2026-11-25T02:00:30")
        self.events: list[tuple[str, str, str]] = []
        self.kept: dict[tuple[str, str], Object] = {(EVAL_JOB.kind, "quality"): {
            "apiVersion": "llmops.dev/v1alpha1", "kind": "EvalJob",
            "metadata": {"name": "quality", "namespace": "shop", "generation": 1},
            "spec": {
                "target": {"url": "http://model/v1", "model": "m"}, "schedule": "0 * * * *",
                "dataset": {"inline": [{"input": "a", "target": "b"}]}, "metrics": [{"name": "exact_match"}],
                "thresholds": [{"metric": "exact_match", "min": "0.50"}],
            },
        }}  # fmt: skip

    def now(self):
        return self.time

    def get(self, resource, namespace, name):
        return self.kept.get((resource.kind, name))

    async def fresh(self, resource, namespace, name):
        return self.get(resource, namespace, name)

    def list(self, resource, namespace=None, labels=None):
        return [one for (kind, _), one in self.kept.items() if kind == resource.kind]

    async def apply(self, children, owner):
        for child in children:
            stamp = {"creationTimestamp": self.time.strftime("%Y-%m-%dT%H:%M:%SZ")}
            new = {**child, "metadata": {**stamp, **child["metadata"]}}
            self.kept.setdefault((child["kind"], child["metadata"]["name"]), new)

    async def prune(self, owner, keep, resources):
        kept = {(one["kind"], one["metadata"]["name"]) for one in keep}
        kinds = {resource.kind for resource in resources}
        self.kept = {key: one for key, one in self.kept.items() if key[0] not in kinds or key in kept}

    async def report(self, obj, status):
        if obj.get("status") == status:
            return False
        self.kept["EvalJob", "quality"] = {**obj, "status": status}
        return True

    async def event(self, obj, reason, message, type="Normal"):
        self.events.append((str(reason), type, message))

    @property
    def spec(self):
        return self.kept["EvalJob", "quality"]["spec"]

    @property
    def status(self):
        return self.kept["EvalJob", "quality"]["status"]

    def names(self, resource: Resource):
        return [one["metadata"]["name"] for one in self.list(resource)]

    async def turn(self, when=""):
        """A look at this time; again until nothing is new, as events of children would have it."""
        self.time = at(when) if when else self.time
        while True:
            before = json.dumps([*self.kept.values()], default=str)
            self.looks = (await reconcile(KEY, cast("Cluster", self), cast("Clock", self))).seconds
            if json.dumps([*self.kept.values()], default=str) == before:
                return

    async def end(self, value):
        """The Job ends with this result."""
        (name,) = self.names(JOB)
        config_map = self.kept["ConfigMap", name]
        key = config_map["metadata"]["annotations"]["llmops.dev/run-key"]
        metric = MetricResult("exact_match", "proportion", Measured(100, value))
        config_map["data"] = {
            RESULTS: Results(key, {"target": ArmResult(1, 0)}, (metric,)).dumps(),
            FINISHED: self.time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        self.kept["Job", name]["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
        await self.turn()


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture
async def world():
    """After the first run, which is at once."""
    world = Objects()
    await world.turn()
    await world.end(1.0)
    assert (world.status["verdict"], world.status["nextRun"]) == ("Pass", "2026-11-25T03:00:00Z")
    assert world.looks == 3570
    return world


async def test_each_time_brings_a_run_and_a_fall_below_the_threshold_is_said(world):
    await world.turn("2026-11-25T03:00:00")
    assert (world.status["phase"], world.status["verdict"]) == ("Pending", "Pass")
    (job,) = world.names(JOB)
    await world.turn("2026-11-25T03:20:00")
    assert world.names(JOB) == [job]
    await world.end(0.1)
    assert (world.status["phase"], world.status["verdict"]) == ("Succeeded", "Fail")
    assert world.events[-1][:2] == ("ThresholdMissed", "Warning")
    assert [event[0] for event in world.events].count("ThresholdsMet") == 1  # none for a turn that only begins
    await world.turn("2026-11-25T04:00:00")
    await world.end(1.0)
    assert [point["verdict"] for point in world.status["trend"]] == ["Fail", "Pass"]
    assert [point["finishedAt"] for point in world.status["trend"]] == ["2026-11-25T03:20:00Z", "2026-11-25T04:00:00Z"]


async def test_times_that_passed_while_nobody_looked_are_made_up_once(world):
    await world.turn("2026-11-27T11:30:00")
    assert (world.status["lastScheduleTime"], world.status["nextRun"]) == (
        "2026-11-25T03:00:00Z",
        "2026-11-27T12:00:00Z",
    )
    await world.end(1.0)
    assert len(world.status["trend"]) == 1


async def test_a_run_that_is_still_going_lets_the_next_time_pass_and_it_is_said_once(world):
    await world.turn("2026-11-25T03:00:00")
    (job,) = world.names(JOB)
    await world.turn("2026-11-25T04:00:00")
    await world.turn("2026-11-25T04:00:30")
    assert world.names(JOB) == [job]
    assert [event for event in world.events if event[0] == "RunSkipped"] == [
        ("RunSkipped", "Warning", "the run of 2026-11-25T04:00:00Z was skipped: the one before it is still going")
    ]
    assert world.status["nextRun"] == "2026-11-25T05:00:00Z"
    await world.end(1.0)
    await world.turn("2026-11-25T05:00:00")
    assert world.names(JOB) != [job]


async def test_changed_inputs_are_measured_at_once_and_once(world):
    await world.turn("2026-11-25T03:00:00")
    await world.end(1.0)
    world.spec["dataset"]["inline"].append({"input": "c", "target": "d"})
    await world.turn("2026-11-25T03:10:00")
    assert "verdict" not in world.status
    await world.end(1.0)
    await world.turn("2026-11-25T03:50:00")
    assert (world.status["phase"], world.status["lastScheduleTime"]) == ("Succeeded", "2026-11-25T03:00:00Z")


async def test_suspending_promises_nothing_and_makes_nothing_up(world):
    world.spec["suspend"] = True
    await world.turn("2026-11-25T03:30:00")
    assert "nextRun" not in world.status
    assert world.status["phase"] == "Succeeded"
    world.spec["suspend"] = False
    await world.turn("2026-11-25T08:30:00")
    assert (world.status["phase"], world.status["nextRun"]) == ("Succeeded", "2026-11-25T09:00:00Z")


async def test_taking_the_schedule_away_costs_no_run(world):
    await world.turn("2026-11-25T03:00:00")
    await world.end(1.0)
    del world.spec["schedule"]
    await world.turn("2026-11-25T04:30:00")
    assert (world.status["phase"], world.status["verdict"]) == ("Succeeded", "Pass")
    assert "nextRun" not in world.status


async def test_only_the_newest_results_are_kept(world):
    for hour in range(3, 18):
        await world.turn(f"2026-11-25T{hour:02}:00:00")
        await world.end(1.0)
    assert len(world.status["trend"]) == 10
    assert world.status["trend"][-1]["finishedAt"] == "2026-11-25T17:00:00Z"
    assert len(world.names(CONFIG_MAP)) == 10
