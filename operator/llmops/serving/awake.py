"""Services that an index asks: they do not sleep. Pure.

The query server and the Job of an index ask its embedder and its reranker by their own Service, past the gateways. No
gateway counts what they ask, and none would hold it until a pod is there: every search would fail at a service that
sleeps, and nothing would wake it. As long as an index asks a service, its autoscaling.min is at least 1, whatever its
spec says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmops.api import LLMService

Object = dict[str, Any]
Home = tuple[str, str]
BY_SERVICE = "asks"
"""The Index of what follows."""


def of_index(raw: Object) -> list[Home]:
    """The services that an index asks: those it refers to, and the one that embeds questions until another's vectors
    are served."""
    spec, namespace = raw["spec"], raw["metadata"]["namespace"]
    asked = (spec["embedding"], (spec.get("query") or {}).get("rerank"))
    served = ((raw.get("status") or {}).get("embedding") or {}).get("model") or ""
    found = {one["serviceRef"]["name"] for one in asked if one} | {served.removeprefix(f"{namespace}/")}
    return [(namespace, name) for name in sorted(found) if name]


def awake(service: LLMService, indexes: Iterable[Object]) -> tuple[LLMService, str]:
    """The service as it is to be scaled, and which of the `indexes` that ask it keeps it awake against its spec."""
    asked, keeper = service.spec.autoscaling, min((one["metadata"]["name"] for one in indexes), default="")
    if asked is None or asked.min or not keeper:
        return service, ""
    spec = service.spec.model_copy(update={"autoscaling": asked.model_copy(update={"min": 1})})
    return service.model_copy(update={"spec": spec}), keeper
