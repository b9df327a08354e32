"""The state machine, in sentences a user would nod at."""

from __future__ import annotations

import pytest
from tests.unit.rollout.story import DEMO, Story

from llmops.api import Reason
from llmops.api.rollout import Rollout
from llmops.rollout.world import Gateway, Offline, Problem


def with_steps(**changes: object) -> Rollout:
    return Rollout.model_validate({**DEMO.wire(), **changes})


def canary(**story: object) -> Story:
    """A second version, shown to a tenth of the users."""
    told = Story(**story).released()  # type: ignore[arg-type]
    told.spec = "two"
    assert told.go("Canary") == "Canary"
    return told


def test_a_first_release_goes_to_everybody_once_its_evaluation_passes() -> None:
    story = Story(offline=Offline(None, "running"))
    assert story.go(seconds=5) == "Evaluating"
    story.offline = Offline("Pass", "good")
    assert story.go("Released") == "Released"
    assert story.state.stable
    assert story.state.stable.digest == story.digest


def test_nobody_gets_a_content_that_is_in_no_revision_yet() -> None:
    story = Story(frozen=False)
    assert story.go(seconds=5) == "Evaluating"
    story.frozen = True
    assert story.go("Released") == "Released"


def test_a_sound_candidate_takes_every_step_and_becomes_stable() -> None:
    story = canary()
    weights = [story.weight]
    for _ in range(200):
        story.go(seconds=1, users=80)
        if story.weight != weights[-1]:
            weights.append(story.weight)
        if story.phase == "Released":
            break
    assert weights == [10, 50, 100, 0]
    assert story.state.stable
    assert story.state.stable.digest == story.digest
    assert [one.outcome for one in story.state.history] == ["Released", "Released"]


def test_where_users_cannot_be_split_what_passes_its_evaluation_is_stable_at_once() -> None:
    story = Story(unsplit=True).released()
    story.spec, story.offline = "two", Offline(None, "running")
    assert story.go(seconds=5) == "Evaluating"
    story.offline = Offline("Pass", "good")
    story.look()
    assert (story.phase, story.weight) == ("Released", 0)
    assert story.state.stable
    assert story.state.stable.digest == story.digest
    assert [one.outcome for one in story.state.history] == ["Released", "Released"]


def test_where_users_cannot_be_split_what_fails_its_evaluation_is_rejected_and_remembered() -> None:
    story = Story(unsplit=True).released()
    story.spec, story.offline = "bad", Offline("Fail", "exact_match 0.2")
    assert story.go("Rejected") == "Rejected"
    story.spec = "one"
    assert story.go("Released") == "Released"
    story.spec, story.offline = "bad", Offline("Pass", "never asked")
    assert story.go(seconds=5) == "Rejected"


def test_a_candidate_that_fails_its_evaluation_meets_nobody() -> None:
    story = Story().released()
    story.spec, story.offline = "bad", Offline("Fail", "exact_match 0.2")
    assert story.go("Rejected") == "Rejected"
    assert story.met == []
    assert story.last
    assert "exact_match" in story.last.message


def test_a_candidate_that_fails_its_users_is_taken_back_and_stable_stays() -> None:
    story = canary()
    before = story.state.stable
    assert story.go("Rejected", users=80, bad=0.8) == "Rejected"
    assert (story.weight, story.state.stable) == (0, before)
    assert story.state.rejected[0].reason == Reason.CANDIDATE_WORSE


def test_a_candidate_that_turns_bad_in_the_bake_is_taken_back() -> None:
    story = canary(rollout=with_steps(bake="120s"))
    assert story.go("Baking", users=80) == "Baking"
    assert story.go("Rejected", users=80, bad=0.9) == "Rejected"
    assert story.state.stable
    assert story.state.stable.digest == Story.of("one")


def test_a_rejected_digest_applied_again_stays_rejected_without_work() -> None:
    story = canary()
    story.go("Rejected", users=80, bad=0.8)
    for spec in ("one", "two", "one", "two"):
        story.spec = spec
        story.go(seconds=3, users=10)
    assert story.phase == "Rejected"
    assert story.weight == 0


def test_editing_only_the_rollout_neither_restarts_nor_clears_a_rejection() -> None:
    story = canary()
    attempt = story.state.candidate
    story.rollout = with_steps(margin={"ratio": "9", "points": "50"})
    story.go(seconds=2, users=10)
    assert story.state.candidate
    assert attempt
    assert story.state.candidate.attempt == attempt.attempt
    assert story.state.candidate.frozen == attempt.frozen
    story.go("Rejected", users=80, bad=0.8)
    story.rollout = DEMO
    assert story.go(seconds=3) == "Rejected"


