"""How an LLMService stands: conditions in sentences, from the observation and the plan. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from llmops.api.reasons import ConditionType, Reason
from llmops.control import Condition, conditions
from llmops.serving import external, pins
from llmops.serving import pods as said
from llmops.serving.devices import GIB
from llmops.serving.observe import Seen
from llmops.serving.plan import Plan
from llmops.serving.scaling import sleeps, wanted_count
from llmops.serving.sources import given_claim, is_file, is_shared, reference, scheme
from llmops.serving.starts import measured

Object = dict[str, Any]


@dataclass(frozen=True)
class _Pods:
    """What the Deployment counts."""

    wanted: int
    total: int
    updated: int
    ready: int
    current: bool  # the counts speak of the Deployment as we last wrote it
    scaled: bool  # the count follows the load: one too many or too few is on its way, and no news
    enough: int  # how many ready ones serve fully

    @property
    def complete(self) -> bool:
        """Every pod is as the spec says and ready, and none of before is left."""
        many = self.scaled or self.total == self.wanted
        return self.current and self.updated == self.total and many and self.ready >= self.enough


def status(seen: Seen, plan: Plan, now: datetime) -> Object:
    if seen.offer is not None:
        trouble = (plan.problem.reason, plan.problem.message) if plan.problem else None
        return external.status(seen, trouble, now) | _pinned(seen, pins.ABROAD)
    pods = _pods(seen)
    old = seen.raw.get("status") or {}
    metadata = seen.service.metadata
    listed = _conditions(seen, plan)
    whole: Object = {
        "url": seen.settings.gateway_url,
        "model": f"{metadata.namespace}/{metadata.name}",
        "replicas": pods.wanted,
        "readyReplicas": pods.ready,
        "conditions": conditions.merge(old.get("conditions"), listed, metadata.generation or 0, now),
    }
    whole |= _pinned(seen, pins.IN_PLACE)
    if plan.problem is not None:
        return whole | {key: old[key] for key in ("sizing", "stable", "scaling") if key in old}
    scaling = measured(seen, plan.advice, old, now)
    whole |= {"scaling": scaling} if scaling else {}
    return whole | {
        "sizing": _sizing(plan),
        "stable": _stable(seen, pods, plan, old.get("stable") or {}, now),
    }


def _pinned(seen: Seen, why_not: str) -> Object:
    return {"pinned": pins.refused(seen.pins, why_not)} if seen.pins else {}


def _pods(seen: Seen) -> _Pods:
    deployment = seen.workload or {}
    counted = deployment.get("status") or {}
    wanted, asked = wanted_count(seen), seen.service.spec.autoscaling
    return _Pods(
        wanted=wanted,
        scaled=asked is not None,
        enough=min(wanted, max(1, asked.min)) if asked else wanted,
        total=counted.get("replicas", 0),
        updated=counted.get("updatedReplicas", 0),
        ready=counted.get("readyReplicas", 0),
        current=counted.get("observedGeneration", 0) >= (deployment.get("metadata") or {}).get("generation", 1),
    )


def _sizing(plan: Plan) -> Object:
    assert plan.resolved is not None
    sized = plan.resolved.sized
    told = {
        "acceleratorsPerReplica": sized.count,
        "explanation": sized.explanation,
        "tensorParallel": sized.tensor if sized.count else None,
        "pipelineParallel": sized.pipeline if sized.count else None,
        "nodes": sized.nodes if sized.nodes > 1 else None,
        "weights": f"{sized.weights / GIB:.1f}Gi" if sized.weights else None,
        "kvCacheTokens": sized.kv_cache_tokens,
        "contextLength": sized.context_length,
        "concurrency": sized.concurrency,
        "product": sized.product,
        "startup": f"{sized.startup_seconds}s" if sized.startup_seconds else None,
    }
    return {key: value for key, value in told.items() if value is not None}


def _stable(seen: Seen, pods: _Pods, plan: Plan, old: Object, now: datetime) -> Object:
    """What users are served: the revision before, until this one's files are there and its pods have taken all over."""
    if old.get("digest") == seen.digest and seen.taught is not None:
        return {key: value for key, value in old.items() if key != "adapters"} | taught(seen)
    if old.get("digest") == seen.digest or (old and (plan.downloading or not pods.complete)):
        return old
    since = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    revision = {"revision": f"{seen.child}-{seen.digest[:10]}", "digest": seen.digest, "since": since}
    return revision | ({"service": seen.home} if seen.home != seen.child else {}) | taught(seen)


