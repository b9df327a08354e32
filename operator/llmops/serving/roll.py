"""The turn of a service whose revisions are rolled out: observe, look, report, apply (canary.py has what is decided).

The status comes first: a transition is written, and what follows from it is done in the next turn, a tenth of a second
later. So what the status does not say yet never happens, and a killed operator goes on where it says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp

from llmops.api import Reason, names
from llmops.control import Clock, Key, LookAgain, evidence
from llmops.kube.cluster import Cluster
from llmops.kube.errors import Forbidden, Invalid, NotFound, NotOurs
from llmops.kube.resources import (
    DEPLOYMENT,
    EVAL_JOB,
    HPA,
    JOB,
    LEADER_WORKER_SET,
    LLM_SERVICE,
    NETWORK_POLICY,
    PDB,
    PROMPT_RELEASE,
    PVC,
    REVISION,
    SCALED_OBJECT,
    SERVICE,
    Resource,
)
from llmops.rollout import offline, tell
from llmops.rollout.ledger import Tally
from llmops.rollout.machine import look
from llmops.rollout.state import State, read
from llmops.rollout.world import Outcome, Problem, Wanted, World
from llmops.serving import canary, downloads, groups, keda, load, loan, pins, revision, scaling, teach
from llmops.serving import plan as planning
from llmops.serving.arms import Arms, family
from llmops.serving.canary import Rolling
from llmops.serving.engines import ENGINES
from llmops.serving.observe import Seen, leaders, workloads
from llmops.serving.plan import Plan
from llmops.telemetry import rollouts

Object = dict[str, Any]
OF_HOME = (DEPLOYMENT, LEADER_WORKER_SET, SERVICE, PDB, HPA, NETWORK_POLICY)
BEFORE_EVIDENCE = ("Pending", "Validating", "Evaluating")
WARM_UP_SECONDS = 30.0
AWAITED_SECONDS = 5.0  # until gateways are asked again whether they left the pods of before, and pinned pods too
_WARM: WeakKeyDictionary[Cluster, set[str]] = WeakKeyDictionary()


def rolls(seen: Seen) -> bool:
    """Whether it is decided what reaches users; a revision that replaces another where that stands just does."""
    service = seen.service
    decided = loan.lends(service) or not loan.recreates(service)
    return seen.offer is None and service.spec.rollout is not None and decided


async def turn(key: Key, seen: Seen, cluster: Cluster, clock: Clock) -> LookAgain:
    now = clock.now()
    rolling = await _observe(key, seen, cluster, now)
    waits = canary.referred(rolling, cluster.find(PROMPT_RELEASE, pins.BY_SERVICE, (key.namespace, key.name)))
    before = family(seen, rolling.state, waits)
    world = replace(rolling.world, problem=await _missing(rolling, before, waits, cluster))
    outcome = look(rolling.state, rolling.wanted, world)
    rolling, arms = replace(rolling, world=world), family(seen, outcome.state, waits)
    planned, old = canary.plan(seen, rolling, arms, outcome.state)
    if not outcome.moved:
        planned = await _apply(seen, rolling, arms, planned, outcome, cluster)
        for name in old:
            await cluster.delete(EVAL_JOB, key.namespace, name)
        arms = family(_again(seen, cluster), outcome.state, waits)
        arms = replace(arms, stable=await _taught(arms.stable, cluster))
    told = canary.status(seen, rolling, arms, planned, outcome, now)
    told |= {"pinned": stand} if (stand := await _pinned(seen, rolling, arms, cluster)) else {}
    rollouts.show(LLM_SERVICE.kind, seen.service.qualified, told)
    if _due(seen, told, now):
        await cluster.report(seen.raw, told)
    for event in outcome.events:
        await cluster.event(seen.raw, event.reason, event.message, "Warning" if event.warning else "Normal")
    if rolling.kept is not None and evidence.due(rolling.kept, now.timestamp(), outcome.moved):
        saved = evidence.build_config_map(_memory(seen), rolling.kept, now.timestamp())
        await cluster.apply([saved], owner=seen.raw)
    load.keep(key, cluster, planned.advice.kept if planned.advice else None)
    awaited = bool(canary.left(seen, arms)) or not all(one.get("ready") for one in stand)
    return _again_after(seen, outcome, planned, awaited)


async def _taught(arm: Seen | None, cluster: Cluster) -> Seen | None:
    """Of a revision from before there was a rollout: its pods learn their adapters as they run."""
    if arm is None or not revision.frozen(arm.revision).get("slots"):
        return arm
    return await teach.teach(arm, planning.plan(arm), cluster)


def forget(key: Key, cluster: Cluster) -> None:
    """It is gone, or not rolled out any more."""
    rollouts.show(LLM_SERVICE.kind, names.qualified(key.namespace, key.name), None)
    evidence.forget(cluster, names.subject(key.namespace, key.name))


def strays(seen: Seen) -> set[str]:
    """Pods that a rollout left, where there is none any more."""
    return set(seen.family.workloads) - {seen.home}


async def drop(namespace: str, homes: set[str], cluster: Cluster) -> None:
    """The pods of revisions that nobody meets, and what stands before them; first of all who scales them."""
    for home in homes:
        for one in (DEPLOYMENT, LEADER_WORKER_SET):
            if keda.SCALER in _notes(cluster.get(one, namespace, home)):
                await cluster.delete(SCALED_OBJECT, namespace, home)
        for resource in OF_HOME:
            found = cluster.get(resource, namespace, home)
            if found is not None and not found["metadata"].get("deletionTimestamp"):
                await cluster.delete(resource, namespace, home, uid=found["metadata"]["uid"])


async def let_go(arm: Seen, cluster: Cluster) -> None:
    """KEDA's object goes before the count is somebody else's: two would write it."""
    if keda.SCALER in _notes(arm.workload) and not scaling.by_keda(arm.service):
        await cluster.delete(SCALED_OBJECT, arm.service.metadata.namespace, arm.home)


def _notes(workload: Object | None) -> Object:
    return ((workload or {}).get("metadata") or {}).get("annotations") or {}


def not_installed(seen: Seen, wanted: Plan) -> str | None:
    """What of another project's the plan needs: which of the two is told by who is there."""
    groups_of = {one["metadata"]["name"] for one in wanted.children if Resource.of(one) == LEADER_WORKER_SET}
    if groups_of - set(seen.family.workloads):
        return groups.MISSING
    return keda.MISSING if scaling.by_keda(seen.service) else None


