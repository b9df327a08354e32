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
        old_jobs=_old_jobs(seen, {one["metadata"]["name"] for one in jobs}, known),
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
    """Retired and rejected Revisions beyond historyLimit, oldest first."""
    done = [one for digest, one in seen.revisions.items() if label(digest, state) in ("retired", "rejected")]
    done.sort(key=lambda one: str(one["metadata"].get("creationTimestamp", "")))
    if state.phase == "Holding" and state.stable is None:
        return ()
    return tuple(one["metadata"]["name"] for one in done[: max(0, len(done) - seen.release.spec.history_limit)])


def _jobs(seen: Seen, state: State) -> list[Object]:
    """The candidate's evaluations, from Evaluating on; suspended once acted upon, so that nothing runs them again."""
    if state.candidate is None or state.phase in BEFORE_EVALUATION or state.candidate.digest != seen.wanted.digest:
        return []
    over = not (state.phase == "Evaluating" or state.held_from == "Evaluating")
    gates = seen.release.spec.rollout.offline
    jobs = offline.build_jobs(seen.name, lambda digest: _target(seen, digest), gates, state, seen.templates, over)
    return [_existing(one, seen) for one in jobs if one["metadata"]["name"] in seen.jobs] if over else jobs


def _target(seen: Seen, digest: str) -> Object:
    return {"promptRef": {"name": seen.name, "version": digest}}


def _existing(job: Object, seen: Seen) -> Object:
    """With its uid an apply can only change it: one that somebody deletes in this very moment is not made anew."""
    metadata = job["metadata"]
    return {**job, "metadata": {**metadata, "uid": seen.jobs[metadata["name"]]["metadata"]["uid"]}}


def _old_jobs(seen: Seen, kept: set[str], known: set[str]) -> tuple[str, ...]:
    """Evaluations of contents that are gone, and those of others that still run; finished ones stay to be read."""
    prefix = f"{seen.name}-eval-"
    return tuple(
        name
        for name, job in seen.jobs.items()
        if name not in kept and name.startswith(prefix) and (name[len(prefix) :][:8] not in known or not _ended(job))
    )


def _ended(job: Object) -> bool:
    return (job.get("status") or {}).get("phase") in ("Succeeded", "Failed")
