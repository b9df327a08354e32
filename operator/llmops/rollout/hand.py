"""A rollback by a person's hand: `llmops.dev/rollback: <digest>/<attempt>`, in one write with that content in the spec.

What users had before gets all of them at once: in an emergency nobody waits for evaluations and statistics. So the
annotation counts for one attempt of a content that was stable once, and that nothing has spoken against since. It names
the attempt because annotations stay: a digest alone would let the same content pass unseen again, a year later. What
counts for nothing is said once and never counts again.

An attempt that was withdrawn uses nothing up, until something else is released: Argo CD puts Git's content back seconds
after the write, and the same annotation, committed to Git a minute later, has to count then.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile

from llmops.api import names
from llmops.rollout.state import State
from llmops.rollout.world import Wanted, World

MAX_TOLD = 100
"""As much of an annotation as is told again; one that means something is shorter."""
IGNORED = " (passed over)"
"""In a status, after a value that counted for nothing."""


def told(world: World) -> str:
    """The annotation's value, empty where there is none."""
    return (world.rollback or "").strip()[:MAX_TOLD]


def handled(state: State, world: World, ignored: bool = False) -> State:
    """The state, once the annotation was looked at."""
    said = told(world) + (IGNORED if ignored else "")
    return replace(state, handled=state.handled.model_copy(update={"rollback": said}))


def asked(state: State, wanted: Wanted, world: World) -> bool:
    """Whether a person asks for the spec's content at once, and may; not where that was done already."""
    value, moving = told(world), state.candidate
    if not value or state.handled.rollback == value + IGNORED:
        return False
    done = moving is not None and moving.digest == wanted.digest and moving.by_hand
    return not done and why_not(state, wanted, value) is None


def passed_over(state: State, wanted: Wanted, world: World) -> str | None:
    """Why a new annotation counts for nothing; None where it counts, or there is none, or it was handled. While
    something is taken back nothing is said: what was it by then may be another attempt."""
    value = told(world)
    if value == "" or state.handled.rollback in (value, value + IGNORED) or state.phase == "RollingBack":
        return None
    why = why_not(state, wanted, value)
    return f"{names.ROLLBACK}: {value} is passed over: {why}" if why else None


def why_not(state: State, wanted: Wanted, value: str) -> str | None:
    """Why this annotation would count for nothing where the spec has this content."""
    this, attempt = f"{wanted.version} ({wanted.digest[:10]})", attempt_of(state, wanted.digest)
    digest, _, number = value.partition("/")
    if len(digest) < 8 or not wanted.digest.startswith(digest):
        return f"it does not name the content of the spec, {this}; write both in one change, as `llmops rollback` does"
    if state.stable is None:
        return "no version is stable, so there is none to go back from"
    if state.stable.digest == wanted.digest:
        return f"{this} is stable: its users have it"
    known = state.rejection(wanted.digest)
    if known is not None:
        return (
            f"{this} was rejected since ({known.reason}), and what was seen last counts: go back to another version, "
            f"or let it show that it is better now, with {names.RETRY}: {known.digest}/{known.attempt or 1}"
        )
    if not state.released(wanted.digest):
        return f"{this} was never released, as far as the history goes, and takes the usual way"
    if not _speaks_of(state, wanted.digest, number, attempt):
        return f"this is attempt {attempt}: write {wanted.digest}/{attempt}"
    return None


def _speaks_of(state: State, digest: str, number: str, attempt: int) -> bool:
    """Whether it names this attempt, or one after which there were only withdrawn ones, and no other release."""
    if not number.isdecimal() or not 0 < int(number) <= attempt:
        return False
    lately = takewhile(lambda one: one.outcome != "Released", state.history)
    withdrawn = {one.attempt for one in lately if one.digest == digest and one.outcome == "Withdrawn"}
    # an attempt that is neither this one nor withdrawn ended otherwise, however many there are in between
    return attempt - int(number) <= len(withdrawn) and withdrawn.issuperset(range(int(number), attempt))


def attempt_of(state: State, digest: str) -> int:
    """The attempt of this content that is on its way, or would be the next."""
    moving = state.candidate
    if moving is not None and moving.digest == digest:
        return moving.attempt + (state.phase in ("Rejected", "RollingBack"))
    return state.tried(digest) + 1
