"""Holm's correction (1979): of several thresholds, which failures are more than the chance of having so many. Pure.

With twenty thresholds at 95% a sound version misses one now and then by chance alone. So the failures are gone through
from the surest on: the first must hold at a twentieth of what its own confidence leaves to chance, the next at a
nineteenth; the first that does not hold ends it, and what is left is undecided and not failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

LEAST = 0.001
"""What a bootstrap of 2000 draws can show at all (two-sided)."""
HALVINGS = 25


def chance(fails: Callable[[float], bool]) -> float:
    """The p-value of a failure: what is left of the highest confidence at which the interval still says so."""
    low, high = LEAST, 1.0
    if fails(1 - low):
        return low
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if fails(1 - middle) else (middle, high)
    return high


def kept(chances: Mapping[int, float], thresholds: int) -> frozenset[int]:
    """Which failures stand. `chances` are p-values by place, each over what its own confidence leaves to chance."""
    standing: set[int] = set()
    for place in sorted(chances, key=lambda one: chances[one]):
        if chances[place] * (thresholds - len(standing)) > 1:
            break
        standing.add(place)
    return frozenset(standing)
