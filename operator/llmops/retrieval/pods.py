"""What all pods of an index have in common: labels, and the restricted Pod Security Standard."""

from __future__ import annotations

from typing import Any

from llmops.api import VectorIndex, names
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
