"""Inspect's logs -> results.Results: counts for pass/fail metrics, bootstrap quantiles for means and for BLEU.

Rows are paired by id, and only rows that both arms answered are compared. The bootstrap draws whole rows, with a seed
from the run's key, so a second look finds the same numbers. Where no draw can show any variation (all rows alike) a
bootstrap would claim certainty from three rows; there the score intervals of intervals.py stand in, which are wider.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmops.evaluation.intervals import Pairs, tango, wilson
from llmops.evaluation.results import (
    LEVELS,
    ArmResult,
    Measured,
    MetricResult,
    Paired,
    Results,
    SliceResult,
)
from llmops.evaluation.rows import Row
from llmops.evaluation.run import PROPORTIONS, Run
from llmops.evaluation.runner.marks import sentence_bleu

DRAWS = 2000
AT_ONCE = 4_000_000  # numbers in memory at a time
WORST_SLICES = 20

Array = NDArray[np.float64]
Statistic = Callable[[Array], Array]
"""Sums of rows' numbers (draws x numbers) -> the metric of each draw."""


@dataclass(frozen=True)
class Answer:
    """One row's answer by one arm."""

    text: str
    marks: Mapping[str, float]


@dataclass(frozen=True)
class Answers:
    """One arm's answers by row id; the rows that erred are not among them."""

    by_id: Mapping[str, Answer]
    errors: int
    first_error: str | None = None
    tokens: int = 0


def summarise(run: Run, rows: Sequence[Row], arms: Mapping[str, Answers], seconds: float, resumed: int = 0) -> Results:
    """The whole summary."""
    return Results(
        key=run.key,
        arms={role: ArmResult(len(rows), arm.errors, arm.first_error) for role, arm in arms.items()},
        metrics=tuple(_metric(name, run, rows, arms) for name in run.metrics),
        slices=_slices(run, rows, arms["target"]),
        seconds=round(seconds, 1),
        tokens=sum(arm.tokens for arm in arms.values()),
        resumed=resumed,
    )


def _metric(name: str, run: Run, rows: Sequence[Row], arms: Mapping[str, Answers]) -> MetricResult:
    target, baseline = arms["target"], arms.get("baseline")
    measured, paired = (_counted, _counted_pairs) if name in PROPORTIONS else (_drawn, _drawn_pairs)
    return MetricResult(
        name,
        "proportion" if name in PROPORTIONS else "mean",
        measured(name, run, [(row, target.by_id[row.id]) for row in rows if row.id in target.by_id]),
        None
        if baseline is None
        else measured(name, run, [(row, baseline.by_id[row.id]) for row in rows if row.id in baseline.by_id]),
        None
        if baseline is None
        else paired(
            name,
            run,
            [
                (row, target.by_id[row.id], baseline.by_id[row.id])
                for row in rows
                if row.id in target.by_id and row.id in baseline.by_id
            ],
        ),
    )


Single = Sequence[tuple[Row, Answer]]
Double = Sequence[tuple[Row, Answer, Answer]]


def _counted(name: str, run: Run, answers: Single) -> Measured:
    n = len(answers)
    return Measured(n, sum(answer.marks[name] for _, answer in answers) / n if n else None)


def _counted_pairs(name: str, run: Run, answers: Double) -> Paired:
    counts: dict[tuple[bool, bool], int] = defaultdict(int)
    for _, target, baseline in answers:
        counts[bool(target.marks[name]), bool(baseline.marks[name])] += 1
    pairs = Pairs(counts[True, True], counts[True, False], counts[False, True], counts[False, False])
    return Paired(len(answers), pairs, pairs.delta if answers else None)


def _drawn(name: str, run: Run, answers: Single) -> Measured:
    n = len(answers)
    if n == 0:
        return Measured(0, None)
    numbers = np.array([_numbers(name, row, answer) for row, answer in answers])
    statistic = STATISTICS.get(name, _mean)
    value = float(statistic(numbers.sum(axis=0, keepdims=True))[0])
    (draws,) = _draws([numbers], statistic, run)
    if np.ptp(draws) == 0:
        return Measured(n, _short(value), tuple(_short(_wilson_at(value, n, level)) for level in LEVELS))
    return Measured(n, _short(value), tuple(_short(q) for q in np.quantile(draws, LEVELS)))


