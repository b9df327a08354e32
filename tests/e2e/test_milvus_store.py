"""The stores' contract once more, over a real Milvus server: minutes, where the others take seconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.retrieval import databases
from tests.unit.retrieval.databases import Database
from tests.unit.retrieval.test_stores import *  # noqa: F403
from tests.unit.retrieval.test_stores import HNSW, built

from llmops.retrieval.stores import open_reader, open_store
from llmops.retrieval.stores.base import NotAllowed, Store, Unfit


@pytest.fixture(scope="module")  # type: ignore[no-redef]  # instead of theirs
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with databases.running(databases.milvus(tmp_path_factory.mktemp("milvus"))) as one:
        yield one


def test_this_milvus_says_that_it_has_no_bm25_and_keeps_nothing(database: Database) -> None:
    store = open_store(database.where, "shop_words", "shop_words__g")
    with pytest.raises(Unfit, match=r"Milvus v2\.3\.5.* write mode Dense, or run Milvus 2\.5 or newer"):
        store.create("shop_words__g1_x", 8, replace(HNSW, keyword=True), {"generation": 1})
    assert store.generations() == []


def test_nothing_is_measured_before_all_of_it_is_indexed(store: Store) -> None:
    made = built(store, 12_000)
    assert int(store.client.describe_index(made.collection, "vector")["pending_index_rows"]) == 0  # type: ignore[attr-defined]
    store.drop(made)


async def test_a_wrong_password_is_told_at_once(tmp_path: Path) -> None:
    with databases.running(databases.milvus(tmp_path, login=True)) as one:
        assert open_store(one.where, "a", "a__g").generations() == []
        for where in (replace(one.where, password="guess"), replace(one.where, username="", password="")):
            with pytest.raises(NotAllowed):
                open_store(where, "a", "a__g")
            reader = open_reader(where)
            with pytest.raises(NotAllowed):
                await reader.points_to("a")
            await reader.close()
