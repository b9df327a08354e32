"""A service whose revisions reach users by steps (spec.rollout): two sets of pods, one of them stable's. Pure.

    family(seen, state)     stable's arm and the candidate's: each a Seen of its own, as if it were a whole service
    missing(...)            why the candidate's pods cannot be evaluated yet
    plan(...)               the children of both, the Revisions with their labels, the evaluations
    status(...)             how it stands

What decides is llmops.rollout, as for a PromptRelease; what pods there are is plan.py's business, once for each arm. A
revision's pods keep their name when it becomes stable: nothing is started anew for being promoted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from llmops.api import LLMService, Reason, names, short
from llmops.api.llmservice import Accelerator, Engine, ModelSource
from llmops.api.rollout import ServiceRollout
from llmops.control import Condition, conditions, evidence, progress
from llmops.kube.resources import PVC, REVISION
from llmops.rollout import offline, tell
from llmops.rollout.state import State
from llmops.rollout.world import LEASE, Gateway, Outcome, Problem, Wanted, World
from llmops.serving import plan as planning
from llmops.serving import podspec, revision
from llmops.serving import status as stating
from llmops.serving.observe import Seen, last_words
from llmops.serving.plan import Plan
from llmops.serving.scaling import wanted_count
from llmops.serving.sources import download_name

Object = dict[str, Any]
AFTER = ("Released", "Rejected")
"""Phases in which a candidate, if there is one in the state, has no pods."""
NOTE = "llmops.dev/revision"


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


@dataclass(frozen=True)
class Arms:
    """Each revision with pods as a service of its own. `lost`: stable's Revision is gone, so it cannot be built."""

    stable: Seen | None
    candidate: Seen | None
    lost: str | None = None

    @property
    def homes(self) -> set[str]:
        return {one.home for one in (self.stable, self.candidate) if one is not None}


def version(service: LLMService) -> str:
    """What people call a revision: its model's name, and which one of it."""
    model = service.spec.model
    assert model is not None
    name = urlsplit(model.uri).path.rstrip("/").rsplit("/", 1)[-1] or urlsplit(model.uri).netloc
    pin = (model.revision or "").removeprefix("sha256:")[:12]
    return f"{name}@{pin}"[-63:] if pin else name[-63:]


# --- the two arms


def family(seen: Seen, state: State) -> Arms:
    """Whose pods there should be now."""
    stable = candidate = None
    taken: set[str] = set()
    if state.stable is not None:
        stable = _arm(seen, state.stable.digest, taken)
        if stable is None:
            return Arms(None, None, f"the Revision of {state.stable.digest[:10]}, which users get, is gone: restore it")
        taken = {stable.home}
    if state.candidate is not None and state.phase not in AFTER:
        candidate = _arm(seen, state.candidate.digest, taken)
    if candidate is not None:
        many = max(1, wanted_count(stable)) if stable else max(1, candidate.service.spec.replicas)
        spec = candidate.service.spec.model_copy(update={"autoscaling": None, "replicas": many})
        service = candidate.service.model_copy(update={"spec": spec})
        candidate = replace(candidate, service=service, load=None, gateways=())
    return Arms(stable, candidate)


def _arm(seen: Seen, digest: str, taken: set[str]) -> Seen | None:
    """None where the spec says something else by now, and no Revision says what it was."""
    kept = next((one for one in seen.revisions if one["spec"]["digest"] == digest), None)
    if kept is None and digest != seen.digest:
        return None
    service = seen.service if digest == seen.digest else restored(seen.service, kept or {})
    home, model = home_of(seen, digest, taken), service.spec.model
    assert model is not None
    job = download_name(seen.child, model)
    arm = replace(
        seen, service=service, digest=digest, revision=kept, homed=home,
        workload=seen.family.workloads.get(home), autoscaler=seen.family.autoscalers.get(home),
        download=seen.family.jobs.get(job),
    )  # fmt: skip
    pods = [one for one in seen.pods if _belongs(one, podspec.part(arm), job)]
    return replace(arm, pods=pods, told=last_words(pods))


def _belongs(pod: Object, part: str, job: str) -> bool:
    labels = pod["metadata"].get("labels") or {}
    return labels.get(podspec.PART) == part or labels.get("batch.kubernetes.io/job-name") == job


def home_of(seen: Seen, digest: str, taken: set[str]) -> str:
    """Where its pods are, or will be: the first revision's home is the service's, later ones have their own."""
    for name, one in seen.family.workloads.items():
        template = one["spec"].get("template") or one["spec"]["leaderWorkerTemplate"]["leaderTemplate"]
        noted = template["metadata"].get("annotations") or {}
        if noted.get(NOTE) == digest[:10] and name not in taken:
            return name
    if not taken and not seen.family.workloads:
        return seen.child
    own = f"{seen.child}-{short(digest)}"
    return seen.child if own in (*taken, *seen.family.workloads) else own


