"""The story of a VectorIndex's turn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from llmops import control
from llmops.api import Reason, names
from llmops.control import Clock, Key, LookAgain
from llmops.kube.cluster import Cluster
from llmops.kube.errors import Invalid, NotFound, NotOurs
from llmops.kube.resources import (
    CONFIG_MAP,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    EVAL_JOB,
    JOB,
    LLM_SERVICE,
    MILVUS,
    NETWORK_POLICY,
    PDB,
    POD,
    PROMPT_RELEASE,
    PROVIDER,
    PVC,
    REVISION,
    ROLE,
    ROLE_BINDING,
    SERVICE,
    SERVICE_ACCOUNT,
    VECTOR_INDEX,
    Object,
    Resource,
)
from llmops.retrieval.engines import cluster as clusters
from llmops.retrieval.observe import BY_INDEX, Seen, observe, of_release, of_revision
from llmops.retrieval.plan import Plan, State, not_installed, plan
from llmops.retrieval.status import status

# outcomes before Jobs: cut off in between, what is left says too little and never too much
PRUNED = (CONFIG_MAP, JOB, PDB)
OF_ENGINES = (DEPLOYMENT, SERVICE, NETWORK_POLICY, MILVUS)


async def reconcile(key: Key, cluster: Cluster, clock: Clock) -> LookAgain:
    """Observe, plan, apply, report; only then remove what is no longer needed."""
    now = clock.now()
    seen = await observe(key, cluster, now)
    if seen is None:
        return LookAgain.never()
    wanted = plan(seen)
    if wanted.state is not State.UNSUPPORTED:
        try:
            await cluster.apply(wanted.children, owner=seen.raw)
        except (NotOurs, Invalid) as refusal:
            reason = Reason.NOT_OURS if isinstance(refusal, NotOurs) else Reason.API_REFUSED
            wanted = Plan(State.FAILED, reason, str(refusal), keep=wanted.keep)
        except NotFound:
            if MILVUS not in map(Resource.of, wanted.children):
                raise
            seen = replace(seen, engine_waits=clusters.NOT_INSTALLED)
            wanted = not_installed(wanted, clusters.NOT_INSTALLED)
    told = status(seen, wanted, now)
    written = await cluster.report(seen.raw, told)
    if wanted.state is not State.UNSUPPORTED and wanted.reason not in (Reason.NOT_OURS, Reason.API_REFUSED):
        # only now: what is served is remembered, so an older outcome may go, and the engine that served before
        resources = (*PRUNED, *OF_ENGINES) if wanted.state is State.SERVED else PRUNED
        await cluster.prune(seen.raw, keep=(*wanted.children, *wanted.keep), resources=resources)
    if written:
        await _tell(seen.raw, told, cluster)
    if seen.turns.skipped:
        sentence = f"the turn of {seen.turns.skipped} was skipped: the build before it is still going"
        await cluster.event(seen.raw, Reason.RUN_SKIPPED, sentence)
    return _look_again(wanted, seen, now)


def _look_again(wanted: Plan, seen: Seen, now: datetime) -> LookAgain:
    waits = [one for one in (wanted.look_after,) if one is not None]
    if seen.turns.next is not None:
        waits.append(max(0.0, (seen.turns.next - now).total_seconds()))
    return LookAgain.after(min(waits)) if waits else LookAgain.never()


async def _tell(raw: Object, told: Object, cluster: Cluster) -> None:
    """An event when Ready changes its mind, or another generation is served."""
    old = raw.get("status") or {}
    before = {one["type"]: one for one in old.get("conditions") or []}.get("Ready") or {}
    ready = next(one for one in told["conditions"] if one["type"] == "Ready")
    flipped = (old.get("generation") or {}).get("active") != told["generation"].get("active")
    if flipped or (before.get("status"), before.get("reason")) != (ready["status"], ready["reason"]):
        stalled = any(one["type"] == "Stalled" and one["status"] == "True" for one in told["conditions"])
        await cluster.event(raw, ready["reason"], ready["message"], "Warning" if stalled else "Normal")


def _indexes(namespace: str, cluster: Cluster) -> list[Object]:
    return cluster.list(VECTOR_INDEX, namespace)


def _key(index: Object) -> Key:
    return Key(VECTOR_INDEX.kind, index["metadata"]["namespace"], index["metadata"]["name"])


def _by_service(service: Object, cluster: Cluster) -> Iterable[Key]:
    """Indexes that this service embeds or reranks for."""
    metadata = service["metadata"]
    for one in _indexes(metadata["namespace"], cluster):
        rerank = (one["spec"].get("query") or {}).get("rerank") or {}
        asked = (one["spec"]["embedding"]["serviceRef"], rerank.get("serviceRef") or {})
        if metadata["name"] in {service.get("name") for service in asked}:
            yield _key(one)


def _by_questions(job: Object, cluster: Cluster) -> Iterable[Key]:
    """Indexes that this EvalJob's questions measure."""
    metadata = job["metadata"]
    for one in _indexes(metadata["namespace"], cluster):
        if metadata["name"] in _questions_of(one):
            yield _key(one)


