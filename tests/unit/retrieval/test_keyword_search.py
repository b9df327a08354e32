"""Search by words against BM25 counted by hand, and both kinds fused, in a real Milvus Lite."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest
from tests.unit.retrieval.databases import Database

from llmops.api.filters import FilterWrong
from llmops.retrieval.passage import Passage
from llmops.retrieval.rank import ranked
from llmops.retrieval.stores import open_reader, open_store
from llmops.retrieval.stores.base import Asked, Index, Reader, Store
from llmops.retrieval.stores.restricted import seen_by
from llmops.retrieval.words import words

WIDTH, NUMBER = 16, 300
HNSW = Index("HNSW", "Cosine", {"M": 16, "efConstruction": 100}, keyword=True)
NUMBERS = count(1)
RANDOM = np.random.default_rng(7)
TEXTS = [" ".join(f"w{int(one)}" for one in RANDOM.zipf(1.4, 30) if one < 400) for _ in range(NUMBER)]
TEXTS[0] = "Die Straße nach Zürich: Fehler E4711"
TEXTS[1] = "我们提供雪鞋租赁服务"
TEXTS[2] = "ERR_TIMEOUT, said the boot AX-200"


@pytest.fixture
def store(database: Database) -> Store:
    name = f"words{next(NUMBERS)}"
    return open_store(database.where, name, f"{name}__g", patience=10)


@pytest.fixture
async def reader(database: Database) -> AsyncIterator[Reader]:
    one = open_reader(database.where)
    yield one
    await one.close()


def passages(texts: Sequence[str], first: int = 0) -> list[Passage]:
    return [Passage(f"{'ab'[at % 2]}/{at}#0", f"{'ab'[at % 2]}/{at}", "ab"[at % 2], text, {})
            for at, text in enumerate(texts, first)]  # fmt: skip


def vectors(number: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(3).normal(size=(number, WIDTH)).astype(np.float32)


def built(store: Store, index: Index = HNSW) -> str:
    name = f"{store.prefix}1_x"  # type: ignore[attr-defined]
    store.create(name, WIDTH, index, {"generation": 1})
    for at in range(0, NUMBER, 100):
        store.insert(name, passages(TEXTS)[at : at + 100], vectors(NUMBER)[at : at + 100].tolist())
    store.settle(name)
    return name


def test_which_columns_a_collection_has_is_asked_once_and_not_with_each_batch(
    database: Database, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{store.prefix}1_x"
    store.create(name, WIDTH, HNSW, {"generation": 1, "seen_by": "groups"})
    resumed: Any = open_store(database.where, store.alias, store.prefix, patience=10)
    asked, describe = list[str](), resumed.client.describe_collection

    def counted(collection: str) -> Any:
        asked.append(collection)
        return describe(collection)

    monkeypatch.setattr(resumed.client, "describe_collection", counted, raising=False)
    staff = [replace(one, metadata={"groups": ["staff"]}) for one in passages(TEXTS[:90])]
    for at in range(0, 90, 30):
        resumed.insert(name, staff[at : at + 30], vectors(90)[at : at + 30].tolist())
    assert asked == [name]
    resumed.settle(name)
    rows = resumed.client.query(name, filter="id != ''", output_fields=["seen_by", "words"], limit=100)
    assert (len(rows), {one["seen_by"] for one in rows}) == (90, {seen_by(["staff"])})
    assert {one["words"] for one in rows} == {words(one) for one in TEXTS[:90]}


def bm25(texts: Sequence[str], question: str, k1: float = 1.5, b: float = 0.75) -> list[float]:
    """By the formula (Robertson and Zaragoza 2009)."""
    cut = [words(one).split() for one in texts]
    average, found_in = sum(map(len, cut)) / len(cut), Counter(word for one in cut for word in set(one))
    scores = []
    for one in cut:
        counts, norm = Counter(one), k1 * (1 - b + b * len(one) / average)
        rare = {w: math.log(1 + (len(cut) - found_in[w] + 0.5) / (found_in[w] + 0.5)) for w in words(question).split()}
        scores.append(sum(idf * counts[w] * (k1 + 1) / (counts[w] + norm) for w, idf in rare.items()))
    return scores


async def by_words(reader: Reader, collection: str, question: str, k: int = 10, **more: Any) -> list[str]:
    asked = Asked(vectors(1)[0].tolist(), k, **more)
    return [one.found.id for one in await ranked(reader.search, collection, asked, question, "Keyword")]


async def test_the_order_is_bm25s_as_it_is_counted_by_hand_and_a_restart_changes_nothing(
    store: Store, reader: Reader, database: Database
) -> None:
    made = built(store)
    await reader.load(made)

    async def check(texts: list[str], reader: Reader) -> None:
        ids = [one.id for one in passages(texts)]
        for question in ("w1 w7 w30", "w50", "w2 w90 w91 w92", "e4711 w3"):
            found = await by_words(reader, made, question)
            exact = dict(zip(ids, bm25(texts, question), strict=True))
            best = sorted((one for one in exact.values() if one), reverse=True)[:10]
            assert [exact[one] for one in found] == pytest.approx(best)  # of equals, any

    await check(TEXTS, reader)
    database.end()
    database.begin()
    reader = open_reader(database.where)
    store = open_store(database.where, "again", "again__g")
    store.loaded(made)
    await check(TEXTS, reader)

    (changed,) = passages(["quite another text"], 7)
    store.insert(made, [changed], [vectors(8)[7].tolist()], again=True)
    assert await by_words(reader, made, "another") == [changed.id]  # found before anything is settled
    assert store.count(made) == NUMBER
    await reader.close()


@pytest.mark.parametrize(
    ("question", "at"),
    [("Was ist E4711?", 0), ("strasse", 0), ("zurich", 0), ("雪鞋", 1), ("租赁", 1), ("err_timeout", 2), ("AX-200", 2)],
)
async def test_exact_words_are_found_in_any_script(reader: Reader, whole: str, question: str, at: int) -> None:
    assert (await by_words(reader, whole, question))[0] == passages(TEXTS)[at].id


@pytest.fixture(scope="module")
def whole(database: Database) -> str:
    return built(open_store(database.where, "whole", "whole__g", patience=10))


async def test_a_filter_holds_for_words_and_what_is_no_word_finds_nothing(reader: Reader, whole: str) -> None:
    found = await by_words(reader, whole, "w1 w2", 50, filter="source == 'a'")
    assert len(found) == 50
    assert {one[0] for one in found} == {"a"}
    with pytest.raises(FilterWrong):
        await by_words(reader, whole, "w1", filter="bad (((")
    assert await by_words(reader, whole, "?!") == []
    assert await by_words(reader, whole, "nowhere") == []


@pytest.mark.parametrize("metric", ["Cosine", "L2", "IP"])
async def test_a_score_is_nearness_however_a_passage_was_found(store: Store, reader: Reader, metric: str) -> None:
    made = built(store, replace(HNSW, metric=metric))
    await reader.load(made)
    asked = Asked((vectors(1)[0] * 2).tolist(), NUMBER, search={"ef": 512}, metric=metric)
    near = {one.found.id: one.found.score for one in await ranked(reader.search, made, asked, "", "Dense")}
    words_ = await ranked(reader.search, made, replace(asked, top_k=20), "w1 w2 e4711", "Keyword")
    assert len(words_) == 20
    assert [one.found.score for one in words_] == pytest.approx([near[one.found.id] for one in words_], abs=1e-4)


async def test_both_kinds_are_fused_and_each_passage_tells_why_it_is_there(reader: Reader, whole: str) -> None:
    asked = Asked(vectors(41)[40].tolist(), 3, search={"ef": 64})
    found = await ranked(reader.search, whole, asked, "E4711", "Hybrid")
    assert [one.found.id for one in found][:2] == [passages(TEXTS)[40].id, passages(TEXTS)[0].id]
    assert (found[0].ranks["dense"], found[1].ranks["keyword"], len(found)) == (1, 1, 3)
    assert found[1].found.text == TEXTS[0]
    dense = await ranked(reader.search, whole, asked, "E4711", "Dense")
    assert [one.ranks for one in dense] == [{}] * 3
    # a question without a word is one of nearness alone
    assert [one.found.id for one in await ranked(reader.search, whole, asked, "?", "Hybrid")] == [
        one.found.id for one in dense
    ]


async def test_a_generation_without_words_is_written_and_searched_as_ever(store: Store, reader: Reader) -> None:
    made = built(store, replace(HNSW, keyword=False))
    await reader.load(made)
    store.insert(made, passages(["changed"], 3), [vectors(4)[3].tolist()], again=True)
    (first,) = await ranked(reader.search, made, Asked(vectors(10)[9].tolist(), 1), "x", "Dense")
    assert first.found.id == passages(TEXTS)[9].id
