"""How an LLMService stands: conditions in sentences, from the observation and the plan. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from llmops.api.reasons import ConditionType, Reason
from llmops.control import Condition, conditions
from llmops.serving.observe import Seen
from llmops.serving.plan import Plan, image

Object = dict[str, Any]

PULLING = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")


@dataclass(frozen=True)
class _Pods:
    """What the Deployment counts."""

    wanted: int
    updated: int
    ready: int
    current: bool  # the counts speak of the Deployment as we last wrote it

    @property
    def complete(self) -> bool:
        return self.current and self.updated >= self.wanted and self.ready >= self.wanted


def status(seen: Seen, plan: Plan, now: datetime) -> Object:
    pods = _pods(seen)
    old = seen.raw.get("status") or {}
    metadata, spec = seen.service.metadata, seen.service.spec
    listed = _conditions(seen, plan, pods)
    sizing = {"acceleratorsPerReplica": plan.accelerators, "explanation": plan.explanation}
    if spec.engine is not None and spec.engine.context_length:
        sizing["contextLength"] = spec.engine.context_length
    whole: Object = {
        "url": seen.settings.gateway_url,
        "model": f"{metadata.namespace}/{metadata.name}",
        "replicas": pods.wanted,
        "readyReplicas": pods.ready,
        "conditions": conditions.merge(old.get("conditions"), listed, metadata.generation or 0, now),
    }
    if plan.problem is None:
        whole["sizing"] = sizing
        whole["stable"] = {"revision": f"{seen.child}-{seen.digest[:10]}", "digest": seen.digest}
    return whole


def _pods(seen: Seen) -> _Pods:
    deployment = seen.deployment or {}
    counted = deployment.get("status") or {}
    current = counted.get("observedGeneration", 0) >= deployment.get("metadata", {}).get("generation", 1)
    return _Pods(
        seen.service.spec.replicas, counted.get("updatedReplicas", 0), counted.get("readyReplicas", 0), current
    )


def _conditions(seen: Seen, plan: Plan, pods: _Pods) -> list[Condition]:
    cached = _model_cached(seen, plan)
    scheduled = _scheduled(seen, pods)
    synced = _gateway_synced(seen, pods)
    ready, reason, message, stalled = _ready(seen, plan, pods, (cached, scheduled, synced))
    available = pods.ready > 0
    return [
        *conditions.summary(ready=ready, available=available, reason=reason, message=message, stalled=stalled),
        _license_accepted(seen),
        cached,
        scheduled,
        synced,
    ]


def _ready(seen: Seen, plan: Plan, pods: _Pods, parts: Iterable[Condition]) -> tuple[bool, Reason | str, str, bool]:
    """(ready, reason, message, stalled): the first thing that stands in the way, in the order a person would ask."""
    if plan.problem is not None:
        return False, plan.problem.reason, plan.problem.message, not plan.problem.waits
    if seen.service.spec.suspend and not pods.complete:
        return False, Reason.SUSPENDED, "spec.suspend is true: nothing new begins", False
    broken = _broken(seen.pods)
    if broken is not None and not pods.complete:
        return False, broken.reason, broken.message, False
    for part in parts:
        if part.status is False:
            return False, part.reason, part.message, part.reason == Reason.DOWNLOAD_FAILED
    if pods.wanted == 0:
        return True, Reason.NO_REPLICAS, "spec.replicas is 0: nothing serves, as asked", False
    if not pods.complete:
        told = f"{pods.ready} of {pods.wanted} pods are ready, {pods.updated} of them as the spec now says"
        return False, Reason.STARTING, told, False
    return True, Reason.AS_WANTED, f"{pods.ready} of {pods.wanted} pods serve {seen.service.metadata.name}", False


def _license_accepted(seen: Seen) -> Condition:
    license_ = seen.service.spec.model.license if seen.service.spec.model else None
    if license_ is None:
        return Condition(ConditionType.LICENSE_ACCEPTED, True, Reason.AS_WANTED, "no licence asks for acceptance")
    if license_.accepted:
        return Condition(ConditionType.LICENSE_ACCEPTED, True, Reason.AS_WANTED, f"{license_.id} was accepted")
    told = f"{license_.id} was not accepted: read it, then set spec.model.license.accepted: true"
    return Condition(ConditionType.LICENSE_ACCEPTED, False, Reason.LICENSE_NOT_ACCEPTED, told)


def _model_cached(seen: Seen, plan: Plan) -> Condition:
    kind = ConditionType.MODEL_CACHED
    if plan.problem is not None or seen.service.spec.model is None:
        return Condition(kind, None, Reason.FIRST_SEEN, "not looked at yet")
    uri = seen.service.spec.model.uri
    if uri.startswith("file://"):
        return Condition(kind, True, Reason.IN_IMAGE, f"{uri.removeprefix('file://')} is in the image {image(seen)}")
    if uri.startswith("pvc://"):
        return Condition(kind, True, Reason.ON_VOLUME, f"read from {uri}")
    failed = _failed(seen.fetch)
    if failed:
        return Condition(kind, False, Reason.DOWNLOAD_FAILED, _last_words(seen.pods, "fetch") or failed)
    if plan.fetching:
        words = _last_words(seen.pods, "fetch")
        return Condition(
            kind, False, Reason.DOWNLOADING, f"downloading {uri}" + (f"; last try: {words}" if words else "")
        )
    return Condition(kind, True, Reason.DOWNLOADED, f"downloaded from {uri}")


def _scheduled(seen: Seen, pods: _Pods) -> Condition:
    for pod in seen.pods:
        for one in (pod.get("status") or {}).get("conditions") or []:
            if one["type"] == "PodScheduled" and one["status"] == "False":
                told = f"{pod['metadata']['name']}: {one.get('message', 'no node fits')}"
                return Condition(ConditionType.SCHEDULED, False, Reason.UNSCHEDULABLE, told)
    known = len(seen.pods) > 0 or pods.wanted == 0
    told = "every pod has a node" if known else "no pod yet"
    return Condition(
        ConditionType.SCHEDULED, True if known else None, Reason.AS_WANTED if known else Reason.STARTING, told
    )


def _gateway_synced(seen: Seen, pods: _Pods) -> Condition:
    kind = ConditionType.GATEWAY_SYNCED
    if not seen.gateways:
        return Condition(kind, None, Reason.NO_GATEWAY, "no gateway has reported to this operator")
    behind = sum(reached == 0 for reached in seen.gateways)
    if behind and pods.ready:
        told = f"{behind} of {len(seen.gateways)} gateways know no ready pod yet"
        return Condition(kind, False, Reason.GATEWAYS_BEHIND, told)
    return Condition(kind, True, Reason.AS_WANTED, f"all {len(seen.gateways)} gateways serve it")


def _broken(pods: Iterable[Object]) -> Condition | None:
    """A pod that cannot start, in words: its image, or why it ends again and again."""
    for pod in pods:
        stated = pod.get("status") or {}
        for one in [*(stated.get("initContainerStatuses") or []), *(stated.get("containerStatuses") or [])]:
            waiting = (one.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in PULLING:
                told = f"{one['image']}: {waiting.get('message') or waiting['reason']}"
                return Condition("", False, Reason.IMAGE_NOT_PULLED, told)
            ended = (one.get("lastState") or {}).get("terminated") or {}
            if waiting.get("reason") == "CrashLoopBackOff" or ended.get("reason") == "OOMKilled":
                return Condition("", False, Reason.CRASHING, _ending(pod, ended))
    return None


def _ending(pod: Object, ended: Object) -> str:
    name = pod["metadata"]["name"]
    if ended.get("reason") == "OOMKilled":
        return f"{name} needed more memory than its limit: raise spec.resources.limits.memory"
    words = (ended.get("message") or "it said nothing").strip()[-600:]
    return f"{name} ended with status {ended.get('exitCode', '?')}: {words}"


def _failed(job: Object | None) -> str | None:
    for one in ((job or {}).get("status") or {}).get("conditions") or []:
        if one["type"] == "Failed" and one["status"] == "True":
            return str(one.get("message") or one.get("reason"))
    return None


def _last_words(pods: Iterable[Object], container: str) -> str:
    """The termination message of the newest pod that ended in this container."""
    for pod in sorted(pods, key=lambda one: one["metadata"].get("creationTimestamp", ""), reverse=True):
        for one in (pod.get("status") or {}).get("containerStatuses") or []:
            ended = (one.get("state") or {}).get("terminated") or {}
            if one["name"] == container and ended.get("exitCode") and ended.get("message"):
                return str(ended["message"].strip().splitlines()[-1])
    return ""
