"""spec.podTemplate, merged last over the pod we planned, as kubectl's strategic merge does for the lists that matter.

What makes the pod ours (its image, command, port, our labels) is refused with a sentence instead of silently lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmops.serving.children import CONTAINER

Object = dict[str, Any]

OWNED = {
    "image": "write spec.engine.image", "args": "write spec.engine.args", "command": "the engine's image decides it",
    "ports": "the engine decides them", "resources": "write spec.resources and spec.accelerator",
}  # fmt: skip
KEYS = {
    "containers": "name", "initContainers": "name", "volumes": "name", "env": "name", "volumeMounts": "mountPath",
    "imagePullSecrets": "name", "topologySpreadConstraints": "topologyKey",
}  # fmt: skip
"""By what the items of a list are told apart; tolerations are added to ours, any other list replaces ours."""
ROOT = "spec.podTemplate"


def problem(template: Mapping[str, Any]) -> str | None:
    """Why this partial template is refused, or None."""
    return _shape(template) or _labels(template) or _container(template) or _restart(template)


def _shape(template: Mapping[str, Any]) -> str | None:
    unknown = sorted(set(template) - {"metadata", "spec"})
    if unknown:
        return f"{ROOT} has {unknown[0]}: it is a partial PodTemplateSpec, so write it below metadata or spec"
    for part in ("metadata", "spec"):
        if not isinstance(template.get(part), Mapping | None):
            return f"{ROOT}.{part} is no object: write fields below it"
    if not isinstance((template.get("metadata") or {}).get("labels"), Mapping | None):
        return f"{ROOT}.metadata.labels is no object: write labels below it"
    for field, value in (template.get("spec") or {}).items():
        if field == "tolerations" and not isinstance(value, list):
            return f"{ROOT}.spec.tolerations must be a list"
        if field in KEYS and not _keyed(value, KEYS[field]):
            return f"{ROOT}.spec.{field} must be a list whose items each have {KEYS[field]}"
    return None


def _labels(template: Mapping[str, Any]) -> str | None:
    for label in (template.get("metadata") or {}).get("labels") or {}:
        if label.startswith("llmops.dev/") or label == "app.kubernetes.io/managed-by":
            return f"{ROOT}.metadata.labels may not set {label}: remove it"
    return None


def _container(template: Mapping[str, Any]) -> str | None:
    for at, container in enumerate((template.get("spec") or {}).get("containers") or []):
        where = f"{ROOT}.spec.containers[{at}]"
        for field, value in container.items():
            if container["name"] == CONTAINER and field in OWNED:
                return f"{where}.{field} is not yours to set: {OWNED[field]}"
            if field in KEYS and not _keyed(value, KEYS[field]):
                return f"{where}.{field} must be a list whose items each have {KEYS[field]}"
    return None


def _restart(template: Mapping[str, Any]) -> str | None:
    if (template.get("spec") or {}).get("restartPolicy", "Always") != "Always":
        return f"{ROOT}.spec.restartPolicy must be Always: remove it"
    return None


def _keyed(value: Any, key: str) -> bool:
    return isinstance(value, list) and all(isinstance(one, Mapping) and one.get(key) for one in value)


def merged(ours: Any, theirs: Any, field: str = "") -> Any:
    """`theirs` over `ours`; null is as if it were not written."""
    if theirs is None:
        return ours
    if isinstance(ours, dict) and isinstance(theirs, Mapping):
        return {**ours, **{key: merged(ours.get(key), value, key) for key, value in theirs.items()}}
    if field == "tolerations" and isinstance(ours, list):
        return [*ours, *(one for one in theirs if one not in ours)]
    if field in KEYS and isinstance(ours, list):
        return _merged_items(ours, theirs, KEYS[field])
    return theirs


def _merged_items(ours: list[Any], theirs: list[Any], key: str) -> list[Any]:
    given, held = {one[key]: one for one in theirs}, {one[key] for one in ours}
    kept = [merged(one, given[one[key]]) if one[key] in given else one for one in ours]
    return kept + [one for one in theirs if one[key] not in held]