def taught(seen: Seen) -> Object:
    """The adapters that these pods answer as."""
    names = [one.name for one in seen.model.adapters] if seen.taught is None else list(seen.taught.adapters)
    return {"adapters": names} if names else {}


def _conditions(seen: Seen, plan: Plan) -> list[Condition]:
    ready, reason, message, stalled = readiness(seen, plan)
    usable = available(seen, plan)
    return [
        *conditions.summary(ready=ready, available=usable, reason=reason, message=message, stalled=stalled),
        *parts(seen, plan),
    ]


def readiness(seen: Seen, plan: Plan) -> tuple[bool, Reason | str, str, bool]:
    """(ready, reason, message, stalled) of a service, or of one revision of it."""
    _, *others = parts(seen, plan)
    return _ready(seen, plan, _pods(seen), others)


def available(seen: Seen, plan: Plan) -> bool:
    """Whether users are answered."""
    pods = _pods(seen)
    return pods.ready > 0 or (pods.wanted == 0 and sleeps(seen.service.spec) and plan.problem is None)


def complete(seen: Seen) -> bool:
    """Whether every pod is as its workload says and ready, and none of before is left."""
    return _pods(seen).complete


def parts(seen: Seen, plan: Plan) -> list[Condition]:
    """The conditions that say which part is not as it should be."""
    pods = _pods(seen)
    return [
        _license_accepted(seen), _model_cached(seen, plan), _scheduled(seen, pods), _gateway_synced(seen, pods),
    ]  # fmt: skip


def _ready(seen: Seen, plan: Plan, pods: _Pods, parts: Iterable[Condition]) -> tuple[bool, Reason | str, str, bool]:
    """(ready, reason, message, stalled): the first thing that stands in the way, in the order a person would ask."""
    if plan.problem is not None:
        return False, plan.problem.reason, plan.problem.message, not plan.problem.waits
    if seen.service.spec.suspend and not pods.complete:
        return False, Reason.SUSPENDED, "spec.suspend is true: nothing new begins", False
    cached, *others = parts
    if cached.status is False:
        return False, cached.reason, cached.message, cached.reason in (Reason.DOWNLOAD_FAILED, Reason.UNSUPPORTED)
    trouble = None if pods.complete else said.broken(seen.pods) or said.refused(seen.workload)
    if trouble is not None:
        return False, trouble.reason, trouble.message, trouble.overdue
    for part in others:
        if part.status is False:
            return False, part.reason, part.message, False
    if seen.taught is not None and seen.taught.problem:
        return False, Reason.ADAPTER_NOT_LOADED, seen.taught.problem, False
    if not pods.complete:
        # no count of updated pods here: each step would be a write, for every service of a large cluster
        return False, Reason.STARTING, f"{pods.ready} of {pods.wanted} pods are ready; a rollout is on its way", False
    if pods.wanted == 0 and sleeps(seen.service.spec):
        return True, Reason.ASLEEP, _asleep(seen), False
    if pods.wanted == 0:
        return True, Reason.NO_REPLICAS, "spec.replicas is 0: nothing serves, as asked", False
    told, blind = f"{pods.ready} of {pods.wanted} pods serve {seen.service.metadata.name}", said.blind(seen.autoscaler)
    told += f"; it does not sleep, since VectorIndex {seen.keeper} asks it directly" if seen.keeper else ""
    return True, Reason.AS_WANTED, f"{told}; {blind}" if blind else told, False


def _asleep(seen: Seen) -> str:
    took = ((seen.raw.get("status") or {}).get("scaling") or {}).get("coldStart")
    return f"no pod runs, for want of requests; the next one wakes it{f', which takes about {took}' if took else ''}"


def _license_accepted(seen: Seen) -> Condition:
    kind = ConditionType.LICENSE_ACCEPTED
    asked = seen.service.spec.model.license if seen.service.spec.model else None
    if asked is None:
        return Condition(kind, True, Reason.AS_WANTED, "no licence asks for acceptance")
    if asked.accepted:
        return Condition(kind, True, Reason.AS_WANTED, f"{asked.id} was accepted")
    told = f"{asked.id} was not accepted: read it, then set spec.model.license.accepted: true"
    return Condition(kind, False, Reason.LICENSE_NOT_ACCEPTED, told)


