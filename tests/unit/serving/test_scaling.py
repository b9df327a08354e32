"""The number of replicas has one writer, and it never jumps when that writer changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.serving.golden import SPECS
from tests.unit.serving.seen import Object, deployment, see

from llmops.kube.compare import already
from llmops.serving.observe import Seen
from llmops.serving.plan import plan
from llmops.serving.revision import content_digest
from llmops.serving.scaling import SENT, wanted_count


def scaled(replicas: int = 2, **more: Any) -> Seen:
    asked = {"min": 1, "max": 8, "by": "HPA", **more}
    return see({**SPECS["vllm-on-gpus"], "replicas": replicas, "autoscaling": asked})


def living(seen: Seen, count: int, sent: str | None = None) -> Seen:
    whole = deployment(count)
    whole["metadata"]["annotations"] = {SENT: sent} if sent else {}
    return replace(seen, workload={**whole, "spec": {"replicas": count}})


def made(seen: Seen, kind: str) -> Object:
    done = plan(seen)
    assert done.problem is None
    return next(one for one in done.children if one["kind"] == kind)


@pytest.mark.parametrize(
    ("metric", "name", "target"),
    [
        ({}, "vllm:num_requests_waiting", "4"),
        ({"type": "Concurrency", "target": 20}, "vllm:num_requests_running", "20"),
        ({"type": "KVCache", "target": 80}, "vllm:kv_cache_usage_perc", "800m"),
    ],
)
def test_the_autoscaler_follows_the_gauge_of_the_engine(metric: Object, name: str, target: str) -> None:
    spec = made(scaled(min=2, metric=metric), "HorizontalPodAutoscaler")["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "support-llm"}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 8)
    average = {"metric": {"name": name}, "target": {"type": "AverageValue", "averageValue": target}}
    assert spec["metrics"] == [{"type": "Pods", "pods": average}]


def test_sglang_has_gauges_of_its_own() -> None:
    spec = see({**SPECS["sglang-on-gpus"], "autoscaling": {"max": 8, "by": "HPA"}})
    (metric,) = made(spec, "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == "sglang:num_queue_reqs"


@pytest.mark.parametrize(
    ("case", "live", "sent", "told"),
    [
        ("the first is the spec's", None, None, (2, "2")),
        ("a count that was fixed is carried", 5, None, (5, "5")),
        ("until the autoscaler moves it, it is carried", 5, "5", (5, "5")),
        ("once it was moved it is the autoscaler's", 6, "5", (None, "none")),
        ("and stays so, back at the old count too", 5, "none", (None, "none")),
        ("an autoscaler is off at zero, so it begins at min", 0, None, (1, "1")),
    ],
)
def test_the_count_is_handed_over_without_a_jump(
    case: str, live: int | None, sent: str | None, told: tuple[int | None, str]
) -> None:
    seen = scaled() if live is None else living(scaled(), live, sent)
    found = made(seen, "Deployment")
    assert (found["spec"].get("replicas"), found["metadata"]["annotations"][SENT]) == told, case


def test_the_starting_count_is_within_the_bounds() -> None:
    assert made(scaled(0, min=3), "Deployment")["spec"]["replicas"] == 3


def test_a_fixed_count_is_sent_again_and_the_autoscaler_goes() -> None:
    fixed = living(see({**SPECS["vllm-on-gpus"], "replicas": 2}), 6, "none")
    assert made(fixed, "Deployment")["spec"]["replicas"] == 2
    assert "annotations" not in made(fixed, "Deployment")["metadata"]
    assert "HorizontalPodAutoscaler" not in {one["kind"] for one in plan(fixed).keep}
    assert "HorizontalPodAutoscaler" in {one["kind"] for one in plan(scaled()).keep}


def test_an_autoscaler_rolls_no_pod() -> None:
    fixed = see({**SPECS["vllm-on-gpus"], "replicas": 2})
    assert made(scaled(), "Deployment")["spec"]["template"] == made(fixed, "Deployment")["spec"]["template"]
    assert content_digest(scaled().service) == content_digest(fixed.service)


def test_the_status_counts_against_what_the_autoscaler_said() -> None:
    assert wanted_count(living(scaled(), 6, "none")) == 6
    assert wanted_count(living(see({"replicas": 2}), 6)) == 2


def test_a_rate_is_refused_since_no_pod_tells_one() -> None:
    problem = plan(scaled(metric={"type": "TokensPerSecond", "target": 100})).problem
    assert problem is not None
    assert "spec.autoscaling.metric.type TokensPerSecond by HPA with vLLM: not available" in problem.message


def test_a_target_that_the_server_rewrote_is_no_change() -> None:
    assert already({"averageValue": "1000"}, {"averageValue": "1k"})
    assert not already({"averageValue": "1000"}, {"averageValue": "2k"})
