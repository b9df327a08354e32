"""What the operator follows: every resource that some controller has, makes or refers to, each stream once.

Children are followed by our label, which keeps other people's objects out of memory and off the wire. A resource that
one controller wants whole is followed whole for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llmops.api import Settings, names
from llmops.control.key import Controller
from llmops.kube.cache import Cache
from llmops.kube.resources import ENDPOINT_SLICE, POD, Object, Resource

OURS = f"{names.MANAGED_BY}={names.FIELD_MANAGER}"
POD_METADATA = (
    "name", "namespace", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "labels",
    "ownerReferences",
)  # fmt: skip
Keep = Callable[[Object], Object] | None


def follow(cache: Cache, controllers: Sequence[Controller], namespaces: Sequence[str], settings: Settings) -> None:
    """Begins to follow, in these namespaces, or everywhere if there are none."""
    find_by(cache, controllers)
    for (resource, selector), keep in streams(controllers).items():
        for namespace in namespaces if resource.namespaced and namespaces else [None]:
            cache.follow(resource, namespace, selector, keep)
    cache.follow(ENDPOINT_SLICE, settings.system_namespace, f"kubernetes.io/service-name={settings.gateway_service}")


def find_by(cache: Cache, controllers: Sequence[Controller]) -> None:
    """Lets the cache find objects by what the controllers ask for."""
    for one in (one for controller in controllers for one in controller.indexes):
        cache.index(one.resource, one.name, one.keys)


def slim_pod(pod: Object) -> Object:
    """Most of what is in memory: of what a pod should be only where it runs and what it holds is ever read."""
    spec, metadata = pod["spec"], {key: pod["metadata"][key] for key in POD_METADATA if key in pod["metadata"]}
    holds = [
        {"name": one["name"], "resources": {"limits": (one.get("resources") or {}).get("limits") or {}}}
        for one in spec.get("containers") or []
    ]
    return {**pod, "metadata": metadata, "spec": {"nodeName": spec.get("nodeName"), "containers": holds}}


def streams(controllers: Sequence[Controller]) -> dict[tuple[Resource, str | None], Keep]:
    """(resource, label selector or None for all) -> what to keep of the objects."""
    wanted: dict[tuple[Resource, str | None], Keep] = {}
    for one in controllers:
        wanted[one.resource, None] = None
        for child in one.owns:
            wanted[child, None if child.group == names.GROUP else OURS] = slim_pod if child == POD else None
        for refers in one.refers:
            at = (refers.resource, refers.labels)
            # two that keep different parts of the same objects: keep all
            wanted[at] = refers.keep if wanted.get(at, refers.keep) == refers.keep else None
    whole = {resource for resource, selector in wanted if selector is None}
    return {at: keep for at, keep in wanted.items() if at[1] is None or at[0] not in whole}
