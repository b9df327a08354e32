"""What should be: an observation in, the children and what stands in the way out. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llmops.api.llmservice import EngineType
from llmops.api.reasons import Reason
from llmops.api.rollout import ServiceRollout
from llmops.serving import children, devices, external, fetcher, groups, merge, podspec, revision, scaling
from llmops.serving.autoscale import Advice
from llmops.serving.engines import ENGINES
from llmops.serving.known import known
from llmops.serving.observe import Seen
from llmops.serving.revision import Resolved
from llmops.serving.sizing import size
from llmops.serving.sources import (
    SHA256,
    STORES,
    WORKS,
    Source,
    Weights,
    every,
    given_claim,
    is_file,
    is_shared,
    scheme,
    source,
)

Object = dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """Why the service cannot go on by itself; `waits` when time, not a person, will mend it."""

    reason: Reason
    message: str
    waits: bool = False


@dataclass(frozen=True)
class Plan:
    """`children` are applied; what is ours and not in `keep` is pruned. With a problem, what runs is left alone."""

    children: tuple[Object, ...] = ()
    keep: tuple[Object, ...] = ()
    problem: Problem | None = None
    downloading: bool = False
    resolved: Resolved | None = None
    advice: Advice | None = None


def plan(seen: Seen) -> Plan:
    if seen.offer is not None:
        return _external(seen, seen.offer)
    found = next((problem for check in CHECKS if (problem := check(seen)) is not None), None)
    if found is not None:
        return Plan(problem=found)
    resolved = _resolved(seen)
    where = source(seen.model, podspec.claim_name(seen), resolved.image_volume)
    # the files may say how large the model is: nothing is frozen before they have been asked
    revisions = tuple(map(revision.again, seen.revisions)) if _asks_files(seen) else _revisions(seen, resolved)
    front = (children.build_service(seen, resolved), children.build_network_policy(seen, resolved))
    cache, job = _cache(seen, where, resolved)
    downloading = where.shared and not _succeeded(seen.download)
    # while another model downloads, the old pods go on: the Deployment changes when the new weights are there
    advice = scaling.advice(seen)
    pods = () if downloading else _pods(seen, where, resolved, advice)
    scaler = scaling.build_autoscaler(seen, groups.workload(resolved))
    made = (*revisions, *front, *cache, *pods)
    return Plan(made, (*made, *job, *scaler), None, downloading, resolved, advice)


def _external(seen: Seen, offered: external.Offer) -> Plan:
    """Somebody's API has no pods, and whatever a model of ours had before goes."""
    trouble = external.problem(offered)
    if trouble is not None:
        return Plan(problem=Problem(*trouble, waits=True))
    revisions = _revisions(seen, None)
    return Plan(revisions, revisions)


def _not_yet(seen: Seen) -> Problem | None:
    spec = seen.service.spec
    asked = {
        f"spec.engine.type {seen.engine.type}": seen.engine.type not in ENGINES,
        **{f"spec.model.uri {scheme(one)}://": scheme(one) not in WORKS for one in every(seen.model)},
        scaling.unsupported(seen) or "": scaling.unsupported(seen) is not None,
        **_not_yet_rolled(spec.rollout),
        f"spec.model.credentialsSecretRef with {scheme(seen.model)}://": (
            seen.model.credentials_secret_ref is not None
            and not any(scheme(one) in STORES for one in every(seen.model))
        ),
    }
    missing = [what for what, it_is in asked.items() if it_is]
    if not missing:
        return None
    return Problem(
        Reason.UNSUPPORTED,
        f"{' and '.join(missing)}: not available in this version, which has engines {' and '.join(sorted(ENGINES))}, "
        f"models from {', '.join(f'{one}://' for one in WORKS)}, and autoscaling by Operator "
        "and by KEDA, and by HPA on what the engine tells",
    )


