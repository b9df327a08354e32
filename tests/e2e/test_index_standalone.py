"""An index on Milvus Standalone, the real server, and one on a Milvus that is there already: that same server."""

from __future__ import annotations

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

from llmops.kube.client import Client
from llmops.kube.cluster import Cluster
from llmops.kube.resources import NETWORK_POLICY, POD, SERVICE, VECTOR_INDEX

__all__ = ["client", "world"]


async def test_the_real_server_is_built_on_searched_lost_and_searched_again(
    client: Client, world: Cluster, namespace: str
) -> None:
    await given(client, namespace)
    await client.patch(VECTOR_INDEX, namespace, "faq", {"spec": {"engine": {"mode": "Standalone"}}})
    await until(lambda: ready(world, namespace), 300)
    first = status(world, namespace)
    assert (first["rows"], first["measured"]["annRecallAt10"]) == (100, "1.000")
    await until_found(world, namespace, QUESTION, "faq/q001#0")
    only = await search(world, namespace, QUESTION, filter="document != 'faq/q001'")
    assert only["passages"][0]["id"] != "faq/q001#0"

    # its pod is lost: what it comes back with is what it had
    (pod,) = [one for one in world.list(POD, namespace) if one["metadata"]["labels"].get("llmops.dev/part") == "milvus"]
    await client.delete(POD, namespace, pod["metadata"]["name"], uid=pod["metadata"]["uid"])
    await until(lambda: said(world, namespace, "EngineReady")[0] != "True", 120)
    await until(lambda: ready(world, namespace), 180)
    await until_found(world, namespace, QUESTION, "faq/q001#0")
    assert status(world, namespace)["generation"]["active"] == first["generation"]["active"]

    # another index asks the same server by its address, as it would somebody else's
    service = world.get(SERVICE, namespace, "faq-index-milvus")
    assert service is not None
    await client.create(NETWORK_POLICY, {  # which it, being somebody else's, would let in
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "let-in", "namespace": namespace},
        "spec": {"podSelector": {"matchLabels": {"llmops.dev/part": "milvus"}}, "ingress": [{}]},
    })  # fmt: skip
    other = index(namespace)
    other["metadata"]["name"] = "other"
    other["spec"]["engine"] = {"mode": "External", "external": {"uri": f"http://{service['spec']['clusterIP']}:19530"}}
    await client.create(VECTOR_INDEX, other)
    told = lambda: (world.get(VECTOR_INDEX, namespace, "other") or {}).get("status") or {}  # noqa: E731
    await until(lambda: any(one["type"] == "Ready" and one["status"] == "True" for one in told().get("conditions", [])))
    assert told()["rows"] == 100
    assert told()["generation"]["name"] != status(world, namespace)["generation"]["name"]
