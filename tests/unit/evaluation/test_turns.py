"""A schedule: which turn a run belongs to, what was missed, and what is said of the last ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from llmops.control.turns import turns
from llmops.evaluation.observe import build_run
from llmops.evaluation.plan import State, plan
from llmops.evaluation.status import status

from .test_datasets import NOW, SHA, conditions, config_map, seen

DAILY = "0 3 * * *"


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "promised", "now", "due", "following"),
    [
        (DAILY, "", "2026-11-25T12:00", "", "2026-11-26T03:00"),  # a new one begins with a time to come
        (DAILY, "2026-11-26T03:00:00Z", "2026-11-26T02:59:59", "", "2026-11-26T03:00"),
        (DAILY, "2026-11-26T03:00:00Z", "2026-11-26T03:00", "2026-11-26T03:00:00Z", "2026-11-27T03:00"),
        (DAILY, "2026-11-20T03:00:00Z", "2026-11-26T12:00", "2026-11-20T03:00:00Z", "2026-11-27T03:00"),  # down: once
        ("0 5 * * *", "2026-11-26T03:00:00Z", "2026-11-26T03:30", "", "2026-11-26T05:00"),  # changed meanwhile
        ("* * * * *", "2026-11-26T03:00:00Z", "2026-11-25T12:00:30", "", "2026-11-25T12:01"),  # changed to sooner
    ],
)
def test_a_turn_begins_when_its_promise_has_come(schedule, promised, now, due, following):
    found = turns(schedule, False, "2026-11-19T03:00:00Z", promised, at(now))
    assert (found.now, found.due, found.next) == ("2026-11-19T03:00:00Z", due, at(following))


def test_what_passes_while_suspended_is_not_made_up():
    found = turns(DAILY, True, "2026-11-25T03:00:00Z", "2026-11-26T03:00:00Z", at("2026-11-26T04:00"))
    assert (found.now, found.due, found.next) == ("2026-11-25T03:00:00Z", "", None)


def test_a_schedule_that_is_taken_away_leaves_its_last_run():
    assert turns(None, False, "2026-11-25T03:00:00Z", "", NOW).now == "2026-11-25T03:00:00Z"


def test_a_schedule_that_never_comes_is_told_and_nothing_runs():
    one = seen(schedule="0 0 30 2 *")
    one = replace(one, turns=turns("0 0 30 2 *", False, "", "", NOW))
    assert plan(one).children == ()
    assert "spec.schedule: '0 0 30 2 *' never comes" in conditions(one)["Ready"]["message"]
    assert conditions(one)["Ready"]["reason"] == "InvalidSpec"


def test_the_same_inputs_run_again_in_the_next_turn_and_only_once_in_it():
    keys = [seen(turn=turn).run.key for turn in ("", "2026-11-22T03:00:00Z", "2026-11-23T03:00:00Z")]
    assert len(set(keys)) == 3
    one = seen(turn="2026-11-23T03:00:00Z")
    done = replace(one, results=config_map(one, {"sha256": SHA, "rows": 100}, value=1.0))
    assert (plan(done).state, plan(done).children) == (State.FINISHED, ())


def scheduled(last=None, **more):
    """In its second turn, the first of which found `last`."""
    first, second = seen(turn="2026-11-22T03:00:00Z", **more), seen(turn="2026-11-23T03:00:00Z", **more)
    done = config_map(first, {"sha256": SHA, "rows": 100}, value=last)
    return replace(second, others=(done,), turns=turns(DAILY, False, second.run.turn, "", NOW))


def test_the_last_verdict_stays_told_while_the_next_turn_runs():
    one = scheduled(last=1.0)
    told = status(one, plan(one), NOW)
    assert (plan(one).state, told["phase"], told["verdict"]) == (State.RUNNING, "Pending", "Pass")
    assert told["metrics"][0]["value"] == "1.0000"
    assert (told["nextRun"], told["lastScheduleTime"]) == ("2026-11-24T03:00:00Z", "2026-11-23T03:00:00Z")
    assert conditions(one)["ThresholdsMet"]["status"] == "True"
    assert conditions(one)["Ready"]["status"] == "True"


def test_the_last_verdict_is_not_told_of_other_inputs():
    one = scheduled(last=1.0)
    changed = seen(turn=one.run.turn, metrics=[{"name": "f1"}], thresholds=[])
    changed = replace(changed, others=one.others, turns=one.turns)
    told = status(changed, plan(changed), NOW)
    assert told.get("verdict") is None
    assert conditions(changed)["ThresholdsMet"]["status"] == "Unknown"


def test_a_trend_shows_that_production_fell_below_its_threshold():
    one = scheduled(last=1.0)
    one = replace(one, results=config_map(one, {"sha256": SHA, "rows": 100}, value=0.5))
    one = replace(one, others=(one.results, *one.others))
    told = status(one, plan(one), NOW)
    assert told["trend"] == [
        {
            "finishedAt": "2026-11-23T11:00:00Z",
            "verdict": verdict,
            "metrics": [{"name": "exact_match", "value": value}],
        }
        for verdict, value in (("Pass", "1.0000"), ("Fail", "0.5000"))
    ]
    assert conditions(one)["ThresholdsMet"]["status"] == "False"


def test_runs_outside_of_the_schedule_are_no_part_of_the_trend():
    one = seen()
    one = replace(one, results=config_map(one, {"sha256": SHA, "rows": 100}, value=1.0))
    assert status(replace(one, others=(one.results,)), plan(one), NOW)["trend"] == []


def test_a_suspended_schedule_begins_nothing():
    one = seen(schedule=DAILY, suspend=True, turn="2026-11-23T03:00:00Z")
    assert plan(replace(one, run=build_run(one))).children == ()
