"""The split: the same user, the same variant; more weight only adds users; other attempts draw others."""

from hypothesis import given
from hypothesis import strategies as st

from llmops.rollout.split import bucket, meets_candidate, unit_hash


@given(st.text(max_size=40), st.integers(0, 100), st.integers(0, 100))
def test_raising_the_weight_only_adds_users(unit: str, one: int, other: int) -> None:
    low, high = sorted((one, other))
    mine = bucket("shop/answer", "d" * 64, 1, unit)
    assert not meets_candidate(mine, low) or meets_candidate(mine, high)


@given(st.text(max_size=40))
def test_zero_is_nobody_and_a_hundred_is_everybody(unit: str) -> None:
    mine = bucket("shop/answer", "d" * 64, 1, unit)
    assert not meets_candidate(mine, 0)
    assert meets_candidate(mine, 100)


def test_a_tenth_of_the_users_is_a_tenth() -> None:
    met = sum(meets_candidate(bucket("shop/answer", "d" * 64, 1, f"user-{i}"), 10) for i in range(20_000))
    assert 1850 < met < 2150


def test_another_attempt_draws_other_users() -> None:
    users = [f"user-{i}" for i in range(5_000)]
    first = {u for u in users if meets_candidate(bucket("shop/answer", "d" * 64, 1, u), 20)}
    second = {u for u in users if meets_candidate(bucket("shop/answer", "d" * 64, 2, u), 20)}
    assert 0.15 < len(first & second) / len(first) < 0.25


def test_a_buckets_value_never_changes_between_versions_of_this_program() -> None:
    assert bucket("shop/answer", "d" * 64, 1, "anna") == BUCKET_OF_ANNA
    assert unit_hash("anna") == "55579b557896d0ce"


BUCKET_OF_ANNA = 7149
