"""A pod that has files where sources and datasets may be: on a claim, on the web, in a bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.e2e import store, widgets

from llmops.kube.client import Client
from llmops.kube.cluster import Cluster
from llmops.kube.resources import POD, PVC, Resource

Object = dict[str, Any]
SECRET = Resource("", "v1", "secrets", "Secret", True)
CLAIM = "files"
CONTAINER = "web"
STORE = Path(store.__file__).read_text()
RESTRICTED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


async def secret(client: Client, namespace: str, name: str, key: str = store.SECRET) -> None:
    """The key of the bucket, or a wrong one."""
    data = {"AWS_ACCESS_KEY_ID": store.ID, "AWS_SECRET_ACCESS_KEY": key}
    await client.create(SECRET, {"apiVersion": "v1", "kind": "Secret", "stringData": data,
                                 "metadata": {"name": name, "namespace": namespace}})  # fmt: skip


async def serve(client: Client, cluster: Cluster, namespace: str, files: Object, fill: str) -> str:
    """The pod's address, once it runs. The volume `files` is /files: it is on the web (8000) and the bucket (9000);
    the shell's line `fill` may write to /claim, which is CLAIM."""
    named = {"namespace": namespace, "labels": {"app.kubernetes.io/managed-by": "test"}}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "16Mi"}}}
    await client.create(PVC, {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": claim,
                              "metadata": {**named, "name": CLAIM}})  # fmt: skip
    mounts = [{"name": "files", "mountPath": "/files"}, {"name": "claim", "mountPath": "/claim"}]

    def container(name: str, *command: str) -> Object:
        return {"name": name, "image": "llmops/demo-models:dev", "imagePullPolicy": "IfNotPresent",
                "command": list(command), "volumeMounts": mounts, "securityContext": RESTRICTED}  # fmt: skip

    await client.create(POD, {"apiVersion": "v1", "kind": "Pod", "metadata": {**named, "name": "places"}, "spec": {
        "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
                            "seccompProfile": {"type": "RuntimeDefault"}},
        "initContainers": [container("fill", "sh", "-c", fill)],
        "containers": [container(CONTAINER, "python3", "-m", "http.server", "8000", "--directory", "/files"),
                       container("store", "python3", "-c", STORE, "/files", "9000", "0")],
        "volumes": [{"name": "files", **files}, {"name": "claim", "persistentVolumeClaim": {"claimName": CLAIM}}],
    }})  # fmt: skip
    found = lambda: (cluster.get(POD, namespace, "places") or {}).get("status") or {}  # noqa: E731
    await widgets.until(lambda: found().get("phase") == "Running", 120)
    return str(found()["podIP"])
