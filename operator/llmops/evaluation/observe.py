"""Everything one reconcile needs to know about an EvalJob, read once into one frozen value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from llmops.api import EvalJob, Settings, names
from llmops.api.dataset import DatasetConfigMap
from llmops.api.evaljob import Benchmark, EvalJobSpec, Target
from llmops.api.metric import Metric, ScorerFile
from llmops.api.quantities import seconds
from llmops.control import Key
from llmops.control.turns import Turns, turns
from llmops.evaluation import children, measures
from llmops.evaluation import run as runs
from llmops.evaluation.rows import JSONL, Fields, Rows, form_of, parse, sha256
from llmops.evaluation.run import RESULTS, Run, Typed, run_key
from llmops.evaluation.source import Source, source_of
from llmops.evaluation.targets import Missing, Resolved, resolve
from llmops.kube.cluster import Cluster
from llmops.kube.resources import CONFIG_MAP, EVAL_JOB, JOB, POD

Object = dict[str, Any]
Raw = Mapping[str, Any]


@dataclass(frozen=True)
class DatasetSeen:
    """The dataset's text and rows, why there are none (`problem`), or where the Job reads them (`source`)."""

    text: str = ""
    rows: Rows | None = None
    problem: str | None = None
    followed: bool = True  # whether a change reaches us by itself
    form: str = JSONL
    source: Source | None = None


@dataclass(frozen=True)
class FileSeen:
    """A ConfigMap's data key, or why there is none."""

    text: str = ""
    problem: str | None = None
    followed: bool = True


@dataclass(frozen=True)
class Seen:
    """One EvalJob, as it is."""

    job: Object
    spec: EvalJob
    settings: Settings
    dataset: DatasetSeen
    target: Resolved | Missing | None = None
    baseline: Resolved | Missing | None = None
    panel: Mapping[str, Resolved | Missing] = field(default_factory=dict)  # who judges or embeds, by metric
    scorers: Mapping[str, FileSeen] = field(default_factory=dict)  # Python that people brought along, by metric
    run: Run | None = None  # what should be run now; None while something is missing
    batch: Raw | None = None  # that run's Job
    results: Raw | None = None  # that run's ConfigMap
    input: Raw | None = None
    trouble: str | None = None  # what keeps that Job's pod from starting
    last: Raw | None = None  # the ConfigMap of the run that the status speaks of
    others: tuple[Raw, ...] = ()  # ConfigMaps of former runs that have results, newest first
    turns: Turns = field(default_factory=Turns)

    @property
    def name(self) -> str:
        """The EvalJob's name."""
        return self.spec.metadata.name

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return self.spec.metadata.namespace


async def observe(key: Key, cluster: Cluster, now: datetime) -> Seen | None:
    """Read it all; None when the EvalJob is gone."""
    raw = cluster.get(EVAL_JOB, key.namespace, key.name)
    if raw is None or raw["metadata"].get("deletionTimestamp"):
        return None
    job = EvalJob.model_validate(raw)
    fields = read_as(job)
    target = _resolved(job.spec.target, job.spec, key, cluster, fields)
    baseline = _resolved(job.spec.baseline, job.spec, key, cluster, fields)
    dataset = await _dataset(job.spec, fields, key.namespace, cluster, _needs(target, baseline))
    panel = {
        metric.name: resolve(
            {"serviceRef": metric.service_ref.wire()}, key.namespace, cluster, cluster.settings.gateway_url
        )
        for metric in job.spec.metrics
        if metric.service_ref is not None
    }
    scorers = {
        one.name: await _key_of(one.scorer.config_map_ref, key.namespace, cluster, "def score(row, answer)")
        for one in job.spec.metrics
        if one.scorer is not None
    }
    old = raw.get("status") or {}
    when = turns(job.spec.schedule, job.spec.suspend, old.get("lastScheduleTime", ""), old.get("nextRun", ""), now)
    seen = Seen(raw, job, cluster.settings, dataset, target, baseline, panel, scorers, turns=when)
    seen = await _with_run(seen, cluster, build_run(seen))
    if not when.due:
        return seen
    if seen.batch is not None and not ended(seen.batch):
        return replace(seen, turns=when.skip())
    seen = replace(seen, turns=when.begin())
    return await _with_run(seen, cluster, build_run(seen))


