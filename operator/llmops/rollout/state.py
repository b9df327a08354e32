"""Where a rollout stands: frozen values, read from a status and written to one.

What users and gateways read stands in the status' own fields. What only the machine needs stands under `memory`, in
candidate.memory: clocks, the signals and margins frozen for the attempt, why it holds, how it is ending.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from llmops.api.quantities import seconds
from llmops.api.rollout import CandidateStatus, HistoryEntry, LastHandled, RejectedStatus, Rollout, StableStatus

MAX_HISTORY = 100


@dataclass(frozen=True)
class Frozen:
    """What may not change while evidence is gathered, or it would mean nothing."""

    signals: tuple[str, ...]
    ratio: float
    points: float
    false_positive_rate: float
    false_advance_rate: float
    window: float  # seconds within which late feedback still comes
    latency: str | None = None  # of the signal Latency: its max, as it is written
    judge: str | None = None  # of the signal Judge: the identity of what is asked
    doubts: tuple[str, ...] = ()  # signals that may hold, and neither take back nor let on

    @property
    def voting(self) -> tuple[str, ...]:
        """The signals that decide."""
        return tuple(one for one in self.signals if one not in self.doubts)


@dataclass(frozen=True)
class Ending:
    """Why the weight went to 0, and what follows when every gateway has confirmed it."""

    outcome: str  # Rejected | Superseded | Withdrawn | Retried
    reason: str
    message: str
    at: float  # since when the weight is 0


@dataclass(frozen=True)
class Candidate:
    """A content on its way to users."""

    digest: str
    version: str
    attempt: int
    frozen: Frozen
    weight: int = 0
    step: int = 0
    since: float = 0.0  # when this phase or step began
    active: float = 0.0  # seconds of this step in which evidence came
    evidence_at: float = 0.0  # until when evidence came
    tries: int = 0  # evaluations that ended in errors
    score: str | None = None
    hold: str | None = None
    bake: tuple[tuple[str, float], ...] = ()  # stable's upper bound by signal, fixed when the bake began
    ending: Ending | None = None
    by_hand: bool = False  # a person went back to it: all users at once


@dataclass(frozen=True)
class Stable:
    """What users are served."""

    digest: str
    version: str
    since: float


@dataclass(frozen=True)
class State:
    """Where the rollout stands; phase None is an object never looked at."""

    phase: str | None = None
    held_from: str | None = None
    stable: Stable | None = None
    candidate: Candidate | None = None
    rejected: tuple[RejectedStatus, ...] = ()
    history: tuple[HistoryEntry, ...] = ()
    handled: LastHandled = field(default_factory=LastHandled)

    @property
    def in_shadow(self) -> bool:
        """Whether the candidate answers unseen, held there or not."""
        return self.phase == "Shadow" or (self.phase == "Holding" and self.held_from == "Shadow")

    def rejection(self, digest: str) -> RejectedStatus | None:
        """The rejection of a content, if it stands."""
        return next((one for one in self.rejected if one.digest == digest), None)

    def released(self, digest: str) -> bool:
        """Whether users were served this content once, as far back as the history goes."""
        return any(one.digest == digest and one.outcome == "Released" for one in self.history)

    @property
    def before(self) -> HistoryEntry | None:
        """What was stable before the present stable one."""
        now = self.stable.digest if self.stable else None
        return next((one for one in self.history if one.outcome == "Released" and one.digest != now), None)

    def tried(self, digest: str) -> int:
        """The highest attempt of this content that is known of."""
        known = [one.attempt for one in self.rejected if one.digest == digest]
        known += [one.attempt for one in self.history if one.digest == digest]
        return max((attempt or 1 for attempt in known), default=0)


class Status(Protocol):
    """The part of a kind's status that a rollout owns."""

    @property
    def phase(self) -> Any: ...
    @property
    def held_from(self) -> str | None: ...
    @property
    def stable(self) -> StableStatus | None: ...
    @property
    def candidate(self) -> CandidateStatus | None: ...
    @property
    def rejected(self) -> list[RejectedStatus]: ...
    @property
    def history(self) -> list[HistoryEntry]: ...
    @property
    def last_handled(self) -> LastHandled | None: ...


