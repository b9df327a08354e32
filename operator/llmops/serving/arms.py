"""Whose pods there should be while revisions are rolled out: stable's and the candidate's, as a Seen each. Pure.

A revision's pods keep their name when it becomes stable: nothing is started anew for being promoted. Where there is no
room for that (capacity: Recreate), it moves in where stable's pods are (loan.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from llmops.api import LLMService, Reason, short
from llmops.api.llmservice import Accelerator, Engine, ModelSource
from llmops.rollout.state import State
from llmops.rollout.world import Problem
from llmops.serving import loan, podspec, revision
from llmops.serving import plan as planning
from llmops.serving import status as stating
from llmops.serving.observe import Seen, last_words
from llmops.serving.plan import Plan
from llmops.serving.scaling import wanted_count
from llmops.serving.sources import download_name

Object = dict[str, Any]
AFTER = ("Released", "Rejected")
"""Phases in which a candidate, if there is one in the state, has no pods."""


@dataclass(frozen=True)
class Arms:
    """Each revision with pods as a service of its own. `lost`: stable's Revision is gone, so it cannot be built.

    `lent`: the candidate has the place of one of stable's replicas; `unlent`: why it has not got it yet.
    """

    stable: Seen | None
    candidate: Seen | None
    lost: str | None = None
    lent: bool = False
    unlent: Problem | None = None
    others: tuple[Seen, ...] = ()  # that prompts are released together with (pins.py)

    @property
    def all(self) -> tuple[Seen, ...]:
        return tuple(one for one in (self.stable, self.candidate, *self.others) if one is not None)

    @property
    def homes(self) -> set[str]:
        return {one.home for one in self.all}


def family(seen: Seen, state: State, waits: Problem | None = None) -> Arms:
    """Whose pods there should be now; `waits` is what else is missing, for which nobody gives up a place."""
    arms = _rolled(seen, state, waits)
    if arms.lost is not None or loan.lends(seen.service):
        return arms
    many = max(1, wanted_count(arms.stable) if arms.stable else seen.service.spec.replicas)
    taken, others = arms.homes, []
    for digest in {one.digest for one in seen.pins if not one.idle} - {one.digest for one in arms.all}:
        other = _arm(seen, digest, taken) if digest is not None else None
        if other is not None:
            others.append(_beside(other, many))
            taken |= {other.home}
    return replace(arms, others=tuple(others))


def _rolled(seen: Seen, state: State, waits: Problem | None) -> Arms:
    """Stable's and the candidate's."""
    stable = candidate = None
    taken: set[str] = set()
    if state.stable is not None:
        stable = _arm(seen, state.stable.digest, taken)
        if stable is None:
            return Arms(None, None, f"the Revision of {state.stable.digest[:10]}, which users get, is gone: restore it")
        taken = {stable.home}
    if state.candidate is not None and state.phase not in AFTER:
        candidate = _arm(seen, state.candidate.digest, taken)
    if candidate is None or state.candidate is None:
        return Arms(stable, None)
    if stable is not None and state.candidate.weight == 0 and loan.lends(seen.service):
        return _in_a_lent_place(stable, candidate, state, waits)
    many = max(1, wanted_count(stable) if stable else candidate.service.spec.replicas)
    idle = any(one.idle and one.waiting for one in seen.pins if one.digest == candidate.digest)
    return Arms(stable, _beside(candidate, 0 if idle else many))


def _in_a_lent_place(stable: Seen, candidate: Seen, state: State, waits: Problem | None) -> Arms:
    if state.phase not in loan.ASKED_FOR:
        return Arms(stable, _beside(candidate, 0))
    candidate = _beside(candidate, 1)
    unlent = _unlent(stable, candidate, waits)
    if unlent is not None:
        return Arms(stable, _beside(candidate, 0), unlent=unlent)
    return Arms(_with(stable, replicas=stable.service.spec.replicas - 1), candidate, lent=True)


def _unlent(stable: Seen, candidate: Seen, waits: Problem | None) -> Problem | None:
    """Users give up a replica when it is the last thing missing; what was lent stays so until it is decided."""
    never = loan.refused(stable.service)
    if never is not None:
        return Problem(Reason.INVALID_SPEC, never)
    if loan.count(candidate.workload) > 0:
        return None
    planned = planning.plan(candidate)
    if waits is not None or planned.problem is not None or planned.downloading:
        return waits or unready(candidate, planned)
    ready, _, message, _ = stating.readiness(stable, planning.plan(stable))
    told = f"stable lends no replica to the evaluation before all of its own are ready: {message}"
    return None if ready else Problem(Reason.REFERENCE_NOT_READY, told)


def _beside(candidate: Seen, many: int) -> Seen:
    """So many pods, whatever the load: it follows stable's count."""
    return replace(_with(candidate, autoscaling=None, replicas=many), load=None, gateways=())


def _with(arm: Seen, **changes: Any) -> Seen:
    spec = arm.service.spec.model_copy(update=changes)
    return replace(arm, service=arm.service.model_copy(update={"spec": spec}))


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
    """Where its pods are, or will be: the first revision's home is the service's, later ones have their own.

    One that was evaluated in a lent place moves in where stable's pods are; its one pod there is no home for users.
    """
    moves_in = not taken and loan.lends(seen.service) and seen.home in seen.family.workloads
    for name, one in seen.family.workloads.items():
        if noted(one) == revision.note(seen.revisions, digest) and name not in taken:
            return seen.home if moves_in and loan.count(one) < seen.service.spec.replicas else name
    if moves_in:
        return seen.home
    if not taken and not seen.family.workloads:
        return seen.child
    own = f"{seen.child}-{short(digest)}"
    return seen.child if own in (*taken, *seen.family.workloads) else own


def noted(workload: Object) -> str | None:
    """Whose pods these are (revision.note)."""
    template = workload["spec"].get("template") or workload["spec"]["leaderWorkerTemplate"]["leaderTemplate"]
    found: str | None = (template["metadata"].get("annotations") or {}).get(revision.NOTE)
    return found


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


def unready(arm: Seen, planned: Plan, whose: str = "the candidate's pods") -> Problem | None:
    """Why nobody can ask these pods."""
    ready, reason, message, _ = stating.readiness(arm, planned)
    if ready:
        return None
    beside = not loan.lends(arm.service)
    if reason == Reason.UNSCHEDULABLE and arm.service.spec.accelerator is not None and beside:
        message += "; the candidate waits for room beside stable: free some, or write rollout.capacity: Recreate"
    return Problem(reason if isinstance(reason, Reason) else Reason.STARTING, f"{whose}: {message}")