def restored(service: LLMService, kept: Object) -> LLMService:
    """The service as a Revision froze what matters of it; everything else as the spec has it today."""
    content = kept["spec"]["content"]
    accelerator = content.get("accelerator")
    frozen = {
        "model": ModelSource.model_validate(content["model"]),
        "engine": Engine.model_validate(content["engine"]),
        "accelerator": Accelerator.model_validate(accelerator) if accelerator is not None else None,
        "pod_template": content.get("podTemplate"),
    }
    return service.model_copy(update={"spec": service.spec.model_copy(update=frozen)})


# --- before users


def missing(arm: Seen, planned: Plan, rolling: Rolling, releases: Iterable[Object]) -> Problem | None:
    """Why nobody can ask the candidate yet; all of it may pass."""
    if planned.problem is not None:
        return Problem(planned.problem.reason, planned.problem.message)
    for gate in rolling.rollout.offline:
        if gate.eval_job_ref.name not in rolling.templates:
            what = f"EvalJob {gate.eval_job_ref.name}"
            return Problem(Reason.REFERENCE_MISSING, f"{what} does not exist: create it, or correct rollout.offline")
    for one in releases:
        if ((one.get("status") or {}).get("candidate") or {}).get("weight"):
            told = f"PromptRelease {one['metadata']['name']} is being rolled out over it, and goes first"
            return Problem(Reason.REFERENCE_NOT_READY, told)
    ready, reason, message, _ = stating.readiness(arm, planned)
    if ready:
        return None
    if reason == Reason.UNSCHEDULABLE and arm.service.spec.accelerator is not None:
        message += "; the candidate waits for room beside stable: free some, or write rollout.capacity: Recreate"
    return Problem(reason if isinstance(reason, Reason) else Reason.STARTING, f"the candidate's pods: {message}")


# --- what there should be


def plan(seen: Seen, rolling: Rolling, arms: Arms, state: State) -> tuple[Plan, tuple[str, ...]]:
    """The children of both arms, and the evaluations that are no longer needed."""
    if arms.lost is not None:
        return Plan(problem=planning.Problem(Reason.STABLE_UNKNOWN, arms.lost)), ()
    planned = [planning.plan(one) for one in (arms.stable, arms.candidate) if one is not None]
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
    """Homes of revisions that nobody meets any more: once every gateway said so, or its lease ran out."""
    others = left(seen, arms)
    if arms.stable is None or state.stable is None:
        return others
    waited = now - state.stable.since > LEASE
    known = tuple(gateways)
    told = bool(known) and all(one.stable == state.stable.digest for one in known)
    return others if waited or told else set()


# --- how it stands


def status(seen: Seen, rolling: Rolling, arms: Arms, planned: Plan, outcome: Outcome, now: datetime) -> Object:
    arm = arms.stable or arms.candidate or seen
    whole = stating.status(arm, planned, now)
    child = partial(_revision_name, seen.child)
    fields = tell.fields(outcome, rolling.wanted, rolling.world, child, revision.HISTORY, now)
    for name, one in (("stable", arms.stable), ("candidate", arms.candidate)):
        if name in fields and one is not None:
            fields[name] |= {"service": one.home} | stating.taught(one)
    told = _conditions(arm, arms, planned, rolling, outcome)
    old = (seen.raw.get("status") or {}).get("conditions")
    generation = seen.service.metadata.generation or 0
    whole.pop("stable", None)
    return {**whole, **fields, "conditions": conditions.merge(old, told, generation, now)}


def _revision_name(child: str, digest: str) -> str:
    return f"{child}-{short(digest)}"


def _conditions(arm: Seen, arms: Arms, planned: Plan, rolling: Rolling, outcome: Outcome) -> list[Condition]:
    """Stable's own trouble comes first: it is what users feel."""
    ready, reason, message, stalled = stating.readiness(arm, planned)
    at_rest = outcome.state.phase == "Released" and outcome.reason == Reason.AS_WANTED
    if arms.stable is None or (ready and not at_rest):
        ready, reason, message, stalled = False, outcome.reason, outcome.message, progress.stalled(outcome)
    available = arms.stable is not None and stating.available(arm, planned)
    return [
        *conditions.summary(ready=ready, available=available, reason=reason, message=message, stalled=stalled),
        *stating.parts(arm, planned),
        progress.evaluated(outcome, rolling.world),
        progress.healthy(outcome),
    ]
