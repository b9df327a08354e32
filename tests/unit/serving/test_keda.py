"""What KEDA is told, and what Prometheus' answers are taken for."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.serving.seen import see
from tests.unit.serving.test_canary import NOW, OLD_MODEL, built, children, planned, rolled, running

from llmops.api import Settings
from llmops.control import prometheus
from llmops.kube.resources import DEPLOYMENT, LEADER_WORKER_SET, Resource
from llmops.rollout.state import Stable, State
from llmops.serving import keda
from llmops.serving.autoscale import Kept, Load, advise
from llmops.serving.keda import SCALER
from llmops.serving.observe import Family, Seen
from llmops.serving.plan import plan
from llmops.serving.scaling import SENT

Object = dict[str, Any]
KNOWN = Settings(prometheus_url="http://prometheus.monitoring:9090")
HELD = 'sum(llmops_gateway_service_requests{service="shop/support",state="held"})'
PODS = 'namespace="shop",pod=~"support-llm-[a-z0-9]+-[a-z0-9]+"'


def made(spec: Object, kind: str) -> Object:
    planned = plan(see(spec, settings=KNOWN))
    assert planned.problem is None, planned.problem
    return next(one for one in planned.children if one["kind"] == kind)


def scaled(metric: Object, **asked: Any) -> Object:
    found: Object = made({"autoscaling": {"max": 9, "by": "KEDA", "metric": metric, **asked}}, "ScaledObject")
    return found


@pytest.mark.parametrize(
    ("metric", "query"),
    [
        ({"type": "Concurrency"}, 'sum(llmops_gateway_service_requests{service="shop/support"})'),
        ({"type": "QueueDepth"}, f"(sum(llamacpp:requests_deferred{{{PODS}}}) or vector(0)) + ({HELD} or vector(0))"),
        (
            {"type": "TokensPerSecond", "target": 50},
            'sum(rate(llmops_gateway_tokens_total{service="shop/support",direction="out"}[1m]))',
        ),
        ({"type": "Prometheus", "query": "sum(mine)", "target": 7}, "sum(mine)"),
    ],
    ids=lambda one: one["type"] if isinstance(one, dict) else "",
)
def test_keda_is_given_the_query_of_the_metric(metric: Object, query: str) -> None:
    spec = scaled(metric)["spec"]
    (trigger,) = spec["triggers"]
    assert trigger["metadata"]["query"] == query
    assert trigger["metadata"]["serverAddress"] == "http://prometheus.monitoring:9090"
    assert trigger["metadata"]["threshold"] == str(metric.get("target", 4))
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (1, 9)


def test_what_tells_nothing_without_pods_gets_a_trigger_that_wakes_it() -> None:
    spec = scaled({"type": "TokensPerSecond", "target": 50}, min=0, idleAfter="2m")["spec"]
    assert [one["metadata"]["query"] for one in spec["triggers"]][1:] == [HELD]
    assert spec["cooldownPeriod"] == 120
    assert len(scaled({"type": "Concurrency"}, min=0)["spec"]["triggers"]) == 1


def test_the_count_is_carried_until_keda_moves_it_and_keda_is_remembered() -> None:
    asked = {"autoscaling": {"max": 9, "by": "KEDA"}, "replicas": 2}
    first = made(asked, "Deployment")
    assert first["spec"]["replicas"] == 2
    assert first["metadata"]["annotations"] == {SENT: "2", SCALER: "KEDA"}
    live = {"metadata": {"annotations": {SENT: "2"}}, "spec": {"replicas": 5}}
    moved = plan(see(asked, settings=KNOWN, workload=live)).children
    assert "replicas" not in next(one for one in moved if one["kind"] == "Deployment")["spec"]


SCALED = {"autoscaling": {"max": 9, "by": "KEDA"}, "replicas": 2}


def by_home(seen: Seen, state: State, kind: str) -> dict[str, Object]:
    return children(planned(replace(seen, settings=KNOWN), state), kind)


def test_keda_scales_stables_pods_and_the_candidates_follow_their_count() -> None:
    seen, state = rolled({**SCALED, "rollout": {}})
    digest, own = built({"model": OLD_MODEL})[0], f"support-llm-{seen.digest[:10]}"
    stables = running("support-llm", digest, 5)
    stables["metadata"]["annotations"] = {SENT: "2", SCALER: "KEDA"}
    seen = replace(seen, family=Family(workloads={"support-llm": stables}))
    assert by_home(seen, state, "ScaledObject").keys() == {"support-llm"}
    found = by_home(seen, state, "Deployment")
    assert "replicas" not in found["support-llm"]["spec"]  # KEDA's
    assert found[own]["spec"]["replicas"] == 5
    assert "annotations" not in found[own]["metadata"]


def test_when_it_is_stable_keda_scales_the_new_home_which_begins_with_the_pods_it_has() -> None:
    seen, _ = rolled({**SCALED, "rollout": {}})
    own, kept = f"support-llm-{seen.digest[:10]}", built()[1]
    old, new = running("support-llm", built({"model": OLD_MODEL})[0], 5), running(own, seen.digest, 5)
    seen = replace(seen, revisions=[*seen.revisions, kept], family=Family(workloads={"support-llm": old, own: new}))
    state = State("Released", stable=Stable(seen.digest, "new", NOW))
    (scaled,) = by_home(seen, state, "ScaledObject").values()
    assert scaled["metadata"]["name"] == scaled["spec"]["scaleTargetRef"]["name"] == own
    (pods,) = by_home(seen, state, "Deployment").values()
    assert (pods["metadata"]["name"], pods["spec"]["replicas"]) == (own, 5)  # carried, no jump
    assert pods["metadata"]["annotations"] == {SENT: "5", SCALER: "KEDA"}

    moved = running(own, seen.digest, 7)
    moved["metadata"]["annotations"] = {SENT: "5", SCALER: "KEDA"}
    seen = replace(seen, family=Family(workloads={own: moved}))
    (pods,) = by_home(seen, state, "Deployment").values()
    assert "replicas" not in pods["spec"]


@pytest.mark.parametrize(
    ("of", "mine", "others"),
    [
        (
            DEPLOYMENT,
            ["support-llm-5d8f7c-x2x9q"],
            ["support-llm-0123456789-5d8f7c-x2x9q", "support-llm-2-5d8f7c-x2x9q"],
        ),
        (LEADER_WORKER_SET, ["support-llm-0", "support-llm-11"], ["support-llm-0123456789-0", "support-llm-0-1"]),
    ],
    ids=["Deployment", "LeaderWorkerSet"],
)
def test_the_gauge_is_of_stables_pods_alone(of: Resource, mine: list[str], others: list[str]) -> None:
    query = keda.query(see({"autoscaling": {"max": 9, "by": "KEDA", "metric": {"type": "QueueDepth"}}}), of)
    chosen = re.search(r'pod=~"([^"]*)"', query)
    assert chosen
    assert all(re.fullmatch(chosen[1], one) for one in mine)
    assert not any(re.fullmatch(chosen[1], one) for one in others)


@pytest.mark.parametrize(
    ("result", "number"),
    [
        ({"resultType": "vector", "result": [{"metric": {}, "value": [1.0, "12.5"]}]}, 12.5),
        ({"resultType": "scalar", "result": [1.0, "3"]}, 3.0),
        ({"resultType": "vector", "result": []}, None),
        ({"resultType": "vector", "result": [{"value": [1, "1"]}, {"value": [1, "2"]}]}, None),
        ({"resultType": "vector", "result": [{"value": [1, "NaN"]}]}, None),
        ({"resultType": "vector", "result": [{"value": [1, "+Inf"]}]}, None),
    ],
)
def test_only_one_finite_number_counts(result: Object, number: float | None) -> None:
    assert prometheus.read({"status": "success", "data": result}) == number


def test_an_error_of_prometheus_is_no_number() -> None:
    assert prometheus.read({"status": "error", "error": "parse error"}) is None


def test_what_a_query_gives_is_shared_among_pods_and_what_is_not_known_changes_nothing() -> None:
    asked = see({"autoscaling": {"max": 9, "metric": {"type": "Prometheus", "query": "q", "target": 10}}}).service.spec
    assert asked.autoscaling is not None
    assert advise(asked.autoscaling, 2, Load(ready=2, held=0, queried=45.0), Kept()).count == 5
    unknown = advise(asked.autoscaling, 2, Load(ready=2, held=0), Kept())
    assert (unknown.count, unknown.why) == (2, "how many by spec.autoscaling.metric.query is not known")
