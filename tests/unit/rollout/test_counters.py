"""What Prometheus counted: which differences count, what they decide, and what they cannot."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.rollout.story import DEMO, Story

from llmops.api import Reason
from llmops.api.rollout import Rollout
from llmops.rollout.counters import Counters
from llmops.rollout.evidence import Counts

READINGS = [(10, [2.0, 100.0, 1.0, 10.0]), (10, [5.0, 200.0, 4.0, 22.0])]


def counted(*readings: tuple[int, Any]) -> Counters:
    counters = Counters("bad{v='{{variant}}'}", "all{v='{{variant}}'}")
    for weight, numbers in readings:
        counters.add(weight, numbers)
    return counters


def test_each_query_is_asked_for_both_variants() -> None:
    assert counted().queries() == ["bad{v='stable'}", "all{v='stable'}", "bad{v='candidate'}", "all{v='candidate'}"]


def test_what_lies_between_two_readings_counts_for_both() -> None:
    counts = counted(*READINGS).counts()
    assert counts.by_weight == (Counts(0.1, 6, 3, 112),)
    assert (counts.failures, counts.units, counts.baked) == ((3, 3), (100, 12), (0, 0))


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("number", [None, 0.5], ids=["missing", "began anew"])
def test_for_both_or_for_neither(place: int, number: float | None) -> None:
    broken: list[float | None] = [*READINGS[1][1]]
    broken[place] = number
    assert counted(READINGS[0], (10, broken)).cells == {}


def test_a_silence_between_two_readings_loses_nothing() -> None:
    nothing = (10, [None] * 4)
    assert counted(READINGS[0], nothing, nothing, READINGS[1]).counts() == counted(*READINGS).counts()


def test_an_interval_in_which_the_weight_changed_is_of_no_weight() -> None:
    assert counted(READINGS[0], (50, READINGS[1][1])).cells == {}


def test_more_failures_than_units_is_a_query_that_is_wrong() -> None:
    assert counted((10, [0.0, 0.0, 0.0, 0.0]), (10, [0.0, 9.0, 5.0, 4.0])).cells == {}


ANY = st.tuples(st.sampled_from([10, 50, 100]), st.lists(st.none() | st.floats(0, 1e6), min_size=4, max_size=4))


@given(st.lists(ANY, max_size=20))
def test_whatever_is_read_the_counts_make_sense_and_survive_a_restart(readings: list[tuple[int, Any]]) -> None:
    counters = counted(*readings)
    counts = counters.counts()
    assert all(0 <= one.x <= one.n <= one.N for one in counts.by_weight)
    again = Counters.unpack(counters.pack())
    assert (again.counts(), again.last and list(again.last[1])) == (counts, counters.last and list(counters.last[1]))


def story(counts_units: bool) -> Story:
    asked = {"signal": "Prometheus", "failures": "bad", "total": "all", "countsUnits": counts_units}
    online = [{"signal": "Errors"}, asked]
    told = Story(rollout=Rollout.model_validate({**DEMO.wire(), "online": online})).released()
    told.spec = "two"
    assert told.go("Canary") == "Canary"
    told.counters = counted((10, [0.0] * 4))
    return told


def test_where_it_counts_users_it_takes_a_worse_candidate_back() -> None:
    told = story(True)
    assert told.counters
    told.counters.add(10, [1.0, 900.0, 60.0, 100.0])
    assert told.go("Rejected", users=5) == "Rejected"
    assert "Prometheus: 60 of 100 users failed with the candidate, 1 of 900 with" in (
        told.state.rejected[0].message or ""
    )


def test_where_it_counts_requests_it_can_only_hold_and_a_person_decides() -> None:
    told = story(False)
    assert told.counters
    told.counters.add(10, [1.0, 900.0, 60.0, 100.0])
    assert told.go("Holding", seconds=5, users=5) == "Holding"
    assert told.last
    assert told.last.reason == Reason.SIGNAL_DOUBTFUL
    assert told.go("Rejected", seconds=60, users=80) == "Holding"
    told.approve = f"{told.digest}/1/1"
    told.go("Baking", seconds=3, users=80)
    assert told.weight == 50


def test_without_data_it_votes_neither_way() -> None:
    told = story(True)
    assert told.go("Released", seconds=120, users=80) == "Canary"  # it has to be shown by every signal that decides
    assert told.weight == 10
    assert told.last
    assert "Prometheus 1 of 40" in told.last.message
    told = story(False)
    assert told.go("Released", seconds=120, users=80) == "Released"  # and by none that only doubts
