"""Holm's correction (1979): of several thresholds, which failures are more than the chance of having so many. Pure.

With twenty thresholds at 95% a sound version misses one now and then by chance alone. So the failures are gone through
from the surest on: the first must hold at a twentieth of what its own confidence leaves to chance, the next at a
nineteenth; the first that does not hold ends it, and what is left is undecided and not failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import NormalDist

from llmops.evaluation.intervals import Interval, z

LEAST = 0.001
"""What the quantiles of a bootstrap can show at all (two-sided)."""
HALVINGS = 25


def chance(good: Callable[[float], Interval | None]) -> float:
    """The p-value of a failure: what is left of the highest confidence at which the whole interval is below 0."""

    def fails(confidence: float) -> bool:
        interval = good(confidence)
        return interval is not None and interval.high < 0

    low, high = LEAST, 1.0
    if fails(1 - low):
        return _beyond(good(0.95))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if fails(1 - middle) else (middle, high)
    return high


def _beyond(interval: Interval | None) -> float:
    """Where the quantiles end, by the normal curve of the interval's width: a metric at 0.1 of 0.9 is sure to miss."""
    if interval is None or interval.high <= interval.value:
        return LEAST
    deviations = -interval.value / ((interval.high - interval.value) / z(0.95))
    return min(LEAST, 2 * NormalDist().cdf(-deviations))


def kept(chances: Mapping[int, float], thresholds: int) -> frozenset[int]:
    """Which failures stand. `chances` are p-values by place, each over what its own confidence leaves to chance."""
    standing: set[int] = set()
    for place in sorted(chances, key=lambda one: chances[one]):
        if chances[place] * (thresholds - len(standing)) > 1:
            break
        standing.add(place)
    return frozenset(standing)
