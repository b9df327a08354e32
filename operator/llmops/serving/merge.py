"""spec.podTemplate, merged last over the pod we planned: lists of named things by name, everything else replaced.

What makes the pod ours (its image, command, port, our labels) is refused with a sentence instead of silently lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmops.serving.children import CONTAINER

Object = dict[str, Any]

OWNED = {
    "image": "write spec.engine.image", "args": "write spec.engine.args", "command": "the engine's image decides it",
    "ports": "the engine decides them",
}  # fmt: skip


def problem(template: Mapping[str, Any]) -> str | None:
    """Why this partial template is refused, or None."""
    spec = template.get("spec") or {}
    for at, container in enumerate(spec.get("containers") or []):
        if container.get("name") == CONTAINER:
            for field, instead in OWNED.items():
                if field in container:
                    return f"spec.podTemplate.spec.containers[{at}].{field} is not yours to set: {instead}"
    for label in (template.get("metadata") or {}).get("labels") or {}:
        if label.startswith("llmops.dev/") or label == "app.kubernetes.io/managed-by":
            return f"spec.podTemplate.metadata.labels may not set {label}: remove it"
    if spec.get("restartPolicy", "Always") != "Always":
        return "spec.podTemplate.spec.restartPolicy must be Always: remove it"
    return None


def merged(ours: Any, theirs: Any) -> Any:
    """`theirs` over `ours`."""
    if isinstance(ours, dict) and isinstance(theirs, Mapping):
        return {**ours, **{key: merged(ours.get(key), value) for key, value in theirs.items()}}
    if isinstance(ours, list) and isinstance(theirs, list) and _named(ours) and _named(theirs):
        given = {one["name"]: one for one in theirs}
        names = [one["name"] for one in ours]
        return [merged(one, given.get(one["name"], {})) for one in ours] + [t for t in theirs if t["name"] not in names]
    return theirs


def _named(items: list[Any]) -> bool:
    return all(isinstance(one, dict) and "name" in one for one in items)
