"""What evaluations found, for Prometheus: there while there is a verdict, and gone with the EvalJob."""

from __future__ import annotations

from prometheus_client import REGISTRY

from llmops.telemetry import evaluations

NAME = "shop/gauged"


def told(metric: str | None = None) -> float | None:
    if metric is None:
        return REGISTRY.get_sample_value("llmops_evaluation_fails", {"name": NAME})
    return REGISTRY.get_sample_value("llmops_evaluation_value", {"name": NAME, "metric": metric})


def test_values_and_the_verdict_are_there_until_there_is_none() -> None:
    evaluations.show(NAME, {"verdict": "Pass", "metrics": [{"name": "f1", "value": "0.91"}, {"name": "drift"}]})
    assert (told("f1"), told("drift"), told()) == (0.91, None, 0)
    evaluations.show(NAME, {"verdict": "Fail", "metrics": [{"name": "drift", "value": "0.4"}]})
    assert (told("f1"), told("drift"), told()) == (None, 0.4, 1)
    evaluations.show(NAME, None)
    assert (told("drift"), told()) == (None, None)
    evaluations.show(NAME, {"phase": "Running"})
    assert told() is None
