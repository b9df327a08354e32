"""An index in a Milvus cluster: kind, admission, Services and the Milvus behind them are real.

The Milvus Operator cannot be had here: the test says in its name how far it is, and makes the pod and the Service that
it would make.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.access import Access
from tests.e2e.test_vectorindex import (
    QUESTION,
    client,
    given,
    index,
    ready,
    said,
    search,
    status,
    until,
    until_found,
    world,
)

from llmops.api import Settings
from llmops.kube.client import Client
from llmops.kube.cluster import Cluster
from llmops.kube.resources import DEPLOYMENT, MILVUS, NETWORK_POLICY, POD, SERVICE, VECTOR_INDEX
from llmops.retrieval.engines import standalone
from llmops.retrieval.pods import RESTRICTED_POD

__all__ = ["client", "world"]
Object = dict[str, Any]
KIND = Path(__file__).parents[1] / "cluster" / "manifests" / "milvus.yaml"
NAME = "faq-index-cluster"
PODS = {"app.kubernetes.io/name": "milvus", "app.kubernetes.io/instance": NAME}
STORAGE = {"endpoint": "https://s3.example.org", "bucket": "vectors", "credentialsSecretRef": {"name": "bucket"}}
READY, UPDATED = {"type": "MilvusReady", "status": "True"}, {"type": "MilvusUpdated", "status": "True"}


@pytest.fixture
def kind(cluster: Access, monkeypatch: pytest.MonkeyPatch) -> Iterator[Access]:
    """The cluster, without the kind; and it is looked for more often than every thirty seconds."""
    monkeypatch.setattr("llmops.kube.cache.ABSENT_SECONDS", 1.0)
    monkeypatch.setattr("llmops.retrieval.plan.LOOK_AT_RUNNING", 2.0)
    cluster.kubectl("delete", "--ignore-not-found", "-f", str(KIND))
    yield cluster
    cluster.kubectl("delete", "--ignore-not-found", "-f", str(KIND))


class Operator:
    """The Milvus Operator's part."""

    def __init__(self, client: Client, world: Cluster, namespace: str) -> None:
        self.client, self.world, self.namespace = client, world, namespace

    @property
    def milvus(self) -> Object | None:
        return self.world.get(MILVUS, self.namespace, NAME)

    async def says(self, *conditions: Object, behind: int = 0, **more: Any) -> None:
        """Its status, of the spec as it is, or of an earlier one."""
        live = await self.client.get(MILVUS, self.namespace, NAME)
        told = {"status": "Pending", "observedGeneration": live["metadata"]["generation"] - behind, **more}
        patch = {"status": {**told, "conditions": list(conditions)}}
        await self.client.patch(MILVUS, self.namespace, NAME, patch, sub="status")

    async def runs(self) -> None:
        """A pod: the real server, in one piece."""
        container = standalone.SERVER.container(Settings(image_milvus="llmops/milvus:dev"))
        await self.client.create(POD, {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "milvus", "namespace": self.namespace, "labels": PODS},
            "spec": {
                "containers": [container], "securityContext": RESTRICTED_POD, "enableServiceLinks": False,
                "volumes": [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
            },
        })  # fmt: skip

    async def serves(self) -> None:
        """Its Service."""
        await self.client.create(SERVICE, {
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": f"{NAME}-milvus", "namespace": self.namespace, "labels": PODS},
            "spec": {"selector": PODS, "ports": [{"name": "milvus", "port": 19530, "targetPort": "engine"}]},
        })  # fmt: skip


def engine(namespace: str, **cluster: Any) -> Object:
    """The index, in this Milvus."""
    made = index(namespace)
    made["spec"]["engine"] = {"mode": "Cluster", "cluster": cluster}
    return made


