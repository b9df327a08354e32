"""Everything one reconcile needs to know about a VectorIndex, read once into one frozen value."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import datetime

from llmops.api import Settings, VectorIndex, names, short
from llmops.api.common import Pricing
from llmops.control import Key
from llmops.control.turns import Turns, turns
from llmops.kube.cluster import Cluster
from llmops.kube.resources import (
    CONFIG_MAP,
    JOB,
    POD,
    PROMPT_RELEASE,
    REVISION,
    VECTOR_INDEX,
    Object,
)
from llmops.retrieval import replicas
from llmops.retrieval.children import WORK_KEY, asked_labels
from llmops.retrieval.engines import ENGINES, database, opener, place, unavailable
from llmops.retrieval.engines.opener import NOT_OURS, Standing
from llmops.retrieval.engines.waits import Waits
from llmops.retrieval.estimate import limits
from llmops.retrieval.pods import BUILD, PART
from llmops.retrieval.referred import Missing, questions_of
from llmops.retrieval.run import Run
from llmops.retrieval.services import embedder_of, pricing_of, reranker_of, through_door
from llmops.retrieval.sources import sources_of
from llmops.retrieval.work import (
    EmbeddingWork,
    Parts,
    Questions,
    RerankWork,
    SourceWork,
    Work,
    alias_of,
)


@dataclass(frozen=True)
class Seen:
    """One VectorIndex, as it is."""

    raw: Object
    index: VectorIndex
    settings: Settings
    sources: tuple[SourceWork, ...] = ()
    source_problem: str | None = None
    followed: bool = True  # whether every change of a source reaches us by itself
    embedder: EmbeddingWork | Missing | None = None
    questions: Questions | Missing | None = None
    engine_waits: Waits | None = None  # why nothing can be built in it now
    servers_ready: int = 0  # of those that know the permissions of now
    runs: tuple[Run, ...] = ()
    building: frozenset[str] = frozenset()  # Jobs with a pod that is not over
    out_of_memory: frozenset[str] = frozenset()  # Jobs with a pod that was ended as it took more than its limit
    pricing: Pricing | None = None  # the embedding service's
    trouble: str | None = None  # why a pod of ours does not start
    pinned: tuple[int, ...] = ()  # generations that releases name
    turns: Turns = field(default_factory=Turns)
    reranker: RerankWork | Missing | None = None
    through_door: bool = False  # whether the query server asks the door for vectors: of the spec, or of what is kept
    standing: Standing = NOT_OURS  # what is there of an engine that we run

    @property
    def served(self) -> Parts | None:
        """What the served generation was made of, by the status."""
        memory = self.index.status.memory if self.index.status else None
        parts = (memory or {}).get("parts")
        return Parts(**parts) if parts else None

    @property
    def were_served(self) -> tuple[str, ...]:
        """The timeless identities of what was served and whose generations are kept; last what is served now."""
        memory = self.index.status.memory if self.index.status else None
        return tuple(one["key"] for one in (memory or {}).get("wereServed") or [])

    @property
    def active(self) -> int | None:
        """The generation that is served, by the status."""
        generation = self.index.status.generation if self.index.status else None
        return generation.active if generation else None

    @property
    def work(self) -> Work | None:
        """What the spec asks for, all of it known; None while something is missing."""
        if self.source_problem or not isinstance(self.embedder, EmbeddingWork) or not isinstance(self.questions, list):
            return None
        if isinstance(self.reranker, Missing):
            return None
        return _work(self, self.embedder, self.questions, self.reranker)

    def run(self, key: str) -> Run | None:
        return next((one for one in self.runs if one.key == key), None)


async def observe(key: Key, cluster: Cluster, now: datetime) -> Seen | None:
    """Read it all; None when the index is gone."""
    raw = cluster.get(VECTOR_INDEX, key.namespace, key.name)
    if raw is None or raw["metadata"].get("deletionTimestamp"):
        return None
    index = VectorIndex.model_validate(raw)
    labels = names.labels(VECTOR_INDEX.kind, key.name)
    pods = cluster.list(POD, key.namespace, labels)
    ready = replicas.ready(pods, asked_labels(index))
    engine = ENGINES.get((index.spec.engine.type, index.spec.engine.mode))
    if engine is None or unavailable(index):  # what is served by another one goes on
        return Seen(raw, index, cluster.settings, servers_ready=ready)
    sources, problem, followed = await sources_of(index, cluster)
    questions, questions_followed = await questions_of(index, cluster)
    old, standing = raw.get("status") or {}, engine.standing(index, cluster.settings, cluster)
    last, promised = old.get("lastScheduleTime", ""), old.get("nextRefresh", "")
    when = turns(index.spec.refresh.schedule, index.spec.suspend, last, promised, now)
    seen = Seen(
        raw, index, cluster.settings, sources, problem, followed and questions_followed, embedder_of(index, cluster),
        questions, opener.told(engine.waits(index, cluster), standing), ready,
        await _runs(index, cluster), _building(pods), _out_of_memory(pods), pricing_of(index, cluster), _trouble(pods),
        _pinned(key, cluster), when, reranker_of(index, cluster), through_door(index, cluster),
        standing,
    )  # fmt: skip
    if not when.due:
        return seen
    work = seen.work
    run = seen.run(work.parts.key) if work else None
    still = run is not None and run.job is not None and (not run.ended or run.waiting is not None)
    return replace(seen, turns=when.skip() if still else when.begin())


def _work(seen: Seen, embedder: EmbeddingWork, questions: Questions, reranker: RerankWork | None) -> Work:
    index, spec = seen.index, seen.index.spec
    engine = ENGINES[spec.engine.type, spec.engine.mode]
    rule = spec.query.permissions
    # a question of no tenant is what it was before there were any
    asked = json.dumps([one if one.tenant else one[:2] for one in questions], ensure_ascii=False).encode()
    work = Work(
        index=names.qualified(index.metadata.namespace, index.metadata.name),
        alias=alias_of(index.metadata.namespace, index.metadata.name),
        engine=engine.address(index, seen.settings),
        sources=tuple(replace(one, look=_look(seen, one)) for one in seen.sources),
        chunking=spec.chunking.wire(),
        embedding=embedder,
        index_type=spec.index.type,
        metric=spec.index.metric,
        parameters={**_PARAMETERS.get(spec.index.type, {}), **spec.index.parameters},
        search={**_search(spec.index.type, spec.engine.mode), **spec.index.search.wire()},
        gates=tuple(gate.wire() for gate in spec.rollout.gates),
        questions_sha256=hashlib.sha256(asked).hexdigest() if questions else "",
        auto_tune=spec.rollout.auto_tune_search,
        keep_generations=spec.rollout.keep_generations,
        max_delete_percent=spec.refresh.max_delete_percent,
        redact=spec.cleaning.redact,
        deduplicate=spec.cleaning.deduplicate,
        languages=tuple(sorted(set(spec.cleaning.languages))),
        never_delete=spec.refresh.delete_policy == "Never",
        engine_type=spec.engine.type,
        database=database(index),
        place=place(index),
        mode=spec.query.mode,
        rerank=reranker,
        seen_by=rule.field if rule and (spec.engine.mode == "Lite" or spec.engine.type == "Qdrant") else "",
        tenants=spec.query.tenants.field if spec.query.tenants else "",
        after=_last(index),
        only_there=spec.suspend,
    )
    return replace(work, ask_above=_ask_above(seen, work.parts.key))


def _ask_above(seen: Seen, key: str) -> dict[str, int]:
    """Nothing, where this very work was approved."""
    asked = seen.index.spec.rollout.approve_above
    approved = (seen.raw["metadata"].get("annotations") or {}).get(names.APPROVE)
    if asked is None or approved in (key, short(key)):
        return {}
    return limits(asked.passages, asked.cost, seen.pricing)


def _last(index: VectorIndex) -> int:
    """The highest number that a generation had: no other gets it, though the engine may have forgotten that one."""
    told = index.status.generation if index.status else None
    return max([told.active or 0, *told.kept]) if told else 0


def _look(seen: Seen, source: SourceWork) -> str:
    """What makes the Job look again: a turn of the schedule where no event tells of a change, a person's retry, or an
    engine that went back to what it was, or began with nothing, in which not all is that was built."""
    waits = bool(source.kind) or not seen.index.spec.refresh.on_source_change
    retry = (seen.raw["metadata"].get("annotations") or {}).get(names.RETRY, "")
    engine = seen.standing
    return " ".join(one for one in (seen.turns.now if waits else "", retry, engine.restored, engine.began) if one)


_PARAMETERS: dict[str, dict[str, int]] = {
    "HNSW": {"M": 16, "efConstruction": 200}, "IVF_FLAT": {"nlist": 128}, "IVF_SQ8": {"nlist": 128},
}  # fmt: skip


def _search(index_type: str, mode: str) -> dict[str, int]:
    """How far a search looks at first: what is told can be widened, an engine's own default cannot."""
    if index_type == "HNSW" or (index_type, mode) == ("AUTOINDEX", "Lite"):  # Lite makes it an HNSW
        return {"ef": 64}
    return {"nprobe": 16} if index_type.startswith("IVF") or index_type == "SCANN" else {}


