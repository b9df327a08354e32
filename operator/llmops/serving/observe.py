"""Everything a reconcile of one LLMService needs to know, read once into one frozen value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmops.api import LLMService, Settings, names
from llmops.api.digest import short
from llmops.api.llmservice import Engine, ModelSource
from llmops.control import Clock, Key
from llmops.kube.cluster import Cluster
from llmops.kube.resources import (
    DEPLOYMENT,
    HPA,
    JOB,
    LEADER_WORKER_SET,
    LLM_SERVICE,
    NODE,
    POD,
    PROMPT_RELEASE,
    PVC,
    REVISION,
    VECTOR_INDEX,
)
from llmops.serving import awake, devices, downloads, load, pins
from llmops.serving.autoscale import Kept, Load
from llmops.serving.external import Offer, offer
from llmops.serving.pins import Pin
from llmops.serving.pods import unscheduled
from llmops.serving.revision import content_digest
from llmops.serving.sources import FETCHER, download_name, given_claim

Object = dict[str, Any]

WORKER_INDEX = "leaderworkerset.sigs.k8s.io/worker-index"  # a label that its controller puts on pods


@dataclass(frozen=True)
class Family:
    """All that there is of a service's revisions, by name: several have pods while one is rolled out."""

    workloads: Mapping[str, Object] = field(default_factory=dict)  # Deployments, LeaderWorkerSets
    jobs: Mapping[str, Object] = field(default_factory=dict)
    autoscalers: Mapping[str, Object] = field(default_factory=dict)


@dataclass(frozen=True)
class Taught:
    """Adapters that running pods were given: what all of them have, and the words of one that did not take it."""

    adapters: Sequence[str] = ()
    problem: str = ""


@dataclass(frozen=True)
class Seen:
    """One LLMService and what its children say."""

    raw: Object
    service: LLMService
    settings: Settings
    digest: str
    revision: Object | None = None
    revisions: Sequence[Object] = ()
    workload: Object | None = None  # what has its pods
    pods: Sequence[Object] = ()  # without those that are being deleted
    download: Object | None = None  # the Job
    autoscaler: Object | None = None
    missing_claim: str | None = None  # the claim of a pvc:// source, if it does not exist
    gateways: Sequence[int] = ()  # how many of our pods each ready gateway can reach
    load: Load | None = None  # where the operator scales
    kept: Kept = field(default_factory=Kept)
    offer: Offer | None = None  # of spec.external
    nodes: Sequence[Object] = ()  # where an accelerator is asked for
    holders: str = ""  # of the accelerators that a pod waits for
    progress: Mapping[str, str] = field(default_factory=dict)  # how far downloads are, by pod
    told: str = ""  # what the download said of the model as it ended (JSON)
    homed: str = ""  # where its pods are, if not where a first revision's are
    taught: Taught | None = None  # where adapters are loaded into pods that run
    family: Family = field(default_factory=lambda: Family())
    pins: Sequence[Pin] = ()  # revisions that prompts are released together with
    keeper: str = ""  # the index that keeps it awake, where its spec lets it sleep

    @property
    def child(self) -> str:
        return f"{self.service.metadata.name}-llm"

    @property
    def home(self) -> str:
        """The name of the Deployment, the Service and so on of its pods."""
        return self.homed or self.child

    @property
    def model(self) -> ModelSource:
        """Only where spec.external is absent, which plan.py asks first."""
        assert self.service.spec.model is not None
        return self.service.spec.model

    @property
    def engine(self) -> Engine:
        """Only where spec.external is absent."""
        assert self.service.spec.engine is not None
        return self.service.spec.engine


