"""A service that an index asks past the gateways stays awake, whatever its spec lets it do."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tests.unit.serving.seen import Object, deployment, see
from tests.unit.serving.test_keda import KNOWN

from llmops.control import Key, SystemClock
from llmops.kube.cluster import Cluster
from llmops.kube.resources import DEPLOYMENT, LLM_SERVICE, VECTOR_INDEX, Resource
from llmops.serving.autoscale import Load
from llmops.serving.observe import Seen, observe
from llmops.serving.plan import plan
from llmops.serving.reconcile import CONTROLLER
from llmops.serving.scaling import advice
from llmops.serving.status import status

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SLEEPS: Object = {"autoscaling": {"min": 0, "max": 3}, "replicas": 1}
NOBODY_ASKS = Load(ready=1, held=0, running=0, waiting=0, idle=86400.0)


def index(name: str = "faq", embedder: str = "support", reranker: str = "", served: str = "") -> Object:
    """Of which a generation is served that was embedded by `served`."""
    rerank = {"query": {"rerank": {"serviceRef": {"name": reranker}}}} if reranker else {}
    return {
        "kind": "VectorIndex", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"embedding": {"serviceRef": {"name": embedder}}, **rerank},
        **({"status": {"embedding": {"model": f"shop/{served}"}}} if served else {}),
    }  # fmt: skip


class Namespace(Cluster):
    """One with the service, a Deployment of so many pods, and some indexes."""

    def __init__(self, spec: Object, pods: int, *indexes: Object) -> None:
        self.settings, self.reports = KNOWN, None
        self._there = {LLM_SERVICE: see(spec).raw, DEPLOYMENT: {**deployment(pods), "spec": {"replicas": pods}}}
        self._indexes = indexes

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        return self._there.get(resource)

    def find(self, resource: Resource, index: str, key: Hashable) -> list[Object]:
        (keys,) = [one.keys for one in CONTROLLER.indexes if (one.resource, one.name) == (resource, index)]
        return [one for one in self._indexes if key in keys(one)] if resource == VECTOR_INDEX else []

    def list(
        self, resource: Resource, namespace: str | None = None, labels: dict[str, str] | None = None
    ) -> list[Object]:
        return []


async def observed(spec: Object, pods: int, *indexes: Object) -> Seen:
    seen = await observe(Key("LLMService", "shop", "support"), Namespace(spec, pods, *indexes), SystemClock())
    assert seen is not None
    return replace(seen, load=NOBODY_ASKS)


def pods_of(seen: Seen) -> int:
    advised = advice(seen)
    assert advised is not None
    return advised.count


@pytest.mark.parametrize(
    ("case", "one", "awake"),
    [
        ("it embeds for an index", index(), True),
        ("it reranks for one", index(embedder="minilm", reranker="support"), True),
        ("it embedded what is served until another's vectors are", index(embedder="minilm", served="support"), True),
        ("another service does", index(embedder="minilm", reranker="bge", served="minilm"), False),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
async def test_a_service_sleeps_when_idle_but_never_while_an_index_asks_it(case: str, one: Object, awake: bool) -> None:
    assert pods_of(await observed(SLEEPS, 1, one)) == (1 if awake else 0), case
    assert pods_of(await observed(SLEEPS, 0, one)) == (1 if awake else 0), f"{case}: it is woken"


async def test_without_a_pod_a_service_that_may_sleep_is_available_and_one_that_an_index_asks_is_not() -> None:
    for indexes, available in ((), "True"), ((index(),), "False"):
        seen = await observed(SLEEPS, 0, *indexes)
        told = {one["type"]: one["status"] for one in status(seen, plan(seen), NOW)["conditions"]}
        assert told["Available"] == available


async def test_ready_names_the_index_that_keeps_it_awake_only_where_it_would_sleep() -> None:
    for least, told in (0, "it does not sleep, since VectorIndex faq asks it directly"), (1, ""):
        spec = {"autoscaling": {"min": least, "max": 3}, "replicas": 1}
        seen = await observed(spec, 1, index("manual"), index())
        ready = status(seen, plan(seen), NOW)["conditions"][0]
        assert ("sleep" in ready["message"], ready["message"].endswith(told)) == (not least, True)


async def test_keda_keeps_one_pod_of_a_service_that_an_index_asks() -> None:
    spec = {"autoscaling": {"min": 0, "max": 3, "by": "KEDA"}, "replicas": 1}
    for indexes, least in ((), 0), ((index(),), 1):
        seen = await observed(spec, 1, *indexes)
        (scaler,) = [one for one in plan(seen).children if one["kind"] == "ScaledObject"]
        assert scaler["spec"]["minReplicaCount"] == least


def test_an_index_gives_a_turn_to_the_services_it_asks() -> None:
    (keys,) = [one.keys for one in CONTROLLER.refers if one.resource == VECTOR_INDEX]
    whole = index(embedder="minilm", reranker="bge", served="old")
    assert {one.name for one in keys(whole, None)} == {"minilm", "bge", "old"}  # type: ignore[arg-type]
