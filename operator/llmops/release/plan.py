"""State -> children: Revisions whose labels say what became of them, and the candidate's EvalJobs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmops.api import PromptRelease, Revision, names, short
from llmops.release import content
from llmops.release.observe import Seen
from llmops.rollout import offline
from llmops.rollout.state import State
from llmops.rollout.tell import label, look_after
from llmops.rollout.world import Outcome

Object = dict[str, Any]
BEFORE_EVALUATION = ("Pending", "Validating")


@dataclass(frozen=True)
class Plan:
    """What there should be, and what is no longer needed."""

    children: tuple[Object, ...]
    old_revisions: tuple[str, ...]
    old_jobs: tuple[str, ...]
    look_after: float | None


def plan(seen: Seen, outcome: Outcome) -> Plan:
    """What follows from the state."""
    state = outcome.state
    old = _superfluous(seen, state)
    revisions = [build_revision(seen, digest, state) for digest in (*seen.revisions, *_new(seen, state))]
    revisions = [one for one in revisions if one["metadata"]["name"] not in old]
    jobs = _jobs(seen, state)
    known = {one["spec"]["digest"][:8] for one in revisions}
    return Plan(
        children=(*revisions, *jobs),
        old_revisions=old,
        old_jobs=offline.old_jobs(seen.name, seen.jobs, {one["metadata"]["name"] for one in jobs}, known),
        look_after=look_after(outcome),
    )


def revision_name(release: str, digest: str) -> str:
    """`<release>-prel-<digest10>`."""
    return f"{release}-prel-{short(digest)}"


def build_revision(seen: Seen, digest: str, state: State) -> Object:
    """The frozen content, with its label; one that exists keeps what it was frozen with."""
    existing = seen.revisions.get(digest)
    # status lost and labels undecided: they are all there is to restore from, so they stay as they are
    undecided = state.phase == "Holding" and state.stable is None and existing is not None
    told = existing["metadata"]["labels"].get(names.STATE, "") if undecided and existing else label(digest, state)
    return {
        "apiVersion": names.API_VERSION,
        "kind": Revision.KIND,
        "metadata": {"name": revision_name(seen.name, digest), "labels": {names.STATE: told}},
        "spec": existing["spec"] if existing else _frozen(seen, digest),
    }


def _frozen(seen: Seen, digest: str) -> Object:
    return {
        "ofKind": PromptRelease.KIND,
        "ofName": seen.name,
        "digest": digest,
        "version": seen.wanted.version,
        "content": content.content(seen.release),
    }


def _new(seen: Seen, state: State) -> list[str]:
    """The spec's content gets its Revision when it is evaluated; or again, if somebody deleted it."""
    digest = seen.wanted.digest
    moving = state.candidate is not None and state.candidate.digest == digest
    stable = state.stable is not None and state.stable.digest == digest
    needed = stable or (moving and state.phase not in BEFORE_EVALUATION)
    return [digest] if needed and digest not in seen.revisions else []


def _superfluous(seen: Seen, state: State) -> tuple[str, ...]:
    """Retired and rejected Revisions beyond historyLimit, oldest first; never the one to roll back to, which many
    rejected ones would push out otherwise."""
    spared = state.before.digest if state.before else None
    told = {digest: label(digest, state) for digest in seen.revisions if digest != spared}
    done = [seen.revisions[digest] for digest, said in told.items() if said in ("retired", "rejected")]
    done.sort(key=lambda one: str(one["metadata"].get("creationTimestamp", "")))
    if state.phase == "Holding" and state.stable is None:
        return ()
    return tuple(one["metadata"]["name"] for one in done[: max(0, len(done) - seen.release.spec.history_limit)])


def _jobs(seen: Seen, state: State) -> list[Object]:
    if state.candidate is not None and state.candidate.digest != seen.wanted.digest:
        return []
    gates = seen.release.spec.rollout.offline
    return offline.jobs_now(seen.name, lambda one, _: _target(seen, one), gates, state, seen.templates, seen.jobs)


def _target(seen: Seen, digest: str) -> Object:
    return {"promptRef": {"name": seen.name, "version": digest}}
