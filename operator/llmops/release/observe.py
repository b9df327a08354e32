"""Everything one turn needs to know about a release, read once into one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from llmops.api import PromptRelease, Reason, Revision, names
from llmops.api.promptrelease import IndexRef, ServiceRef, pin
from llmops.control import Key, evidence
from llmops.kube.cluster import Cluster
from llmops.kube.resources import EVAL_JOB, LLM_SERVICE, PROMPT_RELEASE, REVISION, VECTOR_INDEX
from llmops.release import content
from llmops.rollout import offline
from llmops.rollout.ledger import Tally
from llmops.rollout.state import State, read
from llmops.rollout.world import Problem, Wanted, World

Object = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """One release, as it is."""

    raw: Object
    release: PromptRelease
    state: State
    wanted: Wanted
    world: World
    revisions: Mapping[str, Object]  # by digest
    templates: Mapping[str, Object]  # EvalJobs that gates name
    jobs: Mapping[str, Object]  # EvalJobs that are children
    kept: evidence.Kept | None

    @property
    def name(self) -> str:
        """The release's name."""
        return self.release.metadata.name

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return self.release.metadata.namespace


async def observe(key: Key, cluster: Cluster, now: datetime) -> Seen | None:
    """Read it all; None when the release is gone."""
    raw = cluster.get(PROMPT_RELEASE, key.namespace, key.name)
    if raw is None or raw["metadata"].get("deletionTimestamp"):
        evidence.forget(cluster, names.qualified(key.namespace, key.name))
        return None
    release = PromptRelease.parse(raw)
    state = read(release.status, release.spec.rollout)
    jobs = {one["metadata"]["name"]: one for one in cluster.list(EVAL_JOB, key.namespace, _labels(release))}
    revisions = {one["spec"]["digest"]: one for one in cluster.list(REVISION, key.namespace, _labels(release))}
    templates = _templates(release, cluster)
    kept = await _recall(cluster, release, state, now.timestamp())
    annotations = release.metadata.annotations
    world = World(
        now=now.timestamp(),
        problem=content.problem(release, bool(cluster.settings.prometheus_url))
        or missing(release, cluster)
        or gated(release, cluster, templates),
        offline=offline.verdict(key.name, release.spec.rollout.offline, state, jobs),
        tally=kept.tally if kept else Tally(),
        gateways=evidence.gateways(cluster, release.qualified, now.timestamp()),
        approve=annotations.get(names.APPROVE),
        retry=annotations.get(names.RETRY),
        abort=annotations.get(names.ABORT),
        rollback=annotations.get(names.ROLLBACK),
        revisions={digest: _state(one) for digest, one in revisions.items()},
        frozen=state.candidate is None or state.candidate.digest in revisions,
    )
    wanted = Wanted(content.content_digest(release), release.spec.version, release.spec.rollout, release.spec.suspend)
    return Seen(raw, release, state, wanted, world, revisions, templates, jobs, kept)


def _labels(release: PromptRelease) -> dict[str, str]:
    return {names.OWNER_KIND: PromptRelease.KIND, names.OWNER_NAME: release.metadata.name}


def _state(raw: Object) -> tuple[str, str]:
    revision = Revision.parse(raw)
    return revision.state, revision.spec.version or ""


def _templates(release: PromptRelease, cluster: Cluster) -> dict[str, Object]:
    wanted = {gate.eval_job_ref.name for gate in release.spec.rollout.offline}
    found = {name: cluster.get(EVAL_JOB, release.metadata.namespace, name) for name in wanted}
    return {name: one for name, one in found.items() if one is not None}


