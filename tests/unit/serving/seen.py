"""Observations of LLMServices, made by hand: what a cluster would have answered."""

from __future__ import annotations

from typing import Any

from llmops.api import LLMService, Settings
from llmops.serving import revision
from llmops.serving.observe import Seen

Object = dict[str, Any]

BASE: Object = {
    "model": {"uri": "file:///models/support-good.gguf"},
    "engine": {"type": "LlamaCpp", "contextLength": 1024},
    "replicas": 2,
}


def see(spec: Object | None = None, *, status: Object | None = None, **more: Any) -> Seen:
    """What is seen of a service with these fields over the usual ones; None takes a field away."""
    whole = {key: value for key, value in {**BASE, **(spec or {})}.items() if value is not None}
    raw: Object = {
        "apiVersion": "llmops.dev/v1alpha1",
        "kind": "LLMService",
        "metadata": {"name": "support", "namespace": "shop", "uid": "u1", "generation": 3, "resourceVersion": "7"},
        "spec": whole,
        **({"status": status} if status else {}),
    }
    service = LLMService.model_validate(raw)
    more.setdefault("settings", Settings())
    return Seen(raw=raw, service=service, digest=revision.content_digest(service), **more)


def deployment(wanted: int = 2, *, generation: int = 1, **status: Any) -> Object:
    """A Deployment whose pods are all there and ready, unless said otherwise."""
    counts = {"observedGeneration": generation, "replicas": wanted, "updatedReplicas": wanted, "readyReplicas": wanted}
    return {"metadata": {"name": "support-llm", "generation": generation}, "status": {**counts, **status}}


def pod(name: str = "support-llm-1", *, created: str = "2026-01-01T00:00:00Z", **status: Any) -> Object:
    return {"metadata": {"name": name, "creationTimestamp": created}, "status": status}


def container(name: str = "engine", *, state: Object | None = None, last: Object | None = None, **more: Any) -> Object:
    return {
        "name": name,
        "image": f"registry/{name}:1",
        "state": state or {"running": {}},
        "lastState": last or {},
        **more,
    }
