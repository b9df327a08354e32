"""Search by words and a reranker, switched on under a served index, on the real cluster."""

from __future__ import annotations

import asyncio

import pytest
from tests.e2e.test_vectorindex import (
    client,
    config_map,
    documents,
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
from llmops.kube.errors import Invalid
from llmops.kube.resources import CONFIG_MAP, LLM_SERVICE, VECTOR_INDEX, Object

__all__ = ["client", "world"]


def service(namespace: str, name: str, task: str) -> Object:
    """Of the same small model: as a reranker it gives an order, and no judgement."""
    return {
        "apiVersion": LLM_SERVICE.api_version, "kind": LLM_SERVICE.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"model": {"uri": "file:///models/minilm.gguf", "task": task},
                 "engine": {"type": "LlamaCpp", "image": "llmops/demo-models:dev"},
                 "resources": {"requests": {"cpu": "50m", "memory": "160Mi"}}},
    }  # fmt: skip


async def test_a_served_index_learns_words_and_is_reranked_without_embedding_anything_again(
    client: Client, world: Cluster, namespace: str
) -> None:
    wanted = index(namespace)
    wanted["spec"]["rollout"] = {"gates": [{"type": "RowCount", "min": 100}]}
    await client.create(CONFIG_MAP, config_map(namespace, "faq", documents()))
    await client.create(LLM_SERVICE, service(namespace, "minilm", "Embed"))
    await client.create(VECTOR_INDEX, wanted)
    await until(lambda: ready(world, namespace), 180)
    await until_found(world, namespace, "How do I change my email address?", "faq/q001#0")
    first = status(world, namespace)["generation"]["active"]

    slow = {"rerank": {"serviceRef": {"name": "reranker"}, "timeout": "1m"}}
    with pytest.raises(Invalid, match="write 10ms to 999ms"):
        await client.patch(VECTOR_INDEX, namespace, "faq", {"spec": {"query": slow}})
    query = {"mode": "Hybrid", "rerank": {"serviceRef": {"name": "reranker"}, "candidates": 8}}
    await client.patch(VECTOR_INDEX, namespace, "faq", {"spec": {"query": query}})
    missing = f"LLMService {namespace}/reranker does not exist: create it, with spec.model.task Rerank"
    await until(lambda: missing in said(world, namespace, "Ready")[1], 60)
    assert (await search(world, namespace, "PostNL"))["generation"] == first  # and it goes on

    await client.create(LLM_SERVICE, service(namespace, "reranker", "Rerank"))
    await until(lambda: ready(world, namespace), 120)
    assert "0 of 100 passages were embedded" in said(world, namespace, "Built")[1]

    async with asyncio.timeout(20):
        while not (answered := await search(world, namespace, "PostNL", topK=8)).get("reranked"):
            await asyncio.sleep(0.2)
    assert answered["generation"] > first
    (found,) = [one for one in answered["passages"] if one["id"] == "faq/q025#0"]
    assert found["ranks"]["keyword"] == 1
    relevance = [one["relevance"] for one in answered["passages"]]
    assert relevance == sorted(relevance, reverse=True)
