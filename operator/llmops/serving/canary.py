"""A service whose revisions reach users by steps (spec.rollout): two sets of pods, one of them stable's. Pure.

    referred(...)           what else than pods has to be there
    missing(...)            why the candidate's pods cannot be evaluated yet
    plan(...)               the children of both arms (arms.py), the Revisions with their labels, the evaluations
    status(...)             how it stands

What decides is llmops.rollout, as for a PromptRelease; what pods there are is plan.py's business, once for each arm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from llmops.api import LLMService, Reason, names, short
from llmops.api.rollout import ServiceRollout
from llmops.control import Condition, conditions, evidence, progress
from llmops.kube.resources import PVC, REVISION
from llmops.rollout import offline, tell
from llmops.rollout.state import State
from llmops.rollout.world import LEASE, Gateway, Outcome, Problem, Wanted, World
from llmops.serving import loan, pins, revision
from llmops.serving import plan as planning
from llmops.serving import status as stating
from llmops.serving.arms import Arms, noted, unready
from llmops.serving.observe import Seen
from llmops.serving.pins import Pin
from llmops.serving.plan import Plan

Object = dict[str, Any]


@dataclass(frozen=True)
class Rolling:
    """What a rollout needs to know besides the service."""

    rollout: ServiceRollout
    wanted: Wanted
    state: State
    world: World
    templates: Mapping[str, Object]  # EvalJobs that gates name
    evaluations: Mapping[str, Object]  # EvalJobs that are children
    kept: evidence.Kept | None
    pins: Sequence[Pin] = ()


def version(service: LLMService) -> str:
    """What people call a revision: its model's name, and which one of it."""
    model = service.spec.model
    assert model is not None
    name = urlsplit(model.uri).path.rstrip("/").rsplit("/", 1)[-1] or urlsplit(model.uri).netloc
    pin = (model.revision or "").removeprefix("sha256:")[:12]
    return f"{name}@{pin}"[-63:] if pin else name[-63:]


# --- before users


def referred(rolling: Rolling, releases: Iterable[Object]) -> Problem | None:
    """What has to be there besides pods; all of it may pass."""
    for gate in rolling.rollout.offline:
        if gate.eval_job_ref.name not in rolling.templates:
            what = f"EvalJob {gate.eval_job_ref.name}"
            return Problem(Reason.REFERENCE_MISSING, f"{what} does not exist: create it, or correct rollout.offline")
    if (moved := pins.held(rolling.pins, rolling.wanted.digest)) is not None:
        return moved
    for one in releases:
        if ((one.get("status") or {}).get("candidate") or {}).get("weight"):
            told = f"PromptRelease {one['metadata']['name']} is being rolled out over it, and goes first"
            return Problem(Reason.REFERENCE_NOT_READY, told)
    return None


def missing(arms: Arms, waits: Problem | None) -> Problem | None:
    """Why nobody can ask the candidate yet; all of it may pass."""
    arm = arms.candidate
    if arm is None:
        return None
    planned = planning.plan(arm)
    if planned.problem is not None:
        return Problem(planned.problem.reason, planned.problem.message)
    if waits is not None or arms.unlent is not None:
        return waits or arms.unlent
    asks_nobody = arm.service.spec.replicas == 0  # it gave its place back, and waits for a person
    return None if asks_nobody else unready(arm, planned)


# --- what there should be


def plan(seen: Seen, rolling: Rolling, arms: Arms, state: State) -> tuple[Plan, tuple[str, ...]]:
    """The children of both arms, and the evaluations that are no longer needed."""
    if arms.lost is not None:
        return Plan(problem=planning.Problem(Reason.STABLE_UNKNOWN, arms.lost)), ()
    planned = [planning.plan(one) for one in arms.all]
    jobs = _evaluations(seen, rolling, arms, state)
    applied = _merged((one for each in planned for one in each.children), state)
    kept = _merged((one for each in planned for one in each.keep), state)
    known = {one["spec"]["digest"][:8] for one in kept if one["kind"] == REVISION.kind}
    old = offline.old_jobs(
        seen.service.metadata.name, rolling.evaluations, {one["metadata"]["name"] for one in jobs}, known
    )
    nobody = planning.Problem(Reason.REJECTED, "no revision of it has pods")
    first = planned[0] if planned else Plan(problem=nobody)
    # an arm that cannot be planned leaves what it has alone, so nothing may be cleared away around it
    whole = all(one.problem is None for one in planned)
    return replace(first, children=(*applied, *jobs), keep=kept if whole else ()), old


def _merged(found: Iterable[Object], state: State) -> tuple[Object, ...]:
    """Each once. Both arms know all Revisions, whose labels are the rollout's to say, and share the cache's volume,
    which is as large as the newer one needs it."""
    once: dict[tuple[str, str], Object] = {}
    for one in found:
        key = one["kind"], one["metadata"]["name"]
        if key not in once or one["kind"] == PVC.kind:
            once[key] = one
    return tuple(_labelled(one, state) for one in once.values())


