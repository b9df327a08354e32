"""Conditions, pure: what is stated, since when, and the four that every kind has.

Ready, Available, Reconciling and Stalled are as kstatus and Argo CD read them: Stalled True means that only a person
can help, Reconciling True that waiting will; never both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from llmops.api.reasons import ConditionType


@dataclass(frozen=True)
class Condition:
    """One statement. `status` is True, False or None for Unknown (the API's words are taken too)."""

    type: str
    status: bool | str | None
    reason: str
    message: str = ""

    @property
    def word(self) -> str:
        if isinstance(self.status, str):
            return self.status
        return {True: "True", False: "False", None: "Unknown"}[self.status]


def merge(
    old: Iterable[Mapping[str, Any]] | None, new: Sequence[Condition], generation: int, now: datetime
) -> list[dict[str, Any]]:
    """The list for status, in the order of `new`; lastTransitionTime stays while the status word stays."""
    before = {one["type"]: one for one in old or ()}
    return [_one(before.get(one.type), one, generation, now) for one in new]


def _one(before: Mapping[str, Any] | None, new: Condition, generation: int, now: datetime) -> dict[str, Any]:
    stays = before is not None and before.get("status") == new.word
    since = before.get("lastTransitionTime") if stays and before is not None else None
    return {
        "type": str(new.type),
        "status": new.word,
        "reason": str(new.reason),
        "message": new.message[:32768],
        "observedGeneration": generation,
        "lastTransitionTime": since or now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def summary(
    *, ready: bool | None, available: bool | None, reason: str, message: str, stalled: bool = False
) -> list[Condition]:
    """The four. Neither ready nor stalled means that we are still working towards it."""
    working = ready is not True and not stalled
    done = str(reason) if ready else ""
    return [
        Condition(ConditionType.READY, ready, reason, message),
        Condition(ConditionType.AVAILABLE, available, reason, message),
        Condition(ConditionType.RECONCILING, working, done or reason, message if working else ""),
        Condition(ConditionType.STALLED, stalled, done or reason, message if stalled else ""),
    ]


def stalled(
    old: Iterable[Mapping[str, Any]] | None, reason: str, message: str, metadata: Mapping[str, Any], now: datetime
) -> list[dict[str, Any]]:
    """The conditions as they were, but Stalled and not Ready, for what the kind's own status does not know of."""
    kept = [Condition(one["type"], one["status"], one["reason"], one.get("message", "")) for one in old or ()]
    told: dict[str, Condition] = {
        ConditionType.READY: Condition(ConditionType.READY, False, reason, message),
        ConditionType.RECONCILING: Condition(ConditionType.RECONCILING, False, reason),
        ConditionType.STALLED: Condition(ConditionType.STALLED, True, reason, message),
    }
    new = [told.pop(one.type, one) for one in kept] + list(told.values())
    return merge(old, new, int(metadata.get("generation", 0)), now)