def _model_cached(seen: Seen, plan: Plan) -> Condition:
    kind = ConditionType.MODEL_CACHED
    if plan.problem is not None or plan.resolved is None:
        return Condition(kind, None, Reason.FIRST_SEEN, "not looked at yet: see Ready")
    uri = seen.model.uri
    if scheme(seen.model) == "file":
        path = uri.removeprefix("file://")
        return Condition(kind, True, Reason.IN_IMAGE, f"{path} is in the image {plan.resolved.image}")
    if claim := given_claim(seen.model):
        return Condition(kind, True, Reason.ON_VOLUME, f"read from the claim {claim}")
    if plan.resolved.image_volume:
        return _mounted(seen)
    failed = said.download_failed(seen.download, seen.pods)
    if failed:
        return Condition(kind, False, Reason.DOWNLOAD_FAILED, failed)
    if plan.downloading or (not is_shared(seen.model) and (said.fetching(seen.pods) or not seen.pods)):
        words, trouble = said.fetch_words(seen.pods), said.broken(seen.pods)
        last = f"; the last try said: {words}" if words else f"; {trouble.message}" if trouble else ""
        far = next((seen.progress[name] for one in seen.pods if (name := one["metadata"]["name"]) in seen.progress), "")
        told = f"downloading {uri}{f': {far}' if far else last}"
        return Condition(kind, False, Reason.DOWNLOADING, told)
    return Condition(kind, True, Reason.DOWNLOADED, f"downloaded from {uri}, {_vouched(seen)}")


def _mounted(seen: Seen) -> Condition:
    """An API server without image volumes takes them out of what it is sent, and says nothing."""
    kind, pods = ConditionType.MODEL_CACHED, ((seen.workload or {}).get("spec") or {}).get("template")
    if pods is not None and all(one["name"] != "models" for one in pods.get("spec", {}).get("volumes") or []):
        told = "this cluster's API server left the image volume out of the pods: have its feature ImageVolume turned on"
        return Condition(kind, False, Reason.UNSUPPORTED, f"{told}, or write model.cache to have it downloaded")
    return Condition(kind, True, Reason.ON_VOLUME, f"mounted by the kubelet from the image {reference(seen.model)}")


def _vouched(seen: Seen) -> str:
    if scheme(seen.model) == "hf":
        if seen.model.revision:
            return f"{seen.model.revision}, its large files checked by the hub's SHA-256"
        return "branch main as it was then, checked by the hub's SHA-256: write spec.model.revision to pin it"
    if scheme(seen.model) == "oci":
        pinned = seen.model.revision or "write spec.model.revision: sha256:<digest> to pin it"
        return f"each blob checked by its digest; {pinned}"
    if (seen.model.revision or "").startswith("sha256:"):
        return "and its SHA-256 is the one in spec.model.revision"
    if not is_file(seen.model):
        return "each object by its length: buckets tell no SHA-256"
    return "unchecked: write spec.model.revision: sha256:<digest> to have it checked"


def _scheduled(seen: Seen, pods: _Pods) -> Condition:
    kind, waiting = ConditionType.SCHEDULED, said.unscheduled(seen.pods)
    if waiting is not None:
        told = f"{waiting.message}; {seen.holders}" if seen.holders else waiting.message
        return Condition(kind, False, waiting.reason, told)
    if not seen.pods and pods.wanted:
        return Condition(kind, None, Reason.STARTING, "there is no pod yet")
    return Condition(kind, True, Reason.AS_WANTED, "every pod has a node")


def _gateway_synced(seen: Seen, pods: _Pods) -> Condition:
    kind = ConditionType.GATEWAY_SYNCED
    if not seen.gateways:
        return Condition(kind, None, Reason.NO_GATEWAY, "no gateway has reported to this operator")
    behind = sum(reached == 0 for reached in seen.gateways)
    if behind and pods.ready:
        told = f"{behind} of {len(seen.gateways)} gateways know no ready pod yet"
        return Condition(kind, False, Reason.GATEWAYS_BEHIND, told)
    return Condition(kind, True, Reason.AS_WANTED, f"all {len(seen.gateways)} gateways serve it")
