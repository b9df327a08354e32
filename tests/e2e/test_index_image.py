"""An index whose engine's image changes and comes back, on the real cluster."""

from __future__ import annotations

from tests.e2e.test_vectorindex import (
    QUESTION,
    client,
    config_map,
    documents,
    given,
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
from llmops.kube.resources import CONFIG_MAP, VECTOR_INDEX

__all__ = ["client", "world"]

SAME = "docker.io/llmops/milvus-lite:dev"  # the image that runs, by another name: for an index it is another image
SNOW = "Can I rent snow shoes?"


async def test_an_image_that_comes_back_finds_what_it_wrote_and_the_index_builds_what_is_missing(
    client: Client, world: Cluster, namespace: str
) -> None:
    await given(client, namespace)
    await until(lambda: ready(world, namespace), 180)
    assert said(world, namespace, "EngineReady")[1] == "the vector database answers"

    await client.patch(VECTOR_INDEX, namespace, "faq", {"spec": {"engine": {"image": SAME}}})
    saved = "what image llmops/milvus-lite:dev wrote until"
    await until(lambda: saved in said(world, namespace, "EngineReady")[1] and ready(world, namespace))
    await until_found(world, namespace, QUESTION, "faq/q001#0")
    more = [{"id": "snow", "text": "Snow shoes are rented out for nine euros a day."}]
    await client.apply(CONFIG_MAP, config_map(namespace, "faq", documents(more)))
    await until_found(world, namespace, SNOW, "faq/snow#0")
    await until(lambda: ready(world, namespace) and status(world, namespace)["rows"] == 101)
    grown = status(world, namespace)["generation"]["active"]

    await client.patch(VECTOR_INDEX, namespace, "faq", {"spec": {"engine": {"image": None}}})
    await until(lambda: status(world, namespace)["generation"]["active"] > grown and ready(world, namespace))
    assert "1 of 101 passages were embedded" in said(world, namespace, "Built")[1]  # the others are of the backup
    assert said(world, namespace, "EngineReady")[1] == "the vector database answers"
    await until_found(world, namespace, SNOW, "faq/snow#0")
    assert await search(world, namespace, SNOW, generation=grown) == {}
