"""The sample of similar conversations, as it stands in manifests/samples."""

from __future__ import annotations

from pathlib import Path

import yaml
from tests.e2e.test_vectorindex import client, given, ready, search, until, until_found, world

from llmops.kube.client import Client
from llmops.kube.cluster import Cluster
from llmops.kube.resources import CONFIG_MAP

__all__ = ["client", "world"]
SAMPLE = Path(__file__).parents[2] / "manifests/samples/similar-conversations.yaml"


async def test_what_a_customer_says_finds_who_had_it_before_and_what_solved_it(
    client: Client, world: Cluster, namespace: str
) -> None:
    rows, index = yaml.safe_load_all(SAMPLE.read_text())
    rows["metadata"]["namespace"] = namespace
    await client.create(CONFIG_MAP, rows)
    index["metadata"] = {"name": "faq", "namespace": namespace}
    index["spec"] |= {"embedding": {"serviceRef": {"name": "minilm"}}, "engine": {"storage": {"size": "1Gi"}}}
    await given(client, namespace, index)
    await until(lambda: ready(world, namespace), 180)
    found = await until_found(world, namespace, "My shoes fell apart on the trail.", "support/c-1041#0")
    (passage,) = found["passages"]
    assert passage["metadata"]["answer"].startswith("Within two years we send a new pair")
    torn = "The zipper of my backpack broke."
    assert (await search(world, namespace, torn))["passages"][0]["id"] == "support/c-1044#0"
    solved = await search(
        world, namespace, torn, topK=9, filter='metadata["solved"] == true and metadata["year"] >= 2026'
    )
    assert {one["id"] for one in solved["passages"]} == {f"support/c-104{n}#0" for n in (1, 2, 3)}
