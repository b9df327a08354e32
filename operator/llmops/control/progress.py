"""The conditions that every rollout has, of a release or of a model. Pure."""

from __future__ import annotations

from llmops.api import ConditionType, Reason
from llmops.control.conditions import Condition
from llmops.rollout.state import State
from llmops.rollout.world import LEASE, Outcome, World

PASSING = frozenset({Reason.NO_EVIDENCE, Reason.GATEWAYS_BEHIND})
"""Reasons to hold that go away without a person."""
FOR_A_PERSON = frozenset({
    Reason.UNSUPPORTED, Reason.INVALID_SPEC, Reason.LICENSE_NOT_ACCEPTED, Reason.DOES_NOT_FIT, Reason.DOWNLOAD_FAILED,
})  # fmt: skip
"""Reasons to wait that do not."""


def stalled(outcome: Outcome) -> bool:
    """Whether only a person can help."""
    if outcome.state.phase == "Holding":
        return outcome.reason not in PASSING
    return outcome.state.phase == "Rejected" or outcome.reason in FOR_A_PERSON


def evaluated(outcome: Outcome, world: World) -> Condition:
    """What its evaluations say of the candidate."""
    state, offline = outcome.state, world.offline
    if state.candidate is None:
        return Condition(ConditionType.EVALUATED, True, Reason.AS_WANTED, "nothing is to be evaluated")
    if outcome.reason in (Reason.EVALUATION_FAILED, Reason.EVALUATION_UNDECIDED, Reason.EVALUATION_ERRORS):
        failed = outcome.reason == Reason.EVALUATION_FAILED
        return Condition(ConditionType.EVALUATED, False if failed else None, outcome.reason, outcome.message)
    known = state.rejection(state.candidate.digest)
    if known is not None and known.reason == Reason.EVALUATION_FAILED:
        return Condition(ConditionType.EVALUATED, False, Reason.EVALUATION_FAILED, known.message or "")
    if state.candidate.by_hand:
        told = "users had it before: a rollback by hand is not evaluated again"
        return Condition(ConditionType.EVALUATED, True, Reason.ROLLED_BACK_BY_HAND, told)
    if state.candidate.step or state.candidate.weight or state.in_shadow:
        return Condition(ConditionType.EVALUATED, True, Reason.AS_WANTED, offline.message)
    return Condition(ConditionType.EVALUATED, None, Reason.EVALUATING, offline.message)


def healthy(outcome: Outcome) -> Condition:
    """What its users say of it."""
    state = outcome.state
    known = state.rejection(state.candidate.digest) if state.candidate else None
    ending = state.candidate.ending if state.candidate else None
    for reason, message in ((ending.reason, ending.message),) if ending else ():
        if reason == Reason.CANDIDATE_WORSE:
            return Condition(ConditionType.HEALTHY, False, reason, message)
    if known is not None and known.reason == Reason.CANDIDATE_WORSE:
        return Condition(ConditionType.HEALTHY, False, Reason.CANDIDATE_WORSE, known.message or "")
    if state.candidate is not None and state.candidate.weight:
        return Condition(ConditionType.HEALTHY, True, Reason.AS_WANTED, "nothing speaks against the candidate so far")
    return Condition(ConditionType.HEALTHY, None, outcome.reason, "no user meets a candidate")


def synced(state: State, world: World) -> Condition:
    """Only from what gateways themselves say they serve."""
    told, now = world.gateways, world.now
    live = [one for one in told if one.at is not None and now - one.at <= LEASE]
    if not live:
        return Condition(ConditionType.GATEWAY_SYNCED, None, Reason.GATEWAYS_BEHIND, "no gateway reports")
    stable = state.stable.digest if state.stable else None
    moving = state.candidate
    wanted = (stable, moving.weight if moving else 0)
    late = [
        one.name
        for one in live
        if (one.stable, one.weight) != wanted or (moving and moving.weight and one.candidate != moving.digest)
    ]
    if late:
        return Condition(
            ConditionType.GATEWAY_SYNCED, False, Reason.GATEWAYS_BEHIND, f"{', '.join(late[:3])} not there yet"
        )
    return Condition(ConditionType.GATEWAY_SYNCED, True, Reason.AS_WANTED, f"{len(live)} gateways serve it")
