"""What evaluations found, as gauges: for the dashboard, and for an alert when production falls below its thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmops.telemetry.metrics import EVALUATION_FAILS, EVALUATION_VALUE

_SHOWN: dict[str, set[str]] = {}
"""Of each namespace/name the metrics that have a gauge."""


def show(name: str, status: Mapping[str, Any] | None) -> None:
    """As the status says now; None, or a status without a verdict: there is nothing to show any more."""
    if status is None or not status.get("verdict"):
        return _forget(name)
    told = {one["name"]: float(one["value"]) for one in status.get("metrics") or [] if one.get("value") is not None}
    for metric, value in told.items():
        EVALUATION_VALUE.labels(name, metric).set(value)
    for metric in _SHOWN.get(name, set()) - set(told):
        EVALUATION_VALUE.remove(name, metric)
    EVALUATION_FAILS.labels(name).set(status["verdict"] in ("Fail", "Error"))
    _SHOWN[name] = set(told)
    return None


def _forget(name: str) -> None:
    metrics = _SHOWN.pop(name, None)
    if metrics is None:
        return
    EVALUATION_FAILS.remove(name)
    for metric in metrics:
        EVALUATION_VALUE.remove(name, metric)