def freeze(rollout: Rollout) -> Frozen:
    """What counts for a whole attempt. Feedback is waited for as long as the longest minDuration, at most 10 min."""
    longest = max((seconds(step.min_duration) for step in rollout.steps), default=0.0)
    return Frozen(
        signals=tuple(dict.fromkeys(one.signal for one in rollout.online)),
        ratio=float(rollout.margin.ratio),
        points=float(rollout.margin.points),
        false_positive_rate=float(rollout.false_positive_rate),
        false_advance_rate=float(rollout.false_advance_rate),
        window=min(max(longest, 1.0), 600.0) if longest else 60.0,
        latency=next((one.max for one in rollout.online if one.signal == "Latency"), None),
        judge=next((one.identity for one in rollout.online if one.signal == "Judge"), None),
        doubts=tuple(one.signal for one in rollout.online if one.signal == "Prometheus" and not one.counts_units),
    )


def read(status: Status | None, rollout: Rollout) -> State:
    """What a status says. A candidate without its memory (edited by hand, or lost) starts its clocks anew."""
    if status is None or status.phase is None:
        return State()
    stable = status.stable
    return State(
        phase=status.phase,
        held_from=status.held_from,
        stable=Stable(stable.digest, stable.version or "", moment(stable.since)) if stable and stable.digest else None,
        candidate=_candidate(status.candidate, rollout),
        rejected=tuple(status.rejected),
        history=tuple(status.history),
        handled=status.last_handled or LastHandled(),
    )


def _candidate(told: CandidateStatus | None, rollout: Rollout) -> Candidate | None:
    if told is None or not told.digest:
        return None
    memory = dict(told.memory or {})
    frozen, ending = memory.get("frozen"), memory.get("ending")
    return Candidate(
        digest=told.digest,
        version=told.version or "",
        attempt=told.attempt or 1,
        frozen=_frozen(frozen) if frozen else freeze(rollout),
        weight=told.weight or 0,
        step=told.step or 0,
        since=moment(told.since),
        active=float(memory.get("active", 0.0)),
        evidence_at=float(memory.get("evidenceAt", moment(told.since))),
        tries=int(memory.get("tries", 0)),
        score=told.score,
        hold=memory.get("hold"),
        bake=tuple(sorted((memory.get("bake") or {}).items())),
        ending=Ending(**ending) if ending else None,
        by_hand=bool(memory.get("byHand")),
    )


def _frozen(told: dict[str, Any]) -> Frozen:
    lists = {name: tuple(told.get(name, ())) for name in ("signals", "doubts")}
    return Frozen(**{**told, **lists})


def memory(candidate: Candidate) -> dict[str, Any]:
    """What `read` needs beside the status' own fields."""
    frozen = {name: value for name, value in asdict(candidate.frozen).items() if value is not None}
    told: dict[str, Any] = {
        # without None, which a merge patch takes away: what is read again must be what was written
        "frozen": {**frozen, "signals": list(candidate.frozen.signals), "doubts": list(candidate.frozen.doubts)},
        "active": round(candidate.active, 3),
        "evidenceAt": round(candidate.evidence_at, 3),
        "tries": candidate.tries or None,
        "hold": candidate.hold,
        "bake": dict(candidate.bake) or None,
        "ending": asdict(candidate.ending) if candidate.ending else None,
        "byHand": candidate.by_hand or None,
    }
    return {name: value for name, value in told.items() if value is not None}


def without_clocks(state: State) -> State:
    """The state as far as it matters to anyone but the clocks: a change of it is a transition."""
    if state.candidate is None:
        return state
    return replace(state, candidate=replace(state.candidate, active=0.0, evidence_at=0.0))


def stamp(at: float) -> str:
    """Unix seconds as Kubernetes writes a time."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str | None) -> float:
    """The reverse; 0 where there is none."""
    if not text:
        return 0.0
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
