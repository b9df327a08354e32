"""What all pods of an index have in common: labels, and the restricted Pod Security Standard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmops.api import VectorIndex, names
from llmops.api.common import Resources
from llmops.api.quantities import quantity
from llmops.kube.resources import VECTOR_INDEX

PART = "llmops.dev/part"
SERVER, BUILD = "query", "build"

RESTRICTED_POD: dict[str, Any] = {
    "runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
    "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip
RESTRICTED: dict[str, Any] = {
    "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
}  # fmt: skip
TMP = {"name": "tmp", "mountPath": "/tmp"}


def selector(index: VectorIndex, part: str) -> dict[str, str]:
    """The labels of one part's pods."""
    return {**names.labels(VECTOR_INDEX.kind, index.metadata.name), PART: part}


def sized(ours: Mapping[str, Mapping[str, Any]], wanted: Resources | None) -> dict[str, dict[str, Any]]:
    """A container's resources: ours, where nothing else is wanted. Who is guaranteed more than may be taken would be
    refused, so where only one of both is wanted, the other follows."""
    wanted = wanted or Resources()
    requests, limits = {**ours["requests"], **wanted.requests}, {**ours["limits"], **wanted.limits}
    for name in requests.keys() & limits.keys():
        if quantity(requests[name]) > quantity(limits[name]):
            if name not in wanted.requests:
                requests[name] = limits[name]
            elif name not in wanted.limits:
                limits[name] = requests[name]
    return {"requests": requests, "limits": limits}