async def _runs(index: VectorIndex, cluster: Cluster) -> tuple[Run, ...]:
    """Every Job and every ConfigMap of outcomes, paired by the work they are of."""
    namespace, labels = index.metadata.namespace, names.labels(VECTOR_INDEX.kind, index.metadata.name)
    jobs = _by_key(cluster.list(JOB, namespace, labels))
    results = _by_key(cluster.list(CONFIG_MAP, namespace, labels))
    runs = []
    for key in sorted({*jobs, *results}):
        run = Run(key, jobs.get(key), results.get(key))
        if run.ended and run.outcome is None and run.waiting is None and run.results is not None:
            # the Job's end may reach the cache before the outcome that was written before it
            run = Run(key, run.job, await cluster.fresh(CONFIG_MAP, namespace, run.results["metadata"]["name"]))
        runs.append(run)
    return tuple(runs)


def _by_key(objects: list[Object]) -> dict[str, Object]:
    told = {(one["metadata"].get("annotations") or {}).get(WORK_KEY): one for one in objects}
    return {key: one for key, one in told.items() if key}


def _building(pods: list[Object]) -> frozenset[str]:
    return frozenset(
        str(pod["metadata"]["labels"].get("job-name"))
        for pod in pods
        if pod["metadata"]["labels"].get(PART) == BUILD
        and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
    )