async def test_a_cluster_is_asked_for_believed_late_built_in_shared_kept_and_deleted(
    kind: Access, client: Client, world: Cluster, namespace: str
) -> None:
    played = Operator(client, world, namespace)
    await played.runs()
    await given(client, namespace)
    spec = {"engine": {**engine(namespace, storage=STORAGE)["spec"]["engine"], "storage": None}}
    await client.patch(VECTOR_INDEX, namespace, "faq", {"spec": spec})
    waits = lambda: said(world, namespace, "EngineReady")[1]  # noqa: E731
    await until(lambda: "install its chart milvus-operator" in waits(), 60)

    kind.kubectl("apply", "-f", str(KIND))
    await until(lambda: played.milvus, 60)
    assert played.milvus is not None
    asked = played.milvus["spec"]  # nothing of it was dropped by the kind's schema
    assert (asked["mode"], asked["config"]["minio"]["bucketName"]) == ("cluster", "vectors")
    assert asked["dependencies"] == {
        "msgStreamType": "woodpecker",
        "etcd": {"external": False, "inCluster": {"deletionPolicy": "Retain", "pvcDeletion": False}},
        "storage": {"external": True, "type": "S3", "endpoint": "s3.example.org:443", "secretRef": "bucket"},
    }
    await until(lambda: world.get(NETWORK_POLICY, namespace, NAME), 60)

    # how far it is, step by step; what it said of an earlier spec counts for nothing
    await until(lambda: "has not seen its spec yet" in waits(), 60)
    await played.says({**READY, "status": "False", "message": "[proxy] not ready"})
    await until(lambda: "MilvusReady is False ([proxy] not ready)" in waits(), 60)
    await played.says(READY, {**UPDATED, "status": "False"})
    await until(lambda: "MilvusUpdated is False" in waits(), 60)
    await client.patch(MILVUS, namespace, NAME, {"spec": {"components": {"image": "milvusdb/milvus:v2.6.11"}}})
    await played.says(READY, UPDATED, behind=1)
    await until(lambda: "has not seen its spec yet" in waits(), 60)
    await played.says(READY, UPDATED, currentImage="milvusdb/milvus:v2.6.10")
    await until(lambda: "it still runs milvusdb/milvus:v2.6.10" in waits(), 60)
    await played.says(READY, UPDATED, currentImage="milvusdb/milvus:v2.6.11")
    await until(lambda: f"no pod behind its Service {NAME}-milvus is ready" in waits(), 60)
    assert "building" not in status(world, namespace)["generation"]

    # a pod is there: it is built in, and what was there before goes
    await played.serves()
    await until(lambda: ready(world, namespace))
    await until_found(world, namespace, QUESTION, "faq/q001#0")
    await until(lambda: world.get(DEPLOYMENT, namespace, "faq-index-engine") is None, 60)

    # upgraded, it goes on answering
    await played.says(READY, {**UPDATED, "status": "False"})
    await until(lambda: "MilvusUpdated is False" in waits(), 60)
    assert {said(world, namespace, one)[0] for one in ("Ready", "Available")} == {"True"}
    assert (await search(world, namespace, QUESTION))["passages"]
    await played.says(READY, UPDATED)

    # another index shares it by its name
    other = engine(namespace, name=NAME)
    other["metadata"]["name"] = "other"
    await client.create(VECTOR_INDEX, other)
    told = lambda: (world.get(VECTOR_INDEX, namespace, "other") or {}).get("status") or {}  # noqa: E731
    await until(lambda: any(one["type"] == "Ready" and one["status"] == "True" for one in told().get("conditions", [])))
    assert told()["generation"]["name"] != status(world, namespace)["generation"]["name"]
    await client.delete(VECTOR_INDEX, namespace, "other")

    # the index is deleted: Milvus stays, with its wall, and an index of that name finds in it what there was
    await client.delete(VECTOR_INDEX, namespace, "faq")
    await until(lambda: world.get(SERVICE, namespace, "faq-index") is None)
    assert played.milvus is not None
    assert world.get(NETWORK_POLICY, namespace, NAME) is not None
    again = engine(namespace, storage=STORAGE)
    again["spec"]["deletionPolicy"] = "Delete"
    await client.create(VECTOR_INDEX, again)
    await until(lambda: ready(world, namespace))
    assert "0 of 100 passages were embedded" in said(world, namespace, "Built")[1]

    # it goes when another engine serves, and otherwise with the index
    etcd = {"deletionPolicy": "Delete", "pvcDeletion": True}
    assert played.milvus["spec"]["dependencies"]["etcd"]["inCluster"] == etcd
    lite = {"mode": "Lite", "cluster": None, "storage": {"size": "1Gi"}}
    await client.patch(VECTOR_INDEX, namespace, "faq", {"spec": {"engine": lite}})
    await until(lambda: ready(world, namespace))
    await until(lambda: played.milvus is None and world.get(NETWORK_POLICY, namespace, NAME) is None, 60)
    back = {**again["spec"]["engine"], "storage": None}
    await client.patch(VECTOR_INDEX, namespace, "faq", {"spec": {"engine": back}})
    await until(lambda: played.milvus, 60)
    await client.delete(VECTOR_INDEX, namespace, "faq")
    await until(lambda: played.milvus is None, 60)