def test_a_latency_is_fixed_for_the_attempt_and_told_to_the_gateways() -> None:
    watched = [{"signal": "Errors"}, {"signal": "Latency", "max": "2s"}]
    story = canary(rollout=with_steps(online=watched))
    story.rollout = with_steps(online=[{"signal": "Latency", "max": "9s"}])
    story.go(seconds=2, users=10)
    assert story.state.candidate
    assert (story.state.candidate.frozen.latency, story.state.candidate.frozen.signals) == ("2s", ("Errors", "Latency"))
    assert story.told()["latency"] == "2s"


def test_a_retry_names_the_attempt_it_speaks_of_and_starts_anew() -> None:
    story = canary()
    story.go("Rejected", users=80, bad=0.8)
    story.retry = f"{story.digest}/7"
    assert story.go(seconds=3) == "Rejected"
    story.retry = f"{story.digest}/1"
    assert story.go("Canary") == "Canary"
    assert story.state.candidate
    assert story.state.candidate.attempt == 2
    assert story.go("Rejected", users=80, bad=0.8) == "Rejected"
    assert story.go(seconds=5) == "Rejected"  # the same annotation does nothing twice


def test_an_approval_of_one_attempt_is_not_inherited_by_the_next() -> None:
    steps = [{"weight": 10, "minUnits": 5, "pause": "Approval"}]
    story = canary(rollout=with_steps(steps=steps))
    assert story.go("Holding", users=200) == "Holding"
    story.approve = f"{story.digest}/1/9"
    assert story.go(seconds=3, users=10) == "Holding"
    story.approve = f"{story.digest}/1/1"
    assert story.go("Baking", users=50) == "Baking"
    story.abort = f"{story.digest}/1"
    story.go("Rejected")
    story.retry = f"{story.digest}/1"
    assert story.go("Holding", users=200) == "Holding"
    assert story.state.candidate
    assert story.state.candidate.attempt == 2


def test_a_new_candidate_waits_until_every_gateway_has_left_the_old_one() -> None:
    story = canary()
    stuck = story.gateway
    story.spec = "three"
    for _ in range(20):
        story.look()
        story.now += 1
        story.gateway = stuck
    assert story.phase == "RollingBack"
    assert story.weight == 0
    story.sync()
    assert story.go("Canary") == "Canary"
    assert story.state.candidate
    assert story.state.candidate.digest == Story.of("three")


def test_a_gateway_that_is_never_heard_of_again_cannot_trap_a_rollback() -> None:
    story = canary()
    story.spec, story.gateway = "one", Gateway("lost", None)
    for _ in range(60):
        story.look()
        story.now += 1
    assert story.phase == "Released"


def test_returning_to_stables_content_ends_the_rollout_cleanly() -> None:
    story = canary()
    story.spec = "one"
    assert story.go("Released") == "Released"
    assert story.state.candidate is None
    assert story.state.rejected == ()


def test_silence_holds_and_users_resume_it() -> None:
    story = canary()
    story.go(seconds=5, users=20)
    step = story.state.candidate
    assert story.go("Holding", seconds=400) == "Holding"
    assert story.last
    assert story.last.reason == Reason.NO_EVIDENCE
    assert story.state.candidate
    assert step
    assert story.state.candidate.active <= step.active + 1
    assert story.go("Canary", seconds=5, users=20) == "Canary"


def test_suspended_nothing_advances_but_harm_is_still_taken_back() -> None:
    story = canary()
    story.suspend = True
    story.go(seconds=60, users=80)
    assert story.weight == 10
    assert story.go("Rejected", users=80, bad=0.9) == "Rejected"


def test_even_while_holding_harm_is_taken_back() -> None:
    story = canary(rollout=with_steps(steps=[{"weight": 20, "minUnits": 5, "pause": "Approval"}]))
    assert story.go("Holding", users=200) == "Holding"
    assert story.go("Rejected", users=80, bad=0.9) == "Rejected"


