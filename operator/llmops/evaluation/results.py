"""What a run leaves behind: small enough for a ConfigMap, enough to judge any threshold later without a new run.

A pass/fail metric is kept as counts (and paired counts), from which the operator computes an interval of any
confidence. Everything else is kept as its value and the quantiles of its bootstrap on a fixed grid. BLEU, chrF and TER
are divided by 100. JSON knows no NaN: what could not be measured is null with a sentence, and judged an Error; what was
measured on some rows only says on how many not, and why not the first of them.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from llmops.evaluation.intervals import Interval, Pairs, mcnemar, tango, wilson
from llmops.evaluation.measures import Form

FORMAT = 1
MAX_BYTES = 64 * 1024

_TAIL = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.0125, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.35)
LEVELS: tuple[float, ...] = (*_TAIL, 0.5, *(1 - level for level in reversed(_TAIL)))


@dataclass(frozen=True)
class Measured:
    """One metric over one arm's answered rows. `quantiles` (at LEVELS) is empty for a proportion. `figures` are other
    numbers by name, without an interval: percentiles of rows, a judge's raw mean, its agreement with people.
    """

    n: int
    value: float | None
    quantiles: tuple[float, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)

    def interval(self, confidence: float) -> Interval | None:
        """The value with its limits; None when nothing was measured."""
        if self.value is None or self.n == 0:
            return None
        if not self.quantiles:
            return wilson(self.value * self.n, self.n, confidence)
        return _within(self.value, self.quantiles, confidence)


@dataclass(frozen=True)
class Paired:
    """One metric over the rows that both arms answered."""

    n: int
    counts: Pairs | None = None
    delta: float | None = None
    quantiles: tuple[float, ...] = ()
    p: float | None = None

    def interval(self, confidence: float) -> Interval | None:
        """Target less baseline, with its limits; None when no row was answered by both."""
        if self.n == 0:
            return None
        if self.counts is not None:
            return tango(self.counts, confidence)
        if self.delta is None:
            return None
        return _within(self.delta, self.quantiles, confidence)

    @property
    def chance(self) -> float | None:
        """The p-value of no difference."""
        return mcnemar(self.counts) if self.counts is not None and self.n else self.p


@dataclass(frozen=True)
class Apart:
    """How far one metric lies apart between two groups of paired rows: the first's less the second's."""

    metric: str
    first: str
    second: str
    paired: Paired


@dataclass(frozen=True)
class MetricResult:
    """One metric: over the target, over the baseline, and the two paired."""

    name: str
    kind: Form
    target: Measured
    baseline: Measured | None = None
    paired: Paired | None = None
    less_is_better: bool = False
    unmarked: int = 0  # rows that were answered and yet have no mark
    why: str = ""  # the first of them, or why there is no mark at all
    note: str = ""  # for people
    apart: tuple[Apart, ...] = ()  # of form groups: everything that was compared

    def interval(self, confidence: float) -> Interval | None:
        """The target's value with its limits; None when nothing was measured."""
        return _widest(self.apart, confidence) if self.apart else self.target.interval(confidence)


@dataclass(frozen=True)
class ArmResult:
    """How asking went: rows asked, how many of them ended in an error, and the first error's words."""

    rows: int
    errors: int
    first_error: str | None = None


@dataclass(frozen=True)
class SliceResult:
    """One metric over the rows whose `field` has `value`."""

    field: str
    value: str
    metric: str
    n: int
    mean: float


@dataclass(frozen=True)
class Results:
    """The summary of one run."""

    key: str
    arms: Mapping[str, ArmResult]
    metrics: tuple[MetricResult, ...]
    slices: tuple[SliceResult, ...] = ()
    seconds: float = 0.0
    tokens: int = 0
    resumed: int = 0  # answers that an earlier pod of this run had brought
    steps: Mapping[str, str] = field(default_factory=dict)  # by judge: the evaluation steps it gave itself
    questions: int = 0  # to the arms and to the panel
    cost: float = 0.0  # by the prices of those who were asked
    stopped: str = ""  # why rows were not asked
    profiles: Mapping[str, Any] = field(default_factory=dict)  # by Drift: what later runs are compared with

    def metric(self, name: str) -> MetricResult | None:
        """The metric of that name, if the run measured it."""
        return next((metric for metric in self.metrics if metric.name == name), None)

    def dumps(self) -> str:
        """As JSON; refuses NaN, which the API server and half the world's parsers refuse as well."""
        return json.dumps(
            {"format": FORMAT, **asdict(self)}, allow_nan=False, ensure_ascii=False, separators=(",", ":")
        )


def loads(text: str) -> Results:
    """What `dumps` wrote; ValueError says what does not fit."""
    raw = json.loads(text)
    if raw.get("format") != FORMAT:
        raise ValueError(f"results of format {raw.get('format')!r}, where {FORMAT} is read")
    try:
        return Results(
            key=raw["key"],
            arms={name: ArmResult(**arm) for name, arm in raw["arms"].items()},
            metrics=tuple(_metric(metric) for metric in raw["metrics"]),
            slices=tuple(SliceResult(**one) for one in raw["slices"]),
            seconds=raw["seconds"],
            tokens=raw["tokens"],
            resumed=raw["resumed"],
            steps=raw.get("steps", {}),
            questions=raw.get("questions", 0),
            cost=raw.get("cost", 0.0),
            stopped=raw.get("stopped", ""),
            profiles=raw.get("profiles", {}),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"results that cannot be read: {error!r}") from None


def _metric(raw: Mapping[str, Any]) -> MetricResult:
    return MetricResult(
        **{
            **raw,
            "target": _measured(raw["target"]),
            "baseline": _measured(raw["baseline"]) if raw["baseline"] else None,
            "paired": _paired(raw["paired"]) if raw["paired"] else None,
            "apart": tuple(Apart(**{**one, "paired": _paired(one["paired"])}) for one in raw.get("apart", ())),
        }
    )


def _measured(raw: Mapping[str, Any]) -> Measured:
    return Measured(raw["n"], raw["value"], tuple(raw["quantiles"]), raw.get("figures", {}))


def _paired(raw: Mapping[str, Any]) -> Paired:
    counts = Pairs(**raw["counts"]) if raw["counts"] else None
    return Paired(raw["n"], counts, raw["delta"], tuple(raw["quantiles"]), raw["p"])


def _widest(apart: Sequence[Apart], confidence: float) -> Interval | None:
    """The greatest distance. All are to be covered at once, so each has its share of what may go wrong (Bonferroni)."""
    each = 1 - (1 - confidence) / len(apart)
    found = [_distance(interval) for one in apart if (interval := one.paired.interval(each)) is not None]
    if not found:
        return None
    return Interval(max(one.value for one in found), max(one.low for one in found), max(one.high for one in found))


def _distance(signed: Interval) -> Interval:
    low, high = sorted((abs(signed.low), abs(signed.high)))
    return Interval(abs(signed.value), 0.0 if signed.low <= 0 <= signed.high else low, high)


def _within(value: float, quantiles: Sequence[float], confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    return Interval(value, min(value, _at(quantiles, tail)), max(value, _at(quantiles, 1 - tail)))


def _at(quantiles: Sequence[float], level: float) -> float:
    """The quantile at `level`, straight between the grid's points and at its ends beyond them."""
    above = bisect_left(LEVELS, level)
    if above == 0 or above == len(LEVELS):
        return quantiles[0 if above == 0 else -1]
    share = (level - LEVELS[above - 1]) / (LEVELS[above] - LEVELS[above - 1])
    return quantiles[above - 1] + share * (quantiles[above] - quantiles[above - 1])
