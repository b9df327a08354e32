"""Stored results and thresholds -> Pass, Fail, Inconclusive or Error. Pure: no run is needed to judge anew.

The interval decides, never the point: a threshold passes when its whole confidence interval is on the good side,
fails when all of it is on the bad side, and is Inconclusive between, with the number of rows that would decide.
Before that come errors: a row whose request failed is no wrong answer, so above two in a hundred nothing is judged; nor
is it above two in a hundred answers that a judge could not mark. Who passes must pass every threshold, so passing needs
no correction for their number; who fails needs only one to be missed, so failing has Holm's (holm.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from llmops.evaluation import holm
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
    """A bound on one metric: on its own value (`minimum`, `maximum`), or on how much worse than the baseline it is."""

    metric: str
    minimum: float | None = None
    max_drop: float | None = None
    confidence: float = 0.95
    maximum: float | None = None


@dataclass(frozen=True)
class Judged:
    """A verdict with the sentence that says why."""

    verdict: Verdict
    sentence: str


_WORST_FIRST = (Verdict.ERROR, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)

Good = Callable[[float], Interval | None]
"""A confidence -> the interval of what should not be negative."""


@dataclass(frozen=True)
class _Line:
    """One threshold's verdict, and what Holm needs to know of it."""

    judged: Judged
    good: Good = lambda confidence: None


def judge(results: Results, thresholds: Sequence[Threshold]) -> Judged:
    """The worst of the thresholds' verdicts; its sentences first."""
    if results.stopped:
        return Judged(Verdict.INCONCLUSIVE, results.stopped)
    if told := erring(results) or unmarked(results):
        return Judged(Verdict.ERROR, told)
    if not thresholds:
        return Judged(Verdict.PASS, "no thresholds are given, so nothing was judged")
    lines = _corrected([_one(results, threshold) for threshold in thresholds], thresholds)
    lines.sort(key=lambda line: _WORST_FIRST.index(line.verdict))
    return Judged(lines[0].verdict, "; ".join(line.sentence for line in lines))


def _corrected(lines: Sequence[_Line], thresholds: Sequence[Threshold]) -> list[Judged]:
    """Failures that could be due to the number of thresholds alone are undecided."""
    chances = {
        place: holm.chance(line.good) / (1 - threshold.confidence)
        for place, (line, threshold) in enumerate(zip(lines, thresholds, strict=True))
        if line.judged.verdict is Verdict.FAIL
    }
    kept = holm.kept(chances, len(lines))
    return [
        line.judged
        if place not in chances or place in kept
        else Judged(
            Verdict.INCONCLUSIVE,
            f"{line.judged.sentence}, which among {len(lines)} thresholds may be chance (Holm)",
        )
        for place, line in enumerate(lines)
    ]


def erring(results: Results) -> str | None:
    """The sentence to say when too many requests failed for the answers to be judged."""
    for role, arm in results.arms.items():
        if arm.errors > MAX_ERROR_SHARE * arm.rows:
            return (
                f"{arm.errors} of {arm.rows} requests to the {role} failed, more than {MAX_ERROR_SHARE:.0%}, "
                f"so nothing is judged; the first: {arm.first_error or 'unknown'}"
            )
    return None


def unmarked(results: Results) -> str | None:
    """The sentence to say when too many answers got no mark: a judge that cannot be read is no pass."""
    for metric in results.metrics:
        if metric.unmarked > MAX_ERROR_SHARE * (metric.target.n + metric.unmarked):
            return (
                f"{metric.unmarked} answers have no {metric.name}, more than {MAX_ERROR_SHARE:.0%}, "
                f"so nothing is judged; the first: {metric.why or 'unknown'}"
            )
    return None


def _one(results: Results, threshold: Threshold) -> _Line:
    """One threshold over the stored results."""
    metric = results.metric(threshold.metric)
    if metric is None:
        there = ", ".join(one.name for one in results.metrics[:8]) or "nothing"
        return _error(f"{threshold.metric} has a threshold but was not measured; what was: {there}")
    if threshold.max_drop is not None:
        return _drop(metric, threshold, threshold.max_drop)
    return _bounded(metric, threshold)


