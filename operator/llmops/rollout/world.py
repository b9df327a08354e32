"""What a look needs to know besides the spec and the status, and what comes out of it: frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from llmops.api import Reason
from llmops.api.rollout import Rollout
from llmops.rollout.ledger import Tally
from llmops.rollout.state import Candidate, State

LEASE = 35.0
"""Seconds after which a gateway that is not heard of sends nobody to a candidate: its split is leased for 30."""


@dataclass(frozen=True)
class Wanted:
    """What the spec says."""

    digest: str
    version: str
    rollout: Rollout
    suspend: bool = False
    unsplit: bool = False  # users are not split: what passes its evaluations replaces stable


@dataclass(frozen=True)
class Problem:
    """Why a content cannot go on: `final` is wrong for ever (rejected), the others wait for something outside it; of
    these `gated` ones only for its gates, which a rollback by hand does not pass through."""

    reason: Reason
    message: str
    final: bool = False
    gated: bool = False


@dataclass(frozen=True)
class Offline:
    """What the evaluations say: verdict Pass, Fail, Inconclusive or Error, or None while they run."""

    verdict: str | None = "Pass"
    message: str = "no evaluation was asked for"
    score: str | None = None


@dataclass(frozen=True)
class Gateway:
    """What one Ready gateway does, as of `at`; None where it never said."""

    name: str
    at: float | None
    candidate: str | None = None
    attempt: int = 0
    weight: int = 0
    stable: str | None = None

    def serves(self, candidate: Candidate) -> bool:
        """Whether it sends users to the candidate."""
        return (self.candidate, self.attempt) == (candidate.digest, candidate.attempt) and self.weight > 0


@dataclass(frozen=True)
class World:
    """Everything else that is so."""

    now: float
    problem: Problem | None = None
    offline: Offline = field(default_factory=Offline)
    tally: Tally = field(default_factory=Tally)
    gateways: tuple[Gateway, ...] = ()
    approve: str | None = None
    retry: str | None = None
    abort: str | None = None
    rollback: str | None = None
    revisions: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # digest -> (state, version), from labels
    frozen: bool = True  # whether the candidate's content is in a Revision


@dataclass(frozen=True)
class Event:
    """Something that happened, for people."""

    reason: Reason
    message: str
    warning: bool = False


@dataclass(frozen=True)
class Outcome:
    """A look's result: the next state, in words why, and what happened."""

    state: State
    reason: Reason
    message: str
    events: tuple[Event, ...] = ()
    moved: bool = False  # a transition: look again at once


def withdrawn_everywhere(candidate: Candidate, world: World) -> bool:
    """Whether no gateway sends anybody to the candidate any more: each said so since, or its lease has run out."""
    since = candidate.ending.at if candidate.ending else candidate.since
    if world.now - since > LEASE or world.now < since - LEASE:
        return True
    return bool(world.gateways) and all(
        one.at is not None and one.at >= since and not one.serves(candidate) for one in world.gateways
    )


def behind(candidate: Candidate, world: World) -> list[str]:
    """The gateways that do not serve the published weight yet; those whose lease ran out serve stable only."""
    live = [one for one in world.gateways if one.at is None or world.now - one.at <= LEASE]
    wanted = (candidate.digest, candidate.attempt, candidate.weight)
    late = [one.name for one in live if (one.candidate, one.attempt, one.weight) != wanted]
    return late if live else ["no gateway reports; all are"]


def named(annotation: str | None, candidate: Candidate, step: int | str | None = None) -> bool:
    """Whether an annotation names exactly this digest (8 digits suffice), attempt and, where given, step."""
    parts = (annotation or "").strip().split("/")
    rest = [str(candidate.attempt)] + ([str(step)] if step is not None else [])
    return len(parts[0]) >= 8 and candidate.digest.startswith(parts[0]) and parts[1:] == rest