def _again_after(seen: Seen, outcome: Outcome, planned: Plan, awaited: bool) -> LookAgain:
    scaled = planned.advice is not None and planned.advice.count
    times = (
        tell.look_after(outcome),
        load.SECONDS if scaled else None,
        AWAITED_SECONDS if awaited else None,
        downloads.SECONDS if any(map(downloads.downloads, seen.pods)) else None,
    )
    known = [one for one in times if one is not None]
    return LookAgain.after(min(known)) if known else LookAgain.never()


def _due(seen: Seen, told: Object, now: datetime) -> bool:
    """Evidence is written at most every ten seconds, everything else at once."""
    old = seen.raw.get("status") or {}
    others = ("url", "model", "replicas", "readyReplicas", "sizing", "scaling", "pinned")
    was, now_is = (tell.filled({name: one.get(name) for name in others}) for one in (old, told))
    return was != now_is or tell.due(old, told, seen.service.metadata.generation or 0, now)


def _again(seen: Seen, cluster: Cluster) -> Seen:
    """With the workloads as they are after our write: the counts of before would call a new spec served."""
    metadata = seen.service.metadata
    return replace(seen, family=replace(seen.family, workloads=workloads(metadata.namespace, metadata.name, cluster)))


# --- what is so


async def _observe(key: Key, seen: Seen, cluster: Cluster, now: datetime) -> Rolling:
    service, rollout = seen.service, seen.service.spec.rollout
    assert rollout is not None
    state = read(service.status, rollout)
    subject = names.subject(key.namespace, key.name)
    labels = names.labels(LLM_SERVICE.kind, key.name)
    jobs = {one["metadata"]["name"]: one for one in cluster.list(EVAL_JOB, key.namespace, labels)}
    wanted_jobs = {gate.eval_job_ref.name for gate in rollout.offline}
    templates = {name: cluster.get(EVAL_JOB, key.namespace, name) for name in wanted_jobs}
    kept = await _recall(seen, subject, state, cluster, now)
    annotations = service.metadata.annotations
    world = World(
        now=now.timestamp(),
        offline=offline.verdict(key.name, rollout.offline, state, jobs),
        tally=kept.tally if kept else Tally(),
        gateways=evidence.gateways(cluster, subject, now.timestamp()),
        approve=annotations.get(names.APPROVE),
        retry=annotations.get(names.RETRY),
        abort=annotations.get(names.ABORT),
        revisions={one["spec"]["digest"]: _labelled(one) for one in seen.revisions},
        frozen=state.candidate is None or state.candidate.digest in {one["spec"]["digest"] for one in seen.revisions},
    )
    wanted = Wanted(seen.digest, canary.version(service), rollout, service.spec.suspend, loan.lends(service))
    known = {name: one for name, one in templates.items() if one is not None}
    return Rolling(rollout, wanted, state, world, known, jobs, kept, seen.pins)


def _labelled(one: Object) -> tuple[str, str]:
    return (one["metadata"].get("labels") or {}).get(names.STATE, ""), one["spec"].get("version") or ""