def _by_milvus(milvus: Object, cluster: Cluster) -> Iterable[Key]:
    """Indexes that are in this Milvus, also where it was not made for them."""
    metadata = milvus["metadata"]
    for one in _indexes(metadata["namespace"], cluster):
        if clusters.of_index(one) == metadata["name"]:
            yield _key(one)


def _by_endpoints(piece: Object, cluster: Cluster) -> Iterable[Key]:
    """Indexes whose Milvus has these pods behind its Service."""
    metadata = piece["metadata"]
    service = (metadata.get("labels") or {}).get(clusters.OF_SERVICE)
    for one in _indexes(metadata["namespace"], cluster):
        name = clusters.of_index(one)
        if name and clusters.service_of(name) == service:
            yield _key(one)


def _by_config_map(config_map: Object, cluster: Cluster) -> Iterable[Key]:
    """Indexes that read documents, or an EvalJob's questions, from this ConfigMap."""
    metadata = config_map["metadata"]
    for one in _indexes(metadata["namespace"], cluster):
        read = {(source.get("configMapRef") or {}).get("name") for source in one["spec"]["sources"]}
        for name in _questions_of(one):
            job = cluster.get(EVAL_JOB, metadata["namespace"], name)
            dataset = ((job or {}).get("spec") or {}).get("dataset") or {}
            read.add((dataset.get("configMapRef") or {}).get("name"))
        if metadata["name"] in read:
            yield _key(one)


def _nobody(_: Object, __: Cluster) -> Iterable[Key]:
    """What happens to a Provider its services say in their own status."""
    return ()


def _by_release(raw: Object, _: Cluster) -> Iterable[Key]:
    """A build that goes on is told at once which generation is named: at its end it removes what nobody names."""
    return [Key(VECTOR_INDEX.kind, *index) for index in of_release(raw)]


def _by_revision(raw: Object, _: Cluster) -> Iterable[Key]:
    return [Key(VECTOR_INDEX.kind, *index) for index in of_revision(raw)]


def _questions_of(index: Object) -> set[str]:
    gates = (index["spec"].get("rollout") or {}).get("gates") or []
    return {gate["evalJobRef"]["name"] for gate in gates if gate.get("evalJobRef")}


CONTROLLER = control.Controller(
    resource=VECTOR_INDEX,
    reconcile=reconcile,
    owns=(
        *(DEPLOYMENT, SERVICE, PDB, NETWORK_POLICY, MILVUS, PVC, JOB, POD, CONFIG_MAP),
        *(SERVICE_ACCOUNT, ROLE, ROLE_BINDING),
    ),
    refers=(
        control.Refers(CONFIG_MAP, _by_config_map, labels=f"{names.WATCH}=true"),
        control.Refers(LLM_SERVICE, _by_service),
        control.Refers(EVAL_JOB, _by_questions),
        control.Refers(MILVUS, _by_milvus),
        control.Refers(ENDPOINT_SLICE, _by_endpoints, labels="app.kubernetes.io/name=milvus"),
        control.Refers(PROMPT_RELEASE, _by_release),
        control.Refers(PROVIDER, _nobody),
        control.Refers(REVISION, _by_revision),
    ),
    indexes=(
        control.Index(PROMPT_RELEASE, BY_INDEX, of_release),
        control.Index(REVISION, BY_INDEX, of_revision),
    ),
)
