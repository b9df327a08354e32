"""The population stability index: how far two samples lie apart, PSI = sum((p - q) ln(p / q)) over bins. Pure but for
numpy.

Two samples of n and m from the same source lie (B - 1)(1/n + 1/m) apart on average in B bins (Yurdakul and Naranjo
2020, Statistical properties of the population stability index). By custom below 0.1 is calm and above 0.25 is a change.

Shared by the evaluations and the indexes' gates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LEAST = 50
"""Rows, then and now: in ten bins, fewer say nothing."""
BINS = 10
EMPTY = 0.5
"""Of a row in every bin, so that an empty one is no infinite distance."""


def tenths(values: Array) -> list[float]:
    """The edges between bins that hold as many each; equal values leave fewer. A value that many have is a bin of its
    own: with what lies below it in one, no fall below it would be seen."""
    edges, times = np.unique(np.quantile(values, np.arange(1, BINS) / BINS), return_counts=True)
    return [float(one) for one in np.sort([*edges, *np.nextafter(edges[times > 1], -np.inf)])]


def counted(edges: Sequence[float], values: Array) -> Array:
    """How many are in each bin."""
    return np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1).astype(np.float64)


def psi(then: Array, now: Array) -> Array:
    """Of counts in bins, a pair of samples a line."""
    p, q = (
        (one + EMPTY) / (one.sum(axis=1, keepdims=True) + EMPTY * one.shape[1])
        for one in (now, then)
    )  # fmt: skip
    found: Array = ((p - q) * np.log(p / q)).sum(axis=1)
    return found


def chance(then: Array, now: Array) -> float:
    """What two samples of the same source are apart on average."""
    return float((len(then) - 1) * (1 / then.sum() + 1 / now.sum()))


def beyond_chance(then: Array, now: Array) -> float:
    """The distance of two samples in bins, less what chance makes of it."""
    return max(0.0, float(psi(then[None], now[None])[0]) - chance(then, now))
