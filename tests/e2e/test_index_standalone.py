"""An index on Milvus Standalone, the real server, and one on a Milvus that is there already: that same server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.e2e.test_vectorindex import (
    QUESTION,
    client,
    config_map,
    documents,
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
from llmops.kube.resources import CONFIG_MAP, NETWORK_POLICY, POD, SERVICE, VECTOR_INDEX

pytestmark = pytest.mark.cluster
__all__ = ["client", "world"]


SAME = "docker.io/llmops/milvus:dev"  # the image that runs, by another name: for an index it is another image


async def its_image_changes_and_comes_back(cluster: Any, client: Client, world: Cluster, namespace: str) -> None:
    """What the first image wrote is saved, then put back; what the second one wrote besides is built again."""
    await moved(cluster, client, world, namespace, SAME)
    saved = "what image llmops/milvus:dev wrote until"
    await until(lambda: saved in said(world, namespace, "EngineReady")[1] and ready(world, namespace), 120)
    await until_found(world, namespace, QUESTION, "faq/q001#0")
    more = [{"id": "snow", "text": "Snow shoes are rented out for nine euros a day."}]
    await client.apply(CONFIG_MAP, config_map(namespace, "faq", documents(more)))
    await until_found(world, namespace, "Can I rent snow shoes?", "faq/snow#0")
    await until(lambda: ready(world, namespace) and status(world, namespace)["rows"] == 101)
    grown = status(world, namespace)["generation"]["active"]

    await moved(cluster, client, world, namespace, None)
    await until(lambda: status(world, namespace)["generation"]["active"] > grown and ready(world, namespace), 120)
    assert "1 of 101 passages were embedded" in said(world, namespace, "Built")[1]  # the others are of the backup
    assert said(world, namespace, "EngineReady")[1] == "the vector database answers"
    await until_found(world, namespace, "Can I rent snow shoes?", "faq/snow#0")


async def moved(cluster: Any, client: Client, world: Cluster, namespace: str, image: str | None) -> None:
    """To another image. The server takes its whole minute to end; killed it is sooner, and has less time to be tidy."""
    name = server(world, namespace)["metadata"]["name"]
    await client.patch(VECTOR_INDEX, namespace, "faq", {"spec": {"engine": {"image": image}}})
    gone = {"metadata": {"deletionTimestamp": "now"}}
    await until(lambda: (world.get(POD, namespace, name) or gone)["metadata"].get("deletionTimestamp"), 20)
    sooner = ("--grace-period=1", "--wait=false", "--ignore-not-found")
    await asyncio.to_thread(cluster.kubectl, "delete", "pod", name, f"--namespace={namespace}", *sooner)


def server(world: Cluster, namespace: str) -> Any:
    """Its newest pod."""
    pods = [one for one in world.list(POD, namespace) if one["metadata"]["labels"].get("llmops.dev/part") == "milvus"]
    return max(pods, key=lambda one: str(one["metadata"]["creationTimestamp"]))


async def test_the_real_server_is_built_on_searched_lost_and_searched_again(
    cluster: Any, client: Client, world: Cluster, namespace: str
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
    pod = server(world, namespace)
    await client.delete(POD, namespace, pod["metadata"]["name"], uid=pod["metadata"]["uid"])
    await until(lambda: said(world, namespace, "EngineReady")[0] != "True", 60)
    await until(lambda: ready(world, namespace), 180)
    await until_found(world, namespace, QUESTION, "faq/q001#0")
    assert status(world, namespace)["generation"]["active"] == first["generation"]["active"]

    await its_image_changes_and_comes_back(cluster, client, world, namespace)

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
    assert told()["rows"] == 101
    assert told()["generation"]["name"] != status(world, namespace)["generation"]["name"]
