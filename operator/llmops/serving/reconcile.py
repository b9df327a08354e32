"""The story of an LLMService's turn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from llmops import control
from llmops.api.reasons import Reason
from llmops.control import Clock, Key, LookAgain
from llmops.kube.cluster import Cluster
from llmops.kube.errors import Forbidden, Invalid, NotFound, NotOurs
from llmops.kube.resources import (
    CONFIG_MAP,
    DEPLOYMENT,
    EVAL_JOB,
    HPA,
    JOB,
    LEADER_WORKER_SET,
    LLM_SERVICE,
    NETWORK_POLICY,
    NODE,
    PDB,
    POD,
    PROMPT_RELEASE,
    PROVIDER,
    PVC,
    REVISION,
    SERVICE,
    VECTOR_INDEX,
    Resource,
)
from llmops.serving import awake, devices, downloads, load, pins, roll, teach
from llmops.serving.observe import Seen, observe, workloads
from llmops.serving.plan import Plan, Problem, plan
from llmops.serving.status import status

PRUNED = (
    HPA,
    JOB,
    PVC,
    REVISION,
)  # of downloads that nobody needs, and old, and of fixed counts; the rest has one name for ever
OF_PODS = (
    DEPLOYMENT,
    LEADER_WORKER_SET,
    SERVICE,
    PDB,
    NETWORK_POLICY,
)  # go too where somebody else serves the model now
RETRY_SECONDS = 15.0  # for what no event tells of: a claim that is created, a quota that is raised
PROMISING = (Reason.STARTING, Reason.DOWNLOADING, Reason.GATEWAYS_BEHIND)


async def reconcile(key: Key, cluster: Cluster, clock: Clock) -> LookAgain:
    """Observe, plan, apply, report."""
    seen = await observe(key, cluster, clock)
    if seen is None:
        load.keep(key, cluster, None)
        roll.forget(key, cluster)
        return LookAgain.never()
    if roll.rolls(seen):
        return await roll.turn(key, seen, cluster, clock)
    wanted = plan(seen)
    if wanted.problem is None and not seen.service.spec.suspend:
        wanted = await _apply(seen, wanted, cluster)
        # as it is after our write: the counts of before would call the new spec served
        seen = replace(seen, workload=workloads(key.namespace, key.name, cluster).get(seen.home))
        seen = await teach.teach(seen, wanted, cluster)
    told = status(seen, wanted, clock.now())
    if await cluster.report(seen.raw, told):
        await _tell(seen.raw, told, cluster)
    if wanted.problem:
        return LookAgain.after(RETRY_SECONDS)
    load.keep(key, cluster, wanted.advice.kept if wanted.advice else None)
    return look_again(seen, wanted)


def look_again(seen: Seen, wanted: Plan) -> LookAgain:
    """What no event tells: the load of pods, how far a download is, and who has the accelerators that are missing."""
    if wanted.advice and wanted.advice.count:
        return LookAgain.after(load.SECONDS)
    if seen.holders or (seen.taught is not None and seen.taught.problem):  # who holds them is no news of this service's
        return LookAgain.after(RETRY_SECONDS)
    return LookAgain.after(downloads.SECONDS) if any(map(downloads.downloads, seen.pods)) else LookAgain.never()


async def _apply(seen: Seen, wanted: Plan, cluster: Cluster) -> Plan:
    """The plan, or the problem that the API server had with it."""
    try:
        await roll.let_go(seen, cluster)
        await cluster.apply(wanted.children, owner=seen.raw)
        pruned = (*PRUNED, *(OF_PODS if seen.offer is not None else _other_kind(wanted)))
        await cluster.prune(seen.raw, keep=wanted.keep, resources=pruned)
        if seen.offer is None and not wanted.downloading:
            await roll.drop(seen.service.metadata.namespace, roll.strays(seen), cluster)
    except (NotOurs, Invalid, Forbidden) as refusal:
        reason = Reason.NOT_OURS if isinstance(refusal, NotOurs) else Reason.API_REFUSED
        return Plan(problem=Problem(reason, str(refusal)))
    except NotFound:
        missing = roll.not_installed(seen, wanted)
        if missing is None:
            raise
        return Plan(problem=Problem(Reason.REFERENCE_MISSING, missing, waits=True))
    return wanted


def _other_kind(wanted: Plan) -> tuple[Resource, ...]:
    """What had the pods before, where a model that takes another number of nodes moved in."""
    made = {Resource.of(one) for one in wanted.children}
    return (LEADER_WORKER_SET,) if DEPLOYMENT in made else (DEPLOYMENT,) if LEADER_WORKER_SET in made else ()


async def _tell(raw: dict[str, Any], told: dict[str, Any], cluster: Cluster) -> None:
    """An event when Ready changes its mind; that a new service starts is no news."""
    before = _condition_ready((raw.get("status") or {}).get("conditions") or [])
    ready = _condition_ready(told["conditions"])
    new = not before and ready["reason"] in PROMISING
    if not new and (before.get("status"), before.get("reason")) != (ready["status"], ready["reason"]):
        kind = "Normal" if ready["status"] == "True" or ready["reason"] in PROMISING else "Warning"
        await cluster.event(raw, ready["reason"], ready["message"], kind)


def _condition_ready(listed: list[dict[str, Any]]) -> dict[str, Any]:
    return next((one for one in listed if one["type"] == "Ready"), {})


def _provider_of(raw: dict[str, Any]) -> list[str]:
    name = ((raw["spec"].get("external") or {}).get("providerRef") or {}).get("name")
    return [name] if name else []


def _by_provider(provider: dict[str, Any], cluster: Cluster) -> list[Key]:
    found = cluster.find(LLM_SERVICE, "provider", provider["metadata"]["name"])
    return [Key(LLM_SERVICE.kind, one["metadata"]["namespace"], one["metadata"]["name"]) for one in found]


def _misfit(raw: dict[str, Any]) -> list[bool]:
    """Those that other nodes may help."""
    ready = _condition_ready((raw.get("status") or {}).get("conditions") or [])
    return [True] if ready.get("reason") == Reason.DOES_NOT_FIT else []


def _by_node(_: dict[str, Any], cluster: Cluster) -> list[Key]:
    found = cluster.find(LLM_SERVICE, "misfit", True)
    return [Key(LLM_SERVICE.kind, one["metadata"]["namespace"], one["metadata"]["name"]) for one in found]


def _by_template(job: dict[str, Any], cluster: Cluster) -> list[Key]:
    """Services whose gates name this EvalJob."""
    metadata = job["metadata"]
    found = cluster.find(LLM_SERVICE, "template", (metadata["namespace"], metadata["name"]))
    return [Key(LLM_SERVICE.kind, one["metadata"]["namespace"], one["metadata"]["name"]) for one in found]


def _by_release(release: dict[str, Any], cluster: Cluster) -> list[Key]:
    """The service that it runs on."""
    return [Key(LLM_SERVICE.kind, *home) for home in pins.of_release(release)]


def _by_pin(revision: dict[str, Any], cluster: Cluster) -> list[Key]:
    """The service that a released content pins a revision of."""
    return [Key(LLM_SERVICE.kind, *home) for home in pins.of_revision(revision)]


def _by_index(index: dict[str, Any], _: Cluster) -> list[Key]:
    """The services that it asks, which may not sleep then."""
    return [Key(LLM_SERVICE.kind, *home) for home in awake.of_index(index)]


def _templates_of(raw: dict[str, Any]) -> list[tuple[str, str]]:
    gates = (raw["spec"].get("rollout") or {}).get("offline") or []
    return [(raw["metadata"]["namespace"], gate["evalJobRef"]["name"]) for gate in gates]


CONTROLLER = control.Controller(
    resource=LLM_SERVICE,
    reconcile=reconcile,
    owns=(*OF_PODS, HPA, PVC, JOB, POD, REVISION, EVAL_JOB, CONFIG_MAP),
    refers=(
        control.Refers(EVAL_JOB, _by_template),
        control.Refers(PROVIDER, _by_provider),
        control.Refers(NODE, _by_node, keep=devices.slim),
        control.Refers(PROMPT_RELEASE, _by_release),
        control.Refers(REVISION, _by_pin),
        control.Refers(VECTOR_INDEX, _by_index),
    ),
    indexes=(
        control.Index(LLM_SERVICE, "provider", _provider_of),
        control.Index(LLM_SERVICE, "misfit", _misfit),
        control.Index(LLM_SERVICE, "template", _templates_of),
        control.Index(PROMPT_RELEASE, pins.BY_SERVICE, pins.of_release),
        control.Index(REVISION, pins.BY_SERVICE, pins.of_revision),
        control.Index(VECTOR_INDEX, awake.BY_SERVICE, awake.of_index),
    ),
)
