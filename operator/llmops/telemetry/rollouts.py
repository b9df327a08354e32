"""What a rollout's status says, as gauges, while it moves: for the dashboard, and for whoever wants to be woken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmops.telemetry.metrics import ROLLOUT_EVIDENCE, ROLLOUT_WEIGHT

_SHOWN: dict[tuple[str, str], set[str]] = {}
"""Of each kind and namespace/name the signals that have a gauge."""


def show(kind: str, name: str, status: Mapping[str, Any] | None) -> None:
    """As it is now; None, or a status without a candidate: there is nothing to show any more."""
    candidate = (status or {}).get("candidate") or {}
    if not candidate or (status or {}).get("phase") in ("Rejected", "Released"):
        return _forget(kind, name)
    ROLLOUT_WEIGHT.labels(kind, name).set(candidate.get("weight") or 0)
    told = {one["signal"]: _number(one.get("eValue")) for one in candidate.get("evidence") or []}
    for signal, value in told.items():
        ROLLOUT_EVIDENCE.labels(kind, name, signal).set(value)
    shown = _SHOWN.setdefault((kind, name), set())
    for signal in shown - set(told):
        ROLLOUT_EVIDENCE.remove(kind, name, signal)
    _SHOWN[kind, name] = set(told)
    return None


def _forget(kind: str, name: str) -> None:
    signals = _SHOWN.pop((kind, name), None)
    if signals is None:
        return
    ROLLOUT_WEIGHT.remove(kind, name)
    for signal in signals:
        ROLLOUT_EVIDENCE.remove(kind, name, signal)


def _number(text: object) -> float:
    try:
        return float(str(text))
    except ValueError:
        return 0.0
