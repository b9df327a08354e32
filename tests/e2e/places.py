"""A pod that has files where sources and datasets may be: on a claim, on the web, in a bucket; another has them in git,
behind ssh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncssh
from tests.e2e import ssh_host, store, widgets

from llmops.kube.client import Client
from llmops.kube.cluster import Cluster
from llmops.kube.resources import POD, PVC, Resource

Object = dict[str, Any]
SECRET = Resource("", "v1", "secrets", "Secret", True)
CLAIM = "files"
CONTAINER = "web"
STORE, SSH_HOST = Path(store.__file__).read_text(), Path(ssh_host.__file__).read_text()
PORT = ssh_host.PORT
PLAIN_POD = {
    "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1,
    "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
                        "seccompProfile": {"type": "RuntimeDefault"}},
}  # fmt: skip
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
        **PLAIN_POD,
        "initContainers": [container("fill", "sh", "-c", fill)],
        "containers": [container(CONTAINER, "python3", "-m", "http.server", "8000", "--directory", "/files"),
                       container("store", "python3", "-c", STORE, "/files", "9000", "0")],
        "volumes": [{"name": "files", **files}, {"name": "claim", "persistentVolumeClaim": {"claimName": CLAIM}}],
    }})  # fmt: skip
    return await _address(cluster, namespace, "places")


async def _address(cluster: Cluster, namespace: str, name: str) -> str:
    found = lambda: (cluster.get(POD, namespace, name) or {}).get("status") or {}  # noqa: E731
    await widgets.until(lambda: found().get("phase") == "Running", 120)
    return str(found()["podIP"])


async def repository(client: Client, cluster: Cluster, namespace: str, name: str, text: str) -> str:
    """The ssh address of a repository with that one file; the Secret `deploy` has what opens it."""
    named = {"namespace": namespace, "labels": {"app.kubernetes.io/managed-by": "test"}}
    key, host = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    env = {"CLIENT": key.export_public_key().decode(), "HOST_KEY": host.export_private_key().decode()}
    await client.create(POD, {"apiVersion": "v1", "kind": "Pod", "metadata": {**named, "name": "repository"}, "spec": {
        **PLAIN_POD,
        "containers": [{
            "name": "ssh", "image": "llmops/retrieval:dev", "imagePullPolicy": "IfNotPresent",
            "command": ["python3", "-c", SSH_HOST, name, text], "securityContext": RESTRICTED,
            "env": [{"name": one, "value": value} for one, value in env.items()],
        }],
    }})  # fmt: skip
    address = await _address(cluster, namespace, "repository")
    data = {"ssh-privatekey": key.export_private_key().decode(), "known_hosts": ssh_host.known(address, PORT, host)}
    await client.create(SECRET, {"apiVersion": "v1", "kind": "Secret", "stringData": data,
                                 "metadata": {"name": "deploy", "namespace": namespace}})  # fmt: skip
    return f"ssh://git@{address}:{PORT}/docs.git"
