"""Measurements against gates: each passes or not, with the figures in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llmops.api.quantities import seconds
from llmops.retrieval.outcome import GateResult


@dataclass(frozen=True)
class Drift:
    """How far the best scores lie from those of the served generation; `why` where that cannot be told."""

    of: str
    many: int
    apart: float = 0.0
    then: float = 0.0  # medians
    now: float = 0.0
    why: str = ""


@dataclass(frozen=True)
class Tried:
    """One way to search: the recall (of several AnnRecall gates the worst) and the time of a search."""

    search: Mapping[str, int]
    recall: float
    p95: float

    def told(self) -> dict[str, str | int]:
        """As in status.curve."""
        return {**self.search, "recall": f"{self.recall:.3f}", "p95": _milliseconds(self.p95)}


@dataclass(frozen=True)
class Figures:
    """What was measured of a generation; recalls by k, latencies in seconds, ascending, by searches at a time."""

    rows: int
    ann_recall: Mapping[int, float] = field(default_factory=dict)
    retrieval_recall: Mapping[int, float] = field(default_factory=dict)
    questions: int = 0
    latencies: Mapping[int, Sequence[float]] = field(default_factory=dict)
    search: Mapping[str, int] = field(default_factory=dict)  # ef or nprobe
    everything: bool = False  # no search of this index looks at more
    tried: Sequence[Tried] = ()  # with autoTuneSearch
    index: str = ""  # its type and parameters, in words
    flat: bool = True  # whether its engine has the index that compares every passage
    drift: Drift | None = None

    def percentile(self, percent: int, at_a_time: int = 1) -> float | None:
        """A latency that so many percent of the searches stayed within."""
        return percentile(self.latencies.get(at_a_time, ()), percent)

    def told(self) -> dict[str, str | int]:
        """As in status.measured."""
        told: dict[str, str | int] = {f"annRecallAt{k}": f"{value:.3f}" for k, value in self.ann_recall.items()}
        told |= {f"retrievalRecallAt{k}": f"{value:.3f}" for k, value in self.retrieval_recall.items()}
        p95 = self.percentile(95)
        if p95 is not None:
            told["p95"] = _milliseconds(p95)
        return {**told, **self.search}

    def looks(self) -> str:
        """How far a search looks, in words."""
        return " and ".join(f"{name} {value}" for name, value in self.search.items())


def percentile(ascending: Sequence[float], percent: int) -> float | None:
    """What so many percent stay within."""
    return ascending[max(0, -(-len(ascending) * percent // 100) - 1)] if ascending else None


def judge(gates: Sequence[Mapping[str, Any]], figures: Figures) -> tuple[GateResult, ...]:
    """Every gate's result, in the spec's order."""
    return tuple(_GATES[gate["type"]](gate, figures) for gate in gates)


def _ann_recall(gate: Mapping[str, Any], figures: Figures) -> GateResult:
    """The index against exact search over the same vectors: what the index itself loses."""
    k, least = gate.get("atK", 10), float(gate["min"])
    found = figures.ann_recall.get(k)
    at = f" with {figures.looks()}" if figures.search else ""
    result = _at_least("AnnRecall", found, least, f"of the {k} nearest passages the index finds {{}}{at}")
    return result if result.passed or found is None else replace(result, sentence=result.sentence + _better(figures))


def _better(figures: Figures) -> str:
    """What would find more; search.ef and nprobe are for whoever wrote HNSW or IVF."""
    if not figures.search:
        return ""
    if not figures.tried:
        written = figures.index.startswith(("HNSW", "IVF"))
        raised = f"raise spec.index.search.{next(iter(figures.search))}, or " if written else ""
        return f": {raised}write spec.rollout.autoTuneSearch: true"
    most = "which looks at every passage" if figures.everything else "the most that is tried"
    finer = ["raise M and efConstruction in spec.index.parameters"] if figures.index.startswith("HNSW") else []
    ways = ", or ".join([*finer, *(["write spec.index.type: FLAT"] if figures.flat else [])])
    return f": {figures.looks()}, {most}, is not enough for {figures.index}: {ways}"


def _retrieval(gate: Mapping[str, Any], figures: Figures) -> GateResult:
    """Labelled questions: is what answers them among the first k?"""
    k, least = gate.get("atK", 10), float(gate["min"])
    found = figures.retrieval_recall.get(k)
    told = f"for {figures.questions} questions {{}} of what answers them is among the first {k} passages"
    result = _at_least("Retrieval", found, least, told)
    better = ": see with llmops search what they find; change the documents or spec.chunking, or lower min"
    return result if result.passed or found is None else replace(result, sentence=result.sentence + better)


def _at_least(name: str, found: float | None, least: float, told: str) -> GateResult:
    if found is None:
        return GateResult(name, False, f"{name}: nothing could be measured")
    passed = found >= least
    word = "at least" if passed else "less than the wanted"
    return GateResult(name, passed, f"{name}: {told.format(f'{found:.3f}')}, {word} {least:g}")


def _latency(gate: Mapping[str, Any], figures: Figures) -> GateResult:
    """The engine's, through the query server's client: without the embedder's."""
    percent, most, at_a_time = gate.get("percentile", 95), seconds(gate["max"]), gate.get("concurrency") or 1
    found = figures.percentile(percent, at_a_time)
    if found is None:
        return GateResult("Latency", False, "Latency: nothing could be measured")
    passed = found <= most
    word = "at most" if passed else "more than the wanted"
    of = f"{len(figures.latencies[at_a_time])} searches, {'one' if at_a_time == 1 else at_a_time} at a time"
    told = f"Latency: p{percent} of {of}, is {_milliseconds(found)}, {word} {gate['max']}"
    lower = f"lower {' and '.join(f'spec.index.search.{name}' for name in figures.search)}, " if figures.search else ""
    more = "" if passed else f": {lower}give the engine more CPU, or raise max"
    return GateResult("Latency", passed, told + more)


def _row_count(gate: Mapping[str, Any], figures: Figures) -> GateResult:
    least = int(gate["min"])
    passed = figures.rows >= least
    word = "at least" if passed else "less than the wanted"
    more = "" if passed else ": look whether a source lacks documents (SourcesRead), or lower min"
    return GateResult("RowCount", passed, f"RowCount: {figures.rows} passages, {word} {least}{more}")


def _score_drift(gate: Mapping[str, Any], figures: Figures) -> GateResult:
    """Another model or prefix may answer as well and yet score otherwise: minScore and poorBelow then mean something
    else."""
    found = figures.drift
    if found is None:
        return GateResult("ScoreDrift", False, "ScoreDrift: nothing could be measured")
    if found.why:
        return GateResult("ScoreDrift", True, f"ScoreDrift: nothing to compare: {found.why}")
    most = float(gate["max"])
    passed = found.apart <= most
    told = (
        f"ScoreDrift: the best scores of {found.many} {found.of} have the median {found.now:.3f} where the served "
        f"generation's have {found.then:.3f}; they lie {found.apart:.2f} apart, "
    )
    more = "" if passed else ": look at minScore and spec.query.poorBelow, then raise max"
    return GateResult("ScoreDrift", passed, f"{told}{'at most' if passed else 'more than the wanted'} {most:g}{more}")


def _milliseconds(duration: float) -> str:
    return f"{max(1, round(duration * 1000))}ms"


_GATES = {
    "AnnRecall": _ann_recall,
    "Retrieval": _retrieval,
    "Latency": _latency,
    "RowCount": _row_count,
    "ScoreDrift": _score_drift,
}
