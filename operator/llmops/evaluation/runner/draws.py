"""The bootstrap: rows drawn with replacement, two thousand times, and the quantiles of what they add up to.

It draws whole rows, with a seed from the run's key, so that a second look finds the same numbers; both arms get the
same rows. Where no draw can show any variation (all rows alike) a bootstrap would claim certainty from three rows;
there the score intervals of intervals.py stand in, which are wider: as they are for what lies between 0 and 1, and in
proportion to the value for seconds, money and the like.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from llmops.evaluation.intervals import Pairs, tango, wilson
from llmops.evaluation.results import LEVELS, Measured, Paired

DRAWS = 2000
MOST_EXPONENT = 700.0
AT_ONCE = 4_000_000  # numbers in memory at a time

Array = NDArray[np.float64]
Statistic = Callable[[Array], Array]
"""Sums of rows' numbers (draws x numbers) -> the metric of each draw."""


def mean(sums: Array) -> Array:
    """The first number over the second."""
    return sums[:, 0] / sums[:, 1]


def perplexity(sums: Array) -> Array:
    """The exponential of minus the mean log-probability of a token; finite, though a server may say -9999 for never."""
    return np.exp(np.minimum(-sums[:, 0] / sums[:, 1], MOST_EXPONENT))


def measured(numbers: Array, statistic: Statistic, key: str, bounded: bool) -> Measured:
    """One arm. `numbers` has a line a row; `bounded`: the metric lies between 0 and 1."""
    n = len(numbers)
    value = float(statistic(numbers.sum(axis=0, keepdims=True))[0])
    (found,) = _draws([numbers], statistic, key)
    if np.ptp(found) == 0:
        return Measured(n, short(value), tuple(short(_alike(value, n, level, bounded)) for level in LEVELS))
    return Measured(n, short(value), tuple(short(q) for q in np.quantile(found, LEVELS)))


def paired(target: Array, baseline: Array, statistic: Statistic, key: str, bounded: bool) -> Paired:
    """Two arms over the same rows, or two groups over the same pairs."""
    n = len(target)
    whole = [float(statistic(numbers.sum(axis=0, keepdims=True))[0]) for numbers in (target, baseline)]
    delta = whole[0] - whole[1]
    of_target, of_baseline = _draws([target, baseline], statistic, key)
    found = of_target - of_baseline
    if np.ptp(found) == 0:
        scale = 1.0 if bounded else max(abs(one) for one in whole) or 1.0
        return Paired(n, None, short(delta), tuple(short(delta + scale * _equal(n, level)) for level in LEVELS), 1.0)
    chance = min(1.0, 2 * max(1 / DRAWS, min(float(np.mean(found <= 0)), float(np.mean(found >= 0)))))
    return Paired(n, None, short(delta), tuple(short(q) for q in np.quantile(found, LEVELS)), chance)


def short(number: float) -> float:
    """Six digits, after the point or in all where the number is small."""
    return round(float(number), 6) if abs(number) >= 0.01 else float(f"{number:.6g}")


def _draws(arms: Sequence[Array], statistic: Statistic, key: str) -> list[Array]:
    n = len(arms[0])
    random = np.random.default_rng(int(key[:16] or "0", 16))
    parts: list[list[Array]] = [[] for _ in arms]
    at_once = max(1, min(DRAWS, AT_ONCE // n))
    for start in range(0, DRAWS, at_once):
        weights = random.multinomial(n, np.full(n, 1 / n), size=min(at_once, DRAWS - start))
        for part, numbers in zip(parts, arms, strict=True):
            part.append(statistic(weights @ numbers))
    return [np.concatenate(part) for part in parts]


def _alike(value: float, n: int, level: float, bounded: bool) -> float:
    if bounded:
        interval = wilson(min(1.0, max(0.0, value)) * n, n, abs(1 - 2 * level))
        return interval.low if level < 0.5 else interval.high
    width = (1 - wilson(n, n, abs(1 - 2 * level)).low) * (abs(value) or 1.0)
    return value - width if level < 0.5 else value + width


def _equal(n: int, level: float) -> float:
    interval = tango(Pairs(n, 0, 0, 0), abs(1 - 2 * level))
    return interval.low if level < 0.5 else interval.high