def build_run(seen: Seen) -> Run | None:
    """What should be run now; None while rows or targets are missing."""
    spec, rows = seen.spec.spec, seen.dataset.rows
    if not isinstance(seen.target, Resolved):
        return None
    if spec.benchmark is None and seen.dataset.source is None and (rows is None or rows.problems):
        return None
    if any(one.problem for one in seen.scorers.values()):
        return None
    if isinstance(seen.baseline, Missing) or any(isinstance(one, Missing) for one in seen.panel.values()):
        return None
    run = Run(
        job=names.qualified(seen.namespace, seen.name),
        dataset_sha256=rows.sha256 if rows else "",
        rows=len(rows.rows) if rows else 0,
        metrics=tuple(metric.name for metric in spec.metrics),
        target=seen.target.arm,
        baseline=seen.baseline.arm if seen.baseline else None,
        fields=read_as(seen.spec),
        limit=spec.dataset.limit if spec.dataset else None,
        slices=tuple(spec.dataset.slices) if spec.dataset else (),
        concurrency=spec.concurrency,
        timeout_seconds=seconds(spec.timeout),
        keep_seconds=seconds(spec.keep.samples) if spec.keep else None,
        typed=tuple(_typed(metric, seen) for metric in spec.metrics if metric.type),
        form=seen.dataset.form,
        source=seen.dataset.source,
        needs=_needs(seen.target, seen.baseline),
        turn=seen.turns.now,
        worst_rows=spec.worst_rows,
        benchmark=_benchmark(spec.benchmark),
        budget=float(spec.budget.amount) if spec.budget else None,
        currency=spec.budget.currency if spec.budget else "",
    )
    return replace(run, key=run_key(run))


def _benchmark(asked: Benchmark | None) -> runs.Benchmark | None:
    if asked is None:
        return None
    return runs.Benchmark(tuple(asked.tasks), asked.claim or "", asked.shots, asked.limit, asked.chat)


def read_as(job: EvalJob) -> Fields:
    """How the rows are read: by the fields that the spec names, and with or without right answers, by its metrics."""
    if job.spec.dataset is None:
        return Fields()
    asked = [measures.about(metric.name, metric.type or "") for metric in job.spec.metrics]
    return Fields(
        **job.spec.dataset.fields.model_dump(),
        without_target=measures.rows_without_target(asked),
    )


def _typed(metric: Metric, seen: Seen) -> Typed:
    """The metric with what the spec says of it, defaults left out, and who judges or embeds."""
    settings = {name: value for name, value in metric.essence().items() if name not in ("name", "type", "serviceRef")}
    if metric.name in seen.scorers:
        settings["sha256"] = sha256(seen.scorers[metric.name].text)
    found = seen.panel.get(metric.name)
    return Typed(metric.name, metric.type or "", settings, found.arm if isinstance(found, Resolved) else None)


def _resolved(
    target: Target | None, spec: EvalJobSpec, key: Key, cluster: Cluster, fields: Fields
) -> Resolved | Missing | None:
    if target is None:
        return None
    found = resolve(target.wire(), key.namespace, cluster, cluster.settings.gateway_url, fields.input)
    return found if isinstance(found, Missing) else found.seeing(spec.groups, spec.tenant)


def _needs(*arms: Resolved | Missing | None) -> tuple[str, ...]:
    return tuple(sorted({name for arm in arms if isinstance(arm, Resolved) for name in arm.needs}))