async def observe(key: Key, cluster: Cluster, clock: Clock) -> Seen | None:
    """None when it is gone."""
    raw = cluster.get(LLM_SERVICE, key.namespace, key.name)
    if raw is None or raw["metadata"].get("deletionTimestamp"):
        return None
    service, keeper = _awake(LLMService.model_validate(raw), cluster)
    labels, child = names.labels(LLM_SERVICE.kind, key.name), f"{key.name}-llm"
    digest, model = content_digest(service), service.spec.model
    jobs, autoscalers = (_by_name(cluster.list(one, key.namespace, labels)) for one in (JOB, HPA))
    family = Family(workloads(key.namespace, key.name, cluster), jobs, autoscalers)
    home = home_of(service, family)
    workload = family.workloads.get(home) or cluster.get(DEPLOYMENT, key.namespace, home)
    revisions = cluster.list(REVISION, key.namespace, labels)
    pods = [one for one in cluster.list(POD, key.namespace, labels) if not one["metadata"].get("deletionTimestamp")]
    return Seen(
        raw=raw,
        service=service,
        settings=cluster.settings,
        digest=digest,
        revision=cluster.get(REVISION, key.namespace, f"{child}-{short(digest)}"),
        revisions=revisions,
        workload=workload,
        pods=pods,
        download=family.jobs.get(download_name(child, model)) if model else None,
        autoscaler=family.autoscalers.get(home) or family.autoscalers.get(f"keda-hpa-{home}"),
        missing_claim=await _missing_claim(model, workload, key, cluster),
        gateways=_gateways(key, cluster),
        load=await load.read(key, service, leaders(pods), cluster, clock) if load.scales(service) else None,
        kept=load.kept(key, cluster),
        offer=await offer(service, cluster),
        nodes=cluster.list(NODE) if service.spec.accelerator else (),
        holders=_holders(service, pods, cluster),
        progress=await downloads.progress(pods),
        told=last_words(pods),
        homed=home,
        family=family,
        pins=_pins(key, [*(one["spec"]["digest"] for one in revisions), digest], cluster),
        keeper=keeper,
    )


def _awake(service: LLMService, cluster: Cluster) -> tuple[LLMService, str]:
    home = service.metadata.namespace, service.metadata.name
    return awake.awake(service, cluster.find(VECTOR_INDEX, awake.BY_SERVICE, home))


def _pins(key: Key, known: Sequence[str], cluster: Cluster) -> Sequence[Pin]:
    home = key.namespace, key.name
    releases = cluster.find(PROMPT_RELEASE, pins.BY_SERVICE, home)
    return pins.pins(known, releases, cluster.find(REVISION, pins.BY_SERVICE, home))


def _holders(service: LLMService, pods: Sequence[Object], cluster: Cluster) -> str:
    asked = service.spec.accelerator
    if asked is None or unscheduled(pods) is None:
        return ""
    return devices.held(asked.resource, cluster.list(POD), service.metadata.namespace)


def workloads(namespace: str, name: str, cluster: Cluster) -> dict[str, Object]:
    """What has the pods of a service's revisions, by name."""
    labels = names.labels(LLM_SERVICE.kind, name)
    return _by_name([one for kind in (DEPLOYMENT, LEADER_WORKER_SET) for one in cluster.list(kind, namespace, labels)])


def leaders(pods: Sequence[Object]) -> list[Object]:
    """The pods that can be asked: all, but for a group's workers."""
    return [one for one in pods if (one["metadata"].get("labels") or {}).get(WORKER_INDEX, "0") == "0"]


def _by_name(found: Sequence[Object]) -> dict[str, Object]:
    return {one["metadata"]["name"]: one for one in found}


def home_of(service: LLMService, family: Family) -> str:
    """Where stable's pods are; a rollout may have left them elsewhere than where the first ones were."""
    stable = service.status.stable if service.status else None
    told = (stable.service if stable else None) or ""
    return told if told in family.workloads else f"{service.metadata.name}-llm"


async def _missing_claim(model: ModelSource | None, workload: Object | None, key: Key, cluster: Cluster) -> str | None:
    """A claim that is not ours is not followed, so it is read fresh; but once pods exist they tell by themselves."""
    name = given_claim(model) if model else None
    if name is None or workload is not None or await cluster.fresh(PVC, key.namespace, name) is not None:
        return None
    return name


def last_words(pods: Sequence[Object]) -> str:
    """What the newest download that ended well said."""
    for pod in sorted(pods, key=lambda one: str(one["metadata"].get("creationTimestamp")), reverse=True):
        for one in (pod.get("status") or {}).get("containerStatuses") or []:
            ended = (one.get("state") or {}).get("terminated") or {}
            if one["name"] == FETCHER and ended.get("exitCode") == 0:
                return str(ended.get("message") or "")
    return ""


def _gateways(key: Key, cluster: Cluster) -> list[int]:
    if cluster.reports is None:
        return []
    served = f"{key.namespace}/{key.name}"
    return [int(gateway.services.get(served, 0)) for gateway in cluster.reports.gateways()]