def _not_yet_rolled(rollout: ServiceRollout | None) -> dict[str, bool]:
    if rollout is None:
        return {}
    unknown = {one.signal for one in rollout.online} - {"Errors", "Feedback", "Latency", "Prometheus"}
    return {
        "spec.rollout.shadow": rollout.shadow is not None,
        f"spec.rollout.online {' and '.join(sorted(unknown))}": bool(unknown),
    }


def _prometheus(seen: Seen) -> Problem | None:
    if seen.settings.prometheus_url:
        return None
    unknown = "asks Prometheus, and the operator does not know where it is: its admin sets LLMOPS_PROMETHEUS_URL"
    rollout = seen.service.spec.rollout
    if rollout is not None and any(one.signal == "Prometheus" for one in rollout.online):
        return Problem(Reason.UNSUPPORTED, f"spec.rollout.online {unknown}; or remove the signal")
    if scaling.asks_prometheus(seen):
        return Problem(Reason.UNSUPPORTED, f"spec.autoscaling {unknown}; or write by: Operator and another metric")
    return None


def _folder(seen: Seen) -> Problem | None:
    """An engine that reads one file is not given a folder, nor the other way round."""
    return next(
        (problem for one in every(seen.model) if (problem := _unreadable(one, seen.engine.type)) is not None), None
    )


def _unreadable(model: Weights, engine: EngineType) -> Problem | None:
    uri, one, wants = model.uri, is_file(model), ENGINES[engine].wants_folder
    if one is None or wants is None:
        return None
    if one and wants:
        told = f"{uri} is one file, and {engine} reads a folder: write hf://org/name or s3://bucket/folder"
        return Problem(Reason.UNSUPPORTED, told)
    if not one and not wants:
        after = "#<path of the file>" if scheme(model) == "oci" else "/<file>.gguf"
        told = f"{uri} is a folder, and {engine} reads one file: write {uri.rstrip('/')}{after}"
        return Problem(Reason.INVALID_SPEC, told)
    if scheme(model) == "oci":
        return None
    if not one and (model.revision or "").startswith(SHA256):
        told = f"{uri} is a whole repository, which has no one SHA-256: write its commit as revision"
        return Problem(Reason.INVALID_SPEC, told)
    if not one and scheme(model) != "hf" and model.revision:
        told = f"{uri} is a folder, and buckets keep no versions of one: remove its revision, and write the next"
        return Problem(Reason.INVALID_SPEC, f"{told} version under a prefix of its own")
    return None


def _adapters(seen: Seen) -> Problem | None:
    claim = given_claim(seen.model)
    away = [one.uri for one in seen.model.adapters if scheme(one) == "pvc" and given_claim(one) != claim]
    if not away:
        return None
    told = f"{away[0]} is on a claim of its own, and a pod mounts one: put it beside the model, on pvc://{claim or '…'}"
    return Problem(Reason.INVALID_SPEC, told if claim else f"{told}, with the model, or name where it is downloaded")


def _license(seen: Seen) -> Problem | None:
    asked = seen.model.license
    if asked is None or asked.accepted:
        return None
    return Problem(
        Reason.LICENSE_NOT_ACCEPTED,
        f"the licence {asked.id} was not accepted: read it, then set spec.model.license.accepted: true",
    )


def _template(seen: Seen) -> Problem | None:
    found = merge.problem(seen.service.spec.pod_template or {})
    return Problem(Reason.INVALID_SPEC, found) if found else None


def _fits(seen: Seen) -> Problem | None:
    sized = _resolved(seen).sized
    return Problem(Reason.DOES_NOT_FIT, sized.explanation) if sized.count is None else None