def _out_of_memory(pods: list[Object]) -> frozenset[str]:
    return frozenset(
        str(pod["metadata"]["labels"].get("job-name"))
        for pod in pods
        if pod["metadata"]["labels"].get(PART) == BUILD
        for one in (pod.get("status") or {}).get("containerStatuses") or []
        if ((one.get("state") or {}).get("terminated") or {}).get("reason") == "OOMKilled"
    )


BY_INDEX = "generation"
"""The Index of what follows: releases, and their contents, that pin a generation."""


def of_release(raw: Object) -> list[tuple[str, str]]:
    """The index of which a release's spec pins a generation."""
    return _pins(raw, raw["spec"])


def of_revision(raw: Object) -> list[tuple[str, str]]:
    """The index of which a released content pins a generation."""
    return _pins(raw, raw["spec"].get("content") or {})


def _pins(raw: Object, content: Object) -> list[tuple[str, str]]:
    reference = content.get("indexRef") or {}
    return [(raw["metadata"]["namespace"], reference["name"])] if reference.get("generation") else []


def _pinned(key: Key, cluster: Cluster) -> tuple[int, ...]:
    """Of every content that is kept, so that a rollback by hand finds its passages too."""
    here = key.namespace, key.name
    contents = [one["spec"] for one in cluster.find(PROMPT_RELEASE, BY_INDEX, here)]
    contents += [one["spec"]["content"] for one in cluster.find(REVISION, BY_INDEX, here)]
    return tuple(sorted({int(one["indexRef"]["generation"]) for one in contents}))


def _trouble(pods: list[Object]) -> str | None:
    """In the kubelet's or the scheduler's words."""
    for pod in pods:
        status, name = pod.get("status") or {}, pod["metadata"]["name"]
        for one in status.get("containerStatuses") or []:
            waiting = (one.get("state") or {}).get("waiting") or {}
            if waiting.get("reason", "ContainerCreating") not in ("ContainerCreating", "PodInitializing"):
                return f"pod {name}: {waiting['reason']}: {waiting.get('message', '')}"
        for one in status.get("conditions") or []:
            if (one["type"], one["status"]) == ("PodScheduled", "False"):
                return f"pod {name}: {one.get('reason')}: {one.get('message', '')}"
    return None