def test_users_in_a_wrong_proportion_hold_until_retried_or_aborted() -> None:
    story = canary()
    ledger = story.ledger()
    moving = story.state.candidate
    assert moving
    ledger.add(
        {"release": "", "digest": "", "attempt": 1, "unit": str(i), "variant": "candidate", "weight": 10,
         "at": story.now, "kind": "exposure", "signal": None} for i in range(200)
    )  # fmt: skip
    assert story.go("Holding", seconds=3) == "Holding"
    assert story.last
    assert story.last.reason == Reason.SAMPLE_RATIO_MISMATCH
    story.approve = f"{story.digest}/1/1"
    assert story.go(seconds=10, users=500) == "Holding"
    story.retry = f"{story.digest}/1"
    assert story.go("Canary") == "Canary"


@pytest.mark.parametrize(("choice", "phase"), [("Hold", "Holding"), ("Rollback", "Rejected"), ("Promote", "Canary")])
def test_an_undecided_evaluation_goes_the_way_the_spec_chose(choice: str, phase: str) -> None:
    story = Story(rollout=with_steps(onInconclusive=choice)).released()
    story.spec, story.offline = "two", Offline("Inconclusive", "too few rows")
    assert story.go(phase, seconds=5) == phase


def test_evaluation_errors_are_retried_and_then_a_person_is_asked() -> None:
    story = Story().released()
    story.spec, story.offline = "two", Offline("Error", "the service answered 503")
    assert story.go("Holding", seconds=10) == "Holding"
    assert story.state.candidate
    assert story.state.candidate.tries == 2
    story.offline, story.retry = Offline("Pass"), f"{story.digest}/1"
    assert story.go("Canary") == "Canary"


def test_something_missing_is_waited_for_and_something_wrong_is_rejected() -> None:
    story = Story(problem=Problem(Reason.REFERENCE_MISSING, "LLMService shop/support does not exist"))
    assert story.go(seconds=3) == "Pending"
    assert story.last
    assert "shop/support" in story.last.message
    story.problem = Problem(Reason.TEMPLATE_INVALID, "message 1", final=True)
    assert story.go(seconds=3) == "Rejected"
    story.problem, story.spec = None, "better"
    assert story.go("Released") == "Released"


def test_a_restored_release_finds_its_stable_and_its_rejections_by_their_labels() -> None:
    labels = {Story.of("one"): ("stable", "one"), Story.of("bad"): ("rejected", "bad")}
    story = Story(spec="bad", revisions=labels)
    assert story.go(seconds=3) == "Rejected"
    assert story.state.stable
    assert story.state.stable.digest == Story.of("one")
    story.spec = "two"
    assert story.go("Canary") == "Canary"  # and never straight to everybody


def test_a_restore_that_cannot_tell_which_was_stable_holds_until_approved() -> None:
    story = Story(revisions={Story.of("one"): ("retired", "one")}, spec="two")
    assert story.go(seconds=3) == "Holding"
    assert story.last
    assert story.last.reason == Reason.STABLE_UNKNOWN
    story.approve = f"{story.digest}/1/0"
    assert story.go("Released", seconds=5) == "Released"


def test_without_steps_and_failures_to_compare_the_bake_waits_for_a_person() -> None:
    story = Story(rollout=with_steps(steps=[])).released()
    story.spec = "two"
    assert story.go("Holding", seconds=5, users=5) == "Holding"
    assert story.last
    assert story.last.reason == Reason.NOTHING_TO_COMPARE
    story.approve = f"{story.digest}/1/1"
    assert story.go("Released", seconds=3) == "Released"


def test_undecided_after_max_duration_holds_and_an_approval_takes_one_step() -> None:
    steps = [{"weight": 10, "minUnits": 100000, "maxDuration": "10s"}, {"weight": 50, "minUnits": 1}]
    story = canary(rollout=with_steps(steps=steps))
    assert story.go("Holding", users=3) == "Holding"
    assert story.last
    assert story.last.reason == Reason.INCONCLUSIVE
    story.approve = f"{story.digest}/1/1"
    story.go("Canary", seconds=3, users=3)
    assert (story.phase, story.weight) == ("Canary", 50)


def test_a_clock_that_jumps_breaks_nothing() -> None:
    story = canary()
    story.go(seconds=3, users=30)
    story.now -= 3600
    story.go(seconds=3, users=30)
    story.now += 86400
    story.go(seconds=3, users=30)
    assert story.phase in ("Canary", "Holding")
    assert story.state.candidate
    assert story.state.candidate.active < 70
    assert story.go("Released", users=80) == "Released"
