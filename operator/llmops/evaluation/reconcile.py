"""The story of an EvalJob's turn."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from llmops import control
from llmops.api import Reason, names
from llmops.control import Clock, Key, LookAgain
from llmops.evaluation.observe import Seen, observe
from llmops.evaluation.plan import Plan, plan
from llmops.evaluation.status import status
from llmops.kube.cluster import Cluster
from llmops.kube.resources import (
    CONFIG_MAP,
    EVAL_JOB,
    JOB,
    LLM_SERVICE,
    POD,
    PROMPT_RELEASE,
    PVC,
    REVISION,
    ROLE,
    ROLE_BINDING,
    SERVICE_ACCOUNT,
    VECTOR_INDEX,
)
from llmops.telemetry import evaluations


async def reconcile(key: Key, cluster: Cluster, clock: Clock) -> LookAgain:
    """Observe, plan, apply, report."""
    seen = await observe(key, cluster, clock.now())
    if seen is None:
        evaluations.show(names.qualified(key.namespace or "", key.name), None)
        return LookAgain.never()
    wanted = plan(seen)
    await cluster.apply(wanted.children, owner=seen.job)
    await cluster.prune(seen.job, keep=(*wanted.children, *wanted.keep), resources=[JOB, CONFIG_MAP])
    told = status(seen, wanted, clock.now())
    evaluations.show(names.qualified(seen.namespace, seen.name), told)
    if await cluster.report(seen.job, told):
        await _tell(seen.job, told, cluster)
        await _tell_skipped(seen, cluster)
    return _look_again(wanted, seen.turns.next, clock.now())


async def _tell(job: dict[str, Any], told: dict[str, Any], cluster: Cluster) -> None:
    """An event at each change of phase or verdict."""
    old = job.get("status") or {}
    if (old.get("phase"), old.get("verdict")) == (told.get("phase"), told.get("verdict")):
        return
    if told.get("verdict") and told.get("phase") in ("Pending", "Running"):
        return  # a time of the schedule: what it finds is told
    ready = next(one for one in told["conditions"] if one["type"] == "Ready")
    well = told.get("phase") != "Failed" and told.get("verdict") not in ("Fail", "Error")
    await cluster.event(job, ready["reason"], ready["message"], "Normal" if well else "Warning")


async def _tell_skipped(seen: Seen, cluster: Cluster) -> None:
    """Once a time that was left out, since its promise is gone from the status that was just written."""
    if seen.turns.skipped:
        sentence = f"the run of {seen.turns.skipped} was skipped: the one before it is still going"
        await cluster.event(seen.job, Reason.RUN_SKIPPED, sentence, "Warning")


def _look_again(wanted: Plan, following: datetime | None, now: datetime) -> LookAgain:
    due = [wanted.look_after] if wanted.look_after is not None else []
    due += [(following - now).total_seconds()] if following else []
    return LookAgain.after(min(due)) if due else LookAgain.never()


def _by_dataset(config_map: dict[str, Any], cluster: Cluster) -> Iterable[Key]:
    """EvalJobs that read their rows or a scorer from this ConfigMap."""
    metadata = config_map["metadata"]
    for one in cluster.list(EVAL_JOB, metadata["namespace"]):
        scorers = [_part(metric, "scorer") for metric in one["spec"].get("metrics") or []]
        if metadata["name"] in (_name(each, "configMapRef") for each in (_part(one["spec"], "dataset"), *scorers)):
            yield _key(one)


def _by_service(service: dict[str, Any], cluster: Cluster) -> Iterable[Key]:
    """EvalJobs that ask this service, have it judge, or ask a prompt: prompts run on services, by a Revision that is
    not read here.
    """
    name = service["metadata"]["name"]
    for one in cluster.list(EVAL_JOB, service["metadata"]["namespace"]):
        arms = [_part(one["spec"], "target"), _part(one["spec"], "baseline"), *(one["spec"].get("metrics") or [])]
        if any("promptRef" in arm or _name(arm, "serviceRef") == name for arm in arms):
            yield _key(one)


def _by_release(release: dict[str, Any], cluster: Cluster) -> Iterable[Key]:
    """EvalJobs that ask a version of this release."""
    return _by_prompt(release["metadata"]["namespace"], release["metadata"]["name"], cluster)


def _by_revision(revision: dict[str, Any], cluster: Cluster) -> Iterable[Key]:
    """EvalJobs that ask the release (or service) whose Revision this is."""
    metadata = revision["metadata"]
    owner = (metadata.get("labels") or {}).get(names.OWNER_NAME, "")
    return _by_prompt(metadata["namespace"], owner, cluster)


def _by_index(index: dict[str, Any], cluster: Cluster) -> Iterable[Key]:
    """EvalJobs that ask a prompt: it may retrieve from this index."""
    for one in cluster.list(EVAL_JOB, index["metadata"]["namespace"]):
        if "promptRef" in _part(one["spec"], "target"):
            yield _key(one)


def _by_prompt(namespace: str, name: str, cluster: Cluster) -> Iterable[Key]:
    for one in cluster.list(EVAL_JOB, namespace):
        if name in (_name(_part(one["spec"], arm), "promptRef") for arm in ("target", "baseline")):
            yield _key(one)


def _part(spec: dict[str, Any], name: str) -> dict[str, Any]:
    return spec.get(name) or {}


def _name(part: dict[str, Any], reference: str) -> str | None:
    return (part.get(reference) or {}).get("name")


def _key(job: dict[str, Any]) -> Key:
    return Key(EVAL_JOB.kind, job["metadata"]["namespace"], job["metadata"]["name"])


CONTROLLER = control.Controller(
    resource=EVAL_JOB,
    reconcile=reconcile,
    owns=(JOB, POD, CONFIG_MAP, SERVICE_ACCOUNT, ROLE, ROLE_BINDING, PVC),
    refers=(
        control.Refers(CONFIG_MAP, _by_dataset, labels=f"{names.WATCH}=true"),
        control.Refers(LLM_SERVICE, _by_service),
        control.Refers(PROMPT_RELEASE, _by_release),
        control.Refers(REVISION, _by_revision),
        control.Refers(VECTOR_INDEX, _by_index),
    ),
)