def _drawn_pairs(name: str, run: Run, answers: Double) -> Paired:
    n = len(answers)
    if n == 0:
        return Paired(0)
    statistic = STATISTICS.get(name, _mean)
    target = np.array([_numbers(name, row, answer) for row, answer, _ in answers])
    baseline = np.array([_numbers(name, row, answer) for row, _, answer in answers])
    delta = float((statistic(target.sum(axis=0, keepdims=True)) - statistic(baseline.sum(axis=0, keepdims=True)))[0])
    of_target, of_baseline = _draws([target, baseline], statistic, run)
    draws = of_target - of_baseline
    if np.ptp(draws) == 0:
        return Paired(n, None, _short(delta), tuple(_short(delta + _tango_at(n, level)) for level in LEVELS), 1.0)
    chance = min(1.0, 2 * max(1 / DRAWS, min(float(np.mean(draws <= 0)), float(np.mean(draws >= 0)))))
    return Paired(n, None, _short(delta), tuple(_short(q) for q in np.quantile(draws, LEVELS)), chance)


def _numbers(name: str, row: Row, answer: Answer) -> list[float]:
    """What of one row adds up: for a mean the mark and one; for BLEU the n-gram counts and lengths."""
    if name != "bleu":
        return [answer.marks[name], 1.0]
    score = sentence_bleu(answer.text, row.targets)
    return [score.sys_len, score.ref_len, *score.counts, *score.totals]


def _mean(sums: Array) -> Array:
    return sums[:, 0] / sums[:, 1]


def _bleu(sums: Array) -> Array:
    from sacrebleu.metrics.bleu import BLEU

    return np.array(
        [
            BLEU.compute_bleu(
                correct=[int(c) for c in one[2:6]],
                total=[int(t) for t in one[6:10]],
                sys_len=int(one[0]),
                ref_len=int(one[1]),
                smooth_method="exp",
            ).score
            / 100
            for one in sums
        ]
    )


STATISTICS: dict[str, Statistic] = {"bleu": _bleu}


def _draws(arms: Sequence[Array], statistic: Statistic, run: Run) -> list[Array]:
    """The statistic over DRAWS samples of rows with replacement; the same rows for every arm."""
    n = len(arms[0])
    random = np.random.default_rng(int(run.key[:16] or "0", 16))
    parts: list[list[Array]] = [[] for _ in arms]
    at_once = max(1, min(DRAWS, AT_ONCE // n))
    for start in range(0, DRAWS, at_once):
        weights = random.multinomial(n, np.full(n, 1 / n), size=min(at_once, DRAWS - start))
        for part, numbers in zip(parts, arms, strict=True):
            part.append(statistic(weights @ numbers))
    return [np.concatenate(part) for part in parts]


def _wilson_at(value: float, n: int, level: float) -> float:
    interval = wilson(min(1.0, max(0.0, value)) * n, n, abs(1 - 2 * level))
    return interval.low if level < 0.5 else interval.high


def _tango_at(n: int, level: float) -> float:
    interval = tango(Pairs(n, 0, 0, 0), abs(1 - 2 * level))
    return interval.low if level < 0.5 else interval.high


def _slices(run: Run, rows: Sequence[Row], target: Answers) -> tuple[SliceResult, ...]:
    """The worst slices by mean mark, and by name where they are equal."""
    groups: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for row in rows:
        if answer := target.by_id.get(row.id):
            for name in run.slices:
                value = str(row.values.get(name, ""))[:100]
                for metric in run.metrics:
                    groups[name, value, metric].append(answer.marks[metric])
    found = [
        SliceResult(name, value, metric, len(marks), _short(sum(marks) / len(marks)))
        for (name, value, metric), marks in groups.items()
    ]
    return tuple(sorted(found, key=lambda one: (one.mean, one.field, one.value, one.metric))[:WORST_SLICES])


def _short(number: Any) -> float:
    return round(float(number), 6)
