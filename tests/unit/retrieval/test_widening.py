"""Filters that starve an approximate index: when more is looked at, how much more, and what that is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from tests.unit.retrieval import databases
from tests.unit.retrieval.conftest import seen, work_of

from llmops.retrieval import widen
from llmops.retrieval.passage import Passage
from llmops.retrieval.stores import open_reader, open_store
from llmops.retrieval.stores.base import Asked, Away, Found, Index, Reader, Restriction
from llmops.retrieval.widen import first, wider

FILTER = "source == 'a'"


def asked(top_k: int, search: Mapping[str, int], filter_: str = FILTER) -> Asked:
    return Asked([0.0], top_k, filter_, search)


@pytest.mark.parametrize(
    ("one", "top_k"),
    [
        (asked(10, {"ef": 64}), 40),
        (asked(10, {"nprobe": 16}), 40),
        (asked(50, {"ef": 64}), 100),
        (asked(100, {"ef": 64}), 100),
        (asked(10, {"ef": 64}, ""), 10),
        (asked(10, {}), 10),  # FLAT looks at everything anyway
        (replace(asked(10, {"ef": 64}, ""), only=Restriction("groups")), 40),
        (replace(asked(10, {"ef": 64}), words="boots"), 10),  # and so does BM25
    ],
)
def test_a_filtered_search_asks_for_more_to_see_how_starved_it_is(one: Asked, top_k: int) -> None:
    assert first(one, 10**6).top_k == top_k
    assert first(one, 10**6).search == ({"ef": 1024} if one.only else one.search)


@pytest.mark.parametrize(
    ("search", "found", "rows", "then"),
    [
        ({"ef": 64}, 9, 10**6, {"ef": 1024}),
        ({"ef": 64}, 0, 10**6, {"ef": 1024}),
        ({"ef": 1024}, 9, 10**6, {"ef": 4096}),
        ({"ef": 64}, 10, 10**6, None),
        ({"ef": 4096}, 9, 10**6, None),
        ({"ef": 9000}, 9, 10**6, None),  # somebody's own, above the bound
        ({"ef": 64}, 9, 300, {"ef": 300}),
        ({"ef": 300}, 9, 300, None),
        ({"nprobe": 16}, 9, 10**6, {"nprobe": 256}),
        ({}, 9, 10**6, None),
    ],
)
def test_what_comes_short_is_widened_until_everything_was_looked_at(
    search: dict[str, int], found: int, rows: int, then: dict[str, int] | None
) -> None:
    more = wider(asked(10, search), found, rows)
    assert (more.search if more else None) == then
    assert wider(asked(10, search, ""), found, rows) is None


STANDALONE = {"type": "Milvus", "mode": "Standalone"}


@pytest.mark.parametrize(
    ("engine", "index", "search"),
    [
        ({}, {"type": "HNSW"}, {"ef": 64}),
        ({}, {"type": "AUTOINDEX"}, {"ef": 64}),
        (STANDALONE, {"type": "AUTOINDEX"}, {}),  # what Milvus makes of it is its own, and not every kind takes ef
        (STANDALONE, {"type": "IVF_FLAT"}, {"nprobe": 16}),
        (STANDALONE, {"type": "IVF_PQ"}, {"nprobe": 16}),
        (STANDALONE, {"type": "IVF_PQ", "search": {"nprobe": 4}}, {"nprobe": 4}),
        (STANDALONE, {"type": "SCANN"}, {"nprobe": 16}),
        (STANDALONE, {"type": "FLAT"}, {}),
        (STANDALONE, {"type": "DISKANN"}, {}),
    ],
)
def test_what_looks_at_some_is_told_at_how_many_so_that_it_can_be_widened(
    engine: dict[str, str], index: dict[str, object], search: dict[str, int]
) -> None:
    assert work_of(seen({"engine": engine, "index": index})).search == search


class Failing:
    """An engine that finds one passage, and does not answer a wider search."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []

    async def search(self, collection: str, one: Asked) -> list[Found]:
        self.asked.append(one)
        if len(self.asked) > 1:
            raise Away("no answer in time")
        return [Found("a#0", "text", "a", 0.5, {})]


async def test_an_engine_that_does_not_answer_the_wider_search_costs_nobody_the_first_answer() -> None:
    engine = Failing()
    found = await widen.search(cast("Reader", engine), 10**6, "c", asked(10, {"ef": 64}))
    assert ([one.id for one in found], len(engine.asked)) == (["a#0"], 2)
    assert engine.asked[1].seconds < engine.asked[0].seconds
    with pytest.raises(Away):
        await widen.search(cast("Reader", engine), 10**6, "c", asked(10, {"ef": 64}))


@pytest.mark.parametrize(
    ("index", "search"),
    [(Index("HNSW", "Cosine", {"M": 16, "efConstruction": 100}), {"ef": 32}),
     (Index("IVF_FLAT", "Cosine", {"nlist": 32}), {"nprobe": 3}),
     (Index("AUTOINDEX", "Cosine"), work_of(seen({"index": {"type": "AUTOINDEX"}})).search)],
    ids=["HNSW", "IVF_FLAT", "AUTOINDEX"],
)  # fmt: skip
async def test_a_filter_that_leaves_one_of_a_hundred_is_answered_as_exactly_as_none(
    tmp_path: Path, index: Index, search: Mapping[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(widen, "SECONDS", 60.0)
    number, top_k = 3000, 10
    vectors = np.random.default_rng(7).normal(size=(number, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    passages = [Passage(f"a/{at}#0", f"t{at % 100}", "a", f"text {at}", {}) for at in range(number)]
    with databases.running(databases.milvus_lite(tmp_path)) as database:
        store = open_store(database.where, "shop_wide", "shop_wide__g", patience=10)
        made = store.create("shop_wide__g1_x", 32, index, {"generation": 1})
        store.insert(made.collection, passages, vectors.tolist())
        store.settle(made.collection)
        reader = open_reader(database.where)
        await reader.load(made.collection)
        plain, widened = [], []
        for at in range(20):
            keeps = np.arange(number) % 100 == at
            scores = np.where(keeps, vectors @ vectors[at + 20], -2)
            exact = {passages[place].id for place in np.argsort(-scores)[:top_k]}
            one = Asked(vectors[at + 20].tolist(), top_k, f"document == 't{at}'", search)
            before = await reader.search(made.collection, one)
            after = await widen.search(reader, number, made.collection, one)
            plain.append(len(exact & {each.id for each in before}) / top_k)
            widened.append(len(exact & {each.id for each in after}) / top_k)
            assert len(after) == top_k
            assert [each.score for each in after] == sorted((each.score for each in after), reverse=True)
            other = await widen.search(reader, number, made.collection, Asked(one.vector, top_k, "", search))
            assert len(other) == top_k
        await reader.close()
    assert np.mean(plain) < 0.8
    assert np.mean(widened) > 0.97
