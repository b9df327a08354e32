"""Intervals against published figures, and against what must hold of any interval."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from llmops.evaluation.intervals import Pairs, mcnemar, tango, wilson


@pytest.mark.parametrize(
    ("passed", "n", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17:857-872, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_newcombe_s_published_limits(passed, n, low, high):
    interval = wilson(passed, n)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


@given(n=st.integers(1, 3000), share=st.floats(0, 1), confidence=st.sampled_from([0.8, 0.9, 0.95, 0.99, 0.999]))
def test_wilson_agrees_with_scipy_at_any_confidence(n, share, confidence):
    passed = round(share * n)
    theirs = binomtest(passed, n).proportion_ci(confidence, method="wilson")
    ours = wilson(passed, n, confidence)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@pytest.mark.parametrize(
    ("pairs", "confidence", "low", "high"),
    [
        # Fagerland, Lydersen, Laake (2014), Statistics in Medicine 33:2850-2875: Bentur's airway data, Tango's limits
        (Pairs(1, 1, 7, 12), 0.95, -0.517, -0.026),
        # R's PropCIs::scoreci.mp for 48 against 41 changed rows of 549, at 90%
        (Pairs(460, 48, 41, 0), 0.90, -0.016, 0.041),
    ],
)
def test_tango_gives_the_published_limits(pairs, confidence, low, high):
    interval = tango(pairs, confidence)
    assert (round(interval.low, 3), round(interval.high, 3)) == (low, high)


@pytest.mark.parametrize("n", [1, 10, 100, 5000])
def test_without_a_changed_row_tango_still_has_the_width_of_its_closed_form(n):
    square = 1.959963984540054**2
    assert tango(Pairs(n, 0, 0, 0)).low == pytest.approx(-square / (n + square), abs=1e-9)
    assert tango(Pairs(0, 0, 0, n)).high == pytest.approx(square / (n + square), abs=1e-9)


COUNTS = st.integers(0, 400)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_tango_holds_its_point_mirrors_when_the_arms_are_swapped_and_widens_with_confidence(both, target, base, none):
    pairs = Pairs(both, target, base, none)
    if pairs.n == 0:
        return
    interval, swapped, wider = tango(pairs), tango(Pairs(both, base, target, none)), tango(pairs, 0.99)
    assert -1 <= interval.low <= pairs.delta <= interval.high <= 1
    assert (-swapped.high, -swapped.low) == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert wider.low <= interval.low + 1e-12
    assert wider.high >= interval.high - 1e-12


@pytest.mark.parametrize(
    ("target", "base", "p"),
    [
        # Fagerland et al. (2013), BMC Medical Research Methodology 13:91: exact conditional test of (1, 7) is 0.0703
        (1, 7, 0.0703),
        (0, 0, 1.0),
        (5, 5, 1.0),
    ],
)
def test_mcnemar_gives_the_published_exact_p(target, base, p):
    assert round(mcnemar(Pairs(1, target, base, 12)), 4) == p


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_agrees_with_scipy_s_binomial_test(target, base):
    theirs = binomtest(target, target + base).pvalue if target + base else 1.0
    assert mcnemar(Pairs(3, target, base, 4)) == pytest.approx(theirs, abs=1e-9)
