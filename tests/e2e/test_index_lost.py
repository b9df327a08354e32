"""An index whose engine's volume is lost, on the real cluster."""

from __future__ import annotations

from tests.e2e.test_vectorindex import (
    QUESTION,
    client,
    given,
    ready,
    said,
    status,
    until,
    until_found,
    world,
)

from llmops.kube.client import Client
from llmops.kube.cluster import Cluster
from llmops.kube.resources import POD, PVC

__all__ = ["client", "world"]


async def test_of_an_engine_whose_volume_is_lost_everything_is_embedded_anew_by_itself(
    client: Client, world: Cluster, namespace: str
) -> None:
    await given(client, namespace)
    await until(lambda: ready(world, namespace), 180)
    before, rows = status(world, namespace)["generation"]["active"], status(world, namespace)["rows"]
    [engine] = world.list(POD, namespace, {"llmops.dev/part": "engine", "llmops.dev/owner-kind": "VectorIndex"})
    claim = world.get(PVC, namespace, "faq-index-engine")
    assert claim is not None

    await client.delete(PVC, namespace, "faq-index-engine")
    await client.delete(POD, namespace, engine["metadata"]["name"])  # until it is gone the volume stays
    await until(lambda: status(world, namespace)["generation"]["active"] > before and ready(world, namespace), 240)
    another = world.get(PVC, namespace, "faq-index-engine")
    assert another is not None
    assert another["metadata"]["uid"] != claim["metadata"]["uid"]
    assert f"{rows} of {rows} passages were embedded" in said(world, namespace, "Built")[1]
    await until_found(world, namespace, QUESTION, "faq/q001#0")
