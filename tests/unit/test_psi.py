"""How far two samples lie apart: whatever they are tied at, what moved as a whole is seen to have moved."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llmops.psi import BINS, LEAST, beyond_chance, counted, tenths

SAMPLES = st.one_of(
    st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=LEAST, max_size=4 * LEAST),
    st.lists(st.floats(-1.0, 1.0), min_size=LEAST, max_size=4 * LEAST),
)
"""Tied at few values, or hardly."""


def apart(then: list[float], now: list[float]) -> float:
    edges = tenths(np.array(then))
    return beyond_chance(counted(edges, np.array(then)), counted(edges, np.array(now)))


@given(SAMPLES, SAMPLES, st.sampled_from([1e-9, 0.1, 1.0]))
def test_a_sample_that_lies_wholly_below_or_above_the_earlier_one_is_apart_from_it(
    then: list[float], now: list[float], gap: float
) -> None:
    assert apart(then, [one - max(now) + min(then) - gap for one in now]) > 0
    assert apart(then, [one - min(now) + max(then) + gap for one in now]) > 0
    assert apart(then, then) == 0


def test_a_fall_from_where_all_were_tied_is_as_far_as_a_rise() -> None:
    tied = [1.0] * 200
    assert apart(tied, [0.2] * 200) == apart(tied, [1.8] * 200) > 5
    assert apart(tied, tied) == 0


@given(st.lists(st.integers(-(10**6), 10**6), min_size=LEAST, max_size=200, unique=True))
def test_where_no_value_is_there_twice_the_bins_are_tenths(values: list[int]) -> None:
    edges = tenths(np.array(values, np.float64))
    assert edges == np.quantile(values, np.arange(1, BINS) / BINS).tolist()


@given(SAMPLES)
def test_ties_never_make_more_bins(values: list[float]) -> None:
    assert len(tenths(np.array(values))) < BINS