def _bounded(metric: MetricResult, threshold: Threshold) -> _Line:
    interval = metric.interval(threshold.confidence)
    if interval is None:
        return _error(f"{metric.name} could not be measured on any row{f': {metric.why}' if metric.why else ''}")
    at_most = threshold.maximum is not None
    bound = (threshold.maximum if at_most else threshold.minimum) or 0.0

    def good(confidence: float) -> Interval | None:
        return _beyond(metric.interval(confidence), bound, less=at_most)

    verdict = _side(good(threshold.confidence))
    sentence = (
        f"{metric.name} is {_told(interval, threshold, '.3f')}, {_relation(verdict, less=at_most)} the "
        f"{'maximum' if at_most else 'minimum'} of {bound:g}"
    )
    if verdict is Verdict.INCONCLUSIVE:
        sentence += _advice(rows_for_bound(metric, bound, threshold.confidence))
    return _Line(Judged(verdict, sentence), good)


def _drop(metric: MetricResult, threshold: Threshold, drop: float) -> _Line:
    paired = metric.paired
    interval = paired.interval(threshold.confidence) if paired else None
    if paired is None or interval is None:
        return _error(f"{metric.name} has a maxDrop but no row was answered by target and baseline; set spec.baseline")
    less = metric.less_is_better
    margin = drop if less else -drop

    def good(confidence: float) -> Interval | None:
        return _beyond(paired.interval(confidence), margin, less)

    verdict = _side(good(threshold.confidence))
    sentence = (
        f"{metric.name} is {_told(interval, threshold, '+.3f')} against the baseline, {_relation(verdict, less)} "
        f"the margin of {margin:g}"
    )
    if verdict is Verdict.INCONCLUSIVE:
        sentence += _advice(rows_for_drop(paired, drop, threshold.confidence, less))
    return _Line(Judged(verdict, sentence), good)


def _error(sentence: str) -> _Line:
    return _Line(Judged(Verdict.ERROR, sentence))


def _beyond(interval: Interval | None, bound: float, less: bool) -> Interval | None:
    """How far the value is on the good side of `bound`."""
    if interval is None:
        return None
    if less:
        return Interval(bound - interval.value, bound - interval.high, bound - interval.low)
    return Interval(interval.value - bound, interval.low - bound, interval.high - bound)


def _side(good: Interval | None) -> Verdict:
    if good is None:
        return Verdict.ERROR
    if good.low >= 0:
        return Verdict.PASS
    return Verdict.FAIL if good.high < 0 else Verdict.INCONCLUSIVE


def _told(interval: Interval, threshold: Threshold, style: str) -> str:
    return (
        f"{interval.value:{style}} ({threshold.confidence:.4g} interval {interval.low:{style}} to "
        f"{interval.high:{style}})"
    )


def _relation(verdict: Verdict, less: bool = False) -> str:
    above, below = ("below", "above") if less else ("above", "below")
    return {Verdict.PASS: above, Verdict.FAIL: below}.get(verdict, "on both sides of")


def _advice(rows: int | None) -> str:
    return f"; about {rows} rows like these would decide" if rows else "; more rows like these would not decide soon"


MOST_ROWS = 1_000_000


def rows_for_bound(metric: MetricResult, bound: float, confidence: float) -> int | None:
    """How many rows with the same values would take the interval to one side of `bound`; None beyond a million."""
    measured = metric.target
    if metric.kind != "proportion":
        return _by_width(measured, metric.interval(confidence), bound)
    value = measured.value or 0.0
    return _fewest(
        measured.n,
        lambda n: _side(_beyond(wilson(value * n, n, confidence), bound, less=False)) is not Verdict.INCONCLUSIVE,
    )


def _by_width(measured: Measured, interval: Interval | None, bound: float) -> int | None:
    """An interval's width falls with the root of the rows."""
    if interval is None or interval.value == bound:
        return None
    half = interval.value - interval.low if interval.value > bound else interval.high - interval.value
    rows = int(measured.n * (half / (interval.value - bound)) ** 2) + 1
    return rows if measured.n < rows <= MOST_ROWS else None


def rows_for_drop(paired: Paired, drop: float, confidence: float, less: bool = False) -> int | None:
    """How many rows with the same shares would take the paired interval to one side of the margin."""
    if paired.counts is None:
        return None
    counts, margin = paired.counts, drop if less else -drop

    def decides(n: int) -> bool:
        scaled = _scaled(counts, n / paired.n)
        interval = Paired(scaled.n, scaled).interval(confidence)
        return interval is not None and _side(_beyond(interval, margin, less)) is not Verdict.INCONCLUSIVE

    return _fewest(paired.n, decides)


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
