"""Confidence intervals for pass/fail rows, alone and paired. Pure Python: the operator carries no statistics library.

Wilson (1927) for one proportion; Tango (1998) for the difference of two proportions over the same rows: both are score
intervals, so they hold at 0 and at 100%, where a textbook interval has no width and says more than it knows.
`mcnemar` is the exact test on the rows that changed sides. All intervals are two-sided.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import comb, sqrt
from statistics import NormalDist


@dataclass(frozen=True)
class Interval:
    """A value with its confidence limits."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Pairs:
    """The same rows through two arms, as counts of rows."""

    both: int  # right with both
    only_target: int
    only_baseline: int
    neither: int

    @property
    def n(self) -> int:
        """How many rows were answered by both."""
        return self.both + self.only_target + self.only_baseline + self.neither

    @property
    def delta(self) -> float:
        """Target's share less baseline's."""
        return (self.only_target - self.only_baseline) / self.n


def z(confidence: float) -> float:
    """The normal quantile of a two-sided confidence."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def wilson(passed: float, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of passed/n.

    `passed` may be a sum of scores between 0 and 1: their variance is at most that of pass and fail with the same
    mean, so the interval then errs on the wide side.
    """
    share, square = passed / n, z(confidence) ** 2
    centre = (share + square / (2 * n)) / (1 + square / n)
    half = sqrt(square) * sqrt(share * (1 - share) / n + square / (4 * n * n)) / (1 + square / n)
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def tango(pairs: Pairs, confidence: float = 0.95) -> Interval:
    """Tango's score interval of the paired difference: every difference that the score test does not refuse."""
    bound = z(confidence)
    return Interval(
        pairs.delta,
        _root(lambda delta: _score(pairs, delta) - bound, -1.0, pairs.delta),
        _root(lambda delta: _score(pairs, delta) + bound, pairs.delta, 1.0),
    )


def _score(pairs: Pairs, delta: float) -> float:
    """Tango's statistic for the hypothesis that the true difference is `delta`; falls as delta rises."""
    b, c, n = pairs.only_target, pairs.only_baseline, pairs.n
    # the share that only the baseline has right, most likely under the hypothesis: root of 2n q^2 + B q + C = 0
    linear = -b - c + (2 * n - b + c) * delta
    constant = -c * delta * (1 - delta)
    q = (sqrt(max(0.0, linear * linear - 8 * n * constant)) - linear) / (4 * n)
    variance = n * (2 * q + delta * (1 - delta))
    difference = b - c - n * delta
    if variance <= 0:
        return 0.0 if difference == 0 else float("inf") if difference > 0 else float("-inf")
    return difference / sqrt(variance)


def _root(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function crosses zero between `low` and `high`, by halving: 50 times is beyond float's digits."""
    if falling(low) <= 0:
        return low
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2


def mcnemar(pairs: Pairs) -> float:
    """The exact two-sided p-value that rows change sides either way equally often (binomial with 1/2)."""
    changed = pairs.only_target + pairs.only_baseline
    fewer = min(pairs.only_target, pairs.only_baseline)
    tail = sum(comb(changed, i) for i in range(fewer + 1))
    return min(1.0, 2 * tail / (1 << changed))
