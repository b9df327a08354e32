"""A candidate that answers unseen first: what ends it, what lets it on to users, and that its counting is fair."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from tests.unit.rollout.story import DEMO, Story

from llmops.api import Reason
from llmops.api.rollout import Rollout
from llmops.rollout import evidence
from llmops.rollout.ledger import Ledger
from llmops.rollout.split import bucket, is_shadowed


def shadowed(**rollout: Any) -> Rollout:
    shadow = {"percent": 50, "minSamples": 40, "timeout": "10m", **rollout.pop("shadow", {})}
    return Rollout.model_validate({**DEMO.wire(), "shadow": shadow, **rollout})


def unseen(**rollout: Any) -> Story:
    """A second version, that answers half of the users too."""
    told = Story(rollout=shadowed(**rollout)).released()
    told.spec = "two"
    assert told.go("Shadow") == "Shadow"
    return told


def test_a_first_release_has_nothing_to_be_compared_with_and_no_shadow() -> None:
    assert Story(rollout=shadowed()).go("Released") == "Released"


def test_a_sound_candidate_goes_on_to_users_once_enough_pairs_were_compared() -> None:
    story = unseen()
    story.pairs(60)
    assert story.go("Canary", seconds=3) == "Shadow"
    assert story.told()["shadow"] == 50
    assert 20 <= story.told()["pairs"] < 40
    assert story.weight == 0
    assert story.go("Canary", users=40) == "Canary"
    assert "shadow" not in story.told()
    assert story.told()["pairs"] >= 40
    assert story.go("Released", users=80) == "Released"


def test_a_candidate_that_fails_unseen_is_rejected_and_no_user_ever_met_it() -> None:
    story = unseen(shadow={"minSamples": 1000})
    assert story.go("Rejected", users=40, bad=0.5) == "Rejected"
    assert story.met == []
    assert story.state.rejected[0].reason == Reason.CANDIDATE_WORSE
    assert "users answered by both, unseen, only the candidate's answer failed" in (
        story.state.rejected[0].message or ""
    )


def test_where_both_fail_alike_nothing_speaks_against_the_candidate() -> None:
    story = unseen()
    for _ in range(30):
        story.pairs(40, bad=0.3, stable_bad=0.3, first=int(story.now * 1000) % 10_000_000)
        story.go("Canary", seconds=1)
    assert story.phase == "Canary"


@pytest.mark.parametrize(("choice", "phase"), [("Hold", "Holding"), ("Rollback", "Rejected"), ("Promote", "Holding")])
def test_without_pairs_the_timeout_goes_the_way_the_spec_chose_and_never_to_users(choice: str, phase: str) -> None:
    story = unseen(onInconclusive=choice)
    assert story.go(phase, seconds=700) == phase
    assert story.weight == 0
    if phase == "Rejected":
        assert story.state.rejected[0].reason == Reason.INCONCLUSIVE
    else:
        assert story.last
        assert story.last.reason == Reason.INCONCLUSIVE
        assert story.told()["shadow"] == 50  # it goes on answering, so that pairs can end the hold
        assert story.go("Canary", seconds=20, users=40) == "Canary"


@pytest.mark.parametrize(("bad", "phase"), [(0.0, "Canary"), (0.1, "Holding")])
def test_few_pairs_suffice_to_promote_if_nothing_in_them_speaks_against_it(bad: float, phase: str) -> None:
    story = unseen(onInconclusive="Promote", shadow={"minSamples": 1000})
    story.pairs(60, bad)
    assert story.go(phase, seconds=700) == phase
    assert story.weight == (10 if phase == "Canary" else 0)


def test_a_hold_in_the_shadow_is_left_by_an_approval_that_names_the_shadow() -> None:
    story = unseen()
    assert story.go("Holding", seconds=700) == "Holding"
    story.approve = f"{story.digest}/1/0"  # what an undecided evaluation was approved with
    assert story.go("Canary", seconds=3) == "Holding"
    assert f"{story.digest}/1/shadow" in (story.last.message if story.last else "")
    story.approve = f"{story.digest}/1/shadow"
    assert story.go("Canary", seconds=3) == "Canary"
    assert story.state.handled.approve == story.approve


def test_suspended_it_stays_unseen_and_harm_is_still_acted_upon() -> None:
    story = unseen()
    story.suspend = True
    assert story.go("Canary", users=40, seconds=20) == "Shadow"
    assert story.go("Rejected", users=40, bad=0.9) == "Rejected"


def test_a_shadow_that_is_taken_out_of_the_spec_ends_at_once() -> None:
    story = unseen()
    story.rollout = DEMO
    assert story.go("Canary", seconds=3) == "Canary"


def test_what_pairs_said_stays_in_the_same_evidence_when_users_come() -> None:
    story = unseen(shadow={"minSamples": 10})
    told: list[Any] = [
        {"unit": f"u{n}", "weight": 0, "at": story.now, "kind": "pair", "variant": "candidate", "signal": signal}
        for n in range(5) for signal in (None, "Errors")
    ]  # fmt: skip
    story.ledger().add(told)
    story.pairs(40)
    assert story.go("Canary", seconds=3) == "Canary"
    story.sync()
    story.users(10)
    story.look()
    [errors, _] = story.told()["evidence"]
    assert errors["pairs"] == "5/5"
    assert float(errors["eValue"]) > 5


def test_other_users_are_shadowed_than_those_who_meet_it_first() -> None:
    met = [bucket("a", "d", 1, f"u{n}") < 2000 for n in range(4000)]
    shadow = [is_shadowed("a", "d", 1, f"u{n}", 20) for n in range(4000)]
    assert 700 < sum(shadow) < 900
    assert sum(a and b for a, b in zip(met, shadow, strict=True)) < 220  # a fifth of a fifth, by chance


def records(seed: int, users: int, ours: float, theirs: float) -> list[Any]:
    """Pairs of users of whom each comes a few times, some of them much unluckier than others."""
    chance, told = random.Random(seed), []
    for n in range(users):
        unlucky = 3.0 if chance.random() < 0.2 else 0.5
        for at in range(chance.randint(1, 6)):
            failed = [chance.random() < min(1.0, rate * unlucky) for rate in (theirs, ours)]
            one = {"unit": f"u{n}", "weight": 0, "at": n + at / 10, "kind": "pair", "variant": "candidate"}
            told.append({**one, "signal": None})
            if failed[0] != failed[1]:
                told.append({**one, "variant": "candidate" if failed[1] else "stable", "signal": "Errors"})
    return told


def rolled_back(told: list[Any]) -> bool:
    """Whether anybody who looks after every user would have taken it back."""
    ledger, limit = Ledger(), evidence.rollback_at(1, 0.05)
    for at in range(0, len(told), 5):
        ledger.add(told[at : at + 5])
        e = evidence.harm(ledger.tally(["Errors"], 1e9, {}).signal("Errors").compared)
        if e >= math.log(limit):
            return True
    return False


def test_identical_arms_are_seldom_taken_back_and_worse_ones_nearly_always() -> None:
    alike = sum(rolled_back(records(seed, 60, 0.2, 0.2)) for seed in range(400))
    worse = sum(rolled_back(records(seed, 100, 0.5, 0.05)) for seed in range(40))
    assert alike <= 10  # promised: half of 5%, the other half is the bake's
    assert worse >= 38


def test_pairs_survive_packing_beside_units_and_an_older_pack_is_read() -> None:
    ledger, again = Ledger(), Ledger()
    ledger.add(records(1, 30, 0.4, 0.1))
    met: list[Any] = [{"unit": "u1", "weight": 10, "at": 5.0, "kind": "exposure", "variant": "stable", "signal": None}]
    ledger.add(met)
    again.unpack(ledger.pack())
    assert again.tally(["Errors"], 1e9, {}) == ledger.tally(["Errors"], 1e9, {})
    assert again.extent()[0] == ledger.extent()[0]
    old = Ledger()
    old.add(met)
    again.unpack(old.pack())
    assert again.tally(["Errors"], 1e9, {}).pairs == 30
