"""What is PostgreSQL's or Qdrant's alone: what they cannot hold, whom they let in, and what they answer."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.unit.retrieval import databases
from tests.unit.retrieval.test_stores import ENGINES, built, passages, vectors

from llmops.api.filters import FilterWrong
from llmops.retrieval.stores import open_reader, open_store, qdrant
from llmops.retrieval.stores.base import Asked, Away, Index, NotAllowed, StoreError, Unfit, Where
from llmops.retrieval.stores.qdrant import QdrantStore

UNFIT = [
    ("postgres", Index("HNSW", "L2", {"M": 1_000_000}), 8, "does not take an index's parameters: value 1000000"),
    ("postgres", Index("SCANN", "L2"), 8, "PgVector has no index SCANN: write index.type HNSW or IVF_FLAT or FLAT"),
    ("postgres", Index("HNSW", "L2"), 2001, "PgVector's HNSW takes at most 2000 numbers a vector, and the embedding "
     "model gives 2001: write index.type FLAT (exact search), or take a model that gives fewer"),
    ("postgres", Index("FLAT", "L2"), 16_001, "at most 16000 numbers a vector, and the embedding model gives 16001"),
    ("postgres", Index("HNSW", "L2", {"nlist": 3}), 8, "PgVector's HNSW has no parameter nlist: write M or efCon"),
    ("qdrant", Index("FLAT", "L2"), 8, "Qdrant has no index FLAT: write index.type HNSW"),
    ("qdrant", Index("HNSW", "L2", {"nlist": 3}), 8, "Qdrant's HNSW has no parameter nlist: write M or efConstruction"),
]  # fmt: skip


@pytest.mark.parametrize("engine", ["postgres", "qdrant"])
async def test_what_an_engine_cannot_hold_is_told_with_what_to_write(engine: str, tmp_path: Path) -> None:
    with databases.running(ENGINES[engine](tmp_path)) as one, closing(open_store(one.where, "a", "a__g", 10)) as store:
        for name, index, dimensions, sentence in UNFIT:
            if name == engine:
                with pytest.raises(Unfit) as told:
                    store.create("a__g1_x", dimensions, index, {"generation": 1})
                assert sentence in str(told.value)
        assert store.generations() == []
        if engine == "postgres":
            wide = store.create("a__g1_x", 2001, Index("FLAT", "L2"), {"generation": 1})
            store.insert(wide.collection, passages(1), [[1.0] * 2001])
            store.settle(wide.collection)
            reader = open_reader(one.where)
            (found,) = await reader.search(wide.collection, Asked([1.0] * 2001, 1))
            await reader.close()
            assert (found.id, found.document) == ("a/0#0", "a/0")


@pytest.mark.parametrize("engine", ["postgres", "qdrant"])
async def test_a_wrong_password_is_told_at_once(engine: str, tmp_path: Path) -> None:
    with databases.running(ENGINES[engine](tmp_path, True)) as one:
        with closing(open_store(one.where, "a", "a__g", patience=10)) as store:
            assert store.generations() == []
        for where in (replace(one.where, password="guess", token="guess"), replace(one.where, password="", token="")):
            with pytest.raises(NotAllowed):
                open_store(where, "a", "a__g")
            reader = open_reader(where)
            with pytest.raises(NotAllowed) as told:
                await reader.points_to("a")
            assert "secret" not in str(told.value)
            await reader.close()


async def test_a_user_of_postgresql_who_may_only_read_answers_and_builds_nothing(tmp_path: Path) -> None:
    with databases.running(databases.postgres(tmp_path)) as one:
        with closing(open_store(one.where, "a", "a__g", patience=10)) as store:
            made = built(store)
            store.point(made)
        with psycopg.connect(one.where.uri, user=one.where.username) as admin:
            admin.execute("CREATE ROLE poor LOGIN; GRANT pg_read_all_data TO poor")
        poor = replace(one.where, username="poor")
        with pytest.raises(NotAllowed) as told:
            open_store(poor, "a", "a__g")
        assert "permission denied for schema public" in str(told.value)
        reader = open_reader(poor)
        assert await reader.points_to("a") == made.collection
        assert len(await reader.search(made.collection, Asked(vectors(1)[0].tolist(), 4))) == 4
        await reader.close()


@pytest.mark.parametrize(
    ("status", "body", "kind", "sentence"),
    [
        (
            401,
            b"Must provide an API key or an Authorization bearer token",
            NotAllowed,
            "API key as `token` of the Secret",
        ),
        (403, b'{"status":{"error":"Forbidden: Global access is required"}}', NotAllowed, "Global access is required"),
        (
            404,
            b'{"status":{"error":"Not found: Collection `a` doesn\'t exist!"}}',
            Away,
            "Collection `a` doesn't exist",
        ),
        (422, b'{"status":{"error":"Validation error in JSON body"}}', Unfit, "Validation error in JSON body"),
        (429, b'{"status":{"error":"Rate limit exceeded"}}', Away, "answered 429: Rate limit exceeded"),
        (500, b"<html>Bad gateway", Away, "answered 500: <html>Bad gateway"),
        (200, b"<html>Log in", Away, "answered 200: <html>Log in"),
        (200, b"[]", Away, "answered 200: []"),
    ],
)
def test_what_qdrant_answers_is_told_apart(status: int, body: bytes, kind: type[StoreError], sentence: str) -> None:
    with pytest.raises(kind) as told:
        qdrant.result(status, body)
    assert sentence in str(told.value)
    with pytest.raises(FilterWrong):
        qdrant.result(400, b'{"status":{"error":"Bad request"}}', filtered=True)


@pytest.mark.parametrize(
    ("version", "written", "sentence"),
    [
        ("1.18.3", 'not source like "a%"', 'like "a%" needs Qdrant 1.19 or later; this one is 1.18.3'),
        ("1.16.0", 'id == "x" or text like "a%"', 'like "a%" needs Qdrant 1.19 or later; this one is 1.16.0'),
        ("1.19.1", 'text like "%a%" and source like "a%"', 'like "%a%" needs Qdrant 1.20 or later; this one is 1.19.1'),
        ("1.19.1", 'source like "a%"', "Format error"),
        ("1.20.0", 'source like "%a%"', "Format error"),
        ("1.16.0", 'source like "a"', "Format error"),
    ],
)
async def test_a_filter_that_a_qdrant_is_too_old_for_is_told_with_the_version_that_it_needs(
    version: str, written: str, sentence: str
) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"status": {"error": "Format error"}}, status=400)

    async def told(_: web.Request) -> web.Response:
        return web.json_response({"title": "qdrant - vector search engine", "version": version})

    app = web.Application()
    app.router.add_post("/collections/a__g1/points/query", refuse)
    app.router.add_get("/", told)
    async with TestServer(app) as server:
        reader = open_reader(Where("Qdrant", f"http://127.0.0.1:{server.port}"))
        with pytest.raises(FilterWrong) as wrong:
            await reader.search("a__g1", Asked([1.0], 3, written))
        assert str(wrong.value) == sentence
        await reader.close()


async def test_a_qdrant_that_is_too_old_for_an_index_is_told_with_the_version_that_it_needs() -> None:
    for version in ("1.15.5", "0.9", "nonsense"):
        with pytest.raises(
            Unfit, match="Qdrant 1.16 or later is needed, whose collections have metadata; this is " + version
        ):
            QdrantStore._check(object.__new__(QdrantStore), {"version": version})


@pytest.mark.parametrize(
    ("type_", "uri", "sentence"),
    [
        ("Qdrant", "http://h:99999999", "write Qdrant's address as http://host:6333"),
        ("Qdrant", "http://", "write Qdrant's address as http://host:6333"),
        ("PgVector", "postgresql://h/x?nonsense=1", "write the address as postgresql://host:5432/database"),
    ],
)
async def test_an_address_that_cannot_be_read_is_told_what_to_write(type_: str, uri: str, sentence: str) -> None:
    with pytest.raises(Unfit) as told:
        open_store(Where(type_, uri), "a", "a__g")
    assert sentence in str(told.value)
    reader = open_reader(Where(type_, uri))
    with pytest.raises(Unfit) as told:
        await reader.points_to("a")
    assert sentence in str(told.value)
    await reader.close()


def test_a_qdrant_that_was_restarted_while_it_indexed_is_told_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    store, writes, now = QdrantStore.__new__(QdrantStore), list[Any](), 0.0
    pending = {"error": "optimizations pending, awaiting update operation"}

    def ask(request: Any) -> Any:
        method, _, body = request
        if method == "PATCH":
            writes.append(body)
        goes_on = len(writes) > 1  # the first was lost with another restart
        told = {"indexed_vectors_count": 9, "segments_count": 1}
        return {**told, "status": "green" if goes_on else "grey", "optimizer_status": "ok" if goes_on else pending}

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(store, "_ask", ask)
    monkeypatch.setattr(qdrant, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: now))
    store.settle("faq__g1_x")
    assert writes == [{"optimizers_config": {}}] * 2
    assert 10 <= now < 12
