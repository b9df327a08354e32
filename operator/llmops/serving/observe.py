"""Everything a reconcile of one LLMService needs to know, read once into one frozen value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmops.api import LLMService, Settings, names
from llmops.api.digest import short
from llmops.control import Key
from llmops.kube.cluster import Cluster
from llmops.kube.resources import DEPLOYMENT, JOB, LLM_SERVICE, POD, PVC, REVISION
from llmops.serving.revision import content_digest

Object = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """One LLMService and what its children say. `gateways`: how many of ours each ready gateway can reach."""

    raw: Object
    service: LLMService
    settings: Settings
    digest: str
    revision: Object | None
    revisions: Sequence[Object]
    deployment: Object | None
    pods: Sequence[Object]
    fetch: Object | None
    claim: Object | None  # of a pvc:// source
    gateways: Sequence[int]

    @property
    def child(self) -> str:
        return f"{self.service.metadata.name}-llm"


def fetch_name(child: str, digest: str) -> str:
    return f"{child}-fetch-{short(digest)}"


async def observe(key: Key, cluster: Cluster) -> Seen | None:
    """None when it is gone."""
    raw = cluster.get(LLM_SERVICE, key.namespace, key.name)
    if raw is None or raw["metadata"].get("deletionTimestamp"):
        return None
    service = LLMService.model_validate(raw)
    labels = names.labels(LLM_SERVICE.kind, key.name)
    digest = content_digest(service)
    child = f"{key.name}-llm"
    return Seen(
        raw=raw,
        service=service,
        settings=cluster.settings,
        digest=digest,
        revision=cluster.get(REVISION, key.namespace, f"{child}-{short(digest)}"),
        revisions=cluster.list(REVISION, key.namespace, labels),
        deployment=cluster.get(DEPLOYMENT, key.namespace, child),
        pods=cluster.list(POD, key.namespace, labels),
        fetch=cluster.get(JOB, key.namespace, fetch_name(child, digest)),
        claim=await _given_claim(service, key, cluster),
        gateways=_gateways(key, cluster),
    )


async def _given_claim(service: LLMService, key: Key, cluster: Cluster) -> Object | None:
    """A claim that is not ours is not followed: read it fresh while pods do not stand yet."""
    model = service.spec.model
    if model is None or not model.uri.startswith("pvc://"):
        return None
    name = model.uri.removeprefix("pvc://").split("/", 1)[0]
    followed = cluster.get(PVC, key.namespace, name)
    return followed if followed is not None else await cluster.fresh(PVC, key.namespace, name)


def _gateways(key: Key, cluster: Cluster) -> list[int]:
    if cluster.reports is None:
        return []
    served = f"{key.namespace}/{key.name}"
    return [int(gateway.services.get(served, 0)) for gateway in cluster.reports.gateways()]