def _spans(seen: Seen) -> Problem | None:
    """What a replica over several nodes asks for besides."""
    nodes = _resolved(seen).sized.nodes
    if nodes == 1:
        return None
    if len(seen.home) > groups.LONGEST:
        told = f"its pods over {nodes} nodes would have names that are too long: shorten metadata.name by "
        return Problem(Reason.INVALID_SPEC, f"{told}{len(seen.home) - groups.LONGEST} characters")
    if source(seen.model, podspec.claim_name(seen)).one_node:
        told = f"a replica takes {nodes} nodes, and the cache's volume is on one: write model.cache.accessMode: "
        return Problem(Reason.INVALID_SPEC, f"{told}ReadWriteMany, or PerReplica")
    return None


def _resolved(seen: Seen) -> Resolved:
    """As its Revision has it, whatever nodes and formulas say today."""
    if frozen := revision.frozen(seen.revision):
        return revision.Resolved.of(frozen)
    found = known(seen.model, seen.told, seen.revisions)
    accelerator = seen.service.spec.accelerator
    offered = devices.candidates(accelerator, seen.nodes) if accelerator else []
    joins = ENGINES[seen.engine.type].joined is not None
    resolved = revision.resolve(seen.service, seen.settings, size(seen.service.spec, found, offered, joins))
    return revision.taught(seen.service, resolved, seen.revisions) if _teaches(seen) else resolved


def _teaches(seen: Seen) -> bool:
    """Whether adapters are loaded into pods that run. Not where they are rolled out by steps, in pods of their own, nor
    where each pod brings its own."""
    where = source(seen.model, podspec.claim_name(seen))
    able = ENGINES[seen.engine.type].teaching is not None
    return able and seen.service.spec.rollout is None and (where.shared or not where.more)


def _asks_files(seen: Seen) -> bool:
    asked = seen.service.spec.accelerator
    unknown = known(seen.model, seen.told, seen.revisions) is None
    return (
        seen.revision is None and asked is not None and asked.count == "Auto" and unknown
        and is_shared(seen.model) and not _succeeded(seen.download)
    )  # fmt: skip


def _claim(seen: Seen) -> Problem | None:
    if seen.missing_claim is None:
        return None
    told = f"there is no PersistentVolumeClaim {seen.missing_claim} in this namespace: create it, or correct model.uri"
    return Problem(Reason.REFERENCE_MISSING, told, waits=True)


CHECKS: tuple[Callable[[Seen], Problem | None], ...] = (
    _not_yet, _prometheus, _folder, _adapters, _license, _template, _fits, _spans, _claim,
)  # fmt: skip
"""The first that answers stops; all may count on spec.model and spec.engine."""


def _revisions(seen: Seen, resolved: Resolved | None) -> tuple[Object, ...]:
    current = revision.again(seen.revision) if seen.revision else revision.build(seen.service, resolved)
    return current, *revision.retired(seen.revisions, current["metadata"]["name"])


def _cache(seen: Seen, where: Source, resolved: Resolved) -> tuple[tuple[Object, ...], tuple[Object, ...]]:
    """(what to apply, what more to keep): a Job cannot change, so the one that exists stays as an operator made it."""
    if not where.shared:
        return (), ()
    claim = fetcher.build_claim(seen)
    if seen.download is not None:
        return (claim,), (seen.download,)
    return (claim, fetcher.build_download(seen, where, resolved)), ()


def _pods(seen: Seen, where: Source, resolved: Resolved, advice: Advice | None) -> tuple[Object, ...]:
    workload = scaling.handed(_workload(seen, where, resolved), seen, advice)
    scaler = scaling.build_autoscaler(seen, groups.workload(resolved))
    return workload, children.build_disruption_budget(seen), *scaler


def _workload(seen: Seen, where: Source, resolved: Resolved) -> Object:
    deployment = children.build_deployment(seen, where, resolved)
    template = seen.service.spec.pod_template
    if template:
        deployment["spec"]["template"] = merge.merged(deployment["spec"]["template"], template)
    if resolved.sized.nodes == 1:
        return deployment
    return groups.build_group(seen, deployment["spec"]["template"], resolved)


def _succeeded(job: Object | None) -> bool:
    return bool(job and (job.get("status") or {}).get("succeeded"))
