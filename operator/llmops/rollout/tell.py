"""How a rollout stands, in the fields and words of a status; the same for a release and a model. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from llmops.api.rollout import HistoryEntry
from llmops.rollout import evidence
from llmops.rollout.case import Case
from llmops.rollout.judge import shown_no_worse
from llmops.rollout.ledger import SignalCounts, Tally
from llmops.rollout.state import MAX_HISTORY, Candidate, State, memory, stamp
from llmops.rollout.world import Outcome, Wanted, World

WRITE_EVERY = 10.0


def look_after(outcome: Outcome) -> float | None:
    """Seconds: at once after a transition, every second while users meet a candidate, else when something changes."""
    state = outcome.state
    if outcome.moved:
        return 0.1
    if state.phase in ("Shadow", "Canary", "Baking", "RollingBack") or (state.candidate and state.candidate.weight):
        return 1.0
    return 30.0 if state.phase in ("Pending", "Validating", "Evaluating", "Holding") else None


def label(digest: str, state: State) -> str:
    """What became of a content, as the label says it; a backup that lost the status is restored from this."""
    if state.stable is not None and state.stable.digest == digest:
        return "stable"
    if state.rejection(digest) is not None:
        return "rejected"
    if state.candidate is not None and state.candidate.digest == digest:
        return "candidate"
    return "retired"


def due(old: Mapping[str, Any], new: Mapping[str, Any], generation: int, now: datetime) -> bool:
    """Transitions are written at once; counts and clocks at most every ten seconds."""
    if _essence(old) != _essence(new) or old.get("observedGeneration") != generation:
        return True
    saved = ((old.get("candidate") or {}).get("memory") or {}).get("savedAt", 0.0)
    return not 0 <= now.timestamp() - saved < WRITE_EVERY and _counts(old) != _counts(new)


COUNTED = frozenset({"evidence", "memory", "units", "pairs", "eta", "sampleRatio", "score"})


def _essence(status: Mapping[str, Any]) -> Any:
    """What somebody may act upon; without what is empty, which the server adds and takes away as it likes."""
    essence = {name: status.get(name) for name in ("phase", "heldFrom", "stable", "lastHandled")}
    essence |= {name: status.get(name) or [] for name in ("rejected", "history")}
    candidate = status.get("candidate") or {}
    kept = (candidate.get("memory") or {}).items()
    essence["candidate"] = {name: value for name, value in candidate.items() if name not in COUNTED}
    essence["memory"] = {name: value for name, value in kept if name not in ("active", "evidenceAt", "savedAt")}
    essence["conditions"] = [(one["type"], one["status"], one["reason"]) for one in status.get("conditions") or []]
    return filled(essence)


def filled(value: Any) -> Any:
    """Without what is empty: the server adds and takes away empty lists as its schema says."""
    if not isinstance(value, Mapping):
        return value
    return {name: inner for name, one in value.items() if (inner := filled(one)) not in (None, [], {})}


def _counts(status: Mapping[str, Any]) -> Any:
    """What only informs."""
    candidate = status.get("candidate") or {}
    kept = {name: value for name, value in (candidate.get("memory") or {}).items() if name != "savedAt"}
    messages = [one.get("message", "") for one in status.get("conditions") or []]
    return {name: value for name, value in candidate.items() if name in COUNTED - {"memory"}}, kept, messages


Names = Callable[[str], str]
"""From a digest to the name of the Revision that holds it."""


def fields(
    outcome: Outcome, wanted: Wanted, world: World, revision: Names, limit: int, now: datetime
) -> dict[str, Any]:
    """The part of a status that is the rollout's; `limit` is how many ends it remembers."""
    state = outcome.state
    told = {
        "phase": state.phase,
        "heldFrom": state.held_from,
        "stable": _stable(state, revision),
        "candidate": _candidate(state, state.candidate, wanted, world, revision, now) if state.candidate else None,
        "rejected": [one.wire() for one in state.rejected],
        "history": [one.wire() for one in _history(state, max(limit, 1))],
        "lastHandled": state.handled.wire() or None,
    }
    return {name: value for name, value in told.items() if value not in (None, [])}


def _history(state: State, limit: int) -> tuple[HistoryEntry, ...]:
    """The newest; and what was stable before, however long ago: a rollback by hand goes there."""
    newest, before = state.history[:limit], state.before
    return newest if before is None or before in newest else (*newest[: MAX_HISTORY - 1], before)


def _stable(state: State, revision: Names) -> dict[str, Any] | None:
    stable = state.stable
    if stable is None:
        return None
    told = {"digest": stable.digest, "version": stable.version or None, "revision": revision(stable.digest)}
    return {**told, "since": stamp(stable.since)}


def _candidate(
    state: State, moving: Candidate, wanted: Wanted, world: World, revision: Names, now: datetime
) -> dict[str, Any]:
    tally, shadow = world.tally, wanted.rollout.shadow
    case = Case(moving, wanted, world, "Shadow" if state.in_shadow else "Baking" if moving.weight == 100 else "Canary")
    told: dict[str, Any] = {
        "digest": moving.digest,
        "version": moving.version or None,
        "revision": revision(moving.digest),
        "attempt": moving.attempt,
        "weight": moving.weight,
        "step": moving.step,
        "since": stamp(moving.since),
        "score": moving.score,
        "latency": moving.frozen.latency,
        "judge": moving.frozen.judge,
        "shadow": shadow.percent if shadow is not None and state.in_shadow else None,
        "memory": {**memory(moving), "savedAt": round(now.timestamp(), 3)},
    }
    if tally.pairs or state.in_shadow:
        told["pairs"] = tally.pairs
    if tally.shares or tally.pairs:
        told["evidence"] = [_evidence(case, name) for name in moving.frozen.signals]
    if tally.shares:
        told["units"] = tally.candidate_units
        told["sampleRatio"] = evidence.text(
            evidence.sample_ratio([(one.weight / 100, one.units, one.candidate) for one in tally.shares])
        )
        told["eta"] = _eta(case)
    return {name: value for name, value in told.items() if value is not None}


def _evidence(case: Case, name: str) -> dict[str, Any]:
    moving, tally = case.candidate, case.world.tally
    counts = tally.signal(name)
    (stable, candidate), (of_stable, of_candidate) = counts.failures, tally.units(name)
    told = {
        "signal": name,
        "stable": f"{stable}/{of_stable}",
        "candidate": f"{candidate}/{of_candidate}",
        "eValue": evidence.text(evidence.harm(counts.compared)),
        "rollbackAt": f"{evidence.rollback_at(len(moving.frozen.signals), moving.frozen.false_positive_rate):g}",
    }
    if tally.pairs:
        told["pairs"] = f"{counts.differed[1]}/{counts.differed[0]}"
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
    return None if e is None else evidence.text(max(e, evidence.harm(counts.compared)))


def _weights(counts: SignalCounts, tally: Tally) -> list[dict[str, int]]:
    met = {one.weight: one.candidate for one in (tally.shares if counts.shares is None else counts.shares)}
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
    slowest = min((shown_no_worse(case, name) for name in moving.frozen.voting), default=needed)
    if slowest >= needed:
        return None
    return stamp(case.world.now + moving.active * (needed / slowest - 1)) if slowest > 0.1 else "unknown"
