"""Conditions: what is said, and since when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from llmops.control import Condition, merge, summary
from llmops.control.conditions import stalled

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(minutes=5)


def test_a_condition_that_stays_keeps_its_time_though_its_words_change() -> None:
    old = merge([], [Condition("Ready", False, "InProgress", "1 of 2")], 1, NOON)
    (new,) = merge(old, [Condition("Ready", False, "InProgress", "2 of 2")], 2, LATER)
    assert (new["lastTransitionTime"], new["message"]) == ("2026-01-01T12:00:00Z", "2 of 2")
    assert new["observedGeneration"] == 2


def test_a_condition_that_turns_gets_the_time_of_its_turn() -> None:
    old = merge([], [Condition("Ready", None, "FirstSeen")], 1, NOON)
    (new,) = merge(old, [Condition("Ready", True, "AsWanted")], 1, LATER)
    assert (old[0]["status"], new["status"]) == ("Unknown", "True")
    assert new["lastTransitionTime"] == "2026-01-01T12:05:00Z"


def test_nothing_new_gives_the_very_same_list_so_that_nothing_is_written() -> None:
    said = summary(ready=False, available=True, reason="InProgress", message="one pod is starting")
    once = merge([], said, 3, NOON)
    assert merge(once, said, 3, LATER) == once


def test_an_object_is_never_both_working_and_stalled() -> None:
    for ready in (True, False, None):
        for stuck in (True, False):
            said = {
                one.type: one.word
                for one in summary(ready=ready, available=ready, reason="r", message="m", stalled=stuck)
            }
            assert (said["Reconciling"], said["Stalled"]) != ("True", "True")
            assert (said["Ready"] == "True") or "True" in (said["Reconciling"], said["Stalled"])


def test_what_the_kind_did_not_foresee_stalls_it_and_leaves_the_rest_as_it_was() -> None:
    old = merge(
        [],
        [*summary(ready=True, available=True, reason="AsWanted", message=""), Condition("Other", True, "x")],
        1,
        NOON,
    )
    new = stalled(old, "NotOurs", "Service ns/a exists", {"generation": 2}, LATER)
    said = {one["type"]: (one["status"], one["reason"]) for one in new}
    assert said["Ready"] == ("False", "NotOurs")
    assert said["Stalled"] == ("True", "NotOurs")
    assert said["Reconciling"][0] == "False"
    assert (said["Available"][0], said["Other"]) == ("True", ("True", "x"))
    assert stalled(new, "NotOurs", "Service ns/a exists", {"generation": 2}, LATER + timedelta(1)) == new
