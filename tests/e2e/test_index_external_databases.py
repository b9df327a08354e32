"""An index in a database that is there already: PostgreSQL with pgvector, a process on the node, behind a password."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.layout import NODE_IP
from tests.e2e.test_vectorindex import QUESTION, client, given, index, ready, search, status, until, until_found, world
from tests.unit.retrieval import databases
from tests.unit.retrieval.databases import Database

from llmops.kube.client import Client
from llmops.kube.cluster import Cluster
from llmops.kube.resources import VECTOR_INDEX, Resource

__all__ = ["client", "world"]

SECRET = Resource("", "v1", "secrets", "Secret", True)


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Database]:
    with databases.running(databases.postgres(tmp_path, login=True, host=NODE_IP)) as one:
        yield one


async def test_an_index_is_built_in_postgresql_and_searched(
    client: Client, world: Cluster, namespace: str, postgres: Database
) -> None:
    where = postgres.where
    await client.create(SECRET, {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "postgres", "namespace": namespace},
        "stringData": {"username": where.username, "password": where.password},
    })  # fmt: skip
    external = {"uri": where.uri, "credentialsSecretRef": {"name": "postgres"}}
    wanted = index(namespace)
    wanted["spec"]["engine"] = {"type": "PgVector", "mode": "External", "external": external}
    await given(client, namespace, wanted)
    await until(lambda: ready(world, namespace), 180)
    first = status(world, namespace)
    assert (first["rows"], first["measured"]["annRecallAt10"]) == (100, "1.000")
    await until_found(world, namespace, QUESTION, "faq/q001#0")
    only = await search(world, namespace, QUESTION, filter="document != 'faq/q001' and not text like '%email address%'")
    assert only["passages"][0]["id"] != "faq/q001#0"
    assert await search(world, namespace, QUESTION, filter="document ==") == {}  # 400

    # another index's settings copy every vector; while the database is away, searches fail and come back by themselves
    change = {"spec": {"index": {"type": "IVF_FLAT", "parameters": {"nlist": 4}, "search": {"nprobe": 4}}}}
    await client.patch(VECTOR_INDEX, namespace, "faq", change)
    await until(lambda: ready(world, namespace) and status(world, namespace)["generation"] != first["generation"])
    now = status(world, namespace)["generation"]["active"]
    async with asyncio.timeout(30):
        while (await search(world, namespace, QUESTION))["generation"] != now:
            await asyncio.sleep(0.1)
    postgres.end()
    assert await search(world, namespace, QUESTION) == {}
    postgres.begin()
    assert (await until_found(world, namespace, QUESTION, "faq/q001#0"))["generation"] == now