async def _dataset(
    spec: EvalJobSpec, fields: Fields, namespace: str, cluster: Cluster, needs: tuple[str, ...]
) -> DatasetSeen:
    dataset = spec.dataset
    if dataset is None:
        return DatasetSeen()
    if dataset.inline is not None:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in dataset.inline)
        return DatasetSeen(text, parse(text, fields, dataset.limit, needs))
    if source := source_of(spec, namespace, cluster.settings):
        return DatasetSeen(source=source, form=form_of(source.address, dataset.format))
    if dataset.config_map_ref is None:
        return DatasetSeen()
    found = await _key_of(dataset.config_map_ref, namespace, cluster, "the rows")
    if found.problem:
        return DatasetSeen(problem=found.problem, followed=found.followed)
    form = form_of(dataset.config_map_ref.key, dataset.format)
    rows = parse(found.text, fields, dataset.limit, needs, form)
    return DatasetSeen(found.text, rows, followed=found.followed, form=form)


async def _key_of(reference: DatasetConfigMap | ScorerFile, namespace: str, cluster: Cluster, what: str) -> FileSeen:
    """A ConfigMap's data key, or why there is none."""
    where = f"ConfigMap {namespace}/{reference.name}"
    found = cluster.get(CONFIG_MAP, namespace, reference.name)
    if found is None or "data" not in found:  # without the label it is not in the cache
        found = await cluster.fresh(CONFIG_MAP, namespace, reference.name)
    if found is None:
        problem = f"{where} does not exist; create it, with {what} under {reference.key!r}"
        return FileSeen(problem=problem, followed=False)
    followed = (found["metadata"].get("labels") or {}).get(names.WATCH) == "true"
    data = found.get("data") or {}
    if reference.key not in data:
        has = ", ".join(sorted(data)) or "none"
        return FileSeen(problem=f"{where} has no data key {reference.key!r} (its keys: {has})", followed=followed)
    return FileSeen(data[reference.key], followed=followed)


async def _with_run(seen: Seen, cluster: Cluster, run: Run | None) -> Seen:
    """Add the run's children and what former runs left."""
    owned = [
        one
        for one in cluster.list(CONFIG_MAP, seen.namespace, names.labels("EvalJob", seen.name))
        if children.RUN_KEY in (one["metadata"].get("annotations") or {})
    ]
    by_key = {one["metadata"]["annotations"][children.RUN_KEY]: one for one in owned}
    last_key = seen.spec.status.run_key if seen.spec.status else None
    former = sorted(
        (one for one in owned if RESULTS in (one.get("data") or {})),
        key=lambda one: str(one["metadata"].get("creationTimestamp", "")),
        reverse=True,
    )
    seen = replace(seen, run=run, last=by_key.get(last_key or ""), others=tuple(former))
    if run is None:
        return seen
    batch, results = cluster.get(JOB, seen.namespace, children.run_name(seen.name, run)), by_key.get(run.key)
    if ended(batch) and RESULTS not in ((results or {}).get("data") or {}):
        # the Job's end may reach the cache before the results that were written before it
        results = await cluster.fresh(CONFIG_MAP, seen.namespace, children.run_name(seen.name, run))
    return replace(
        seen,
        batch=batch,
        trouble=_trouble(cluster, seen, run),
        results=results,
        input=cluster.get(CONFIG_MAP, seen.namespace, children.input_name(seen.name, run)),
    )


def _trouble(cluster: Cluster, seen: Seen, run: Run) -> str | None:
    """Why the run's pod does not start, in the kubelet's or the scheduler's words."""
    for pod in cluster.list(POD, seen.namespace, names.labels("EvalJob", seen.name)):
        if (pod["metadata"].get("labels") or {}).get("job-name") != children.run_name(seen.name, run):
            continue
        told = pod.get("status") or {}
        for one in told.get("containerStatuses") or []:
            waiting = (one.get("state") or {}).get("waiting") or {}
            if waiting.get("reason", "ContainerCreating") not in ("ContainerCreating", "PodInitializing"):
                return f"{waiting['reason']}: {waiting.get('message', '')}"
        for one in told.get("conditions") or []:
            if (one["type"], one["status"]) == ("PodScheduled", "False"):
                return f"{one.get('reason')}: {one.get('message', '')}"
    return None


def ended(batch: Raw | None) -> Raw | None:
    """The condition that says that a Job has ended, well or not."""
    conditions = ((batch or {}).get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one["type"] in ("Complete", "Failed") and one["status"] == "True"), None)