async def _recall(seen: Seen, subject: str, state: State, cluster: Cluster, now: datetime) -> evidence.Kept | None:
    moving = state.candidate
    if moving is None or state.phase in BEFORE_EVIDENCE:
        return None
    namespace = seen.service.metadata.namespace
    rollout = seen.service.spec.rollout
    assert rollout is not None
    return await evidence.recall(cluster, namespace, subject, _memory(seen), moving, rollout, now.timestamp())


def _memory(seen: Seen) -> str:
    """The ConfigMap of the saved evidence."""
    return f"{seen.child}-evidence"


async def _missing(rolling: Rolling, arms: Arms, waits: Problem | None, cluster: Cluster) -> Problem | None:
    """Whether the candidate can be asked; it is, once, before anybody else does."""
    state, arm = rolling.state, arms.candidate
    if arm is None or state.candidate is None or state.candidate.weight or state.phase == "RollingBack":
        return None
    found = canary.missing(arms, waits)
    if found is not None or state.phase != "Pending":
        return found
    cold = await _warm_up(arm, cluster)
    return Problem(Reason.STARTING, f"the candidate's pods do not answer yet: {cold}") if cold else None


async def _pinned(seen: Seen, rolling: Rolling, arms: Arms, cluster: Cluster) -> list[Object]:
    """How the revisions stand that prompts are released together with. Nobody else has warmed them yet."""
    if not rolling.pins:
        return []
    stand = canary.pinned(seen, rolling, arms, {})
    ready = {one["digest"] for one in stand if one.get("ready")}
    cold = {one.digest: problem for one in arms.all if one.digest in ready if (problem := await _warm_up(one, cluster))}
    return canary.pinned(seen, rolling, arms, {digest: f"does not answer yet: {said}" for digest, said in cold.items()})


# --- what is done


async def _apply(
    seen: Seen, rolling: Rolling, arms: Arms, planned: Plan, outcome: Outcome, cluster: Cluster
) -> Plan:  # fmt: skip
    """The plan, or the problem that the API server had with it."""
    namespace = seen.service.metadata.namespace
    try:
        for arm in arms.all:
            await let_go(arm, cluster)
        await cluster.apply(planned.children, owner=seen.raw)
    except (NotOurs, Invalid, Forbidden) as refusal:
        reason = Reason.NOT_OURS if isinstance(refusal, NotOurs) else Reason.API_REFUSED
        return replace(planned, problem=planning.Problem(reason, str(refusal)))
    except NotFound:
        lacks = not_installed(seen, planned)
        if lacks is None:
            raise
        return replace(planned, problem=planning.Problem(Reason.REFERENCE_MISSING, lacks, waits=True))
    if planned.keep:
        await cluster.prune(seen.raw, keep=planned.keep, resources=(HPA, JOB, PVC, REVISION))
    world = rolling.world
    await drop(namespace, canary.superfluous(seen, arms, outcome.state, world.gateways, world.now), cluster)
    return planned


async def _warm_up(arm: Seen, cluster: Cluster) -> str | None:
    """One small request to every pod that had none yet, so that no user waits for caches and kernels."""
    warm = _WARM.setdefault(cluster, set())
    ready = [one for one in leaders(arm.pods) if (one.get("status") or {}).get("podIP")]
    cold = [one for one in ready if one["metadata"].get("uid") not in warm]
    answers = await asyncio.gather(*(_ask(arm, one["status"]["podIP"]) for one in cold))
    for one, problem in zip(cold, answers, strict=True):
        if problem is None:
            warm.add(one["metadata"]["uid"])
    return next((problem for problem in answers if problem), None)


WARMING: Mapping[str, tuple[str, Object]] = {
    "Generate": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}),
    "Embed": ("/v1/embeddings", {"input": ["Hello"]}),
    "Rerank": ("/v1/rerank", {"query": "Hello", "documents": ["Hello"]}),
}
"""A small request of each task."""


async def _ask(arm: Seen, ip: str) -> str | None:
    host = f"[{ip}]" if ":" in ip else ip
    model, port = arm.service.qualified, ENGINES[arm.engine.type].port
    path, body = WARMING[arm.model.task]
    timeout = aiohttp.ClientTimeout(total=WARM_UP_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(f"http://{host}:{port}{path}", json={"model": model, **body}) as reply,
        ):
            # a request that it understands and refuses has warmed it too: not every model has a chat template
            return None if reply.status < 500 else f"{path} answers {reply.status}"
    except (aiohttp.ClientError, TimeoutError, OSError) as problem:
        return f"{path}: {problem or type(problem).__name__}"


__all__ = ["drop", "forget", "let_go", "not_installed", "rolls", "strays", "turn"]
