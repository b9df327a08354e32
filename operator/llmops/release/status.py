"""Observation + outcome -> the release's status and conditions, in words. Pure."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any

from llmops.api import ConditionType, Reason
from llmops.control import progress
from llmops.control.conditions import Condition, merge, summary
from llmops.release.content import problem as wrong
from llmops.release.observe import Seen
from llmops.release.plan import revision_name
from llmops.rollout import tell
from llmops.rollout.state import State
from llmops.rollout.world import Outcome

BEFORE_USERS = ("Pending", "Validating", "Evaluating")


def status(seen: Seen, outcome: Outcome, now: datetime) -> dict[str, Any]:
    """The whole status."""
    old = (seen.raw.get("status") or {}).get("conditions") or []
    limit, revision = seen.release.spec.history_limit, partial(revision_name, seen.name)
    told = tell.fields(outcome, seen.wanted, seen.world, revision, limit, now)
    return {**told, "conditions": merge(old, conditions(seen, outcome), seen.release.metadata.generation, now)}


def conditions(seen: Seen, outcome: Outcome) -> list[Condition]:
    """In words."""
    state = outcome.state
    synced = progress.synced(state, seen.world)
    ready = state.phase == "Released" and outcome.reason == Reason.AS_WANTED and synced.status is not False
    return [
        *summary(
            ready=ready, available=state.stable is not None, reason=outcome.reason, message=outcome.message,
            stalled=progress.stalled(outcome),
        ),
        _valid(seen, state),
        progress.evaluated(outcome, seen.world),
        progress.healthy(outcome),
        synced,
    ]  # fmt: skip


def _valid(seen: Seen, state: State) -> Condition:
    problem = wrong(seen.release) or (seen.world.problem if state.phase in BEFORE_USERS else None)
    if problem is not None:
        return Condition(ConditionType.VALID, False, problem.reason, problem.message)
    return Condition(ConditionType.VALID, True, Reason.AS_WANTED, "templates, variables and references make sense")