def _labelled(one: Object, state: State) -> Object:
    if one["kind"] != REVISION.kind:
        return one
    return {**one, "metadata": {**one["metadata"], "labels": {names.STATE: tell.label(one["spec"]["digest"], state)}}}


def _evaluations(seen: Seen, rolling: Rolling, arms: Arms, state: State) -> list[Object]:
    if state.candidate is not None and state.candidate.digest != seen.digest:
        return []
    name = seen.service.metadata.name
    target = partial(_target, name, arms)
    gates = rolling.rollout.offline
    return offline.jobs_now(name, target, gates, state, rolling.templates, rolling.evaluations)


def _target(name: str, arms: Arms, digest: str, adapter: str | None) -> Object:
    """An adapter that stable has not is compared with stable as it is."""
    arm = next((one for one in (arms.stable, arms.candidate) if one is not None and one.digest == digest), None)
    lacks = arm is not None and arm is arms.stable and adapter not in {one.name for one in arm.model.adapters}
    asked = {"adapter": adapter} if adapter and not lacks else {}
    return {"serviceRef": {"name": name, "revision": digest, **asked}}


def left(seen: Seen, arms: Arms) -> set[str]:
    """Homes of revisions that should have no pods any more."""
    return set(seen.family.workloads) - arms.homes if arms.lost is None else set()


def superfluous(seen: Seen, arms: Arms, state: State, gateways: Iterable[Gateway], now: float) -> set[str]:
    """Homes of revisions that nobody meets any more: once every gateway said so, or its lease ran out. In a lent place
    nobody ever was: it has stable's revision, and is not stable's home."""
    others = left(seen, arms)
    if arms.stable is None or state.stable is None:
        return others
    note = revision.note(seen.revisions, state.stable.digest)
    lent = {name for name in others if noted(seen.family.workloads[name]) == note}
    waited = now - state.stable.since > LEASE
    known = tuple(gateways)
    told = bool(known) and all(one.stable == state.stable.digest for one in known)
    return others if waited or told else lent


# --- how it stands


def pinned(seen: Seen, rolling: Rolling, arms: Arms, cold: Mapping[str, str]) -> list[Object]:
    """How the revisions stand that prompts are released together with; `cold`: by digest, what a warm-up said."""
    if loan.lends(seen.service):
        return pins.refused(rolling.pins, pins.IN_PLACE)
    homes = {one.digest: {"service": one.home, **_taught(one)} for one in arms.all}
    unready_ = {
        one.digest: problem.message for one in arms.all if (problem := unready(one, planning.plan(one), "its pods"))
    }
    return pins.told(rolling.pins, homes, {**cold, **unready_})


def status(seen: Seen, rolling: Rolling, arms: Arms, planned: Plan, outcome: Outcome, now: datetime) -> Object:
    arm = arms.stable or arms.candidate or seen
    whole = stating.status(arm, planned, now)
    child = partial(_revision_name, seen.child)
    fields = tell.fields(outcome, rolling.wanted, rolling.world, child, revision.HISTORY, now)
    for name, one in (("stable", arms.stable), ("candidate", arms.candidate)):
        if name in fields and one is not None:
            fields[name] |= {"service": one.home} | _taught(one)
    told = _conditions(arm, arms, planned, rolling, outcome)
    old = (seen.raw.get("status") or {}).get("conditions")
    generation = seen.service.metadata.generation or 0
    for field in ("stable", "pinned"):
        whole.pop(field, None)
    return {**whole, **fields, "conditions": conditions.merge(old, told, generation, now)}


def _taught(arm: Seen) -> Object:
    """While one moves in where another's pods are, the door is promised only adapters that both have."""
    told, stable = stating.taught(arm), arm.service.status.stable if arm.service.status else None
    note = revision.note(arm.revisions, arm.digest)
    moved_in = arm.workload is not None and noted(arm.workload) == note and stating.complete(arm)
    if not loan.lends(arm.service) or stable is None or stable.service != arm.home or moved_in:
        return told
    both = [one for one in told.get("adapters", []) if one in stable.adapters]
    return {"adapters": both} if both else {}


def _revision_name(child: str, digest: str) -> str:
    return f"{child}-{short(digest)}"


def _conditions(arm: Seen, arms: Arms, planned: Plan, rolling: Rolling, outcome: Outcome) -> list[Condition]:
    """Stable's own trouble comes first: it is what users feel."""
    ready, reason, message, stalled = stating.readiness(arm, planned)
    at_rest = outcome.state.phase == "Released" and outcome.reason == Reason.AS_WANTED
    if arms.stable is None or (ready and not at_rest):
        ready, reason, message, stalled = False, outcome.reason, outcome.message, progress.stalled(outcome)
        message += f"; stable lends it one of {arm.service.spec.replicas + 1} replicas" if arms.lent else ""
    available = arms.stable is not None and stating.available(arm, planned)
    return [
        *conditions.summary(ready=ready, available=available, reason=reason, message=message, stalled=stalled),
        *stating.parts(arm, planned),
        progress.evaluated(outcome, rolling.world),
        progress.healthy(outcome),
    ]