def missing(release: PromptRelease, cluster: Cluster) -> Problem | None:
    """The first thing it refers to that is not there, or not ready."""
    namespace, spec = release.metadata.namespace, release.spec
    wanted = [(LLM_SERVICE, spec.service_ref.name)]
    if spec.index_ref is not None:
        wanted.append((VECTOR_INDEX, spec.index_ref.name))
    for resource, name in wanted:
        found = cluster.get(resource, namespace, name)
        what = f"{resource.kind} {namespace}/{name}"
        if found is None:
            return Problem(Reason.REFERENCE_MISSING, f"{what} does not exist: create it, or correct the reference")
        task = ((found["spec"].get("model") or {}).get("task")) or "Generate"
        if resource == LLM_SERVICE and task != "Generate":
            return Problem(Reason.INVALID_SPEC, f"{what} has task {task}, not Generate: refer to one that generates")
        pinned = _revision(found, spec.service_ref) if resource == LLM_SERVICE else _generation(found, spec.index_ref)
        if pinned is not None:
            return Problem(Reason.REFERENCE_NOT_READY, f"{what}: {pinned}")
        if not _available(found):
            return Problem(Reason.REFERENCE_NOT_READY, f"{what} is not available yet: see its conditions")
    return None


def gated(release: PromptRelease, cluster: Cluster, templates: Mapping[str, Object]) -> Problem | None:
    """The first thing that its gates wait for: two rollouts at once over one service would blur both evidences."""
    namespace, spec = release.metadata.namespace, release.spec
    found = cluster.get(LLM_SERVICE, namespace, spec.service_ref.name) or {}
    if not spec.service_ref.revision and ((found.get("status") or {}).get("candidate") or {}).get("weight"):
        told = f"LLMService {namespace}/{spec.service_ref.name} is being rolled out itself, and goes first"
        return Problem(Reason.REFERENCE_NOT_READY, told, gated=True)
    for judge in (one.service_ref for one in spec.rollout.online if one.service_ref is not None):
        if cluster.get(LLM_SERVICE, namespace, judge.name) is None:
            what = f"LLMService {namespace}/{judge.name}, which is to judge"
            told = f"{what}, does not exist: create it, or correct rollout.online"
            return Problem(Reason.REFERENCE_MISSING, told, gated=True)
    for gate in spec.rollout.offline:
        if gate.eval_job_ref.name not in templates:
            told = f"EvalJob {namespace}/{gate.eval_job_ref.name} does not exist: create it, or correct rollout.offline"
            return Problem(Reason.REFERENCE_MISSING, told, gated=True)
        if "benchmark" in templates[gate.eval_job_ref.name]["spec"]:
            told = f"EvalJob {namespace}/{gate.eval_job_ref.name} is a benchmark, which asks services and no prompts"
            return Problem(Reason.INVALID_SPEC, f"{told}: name one with a dataset in rollout.offline", gated=True)
    return None


def _revision(service: Object, asked: ServiceRef) -> str | None:
    """Why the revision that this release pins cannot be asked."""
    pinned = (service.get("status") or {}).get("pinned") or []
    found = next((one for one in pinned if pin(one["revision"]) == asked.pin), None)
    if not asked.revision:
        return None
    if found is None:
        return f"its operator has not seen yet that revision {asked.revision} is wanted"
    return None if found.get("ready") else f"revision {asked.revision}: {found.get('message', 'not ready')}"


def _generation(index: Object, asked: IndexRef | None) -> str | None:
    """Why the generation that this release pins cannot be asked."""
    told = (index.get("status") or {}).get("generation") or {}
    there = sorted({*told.get("kept", []), *([told["active"]] if "active" in told else [])})
    if asked is None or asked.generation is None or asked.generation in there:
        return None
    has = f"it has {', '.join(map(str, there))}" if there else "it has none yet"
    return f"there is no generation {asked.generation} that passed its gates: {has}"


def _available(raw: Object) -> bool:
    conditions = (raw.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Available" and one["status"] == "True" for one in conditions)


async def _recall(cluster: Cluster, release: PromptRelease, state: State, now: float) -> evidence.Kept | None:
    moving = state.candidate
    if moving is None or state.phase in ("Pending", "Validating", "Evaluating"):
        return None
    metadata, rollout = release.metadata, release.spec.rollout
    return await evidence.recall(
        cluster, metadata.namespace, release.qualified, config_map_name(metadata.name), moving, rollout, now
    )


def config_map_name(release: str) -> str:
    """Of the saved evidence."""
    return f"{release}-evidence"
