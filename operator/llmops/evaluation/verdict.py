"""Stored results and thresholds -> Pass, Fail, Inconclusive or Error. Pure: no run is needed to judge anew.

The interval decides, never the point: a threshold passes when its whole confidence interval is on the good side,
fails when all of it is on the bad side, and is Inconclusive between, with the number of rows that would decide.
Before that come errors: a row whose request failed is no wrong answer, so above two in a hundred nothing is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from llmops.evaluation.intervals import Interval, Pairs, wilson
from llmops.evaluation.results import Measured, MetricResult, Paired, Results

MAX_ERROR_SHARE = 0.02


class Verdict(StrEnum):
    """Apart from the phase: a run that succeeded may have any of these."""

    PASS = "Pass"
    FAIL = "Fail"
    INCONCLUSIVE = "Inconclusive"
    ERROR = "Error"


@dataclass(frozen=True)
class Threshold:
    """A bound on one metric: its own value (`minimum`), or how far below the baseline it may be (`max_drop`)."""

    metric: str
    minimum: float | None = None
    max_drop: float | None = None
    confidence: float = 0.95


@dataclass(frozen=True)
class Judged:
    """A verdict with the sentence that says why."""

    verdict: Verdict
    sentence: str


_WORST_FIRST = (Verdict.ERROR, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)


def judge(results: Results, thresholds: Sequence[Threshold]) -> Judged:
    """The worst of the thresholds' verdicts; its sentences first."""
    if told := erring(results):
        return Judged(Verdict.ERROR, told)
    if not thresholds:
        return Judged(Verdict.PASS, "no thresholds are given, so nothing was judged")
    lines = sorted(
        (one(results, threshold) for threshold in thresholds), key=lambda line: _WORST_FIRST.index(line.verdict)
    )
    return Judged(lines[0].verdict, "; ".join(line.sentence for line in lines))


def erring(results: Results) -> str | None:
    """The sentence to say when too many requests failed for the answers to be judged."""
    for role, arm in results.arms.items():
        if arm.errors > MAX_ERROR_SHARE * arm.rows:
            return (
                f"{arm.errors} of {arm.rows} requests to the {role} failed, more than {MAX_ERROR_SHARE:.0%}, "
                f"so nothing is judged; the first: {arm.first_error or 'unknown'}"
            )
    return None


def one(results: Results, threshold: Threshold) -> Judged:
    """One threshold over the stored results."""
    metric = results.metric(threshold.metric)
    if metric is None:
        return Judged(Verdict.ERROR, f"{threshold.metric} has a threshold but was not measured; add it to spec.metrics")
    if threshold.max_drop is not None:
        return _drop(metric, threshold, threshold.max_drop)
    return _minimum(metric, threshold, threshold.minimum or 0.0)


def _minimum(metric: MetricResult, threshold: Threshold, bound: float) -> Judged:
    interval = metric.target.interval(threshold.confidence)
    if interval is None:
        return Judged(Verdict.ERROR, f"{metric.name} could not be measured on any row")
    verdict = _side(interval, bound)
    sentence = f"{metric.name} is {_told(interval, threshold, '.3f')}, {_relation(verdict)} the minimum of {bound:g}"
    if verdict is Verdict.INCONCLUSIVE:
        sentence += _advice(rows_for_minimum(metric.target, bound, threshold.confidence))
    return Judged(verdict, sentence)


def _drop(metric: MetricResult, threshold: Threshold, drop: float) -> Judged:
    interval = metric.paired.interval(threshold.confidence) if metric.paired else None
    if metric.paired is None or interval is None:
        return Judged(
            Verdict.ERROR,
            f"{metric.name} has a maxDrop but no row was answered by target and baseline; set spec.baseline",
        )
    verdict = _side(interval, -drop)
    sentence = (
        f"{metric.name} is {_told(interval, threshold, '+.3f')} against the baseline, {_relation(verdict)} "
        f"the margin of {-drop:g}"
    )
    if verdict is Verdict.INCONCLUSIVE:
        sentence += _advice(rows_for_drop(metric.paired, drop, threshold.confidence))
    return Judged(verdict, sentence)


def _side(interval: Interval, bound: float) -> Verdict:
    if interval.low >= bound:
        return Verdict.PASS
    return Verdict.FAIL if interval.high < bound else Verdict.INCONCLUSIVE


def _told(interval: Interval, threshold: Threshold, style: str) -> str:
    return (
        f"{interval.value:{style}} ({threshold.confidence:.4g} interval {interval.low:{style}} to "
        f"{interval.high:{style}})"
    )


def _relation(verdict: Verdict) -> str:
    return {Verdict.PASS: "above", Verdict.FAIL: "below"}.get(verdict, "on both sides of")


def _advice(rows: int | None) -> str:
    return f"; about {rows} rows like these would decide" if rows else "; more rows like these would not decide soon"


MOST_ROWS = 1_000_000


def rows_for_minimum(measured: Measured, bound: float, confidence: float) -> int | None:
    """How many rows with the same mean would take the interval to one side of `bound`; None beyond a million."""
    value = measured.value or 0.0
    return _fewest(measured.n, lambda n: _side(wilson(value * n, n, confidence), bound) is not Verdict.INCONCLUSIVE)


def rows_for_drop(paired: Paired, drop: float, confidence: float) -> int | None:
    """How many rows with the same shares would take the paired interval to one side of -drop."""
    if paired.counts is None:
        return None
    counts = paired.counts
    return _fewest(paired.n, lambda n: _decides(_scaled(counts, n / paired.n), drop, confidence))


def _decides(counts: Pairs, drop: float, confidence: float) -> bool:
    interval = Paired(counts.n, counts).interval(confidence)
    return interval is not None and _side(interval, -drop) is not Verdict.INCONCLUSIVE


def _scaled(counts: Pairs, by: float) -> Pairs:
    return Pairs(
        *(round(part * by) for part in (counts.both, counts.only_target, counts.only_baseline, counts.neither))
    )


def _fewest(n: int, decides: Callable[[int], bool]) -> int | None:
    rows = n
    while rows <= MOST_ROWS:
        rows = int(rows * 1.25) + 1
        if decides(rows):
            return rows
    return None
