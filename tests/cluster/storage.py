"""The default StorageClass's provisioner: a directory of the node for each claim, removed with its volume.

A process of its own beside the kubelet (`python3 -m tests.cluster.storage`). Level-triggered like any controller: it
looks at all claims and volumes, makes what is missing, and looks again when a watch reports a change.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import ssl
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .certificates import PKI
from .layout import API, NODE, STATE

PROVISIONER = "llmops.dev/node-directory"
VOLUMES = STATE / "volumes"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
Object = dict[str, Any]


def connect() -> http.client.HTTPSConnection:
    tls = ssl.create_default_context(cafile=str(PKI / "ca.crt"))
    tls.load_cert_chain(str(PKI / "admin.crt"), str(PKI / "admin.key"))
    address = urlsplit(API)
    return http.client.HTTPSConnection(str(address.hostname), address.port, context=tls, timeout=60)


def ask(method: str, path: str, body: Object | None = None) -> tuple[int, Object]:
    with contextlib.closing(connect()) as connection:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())


def look_once() -> str:
    """Provision for every claim of our classes that has no volume, drop released volumes; the claims' version."""
    _, classes = ask("GET", "/apis/storage.k8s.io/v1/storageclasses")
    ours = {item["metadata"]["name"] for item in classes["items"] if item["provisioner"] == PROVISIONER}
    _, volumes = ask("GET", "/api/v1/persistentvolumes")
    _, claims = ask("GET", "/api/v1/persistentvolumeclaims")
    have = {volume["metadata"]["name"] for volume in volumes["items"]}
    for claim in claims["items"]:
        if wants_volume(claim, ours) and volume_name(claim) not in have:
            provision(claim)
    for volume in volumes["items"]:
        if is_abandoned(volume):
            remove(volume)
    return str(claims["metadata"]["resourceVersion"])


def wants_volume(claim: Object, classes: set[str]) -> bool:
    spec = claim["spec"]
    deleted = "deletionTimestamp" in claim["metadata"]
    return spec.get("storageClassName") in classes and not spec.get("volumeName") and not deleted


def is_abandoned(volume: Object) -> bool:
    """Its claim is gone, and the volume's policy is that the data goes too."""
    ours = volume["metadata"].get("annotations", {}).get(PROVISIONED_BY) == PROVISIONER
    policy = volume["spec"].get("persistentVolumeReclaimPolicy")
    return bool(ours and policy == "Delete" and volume.get("status", {}).get("phase") == "Released")


def volume_name(claim: Object) -> str:
    return f"pvc-{claim['metadata']['uid']}"


def provision(claim: Object) -> None:
    directory = VOLUMES / volume_name(claim)
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o777)  # pods run as users that the node does not know
    ask("POST", "/api/v1/persistentvolumes", build_volume(claim, directory))


def build_volume(claim: Object, directory: Path) -> Object:
    on_this_node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
    meta = claim["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": volume_name(claim), "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "capacity": claim["spec"]["resources"]["requests"],
            "accessModes": claim["spec"]["accessModes"],
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": claim["spec"]["storageClassName"],
            "volumeMode": claim["spec"].get("volumeMode", "Filesystem"),
            "hostPath": {"path": str(directory), "type": "Directory"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [on_this_node]}]}},
            "claimRef": {"namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]},
        },
    }


def remove(volume: Object) -> None:
    name = volume["metadata"]["name"]
    shutil.rmtree(VOLUMES / name, ignore_errors=True)
    ask("DELETE", f"/api/v1/persistentvolumes/{name}")


def wait_for_change(version: str, seconds: int = 5) -> None:
    """Return at the first change to a claim, or when the time is up (volumes are released without one)."""
    path = f"/api/v1/persistentvolumeclaims?watch=1&resourceVersion={version}&timeoutSeconds={seconds}"
    with contextlib.closing(connect()) as connection:
        connection.request("GET", path)
        connection.getresponse().readline()


def main() -> None:
    while True:
        try:
            wait_for_change(look_once())
        except (OSError, http.client.HTTPException, ValueError, KeyError) as problem:
            print(f"trying again: {problem!r}", flush=True)
            time.sleep(1)


if __name__ == "__main__":
    main()
