"""A rollback by a person's hand: what users had before, at once; and everything that may not pass as one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tests.unit.rollout.story import DEMO, Story, stored

from llmops.api import Reason
from llmops.api.rollout import HistoryEntry
from llmops.control.progress import evaluated
from llmops.rollout.tell import fields
from llmops.rollout.world import Gateway, Offline, Problem


def released(*specs: str) -> Story:
    """These versions became stable one after the other, each by its evidence."""
    story = Story(spec=specs[0]).released()
    for spec in specs[1:]:
        story.spec = spec
        assert story.go("Released", users=80) == "Released"
        assert story.state.stable
        assert story.state.stable.version == spec
    return story


def back(story: Story, spec: str, attempt: int = 2) -> Story:
    """One write: the content and the annotation."""
    story.spec, story.rollback = spec, f"{Story.of(spec)}/{attempt}"
    return story


def stable(story: Story) -> str | None:
    return story.state.stable.version if story.state.stable else None


def test_what_users_had_before_gets_all_of_them_at_once_without_evaluation_or_evidence() -> None:
    story = back(released("one", "two"), "one")
    story.offline = Offline(None, "would take an hour")
    for _ in range(2):
        story.look()
    assert (story.phase, story.weight, stable(story)) == ("Baking", 100, "two")
    assert story.last
    assert story.last.reason == Reason.ROLLED_BACK_BY_HAND
    assert story.state.handled.rollback == story.rollback
    assert "rolled back by hand to one" in story.last.message
    assert evaluated(story.last, story.world).reason == Reason.ROLLED_BACK_BY_HAND
    assert story.go("Released", users=30) == "Released"
    assert stable(story) == "one"
    assert story.state.history[0].message
    assert story.state.history[0].message.startswith("rolled back by hand; ")


def test_it_says_so_while_it_is_watched() -> None:
    story = back(released("one", "two"), "one")
    story.go("Baking")
    story.go(seconds=3, users=10)
    assert story.look().message.startswith("rolled back by hand to one, watched at 100%")


@pytest.mark.parametrize("phase", ["Evaluating", "Shadow", "Canary", "Holding"])
def test_what_is_on_its_way_the_usual_way_may_be_hurried_from_anywhere(phase: str) -> None:
    shadow = {"percent": 50, "minSamples": 20, "timeout": "60s"}
    story = released("one", "two")
    story.spec = "one"
    if phase == "Shadow":
        story.rollout = type(DEMO).model_validate({**DEMO.wire(), "shadow": shadow})
    if phase in ("Evaluating", "Holding"):
        story.offline = Offline({"Evaluating": None, "Holding": "Inconclusive"}[phase], "who knows")
    assert story.go(phase, seconds=20) == phase
    back(story, "one").look()
    assert (story.phase, story.weight) == ("Baking", 100)


def test_a_canary_of_something_else_is_confirmed_gone_before_anybody_is_taken_back() -> None:
    story = released("one", "two")
    story.spec = "three"
    story.go("Canary", users=10)
    stuck = story.gateway
    back(story, "one")
    for _ in range(20):
        story.look()
        story.now += 1
        assert (story.phase, story.weight) == ("RollingBack", 0)
        story.gateway = stuck
    story.sync()
    assert story.go("Baking") == "Baking"
    assert story.state.candidate
    assert (story.state.candidate.version, story.weight, stable(story)) == ("one", 100, "two")


def test_suspended_goes_back_all_the_same() -> None:
    story = released("one", "two")
    story.suspend = True
    assert back(story, "one").go("Baking") == "Baking"
    assert story.go("Released", seconds=30, users=30) == "Baking"  # and goes no further
    story.suspend = False
    assert story.go("Released", users=30) == "Released"


def test_the_gates_of_others_do_not_hold_it_up_and_a_service_that_is_missing_does() -> None:
    story = back(released("one", "two"), "one")
    story.problem = Problem(Reason.REFERENCE_MISSING, "LLMService shop/support does not exist")
    assert story.go(seconds=3) == "Pending"
    story.problem = Problem(Reason.REFERENCE_NOT_READY, "it is being rolled out itself, and goes first", gated=True)
    story.look()
    assert (story.phase, story.weight) == ("Baking", 100)


def test_content_that_is_wrong_for_ever_meets_nobody_by_hand_either() -> None:
    story = back(released("one", "two"), "one")
    story.problem = Problem(Reason.TEMPLATE_INVALID, "message 1 reads {{ x }}", final=True)
    assert story.go("Rejected") == "Rejected"
    assert stable(story) == "two"


@pytest.mark.parametrize(
    ("spec", "annotation", "says"),
    [
        ("three", f"{Story.of('three')}/1", "was never released, as far as the history goes"),
        ("three", f"{Story.of('one')}/2", "does not name the content of the spec"),
        ("three", "garbage", "does not name the content of the spec"),
        ("three", "x" * 500, "does not name the content of the spec"),
        ("two", f"{Story.of('two')}/2", "is stable: its users have it"),
        ("one", Story.of("one"), f"this is attempt 2: write {Story.of('one')}/2"),
        ("one", f"{Story.of('one')}/1", f"this is attempt 2: write {Story.of('one')}/2"),
        ("one", Story.of("one")[:6] + "/2", "does not name the content of the spec"),
    ],
)
def test_anything_else_takes_the_usual_way_and_is_told_why_once(spec: str, annotation: str, says: str) -> None:
    story = released("one", "two")
    story.spec, story.rollback = spec, annotation
    first = story.look()
    assert first.reason == Reason.ROLLBACK_IGNORED
    assert says in first.message
    assert [(one.reason, one.warning) for one in first.events] == [(Reason.ROLLBACK_IGNORED, True)]
    for _ in range(5):
        assert all(one.reason != Reason.ROLLBACK_IGNORED for one in story.look().events)
        story.sync()
    assert story.weight == (0 if spec == "two" else 10)
    assert story.state.handled.rollback == f"{annotation[:100]} (passed over)"


def test_what_was_released_and_then_rejected_meets_nobody_by_hand() -> None:
    story = released("one", "two")
    story.spec = "one"
    story.go("Canary")
    assert story.go("Rejected", users=80, bad=0.9) == "Rejected"
    for attempt in (2, 3):
        told = back(story, "one", attempt).look()
        assert "was rejected since (CandidateWorse)" in told.message
        assert story.go(seconds=5, users=20) == "Rejected"
    assert stable(story) == "two"


def test_a_retry_says_that_a_person_knows_better_and_then_it_can_be_hurried() -> None:
    story = back(released("one", "two"), "one")
    story.go("Baking")
    story.abort = f"{story.digest}/2"
    assert story.go("Rejected") == "Rejected"
    story.retry, story.offline = f"{story.digest}/2", Offline(None, "running")
    assert story.go("Evaluating") == "Evaluating"
    back(story, "one", 3).look()
    assert (story.phase, story.weight) == ("Baking", 100)


def test_an_annotation_that_stayed_lets_the_same_content_pass_never_again() -> None:
    story = back(released("one", "two"), "one")
    assert story.go("Released", users=30) == "Released"
    for spec in ("two", "one"):
        story.spec = spec
        assert story.go("Canary") == "Canary"
        assert story.go("Released", users=80) == "Released"


def test_one_that_was_overtaken_by_another_content_is_worth_nothing_later() -> None:
    story = back(released("one", "two"), "one")
    story.spec = "three"  # before anybody looked
    assert "does not name the content" in story.look().message
    story.go("Released", users=80)
    story.spec = "one"
    assert story.go("Canary") == "Canary"


def put_back(story: Story, spec: str) -> None:
    """As Argo CD does, or a person without the command: the content alone, while the annotation stays."""
    story.spec = spec
    assert story.go("Released") == "Released"


def test_what_git_put_back_before_the_patch_was_committed_goes_back_with_the_very_same_patch() -> None:
    story = back(released("one", "two"), "one")
    for _ in range(3):
        assert story.go("Baking") == "Baking"
        put_back(story, "two")
        assert stable(story) == "two"
        back(story, "one")
    story.look()
    story.look()
    assert (story.phase, story.weight) == ("Baking", 100)


def test_but_not_once_something_else_was_released_since() -> None:
    story = back(released("one", "two"), "one")
    story.go("Baking")
    put_back(story, "two")
    story.spec = "three"
    story.go("Released", users=80)
    story.spec = "one"
    assert story.go("Canary") == "Canary"


def test_and_one_that_was_passed_over_never_counts_later() -> None:
    story = released("one", "two")
    story.rollback = f"{Story.of('one')}/2"  # before the content
    assert "does not name the content" in story.look().message
    story.spec = "one"
    assert story.go("Canary") == "Canary"
    put_back(story, "two")
    story.spec = "one"
    assert story.go("Canary") == "Canary"


@pytest.mark.parametrize("number", ["0", "-1", "9", "99999999999999999999", "²", "2/1", "two", ""])
def test_numbers_that_are_none_or_lie_ahead_count_for_nothing(number: str) -> None:
    story = released("one", "two")
    story.spec, story.rollback = "one", f"{Story.of('one')}/{number}"
    assert "this is attempt 2" in story.look().message


def test_in_its_bake_stable_is_one_word_away() -> None:
    story = back(released("one", "two"), "one")
    story.go("Baking")
    story.abort = f"{story.digest}/2"
    story.look()
    assert (story.phase, story.weight, stable(story)) == ("RollingBack", 0, "two")
    again = back(released("one", "two"), "one")
    again.go("Baking")
    again.spec = "two"
    assert again.go("Released") == "Released"
    assert (stable(again), again.state.rejected) == ("two", ())


def test_the_next_version_does_not_bring_back_what_was_taken_away() -> None:
    story = back(released("one", "two"), "one")
    story.go("Baking")
    story.spec = "three"
    assert story.go("Canary") == "Canary"
    assert (stable(story), story.weight) == ("one", 10)


def test_and_back_once_more_goes_through_no_other_version() -> None:
    story = back(released("zero", "one", "two"), "one")
    story.go("Baking")
    back(story, "zero")
    for _ in range(10):
        story.look()
        story.sync()
        assert stable(story) != "two" or story.weight == 100
    assert story.state.candidate
    assert (story.state.candidate.version, story.weight, stable(story)) == ("zero", 100, "one")


def test_where_its_canary_had_seen_stable_the_bake_can_still_take_it_back() -> None:
    story = released("one", "two")
    story.spec = "one"
    story.rollout = type(DEMO).model_validate({**DEMO.wire(), "bake": "600s", "margin": {"ratio": "2", "points": "2"}})
    story.go("Canary")
    story.go(seconds=5, users=80)
    back(story, "one").look()
    assert story.phase == "Baking"
    assert story.go("Rejected", users=80, bad=0.9) == "Rejected"
    assert stable(story) == "two"


def test_harm_that_is_shown_already_is_no_emergencys_way_out() -> None:
    story = released("one", "two")
    story.spec = "one"
    story.go("Canary")
    story.look()
    story.sync()
    story.users(2000, bad=0.9)  # between two looks
    back(story, "one").look()
    assert (story.phase, story.weight) == ("RollingBack", 0)


def test_while_something_is_taken_back_the_annotation_waits() -> None:
    story = released("one", "two")
    story.spec = "one"
    story.go("Canary")
    story.spec = "three"
    story.look()
    story.gateway = Gateway("gateway-0", None)
    assert story.phase == "RollingBack"
    back(story, "one", 3)
    for _ in range(3):
        story.look()
    assert story.phase == "RollingBack"
    story.sync()
    assert story.go("Baking") == "Baking"
    assert story.state.candidate
    assert (story.state.candidate.attempt, story.weight) == (3, 100)


def test_what_was_stable_before_is_remembered_however_many_were_rejected_since() -> None:
    story = released("one", "two")
    story.offline = Offline("Fail", "no")
    for number in range(20):
        story.spec = f"bad{number}"
        story.go("Rejected")
        assert story.last
        now = datetime.fromtimestamp(story.now, UTC)
        told = fields(story.last, story.wanted, story.world, str, 3, now)["history"]
        assert story.status
        kept = tuple(HistoryEntry.model_validate(one) for one in told)
        story.status = stored(replace(story.state, history=kept))
    assert [one.version for one in story.state.history] == ["bad19", "bad18", "bad17", "one"]
    story.offline = Offline()
    assert back(story, "one").go("Baking") == "Baking"


def test_killing_the_operator_before_any_write_goes_back_all_the_same() -> None:
    def played(kill: int) -> object:
        story = back(released("one", "two"), "one")
        for number in range(30):
            if number == kill:
                story.look(write=False)
            story.look()
            story.sync()
            story.now += 1
            story.users(20, first=number * 20)
        return story.phase, stable(story), [(one.version, one.outcome) for one in story.state.history]

    assert len({str(played(kill)) for kill in range(6)}) == 1
