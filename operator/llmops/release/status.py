"""Observation + outcome -> the release's status and conditions, in words. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from llmops.api import ConditionType, Reason
from llmops.control.conditions import Condition, merge, summary
from llmops.release.content import problem as wrong
from llmops.release.observe import Seen
from llmops.release.plan import revision_name
from llmops.rollout import evidence
from llmops.rollout.judge import Case, shown_no_worse
from llmops.rollout.ledger import SignalCounts, Tally
from llmops.rollout.state import Candidate, State, memory, stamp
from llmops.rollout.world import LEASE, Outcome

WRITE_EVERY = 10.0
PASSING = frozenset({Reason.NO_EVIDENCE, Reason.GATEWAYS_BEHIND})
"""Reasons to hold that go away without a person."""
BEFORE_USERS = ("Pending", "Validating", "Evaluating")


def status(seen: Seen, outcome: Outcome, now: datetime) -> dict[str, Any]:
    """The whole status."""
    state = outcome.state
    old = (seen.raw.get("status") or {}).get("conditions") or []
    told = {
        "phase": state.phase,
        "heldFrom": state.held_from,
        "stable": _stable(seen, state),
        "candidate": _candidate(seen, outcome, now) if state.candidate else None,
        "rejected": [one.wire() for one in state.rejected],
        "history": [one.wire() for one in state.history[: max(seen.release.spec.history_limit, 1)]],
        "lastHandled": state.handled.wire() or None,
        "conditions": merge(old, conditions(seen, outcome), seen.release.metadata.generation, now),
    }
    return {name: value for name, value in told.items() if value not in (None, [])}


def due(old: Mapping[str, Any], new: Mapping[str, Any], generation: int, now: datetime) -> bool:
    """Transitions are written at once; counts and clocks at most every ten seconds."""
    if _essence(old) != _essence(new) or old.get("observedGeneration") != generation:
        return True
    saved = ((old.get("candidate") or {}).get("memory") or {}).get("savedAt", 0.0)
    return not 0 <= now.timestamp() - saved < WRITE_EVERY and _counts(old) != _counts(new)


COUNTED = frozenset({"evidence", "memory", "units", "eta", "sampleRatio", "score"})


def _essence(status: Mapping[str, Any]) -> dict[str, Any]:
    """What somebody may act upon."""
    essence = {name: status.get(name) for name in ("phase", "heldFrom", "stable", "lastHandled")}
    essence |= {name: status.get(name) or [] for name in ("rejected", "history")}
    candidate = status.get("candidate") or {}
    kept = (candidate.get("memory") or {}).items()
    essence["candidate"] = {name: value for name, value in candidate.items() if name not in COUNTED}
    essence["memory"] = {name: value for name, value in kept if name not in ("active", "evidenceAt", "savedAt")}
    essence["conditions"] = [(one["type"], one["status"], one["reason"]) for one in status.get("conditions") or []]
    return essence


def _counts(status: Mapping[str, Any]) -> Any:
    """What only informs."""
    candidate = status.get("candidate") or {}
    kept = {name: value for name, value in (candidate.get("memory") or {}).items() if name != "savedAt"}
    messages = [one.get("message", "") for one in status.get("conditions") or []]
    return {name: value for name, value in candidate.items() if name in COUNTED - {"memory"}}, kept, messages


def _stable(seen: Seen, state: State) -> dict[str, Any] | None:
    stable = state.stable
    if stable is None:
        return None
    revision = revision_name(seen.name, stable.digest)
    return {
        "digest": stable.digest, "version": stable.version or None, "revision": revision, "since": stamp(stable.since),
    }  # fmt: skip


def _candidate(seen: Seen, outcome: Outcome, now: datetime) -> dict[str, Any]:
    moving, tally = outcome.state.candidate, seen.world.tally
    assert moving is not None
    told: dict[str, Any] = {
        "digest": moving.digest,
        "version": moving.version or None,
        "revision": revision_name(seen.name, moving.digest),
        "attempt": moving.attempt,
        "weight": moving.weight,
        "step": moving.step,
        "since": stamp(moving.since),
        "score": moving.score,
        "memory": {**memory(moving), "savedAt": round(now.timestamp(), 3)},
    }
    if tally.shares:
        case = Case(moving, seen.wanted, seen.world, baking=moving.weight == 100)
        told["units"] = tally.candidate_units
        told["evidence"] = [_evidence(case, name) for name in moving.frozen.signals]
        told["sampleRatio"] = evidence.text(
            evidence.sample_ratio([(one.weight / 100, one.units, one.candidate) for one in tally.shares])
        )
        told["eta"] = _eta(case)
    return {name: value for name, value in told.items() if value is not None}


def _evidence(case: Case, name: str) -> dict[str, Any]:
    moving, tally = case.candidate, case.world.tally
    counts = tally.signal(name)
    stable, candidate = counts.failures
    told = {
        "signal": name,
        "stable": f"{stable}/{tally.stable_units}",
        "candidate": f"{candidate}/{tally.candidate_units}",
        "eValue": evidence.text(evidence.harm(counts.by_weight)),
        "rollbackAt": f"{evidence.rollback_at(len(moving.frozen.signals), moving.frozen.false_positive_rate):g}",
    }
    if 0 < moving.weight < 100:
        told["notWorse"] = evidence.text(shown_no_worse(case, name))
        told["advanceAt"] = f"{evidence.advance_at(moving.frozen.false_advance_rate):g}"
    baked = _bake_value(moving, counts, name)
    return {**told, **({"eValue": baked} if baked else {}), "weights": _weights(counts, tally)}


def _bake_value(moving: Candidate, counts: SignalCounts, name: str) -> str | None:
    """In the bake the larger of the two e-values is shown; either would roll back."""
    upper = dict(moving.bake).get(name)
    if moving.weight != 100 or upper is None:
        return None
    limit = evidence.bake_limit(upper, moving.frozen.ratio, moving.frozen.points)
    e = evidence.bake_harm(*counts.baked, limit)
    return None if e is None else evidence.text(max(e, evidence.harm(counts.by_weight)))


def _weights(counts: SignalCounts, tally: Tally) -> list[dict[str, int]]:
    met = {one.weight: one.candidate for one in tally.shares}
    return [
        {
            "weight": round(one.weight * 100), "failures": one.n, "candidateFailures": one.x, "units": one.N,
            "candidateUnits": met.get(round(one.weight * 100), 0),
        }
        for one in counts.by_weight
    ][:12]  # fmt: skip


def _eta(case: Case) -> str | None:
    """When the slowest signal will have shown enough, if the evidence goes on growing as it did."""
    moving = case.candidate
    if not 0 < moving.weight < 100 or moving.active <= 0:
        return None
    needed = math.log(evidence.advance_at(moving.frozen.false_advance_rate))
    slowest = min((shown_no_worse(case, name) for name in moving.frozen.signals), default=needed)
    if slowest >= needed:
        return None
    return stamp(case.world.now + moving.active * (needed / slowest - 1)) if slowest > 0.1 else "unknown"


def conditions(seen: Seen, outcome: Outcome) -> list[Condition]:
    """In words."""
    state = outcome.state
    synced = _synced(seen, state)
    ready = state.phase == "Released" and outcome.reason == Reason.AS_WANTED and synced.status is not False
    return [
        *summary(
            ready=ready, available=state.stable is not None, reason=outcome.reason, message=outcome.message,
            stalled=_stalled(outcome),
        ),
        _valid(seen, state),
        _evaluated(seen, outcome),
        _healthy(outcome),
        synced,
    ]  # fmt: skip


def _stalled(outcome: Outcome) -> bool:
    """Whether only a person can help."""
    if outcome.state.phase == "Holding":
        return outcome.reason not in PASSING
    return outcome.state.phase == "Rejected" or outcome.reason in (Reason.UNSUPPORTED, Reason.INVALID_SPEC)


def _valid(seen: Seen, state: State) -> Condition:
    problem = wrong(seen.release) or (seen.world.problem if state.phase in BEFORE_USERS else None)
    if problem is not None:
        return Condition(ConditionType.VALID, False, problem.reason, problem.message)
    return Condition(ConditionType.VALID, True, Reason.AS_WANTED, "templates, variables and references make sense")


def _evaluated(seen: Seen, outcome: Outcome) -> Condition:
    state, offline = outcome.state, seen.world.offline
    if state.candidate is None:
        return Condition(ConditionType.EVALUATED, True, Reason.AS_WANTED, "nothing is to be evaluated")
    if outcome.reason in (Reason.EVALUATION_FAILED, Reason.EVALUATION_UNDECIDED, Reason.EVALUATION_ERRORS):
        failed = outcome.reason == Reason.EVALUATION_FAILED
        return Condition(ConditionType.EVALUATED, False if failed else None, outcome.reason, outcome.message)
    known = state.rejection(state.candidate.digest)
    if known is not None and known.reason == Reason.EVALUATION_FAILED:
        return Condition(ConditionType.EVALUATED, False, Reason.EVALUATION_FAILED, known.message or "")
    if state.candidate.step or state.candidate.weight:
        return Condition(ConditionType.EVALUATED, True, Reason.AS_WANTED, offline.message)
    return Condition(ConditionType.EVALUATED, None, Reason.EVALUATING, offline.message)


def _healthy(outcome: Outcome) -> Condition:
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


def _synced(seen: Seen, state: State) -> Condition:
    """Only from what gateways themselves say they serve."""
    told, now = seen.world.gateways, seen.world.now
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
