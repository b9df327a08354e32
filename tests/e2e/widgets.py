"""A kind for tests of the machinery, which no operator that may run on the cluster knows: a Widget owns ConfigMaps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from llmops.control import Controller, Key, LookAgain
from llmops.kube import resources
from llmops.kube.cluster import Cluster
from llmops.kube.resources import CONFIG_MAP, Object, Resource

WIDGET = Resource("test.llmops.dev", "v1", "widgets", "Widget")
resources.BY_KIND[WIDGET.api_version, WIDGET.kind] = WIDGET

DEFINITION: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"{WIDGET.plural}.{WIDGET.group}"},
    "spec": {
        "group": WIDGET.group,
        "scope": "Namespaced",
        "names": {"kind": WIDGET.kind, "plural": WIDGET.plural},
        "versions": [{
            "name": WIDGET.version, "served": True, "storage": True, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
        }],
    },
}  # fmt: skip


def widget(namespace: str, name: str = "one", **spec: Any) -> Object:
    return {
        "apiVersion": WIDGET.api_version, "kind": WIDGET.kind,
        "metadata": {"namespace": namespace, "name": name}, "spec": spec,
    }  # fmt: skip


def child(name: str = "child", namespace: str | None = None, **data: str) -> Object:
    where = {"namespace": namespace} if namespace else {}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **where}, "data": data or {"a": "1"}}


def service() -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "child"},
        "spec": {"selector": {"app": "x"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    }


async def reconcile(key: Key, cluster: Cluster, _: Any) -> LookAgain:
    """Each Widget has one ConfigMap of its name, with its spec's `data`, and says in its status that it looked."""
    found = cluster.get(WIDGET, key.namespace, key.name)
    if found is not None:
        await cluster.apply([child(key.name, a=str(found["spec"].get("data", "1")))], owner=found)
        await cluster.report(found, {"seen": found["spec"].get("data", "1")})
    return LookAgain.never()


CONTROLLER = Controller(WIDGET, reconcile, owns=(CONFIG_MAP,))


async def until(test: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Waits until `test` is true, looking fifty times a second; what it gave."""
    async with asyncio.timeout(seconds):
        while not (found := test()):
            await asyncio.sleep(0.02)
    return found
