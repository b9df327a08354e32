"""Embedding through somebody else's API, the operator's side: who is asked, and as whom an index's pods do it.

Such a service has no address of its own, and its credential is in the gateways only. So the index's Job and query
server ask the door, and show it their service account's token, as an EvalJob's pods do: a token with the door's
audience that the kubelet replaces. The door counts what is asked against the service and its Provider. door.py is the
pods' side.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmops.api import LLMService, Provider, Settings, VectorIndex, names
from llmops.kube.cluster import Cluster
from llmops.kube.resources import PROVIDER
from llmops.retrieval.door import MOST
from llmops.retrieval.referred import Missing
from llmops.retrieval.work import EmbeddingWork

Object = dict[str, Any]


def work(service: LLMService, status: Object, index: VectorIndex, cluster: Cluster) -> EmbeddingWork | Missing:
    """Who embeds, where the service is somebody's API."""
    asked, spec, settings = service.spec.external, index.spec.embedding, cluster.settings
    assert asked is not None
    what = f"LLMService {service.metadata.namespace}/{service.metadata.name}"
    if asked.task != "Embed":
        return Missing(f"{what} has the task {asked.task}: refer to one with spec.external.task Embed")
    if service.spec.access.service_accounts == "Deny":
        told = f"{what} admits keys only, and the pods of an index have none"
        return Missing(f"{told}: remove spec.access.serviceAccounts: Deny", exists=True)
    listed = {one["type"]: one for one in status.get("conditions") or []}
    digest, raw = (status.get("stable") or {}).get("digest"), _provider(asked.provider_ref.name, cluster)
    if not digest or raw is None or (listed.get("Available") or {}).get("status") != "True":
        why = (listed.get("Ready") or {}).get("message")
        return Missing(f"{what} does not serve yet{f': {why}' if why else ''}", exists=True)
    kind = Provider.parse(raw).spec.type
    if kind not in MOST:
        return Missing(f"{what}: {kind} has no embeddings; refer to a Provider of type {', '.join(sorted(MOST))}")
    return EmbeddingWork(
        url=settings.gateway_url,
        model=names.qualified(service.metadata.namespace, service.metadata.name),
        revision=digest,
        query_prefix=spec.query_prefix,
        document_prefix=spec.document_prefix,
        batch_size=min(spec.batch_size, MOST[kind]),
        provider=kind,
    )


def _provider(name: str, cluster: Cluster) -> Object | None:
    return cluster.get(PROVIDER, cluster.settings.system_namespace, name)


def account_name(index: VectorIndex) -> str:
    """The query server's service account, which may do nothing: it is only somebody for the door."""
    return f"{index.metadata.name}-index-query"


def build_account(index: VectorIndex) -> Object:
    """Its own, so that the door's records tell questions from builds."""
    metadata = {"name": account_name(index)}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "automountServiceAccountToken": False}


def with_token(pod: Object, account: str) -> Object:
    """The pod's spec, as somebody whom the door knows."""
    (container,) = pod["containers"]
    token = {"serviceAccountToken": {"path": "token", "audience": names.AUDIENCE, "expirationSeconds": 3600}}
    mount = {"name": "door", "mountPath": str(Path(Settings.token_file).parent), "readOnly": True}
    return {
        **pod,
        "serviceAccountName": account,
        "containers": [{**container, "volumeMounts": [*container["volumeMounts"], mount]}],
        "volumes": [*pod["volumes"], {"name": "door", "projected": {"sources": [token]}}],
    }
