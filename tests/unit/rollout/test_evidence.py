"""The evidence: the formulas by hand, their fairness, and simulated rollouts that err as seldom as promised."""

import math

import numpy as np
import pytest
from bench.evidence import Crowd, advances, log_harm, rolls_back, run
from hypothesis import given
from hypothesis import strategies as st

from llmops.rollout import evidence
from llmops.rollout.evidence import Counts


@pytest.mark.parametrize(("weight", "failures"), [(0.05, 2), (0.25, 4), (0.5, 8)])
def test_a_disaster_is_seen_after_a_few_failures_in_a_row(weight: float, failures: int) -> None:
    limit = math.log(evidence.rollback_at(1, 0.05))
    assert evidence.harm([Counts(weight, failures, failures, failures)]) >= limit
    assert evidence.harm([Counts(weight, failures - 1, failures - 1, failures - 1)]) < limit


@given(st.floats(0.01, 0.99))
def test_the_bet_on_harm_is_fair_while_the_arms_are_alike(weight: float) -> None:
    hit, miss = evidence.harm([Counts(weight, 1, 1, 1)]), evidence.harm([Counts(weight, 1, 0, 1)])
    assert weight * math.exp(hit) + (1 - weight) * math.exp(miss) == pytest.approx(1)


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.4), st.floats(0.5, 30), st.sampled_from([0.25, 0.5, 1.0]))
def test_the_bet_on_points_never_gains_at_the_margin(
    weight: float, rate: float, points: float, following: float
) -> None:
    d = points / 100 / following
    worse = rate + d
    if worse > 1:
        return

    def bet(n: int, x: int) -> float:
        return math.exp(evidence.no_worse_by_points([Counts(weight, n, x, 1)], points, following))

    mean = weight * worse * bet(1, 1) + (1 - weight) * rate * bet(1, 0)
    mean += (weight * (1 - worse) + (1 - weight) * (1 - rate)) * bet(0, 0)
    assert mean <= 1 + 1e-9


def test_failures_at_a_hundred_percent_say_nothing_about_the_arms() -> None:
    assert evidence.harm([Counts(1.0, 500, 500, 1000)]) == pytest.approx(0)
    assert evidence.no_worse([Counts(1.0, 500, 500, 1000)], 1.5, 1.0, 1.0) == pytest.approx(0)


def test_a_hundred_thousand_units_overflow_nothing() -> None:
    huge = [Counts(0.5, 100_000, 90_000, 200_000)]
    assert evidence.harm(huge) > 700
    assert evidence.no_worse(huge, 1.5, 1.0, 1.0) < -700
    assert math.isfinite(float(evidence.text(evidence.harm(huge))))


def test_the_simulation_computes_what_the_product_computes() -> None:
    rows = run(Crowd(0.05, 0.1), np.random.default_rng(7))
    by_weight = [
        Counts(w, int((rows[:, 0] == w).sum()), int(rows[rows[:, 0] == w][:, 1].sum()), 0)
        for w in sorted(set(rows[:, 0]))
    ]
    assert log_harm(rows)[-1] == pytest.approx(evidence.harm(by_weight))


@pytest.mark.parametrize("rate", [0.01, 0.2])
def test_identical_arms_are_rolled_back_in_at_most_one_of_twenty_runs(rate: float) -> None:
    """Clustered users, late feedback, a look at every failure; the canary has half of falsePositiveRate."""
    found = rolls_back(Crowd(rate, rate), 2000, evidence.rollback_at(1, 0.05))
    assert sum(one >= 0 for one in found) <= 0.05 * 2000


def test_a_candidate_five_times_worse_is_rolled_back_nearly_always() -> None:
    found = rolls_back(Crowd(0.02, 0.1, users=4000), 100, evidence.rollback_at(2, 0.05))
    assert sum(one >= 0 for one in found) >= 95


@pytest.mark.parametrize(("weight", "following"), [(0.1, 0.25), (0.5, 1.0)])
@pytest.mark.parametrize("rate", [0.01, 0.2])
def test_a_candidate_at_the_margin_advances_in_at_most_one_of_twenty_runs(
    weight: float, following: float, rate: float
) -> None:
    margin = max(rate * (1 + 0.5 / following), rate + 0.01 / following)
    found = advances(rate, margin, weight, following, units=4000, runs=400)
    assert sum(one >= 0 for one in found) <= 0.05 * 400


def test_equal_arms_advance_at_the_demos_margin_within_some_hundred_users() -> None:
    found = advances(0.02, 0.02, 0.1, 0.5, units=3000, runs=50, ratio=3, points=20)
    assert sum(one >= 0 for one in found) >= 48


def test_a_sound_bake_is_seldom_rolled_back_and_a_bad_one_nearly_always() -> None:
    rng, limit = np.random.default_rng(3), math.log(evidence.rollback_at(1, 0.05))
    worst = evidence.bake_limit(evidence.upper_bound(20, 1000), 1.5, 1.0)

    def fires(rate: float) -> bool:
        failed = np.cumsum(rng.random(2000) < rate)
        values = (evidence.bake_harm(int(failed[n - 1]), n, worst) for n in range(20, 2001, 20))
        return any(value is not None and value >= limit for value in values)

    assert sum(fires(0.02) for _ in range(200)) <= 10
    assert sum(fires(0.15) for _ in range(50)) >= 48


def test_an_upper_bound_holds_in_99_of_100_samples_and_is_exact_without_failures() -> None:
    assert evidence.upper_bound(0, 100) == pytest.approx(1 - 0.01 ** (1 / 100))
    assert evidence.upper_bound(0, 0) == 1
    rng = np.random.default_rng(5)
    missed = sum(evidence.upper_bound(int(rng.binomial(300, 0.1)), 300) < 0.1 for _ in range(1000))
    assert missed <= 10


def test_a_margin_that_forbids_nothing_leaves_nothing_to_bet_on() -> None:
    assert evidence.bake_harm(5, 10, 0.95) is None


def test_where_stable_fails_often_points_alone_bound_the_bake() -> None:
    assert evidence.bake_limit(0.02, 1.5, 1.0) == pytest.approx(0.03)
    assert evidence.bake_limit(0.4, 3, 20) == pytest.approx(0.6)  # three times 0.4 would forbid nothing
    assert evidence.bake_harm(90, 100, 0.6) is not None


def test_users_in_another_proportion_than_published_are_noticed_and_chance_is_not() -> None:
    assert evidence.sample_ratio([(0.1, 2000, 400)]) > math.log(evidence.MISMATCH_AT)
    assert evidence.sample_ratio([(0.1, 2000, 215), (0.5, 1000, 490)]) < 0
