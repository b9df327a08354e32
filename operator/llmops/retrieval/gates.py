"""Measurements against gates: each passes or not, with the figures in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmops.api.quantities import seconds
from llmops.retrieval.outcome import GateResult


@dataclass(frozen=True)
class Figures:
    """What was measured of a generation; recalls by k, latencies in seconds, ascending."""

    rows: int
    ann_recall: Mapping[int, float] = field(default_factory=dict)
    retrieval_recall: Mapping[int, float] = field(default_factory=dict)
    questions: int = 0
    latencies: Sequence[float] = ()
    ef: int | None = None

    def percentile(self, percent: int) -> float | None:
        """A latency that so many percent of the searches stayed within."""
        if not self.latencies:
            return None
        return self.latencies[max(0, -(-len(self.latencies) * percent // 100) - 1)]

    def told(self) -> dict[str, str | int]:
        """As in status.measured."""
        told: dict[str, str | int] = {f"annRecallAt{k}": f"{value:.3f}" for k, value in self.ann_recall.items()}
        told |= {f"retrievalRecallAt{k}": f"{value:.3f}" for k, value in self.retrieval_recall.items()}
        p95 = self.percentile(95)
        if p95 is not None:
            told["p95"] = _milliseconds(p95)
        if self.ef is not None:
            told["ef"] = self.ef
        return told


def judge(gates: Sequence[Mapping[str, Any]], figures: Figures) -> tuple[GateResult, ...]:
    """Every gate's result, in the spec's order."""
    return tuple(_GATES[gate["type"]](gate, figures) for gate in gates)


def _ann_recall(gate: Mapping[str, Any], figures: Figures) -> GateResult:
    """The index against exact search over the same vectors: what the index itself loses."""
    k, least = gate.get("atK", 10), float(gate["min"])
    found = figures.ann_recall.get(k)
    at = f" with ef {figures.ef}" if figures.ef is not None else ""
    return _at_least("AnnRecall", found, least, f"of the {k} nearest passages the index finds {{}}{at}")


def _retrieval(gate: Mapping[str, Any], figures: Figures) -> GateResult:
    """Labelled questions: is what answers them among the first k?"""
    k, least = gate.get("atK", 10), float(gate["min"])
    found = figures.retrieval_recall.get(k)
    told = f"for {figures.questions} questions {{}} of what answers them is among the first {k} passages"
    return _at_least("Retrieval", found, least, told)


def _at_least(name: str, found: float | None, least: float, told: str) -> GateResult:
    if found is None:
        return GateResult(name, False, f"{name}: nothing could be measured")
    passed = found >= least
    word = "at least" if passed else "less than the wanted"
    return GateResult(name, passed, f"{name}: {told.format(f'{found:.3f}')}, {word} {least:g}")


def _latency(gate: Mapping[str, Any], figures: Figures) -> GateResult:
    percent, most = gate.get("percentile", 95), seconds(gate["max"])
    found = figures.percentile(percent)
    if found is None:
        return GateResult("Latency", False, "Latency: nothing could be measured")
    passed = found <= most
    word = "at most" if passed else "more than the wanted"
    return GateResult("Latency", passed, f"Latency: p{percent} is {_milliseconds(found)}, {word} {gate['max']}")


def _row_count(gate: Mapping[str, Any], figures: Figures) -> GateResult:
    least = int(gate["min"])
    passed = figures.rows >= least
    word = "at least" if passed else "less than the wanted"
    return GateResult("RowCount", passed, f"RowCount: {figures.rows} passages, {word} {least}")


def _milliseconds(duration: float) -> str:
    return f"{max(1, round(duration * 1000))}ms"


_GATES = {"AnnRecall": _ann_recall, "Retrieval": _retrieval, "Latency": _latency, "RowCount": _row_count}
