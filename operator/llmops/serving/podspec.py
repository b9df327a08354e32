"""What every pod of a service has in common, an engine's and a download's: labels, place, volumes, limits."""

from __future__ import annotations

from typing import Any

from llmops.api import names
from llmops.kube.resources import LLM_SERVICE
from llmops.serving.devices import product_label
from llmops.serving.observe import Seen
from llmops.serving.sources import Source

Object = dict[str, Any]

PART = "llmops.dev/part"
GRACE = 15  # seconds that an engine has to end in, after its last request did
RESTRICTED_POD = {
    "runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
    "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip
RESTRICTED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
TMP = {"name": "tmp", "mountPath": "/tmp"}


def selector(seen: Seen) -> dict[str, str]:
    return {**names.labels(LLM_SERVICE.kind, seen.service.metadata.name), PART: part(seen)}


def part(seen: Seen) -> str:
    """Of the pods that run the model; two revisions side by side must not count one another's."""
    return f"engine{seen.home.removeprefix(seen.child)}"


def claim_name(seen: Seen) -> str:
    return f"{seen.child}-models"


def build_placing(seen: Seen, product: str | None) -> Object:
    """Where pods may run: the download's too, so that its volume binds where they will."""
    asked = seen.service.spec.accelerator
    if asked is None:
        return {}
    placing: Object = {"tolerations": [{"key": asked.resource, "operator": "Exists", "effect": "NoSchedule"}]}
    if asked.product or product:
        placing["nodeSelector"] = {product_label(asked.resource): asked.product or product}
    return placing


def build_volumes(source: Source, shared_memory: str | None) -> list[Object]:
    volumes: list[Object] = [{"name": "tmp", "emptyDir": {}}]
    if source.volume:
        volumes.append({"name": "models", **source.volume})
    if source.scratch:
        volumes.append({"name": "adapters", "emptyDir": {}})
    if shared_memory:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shared_memory}})
    return volumes
