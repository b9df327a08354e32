"""Whether questions are answered, whatever becomes of what the spec asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
from tests.unit.retrieval.conftest import finished, seen
from tests.unit.retrieval.test_index_plan import NOW, condition, message

from llmops.api import Settings
from llmops.control import Key
from llmops.control.turns import turns
from llmops.kube.cluster import Cluster
from llmops.kube.resources import POD, Object, Resource
from llmops.retrieval.children import asked_labels
from llmops.retrieval.engines.cluster import NOT_INSTALLED
from llmops.retrieval.engines.waits import STARTING, Waits
from llmops.retrieval.observe import Seen, observe
from llmops.retrieval.plan import State, plan
from llmops.retrieval.status import status

STORAGE = {"endpoint": "https://s3.example.org", "bucket": "vectors", "credentialsSecretRef": {"name": "bucket"}}
NEVER = "0 25 * * *"


def told(one: Seen) -> dict[str, Any]:
    return status(one, plan(one), NOW)


@pytest.mark.parametrize(
    ("engine", "waits", "available"),
    [
        ({"mode": "Standalone"}, STARTING, "True"),
        ({"mode": "Cluster", "cluster": {"storage": STORAGE}}, NOT_INSTALLED, "True"),
        ({"mode": "Lite"}, STARTING, "False"),  # it is the one that is to answer
    ],
)
def test_while_another_engine_starts_the_one_of_before_answers(
    served: Seen, engine: dict[str, Any], waits: Waits, available: str
) -> None:
    index = seen({"engine": engine}, served.raw["status"], runs=served.runs, engine_waits=waits)
    said = told(index)
    assert (condition(said, "Available"), condition(said, "EngineReady")) == (available, "False")
    assert message(said, "EngineReady") == waits.sentence
    if available == "True":
        assert message(said, "Available") == "generation 1 answers"
        assert message(said, "Ready") == f"{waits.sentence}; generation 1 goes on serving"
        silent = told(replace(index, servers_ready=0))
        assert condition(silent, "Available") == "False"


def test_once_another_engine_serves_it_is_the_one_that_is_to_answer(served: Seen) -> None:
    index = seen({"engine": {"mode": "Standalone"}}, served.raw["status"])
    moved = told(replace(index, runs=(*served.runs, finished(index, generation=2))))
    assert condition(moved, "Available") == "True"
    again = seen({"engine": {"mode": "Standalone"}}, moved, engine_waits=STARTING)
    assert condition(told(replace(again, runs=(finished(again, generation=2),))), "Available") == "False"


def gates(*names: str) -> dict[str, Any]:
    return {"rollout": {"gates": [{"type": "Retrieval", "min": "0.9", "evalJobRef": {"name": one}} for one in names]}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"refresh": {"schedule": NEVER}}, "spec.refresh.schedule: hour '25' is not within 0-23"),
        (gates("a", "b"), "Retrieval gates of several EvalJobs are not available yet: let all refer to one"),
        ({"engine": {"type": "Qdrant", "mode": "Standalone"}}, "engine Qdrant in mode Standalone is not available yet"),
    ],
)
def test_what_cannot_be_done_is_said_of_an_index_that_answers(served: Seen, change: dict[str, Any], said: str) -> None:
    schedule = (change.get("refresh") or {}).get("schedule")
    index = seen(change, served.raw["status"], runs=served.runs, turns=turns(schedule, False, "", "", NOW))
    found = told(index)
    assert plan(index).state is State.UNSUPPORTED
    assert {one: condition(found, one) for one in ("Ready", "Stalled", "Reconciling", "Available")} == {
        "Ready": "False", "Stalled": "True", "Reconciling": "False", "Available": "True",
    }  # fmt: skip
    assert message(found, "Stalled").startswith(said)
    assert message(found, "Stalled").endswith("generation 1 goes on serving")
    for one in ("EngineReady", "SourcesRead", "Built", "GatesPassed", "EmbeddingMatches"):
        assert message(found, one) == message(served.raw["status"], one)


class There:
    """A cluster that has an index and pods."""

    settings = Settings()

    def __init__(self, index: Object, *pods: Object) -> None:
        self.index, self.pods = index, pods

    def get(self, _: Resource, __: str | None, name: str) -> Object | None:
        return self.index if name == self.index["metadata"]["name"] else None

    def list(self, resource: Resource, *_: Any) -> list[Object]:
        return [*self.pods] if resource == POD else []


async def test_query_servers_are_counted_whatever_engine_is_asked_for(served: Seen) -> None:
    index = seen({"engine": {"type": "Qdrant", "mode": "Standalone"}}, served.raw["status"])
    labels = asked_labels(index.index)
    pod = {"metadata": {"labels": labels}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    for pods in ((), (pod,)):
        there = await observe(Key("VectorIndex", "shop", "faq"), cast("Cluster", There(index.raw, *pods)), NOW)
        assert there is not None
        assert condition(told(there), "Available") == str(bool(pods))
