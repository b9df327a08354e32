"""One contract for every vector database: the same tests over the real engines, as processes on this machine. The real
Milvus, which takes minutes, is in tests/e2e/test_milvus_store.py."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import count, groupby
from typing import Any

import numpy as np
import pytest
from pymilvus import MilvusClient
from tests.ports import free_port
from tests.unit.retrieval import databases, meaning
from tests.unit.retrieval.databases import Database

from llmops.api.filters import FilterWrong
from llmops.api.grammar import parse
from llmops.desk.draft import windows
from llmops.retrieval import widen
from llmops.retrieval.ingest.exact import of
from llmops.retrieval.ingest.measure import found_by_index
from llmops.retrieval.passage import Passage
from llmops.retrieval.stores import open_reader, open_store
from llmops.retrieval.stores.base import (
    PAGE,
    SEEN_BY,
    Asked,
    Away,
    Found,
    Generation,
    Index,
    NoAlias,
    Reader,
    Restriction,
    StillServed,
    Store,
    StoreError,
)
from llmops.retrieval.stores.statements import _named
from llmops.retrieval.stores.tenants import TENANT, Tenant, mark
from llmops.retrieval.work import EmbeddingWork, Work

ENGINES: dict[str, databases.Maker] = {
    "milvus-lite": databases.milvus_lite,
    "postgres": databases.postgres,
    "qdrant": databases.qdrant,
}
WIDTH = 16
HNSW = Index("HNSW", "Cosine", {"M": 16, "efConstruction": 100})
NUMBERS = count(1)


@pytest.fixture(scope="module", params=ENGINES)
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with databases.running(ENGINES[request.param](tmp_path_factory.mktemp(request.param))) as one:
        yield one


@pytest.fixture
def store(database: Database) -> Iterator[Store]:
    """Of an index that nothing else writes to."""
    name = f"shop_faq{next(NUMBERS)}"
    with closing(open_store(database.where, name, f"{name}__g", patience=10)) as one:
        yield one


@pytest.fixture
async def reader(database: Database) -> AsyncIterator[Reader]:
    one = open_reader(database.where)
    yield one
    await one.close()


def passages(number: int, text: str = "text") -> list[Passage]:
    """Two passages a document; sources a and b by turns."""
    return [
        Passage(f"{'ab'[at % 2]}/{at // 4}#{at}", f"{'ab'[at % 2]}/{at // 4}", "ab"[at % 2], f"{text} {at}",
                {"page": at, "topic": f"it's {at % 3}"})
        for at in range(number)
    ]  # fmt: skip


def vectors(number: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(7).normal(size=(number, WIDTH)).astype(np.float32)


def built(store: Store, number: int = 40, generation: int = 1, index: Index = HNSW) -> Generation:
    """A complete generation."""
    made = store.create(f"{prefix(store)}{generation}_x", WIDTH, index, {"generation": generation, "complete": False})
    store.insert(made.collection, passages(number), vectors(number).tolist())
    store.settle(made.collection)
    return store.tell(made, complete=True, metric=index.metric)


def empty(store: Store, generation: int) -> Generation:
    return store.create(f"{prefix(store)}{generation}_x", WIDTH, HNSW, {"generation": generation})


def prefix(store: Store) -> str:
    return str(store.prefix)  # type: ignore[attr-defined]


def alias(store: Store) -> str:
    return str(store.alias)  # type: ignore[attr-defined]


def test_generations_come_in_order_with_all_that_was_told_of_them(store: Store) -> None:
    assert store.generations() == []
    assert store.active() is None
    second = empty(store, 2)
    empty(store, 1)
    told = store.tell(second, complete=True, space="x" * 6000, nested={"ü": [1, None]})
    assert [one.number for one in store.generations()] == [1, 2]
    assert store.generations()[1] == told
    assert told.told == {"generation": 2, "complete": True, "space": "x" * 6000, "nested": {"ü": [1, None]}}


def test_indexes_do_not_see_one_another(store: Store, database: Database) -> None:
    empty(store, 1)
    with closing(open_store(database.where, "depot_faq", "depot_faq__g", patience=10)) as other:
        assert other.generations() == []


async def test_the_alias_moves_in_one_step(store: Store, reader: Reader) -> None:
    first, second = empty(store, 1), empty(store, 2)
    with pytest.raises(NoAlias):
        await reader.points_to(alias(store))
    for one in (first, second, second, first):
        store.point(one)
        assert store.active() == one
        assert await reader.points_to(alias(store)) == one.collection
    assert await reader.told(first.collection) == first.told
    assert sorted(await reader.collections(prefix(store))) == [first.collection, second.collection]


def test_what_queries_see_is_never_dropped(store: Store) -> None:
    first, second = empty(store, 1), empty(store, 2)
    store.point(first)
    with pytest.raises(StillServed):
        store.drop(first)
    store.drop(second)
    assert store.generations() == [first]
    empty(store, 2)
    assert store.count(second.collection) == 0  # nothing of the old one is left


def test_every_passage_comes_back_in_pages_with_its_own_vector(store: Store) -> None:
    number = PAGE * 2 + 7
    made, given = built(store, number), vectors(number)
    pages = list(store.vectors(made.collection))
    assert max(len(page.ids) for page in pages) <= PAGE
    found = {
        one: (hash_, vector)
        for page in pages
        for one, hash_, vector in zip(page.ids, page.hashes, page.vectors, strict=True)
    }
    assert len(found) == number == store.count(made.collection)
    assert pages[0].vectors.dtype == np.float32
    for passage, vector in zip(passages(number), given, strict=True):
        hash_, came = found[passage.id]
        assert hash_ == passage.hash
        assert np.allclose(came / np.linalg.norm(came), vector / np.linalg.norm(vector), atol=1e-5)
    assert store.documents(made.collection) == {one.document for one in passages(number)}


def test_vectors_are_fetched_by_name_whatever_stands_in_it(store: Store) -> None:
    names = ["a/it's#0", 'a/"so"#0', "a/back\\slash#0", "a/größe 😀#0", "a/new\nline#0"]
    made, given = empty(store, 1), vectors(len(names))
    rows = [replace(one, id=name) for one, name in zip(passages(len(names)), names, strict=True)]
    store.insert(made.collection, rows, given.tolist())
    store.settle(made.collection)
    found = {one: vector for one, vector, _ in of(store, made.collection, [*names, "a/nothing"])}
    assert found.keys() == set(names)
    for name, vector in zip(names, given, strict=True):
        assert np.allclose(found[name] / np.linalg.norm(found[name]), vector / np.linalg.norm(vector), atol=1e-5)


def test_pages_go_on_whatever_stands_in_the_name_that_one_ends_with(store: Store) -> None:
    made, number = empty(store, 1), 1300
    marks = ["it's", '"so"', "back\\slash", "größe 😀", "100 %", "new\nline"]
    rows = [replace(one, id=f"a/{marks[at % 6] * (1 + at // 6 % 3)}#{at}") for at, one in enumerate(passages(number))]
    store.insert(made.collection, rows, vectors(number).tolist())
    store.settle(made.collection)
    assert sorted(store.ids(made.collection)) == sorted((one.id, one.hash) for one in rows)
    assert sorted(one.id for one in store.passages(made.collection)) == sorted(one.id for one in rows)
    assert sum(len(page.ids) for page in store.vectors(made.collection)) == number


async def test_a_build_that_was_cut_off_knows_what_is_there_and_writes_the_rest_again(
    store: Store, reader: Reader
) -> None:
    made = empty(store, 1)
    store.insert(made.collection, passages(30)[:20], vectors(30)[:20].tolist())
    assert dict(store.ids(made.collection)) == {one.id: one.hash for one in passages(30)[:20]}
    changed = [*passages(30)[:5], *passages(30, "changed")[5:]]
    store.insert(made.collection, changed[5:], vectors(30)[5:].tolist(), again=True)
    assert dict(store.ids(made.collection)) == {one.id: one.hash for one in changed}
    store.settle(made.collection)
    assert store.count(made.collection) == 30
    await reader.load(made.collection)
    (found,) = await reader.search(made.collection, Asked(vectors(30)[25].tolist(), 1, search={"ef": 32}))
    assert (found.id, found.document, found.text) == (changed[25].id, changed[25].document, changed[25].text)


@pytest.mark.parametrize("metric", ["Cosine", "L2", "IP"])
async def test_the_nearest_come_first_with_the_same_scores_from_every_engine(
    store: Store, reader: Reader, metric: str
) -> None:
    made, given = built(store, 40, index=replace(HNSW, metric=metric)), vectors(40)
    asked = given[3] * 2
    unit = given / np.linalg.norm(given, axis=1, keepdims=True)
    scores = {
        "Cosine": unit @ (asked / np.linalg.norm(asked)),
        "IP": given @ asked,
        "L2": 1 / (1 + ((given - asked) ** 2).sum(axis=1)),
    }[metric]
    best = np.argsort(-scores)[:5]
    await reader.load(made.collection)
    found = await reader.search(made.collection, Asked(asked.tolist(), 5, search={"ef": 40}, metric=metric))
    assert [one.id for one in found] == [passages(40)[at].id for at in best]
    assert np.allclose([one.score for one in found], scores[best], rtol=1e-4, atol=1e-4)
    first = passages(40)[best[0]]
    assert (found[0].text, found[0].document, found[0].metadata) == (first.text, first.document, first.metadata)


ODD: list[dict[str, Any]] = [
    {"page": 1, "t": "x"},
    {"page": 2, "t": "a%b", "tags": ["p", "q"], "sp ace.ü": 1},
    {"t": "abc", "flag": True},
    {"page": "1", "flag": False, "deep": {"k": 3}},
    {"page": 2.5, "t": 'it\'s "q"'},
    {"page": None, "tags": ["q"], "t": 'b\\c\n"d"'},
]
PAGE_, T, TAGS = 'metadata["page"]', 'metadata["t"]', 'metadata["tags"]'
LITE, REAL, QDRANT = "milvus-lite", "milvus", "qdrant"
FILTERS: list[tuple[str, str, tuple[str, ...]]] = [  # what it says, the passages it keeps, engines that cannot say it
    ("document == 'a/1'", "1", ()),
    ("source != 'b' and document in ['a/1', 'a/4', 'c']", "14", ()),
    ("document not in ['a/1', 'a/2']", "0345", ()),
    ("source == 'nobody'", "", ()),
    ("document in []", "", ()),
    ("document not in []", "012345", ()),
    ('id == "a/0#0" or (metadata["page"] == 2)', "01", ()),
    ("not (document == 'a/1' or source != 'a')", "02345", ()),
    ("!(document == 'a/1') && source == 'a'", "02345", ()),
    ("NOT document == 'a/1' OR source == 'b'", "02345", ()),
    ("document like 'a/%'", "012345", ()),
    ("text like '%xt 3%'", "3", (REAL,)),
    ("document >= 'a/3' and document < 'a/5'", "34", (QDRANT,)),
    (f"{PAGE_} == 1", "0", ()),
    (f"{PAGE_} == 1.0", "0", ()),
    (f"{PAGE_} == 2.5", "4", ()),
    (f"{PAGE_} == '1'", "3", ()),
    (f"{PAGE_} != 1", "134", ()),
    (f"not ({PAGE_} == 1)", "134", ()),
    (f"{PAGE_} > 1 and {PAGE_} <= 2.5", "14", ()),
    (f"{PAGE_} < 99999999999999999999 and {PAGE_} > -9223372036854775809", "014", ()),
    (f"{T} == 'a\x01\x0c\x7fb'", "", ()),
    (f"{PAGE_} in [{', '.join(map(str, range(2, 500)))}] or {PAGE_} in [1]", "01", ()),
    (f"not {PAGE_} > 1", "0", ()),
    (f"{PAGE_} in [1, 2]", "01", ()),
    (f"{PAGE_} in []", "", ()),
    (f"{PAGE_} not in [1, 2]", "34", ()),
    (f"exists {PAGE_}", "0134", ()),
    (f"not exists {PAGE_}", "25", ()),
    (f"{T} like 'a%'", "12", ()),
    (f"{T} like 'a\\\\%%'", "1", (LITE, REAL)),
    (f'{T} == "it\'s \\"q\\""', "4", ()),
    (f'{T} == "b\\\\c\\n\\"d\\""', "5", ()),
    (f"{T} != 'x'", "1245", ()),
    ('metadata["flag"] == true', "2", ()),
    ('metadata["flag"] != true', "3", ()),
    ('metadata["deep"]["k"] != 4', "3", ()),
    ('metadata["deep"]["k"] == 3', "3", ()),
    ('metadata["sp ace.ü"] >= 1', "1", ()),
    (f'json_contains({TAGS}, "q")', "15", ()),
    (f'json_contains_any({TAGS}, ["p", "z"])', "1", ()),
    (f'json_contains_all({TAGS}, ["p", "q"])', "1", ()),
    (f'not json_contains({TAGS}, "p")', "5", ()),
]


async def test_a_filter_leaves_out_what_it_says_in_every_engine(
    store: Store, reader: Reader, database: Database
) -> None:
    made = empty(store, 1)
    odd = [Passage(f"a/{at}#0", f"a/{at}", "a", f"text {at}", one) for at, one in enumerate(ODD)]
    store.insert(made.collection, odd, vectors(len(odd)).tolist())
    store.settle(made.collection)
    await reader.load(made.collection)
    for written, kept, cannot in FILTERS:
        if database.name in cannot:
            continue
        asked = Asked(vectors(40)[0].tolist(), 40, written, {"ef": 64})
        found = {one.document[2:] for one in await reader.search(made.collection, asked)}
        assert found == set(kept), written
    for wrong in ("bad (((", "nonsense == 'a'", "source =="):
        with pytest.raises(FilterWrong):
            await reader.search(made.collection, Asked(vectors(1)[0].tolist(), 4, wrong))


async def test_a_generation_of_before_is_gone_on_with_and_filtered_as_it_was(
    store: Store, reader: Reader, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its collection has no dynamic fields, which Milvus is asked for a key of metadata where it has them."""
    if database.name not in (LITE, REAL):
        pytest.skip("only Milvus has them")
    schema = MilvusClient.create_schema
    without: Any = lambda **given: schema(**{**given, "enable_dynamic_field": False})  # noqa: E731
    with monkeypatch.context() as before:
        before.setattr(MilvusClient, "create_schema", without)
        made = empty(store, 1)
    with closing(open_store(database.where, alias(store), prefix(store))) as newer:
        for again in (False, True):
            newer.insert(made.collection, passages(8), vectors(8).tolist(), again)
        newer.settle(made.collection)
        assert newer.count(made.collection) == 8
    filters = noted_filters(reader, monkeypatch)
    later = built(store, 2, 2)
    for name in (made.collection, later.collection):
        await reader.load(name)
        await reader.search(name, Asked(vectors(1)[0].tolist(), 1, 'metadata["page"] >= 0'))
    assert filters == ['(metadata["page"] >= 0)', '($meta["m.page"] >= 0)']
    for written, kept in (('metadata["page"] >= 6', {6, 7}), ('metadata["topic"] in ["it\'s 0"]', {0, 3, 6})):
        found = await reader.search(made.collection, Asked(vectors(1)[0].tolist(), 8, written, {"ef": 64}))
        assert {one.metadata["page"] for one in found} == kept


def noted_filters(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Milvus is asked to filter by from now on."""
    inner: Any = reader
    search, noted = inner._client.search, list[str]()

    async def asked(*given: Any, **named: Any) -> Any:
        noted.append(named["filter"])
        return await search(*given, **named)

    monkeypatch.setattr(inner._client, "search", asked)
    return noted


async def test_whatever_a_filter_says_it_means_the_same_in_every_engine(
    store: Store, reader: Reader, database: Database
) -> None:
    made, chance = empty(store, 1), random.Random(7)
    odd = [
        Passage(f"a/{at}#0", f"a/{at}", "a", f"text {at}", one) for at, one in enumerate([*ODD, {"page": 7, "t": 5}])
    ]
    store.insert(made.collection, odd, vectors(len(odd)).tolist())
    store.settle(made.collection)
    await reader.load(made.collection)
    refused = 0
    for _ in range(150):
        written = meaning.some(chance, lists=database.name != QDRANT)
        kept = {one.id for one in odd if meaning.admits(parse(written), vars(one), one.metadata)}
        try:
            found = await reader.search(made.collection, Asked(vectors(40)[0].tolist(), 40, written, {"ef": 64}))
        except FilterWrong:
            refused += 1
            continue
        assert {one.id for one in found} == kept, written
    assert refused < (75 if database.name == QDRANT else 1)  # texts that are less or more


async def test_windows_of_hashes_have_every_passage_once_and_no_page_more_than_it_may(
    store: Store, reader: Reader
) -> None:
    made = built(store, 400)
    await reader.load(made.collection)
    found = [one for low, high in windows(400, 3) for one in await reader.page(made.collection, low, high, 100)]
    assert sorted((one.id, one.text, one.document, one.hash) for one in found) == sorted(
        (one.id, one.text, one.document, one.hash) for one in passages(400)
    )
    assert len(await reader.page(made.collection, "", "", 7)) == 7
    assert await reader.page(made.collection, "4", "4", 7) == []


WHO_SEES: list[dict[str, Any]] = [
    {}, {"g": None}, {"g": []}, {"g": "*"}, {"g": ["*"]}, {"g": "staff"}, {"g": ["support", "staff"]}, {"g": "taff"},
    {"g": ["staffs"]}, {"g": "a_b"}, {"g": ["axb"]}, {"g": ["bank/staff"]}, {"g": 5}, {"g": {"staff": 1}},
    {"other": "staff"},
]  # fmt: skip
RESTRICTIONS = [
    Restriction("g"), Restriction("g", frozenset({"staff"})), Restriction("g", frozenset({"a_b", "bank/staff"})),
    Restriction("other", frozenset({"staff"})), Restriction("g", frozenset({"staff"}), missing=True),
]  # fmt: skip


async def test_what_may_be_found_at_all_is_the_same_in_every_engine_whatever_the_filter(
    store: Store, reader: Reader
) -> None:
    given = [replace(one, metadata=who) for one, who in zip(passages(len(WHO_SEES)), WHO_SEES, strict=True)]
    made = empty(store, 1)
    store.insert(made.collection, given, vectors(len(given)).tolist())
    store.settle(made.collection)
    await reader.load(made.collection)
    for only in RESTRICTIONS:
        for written, sources in {"": "ab", "source == 'a'": "a", "source == 'a' or source == 'b'": "ab"}.items():
            asked = Asked(vectors(1)[0].tolist(), 40, written, {"ef": 64}, only=only)
            found = {one.id for one in await reader.search(made.collection, asked)}
            may = {one.id for one in given if one.source in sources and only.admits(one.metadata)}
            assert found - may == set(), (only, written)
            assert may - found <= {given[1].id}, (only, written)  # whether null is there at all, engines disagree
        out = Asked(vectors(1)[0].tolist(), 4, "id == 'x') or (id != 'x'", only=only)
        with pytest.raises(FilterWrong):
            await reader.search(made.collection, out)


TENANTS: list[Any] = [
    "acme", "Acme", "acme2", "acm", "größe 😀", "語", 'say "so"', "it's", "back\\slash", "\\", '"', "'", "100 %", "a_b",
    "axb", '" or tenant != "', "') OR TRUE --", '\\" or 1 == 1 or "', "bank/acme", "[EMAIL]", "n" * 255, "1", "true",
]  # fmt: skip
NOBODYS: list[Any] = [
    None,
    "",
    " acme",
    "acme\n",
    "*",
    "n" * 256,
    "n" * 1000,
    1,
    1.0,
    True,
    {"acme": 1},
    {},
    ["acme"],
    [],
]


async def test_a_tenant_finds_its_own_passages_and_no_others_whatever_it_is_called(
    store: Store, reader: Reader, database: Database
) -> None:
    owners = [*TENANTS, *NOBODYS, *TENANTS]
    given = [replace(one, metadata={"c": whose, "g": ["staff"]})
             for one, whose in zip(passages(len(owners)), owners, strict=True)]  # fmt: skip
    given.append(replace(passages(len(owners) + 1)[-1], metadata={"other": "acme"}))
    for generation, told in ((1, {}), (2, {TENANT: "c"})):  # of a time before, and with a column
        made = store.create(f"{prefix(store)}{generation}_x", WIDTH, HNSW, {"generation": generation, **told})
        store.insert(made.collection, given, vectors(len(given)).tolist())
        store.insert(made.collection, given[:3], vectors(len(given))[:3].tolist(), again=True)
        store.settle(made.collection)
        assert store.count(made.collection) == len(given)
        await reader.load(made.collection)
        for name in [*TENANTS, "nobody"]:
            tenant = Tenant("c", name, mark(name) if told else "")
            mine = {one.id for one in given if tenant.admits(one.metadata)}
            assert len(mine) == (0 if name == "nobody" else 2)
            listed = set()
            if database.name == QDRANT and not told:  # takes a list for the name in it; the query server leaves it out
                listed = {one.id for one in given if one.metadata.get("c") == [name]}
            both = Asked(vectors(1)[0].tolist(), 90, "", {"ef": 128}, tenant=tenant)
            for only, own in ((None, mine), (Restriction("g", frozenset({"staff"})), mine), (Restriction("g"), set())):
                found = {one.id for one in await reader.search(made.collection, replace(both, only=only))}
                assert found - listed == own, (name, told)
            for written, own in _within(mine).items() if name in TENANTS[::6] else ():
                found = {one.id for one in await reader.search(made.collection, replace(both, filter=written))}
                assert found - listed == own, (name, written)


def test_the_passages_of_a_tenant_lie_together_in_the_engine(store: Store, database: Database) -> None:
    made = store.create(f"{prefix(store)}1_x", WIDTH, HNSW, {"generation": 1, TENANT: "c"})
    given = [replace(one, metadata={"c": "abc"[at % 3]}) for at, one in enumerate(passages(600))]
    store.insert(made.collection, given, vectors(600).tolist())
    store.settle(made.collection)
    inner: Any = store
    if database.name == "postgres":
        laid = f"SELECT ctid, tenant FROM {_named(made.collection).as_string()} ORDER BY ctid"
        runs = [who for who, _ in groupby(row[1] for row in inner._ask(laid))]
        assert sorted(runs) == sorted(map(mark, "abc"))
    elif database.name == QDRANT:
        schema = inner._ask(("GET", f"/collections/{made.collection}", None))["payload_schema"]
        assert schema[TENANT]["params"] == {"type": "keyword", "is_tenant": True}
    else:
        fields = inner.client.describe_collection(made.collection)["fields"]
        assert [one["name"] for one in fields if one.get("is_partition_key")] == [TENANT]
    plain = store.create(f"{prefix(store)}2_x", WIDTH, HNSW, {"generation": 2})
    if database.name in (LITE, REAL):
        fields = inner.client.describe_collection(plain.collection)["fields"]
        assert TENANT not in {one["name"] for one in fields}


async def test_recall_is_of_each_passage_among_its_tenants_passages(
    store: Store, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were its neighbours sought in all, those of the others would count as lost."""
    search, within = reader.search, list[str]()

    async def noted(collection: str, asked: Asked) -> list[Found]:
        within.append(asked.tenant.mark if asked.tenant else "")
        return await search(collection, asked)

    monkeypatch.setattr(reader, "search", noted)
    made = store.create(f"{prefix(store)}1_x", WIDTH, HNSW, {"generation": 1, TENANT: "c"})
    given = [replace(one, metadata={"c": f"t{at % 40}" if at else "alone"}) for at, one in enumerate(passages(400))]
    store.insert(made.collection, given, vectors(400).tolist())
    store.settle(made.collection)
    of_tenants = wanted("HNSW", {}, {"ef": 64}, tenants="c")
    found, _, truth = await found_by_index(store, reader, made.collection, replace(of_tenants, metric="Cosine"))
    whose = {one.id: mark(str(one.metadata["c"])) for one in given}
    assert [*truth.tenants] == [whose[one] for one in truth.ids]
    assert [one for one, _ in groupby(within)] == [one for one, _ in groupby(truth.tenants)]
    others = [[*whose.values()].count(whose[one]) - 1 for one in truth.ids]
    assert [int(np.isfinite(near).sum()) for near in truth.near] == others
    assert found.ann_recall[10] > 0.99


def _within(mine: set[str]) -> dict[str, set[str]]:
    """Filters that would find another tenant's, by what of this one's they find."""
    first = min(mine, default="")
    return {
        "id like 'a/%' or id like 'b/%'": mine,
        "id != 'x' or document != 'x'": mine,
        f"id == '{first}' or text like 'text 1%'": {one for one in mine if one == first or one.split("#")[1][0] == "1"},
        "not (source == 'nowhere')": mine,
    }


async def test_no_filter_ends_the_tenants_own_part_of_it(store: Store, reader: Reader) -> None:
    made = store.create(f"{prefix(store)}1_x", WIDTH, HNSW, {"generation": 1, TENANT: "c"})
    given = [replace(one, metadata={"c": "ab"[at % 2]}) for at, one in enumerate(passages(20))]
    store.insert(made.collection, given, vectors(20).tolist())
    store.settle(made.collection)
    await reader.load(made.collection)
    theirs = f'tenant == "{mark("b")}"'
    for written in ("id == 'x') or (id != 'x'", f"{theirs}) or ({theirs}", f"id == 'x' or {theirs}", "tenant != 'x'",
                    f"id == 'x\\') or ({theirs}", "id != 'x' -- ", "1 == 1) or (1 == 1"):  # fmt: skip
        asked = Asked(vectors(1)[0].tolist(), 40, written, {"ef": 64}, tenant=Tenant("c", "a", mark("a")))
        try:
            found = await reader.search(made.collection, asked)
        except FilterWrong:
            continue
        assert {one.metadata["c"] for one in found} <= {"a"}, written


async def test_a_page_of_hashes_says_what_its_passages_say_of_themselves(store: Store, reader: Reader) -> None:
    made = built(store, 8)
    await reader.load(made.collection)
    found = {one.id: dict(one.metadata) for one in await reader.page(made.collection, "", "", 100)}
    assert found == {one.id: one.metadata for one in passages(8)}


async def test_a_restarted_engine_has_lost_nothing(store: Store, database: Database) -> None:
    made = store.tell(built(store), key="k")
    store.point(made)
    database.end()
    reader = open_reader(database.where)
    with pytest.raises(Away):
        await reader.points_to(alias(store))
    database.begin()
    with closing(open_store(database.where, alias(store), prefix(store))) as again:
        assert (again.active(), again.generations()) == (made, [made])
        again.loaded(made.collection)
        assert again.count(made.collection) == 40
    await _until_it_answers(reader, alias(store))
    await reader.load(made.collection)
    (found,) = await reader.search(made.collection, Asked(vectors(40)[9].tolist(), 1))
    assert found.id == passages(40)[9].id
    await reader.close()


async def _until_it_answers(reader: Reader, alias: str) -> None:
    """The query server looks every second; a connection that was lost may need a few looks."""
    end = time.monotonic() + 20
    while True:
        try:
            await reader.points_to(alias)
            return
        except Away:
            assert time.monotonic() < end


POOR = {"HNSW": ({"M": 2, "efConstruction": 4}, {"ef": 11}), "IVF_FLAT": ({"nlist": 64}, {"nprobe": 1})}


@pytest.mark.parametrize("type_", POOR)
async def test_what_is_measured_is_found_through_the_index(
    store: Store, reader: Reader, database: Database, type_: str
) -> None:
    """An index as poor as may be misses some; were rows still gone through one by one, it would seem perfect."""
    if (type_, database.name) == ("IVF_FLAT", QDRANT):
        pytest.skip("Qdrant knows HNSW only")
    number, (parameters, search) = 2000, POOR[type_]
    made = built(store, number, index=Index(type_, "L2", parameters))
    better = {name: 64 if name == "nprobe" else 1000 for name in search}
    poor, good = [await _recall(store, reader, made.collection, one) for one in (search, better)]
    assert 0 < poor < min(0.99, good)
    store.drop(made)


async def test_an_index_with_few_links_finds_less_at_the_same_cost(store: Store, reader: Reader) -> None:
    """Its parameters reach the engine."""
    recalls = []
    for generation, parameters in enumerate(({"M": 2, "efConstruction": 4}, {"M": 32, "efConstruction": 200}), 1):
        made = built(store, 2000, generation, Index("HNSW", "L2", parameters))
        recalls.append(await _recall(store, reader, made.collection, {"ef": 16}))
        store.drop(made)
    assert recalls[0] < recalls[1] - 0.05


async def _recall(store: Store, reader: Reader, collection: str, search: dict[str, int]) -> float:
    return (await found_by_index(store, reader, collection, wanted("HNSW", {}, search)))[0].ann_recall[10]


def wanted(type_: str, parameters: dict[str, int], search: dict[str, int], **more: Any) -> Work:
    chunking, embedding = {"strategy": "Document"}, EmbeddingWork("http://nowhere", "shop/minilm", "r1")
    return Work("shop/faq", "shop_faq", "", (), chunking, embedding, type_, "L2", parameters, search, **more)


@pytest.mark.parametrize("type_", POOR)
async def test_a_search_is_widened_until_the_index_finds_enough(
    store: Store, reader: Reader, database: Database, type_: str
) -> None:
    if (type_, database.name) == ("IVF_FLAT", QDRANT):
        pytest.skip("Qdrant knows HNSW only")
    parameters, search = {"HNSW": {"M": 8, "efConstruction": 40}}.get(type_, POOR[type_][0]), POOR[type_][1]
    made = built(store, 2000, index=Index(type_, "L2", parameters))
    gates = ({"type": "AnnRecall", "min": "1.0"},)
    more: dict[str, Any] = {"gates": gates, "engine_type": database.where.type}
    as_it_is, _, _ = await found_by_index(store, reader, made.collection, wanted(type_, parameters, search, **more))
    found, at, _ = await found_by_index(
        store, reader, made.collection, wanted(type_, parameters, search, auto_tune=True, **more)
    )
    assert as_it_is.ann_recall[10] < 1.0 == found.ann_recall[10]
    assert [one.search for one in found.tried] == [
        {name: min(value * 2**n, parameters.get("nlist", 2000)) for name, value in search.items()}
        for n in range(len(found.tried))
    ]
    assert (found.search, found.tried[-1].search) == (at, at)
    store.drop(made)


async def test_a_search_that_nothing_widens_has_no_curve(store: Store, reader: Reader, database: Database) -> None:
    type_ = "HNSW" if database.name == QDRANT else "FLAT"
    made = built(store, 50, index=Index(type_, "L2"))
    found, at, _ = await found_by_index(store, reader, made.collection, wanted(type_, {}, {}, auto_tune=True))
    assert (found.ann_recall[10], found.tried, at) == (1.0, [], {})
    store.drop(made)


async def test_a_rare_passage_is_found_among_many(store: Store, reader: Reader, database: Database) -> None:
    """However far it is from what was asked: a scan of an index gives up before it gets there."""
    if database.name == LITE:
        pytest.skip("Milvus Lite filters what its index found, and then has less")
    made = built(store, 3000, index=Index("HNSW", "Cosine", {"M": 4, "efConstruction": 20}))
    await reader.load(made.collection)
    nearest = vectors(3000) @ vectors(3000)[0] / np.linalg.norm(vectors(3000), axis=1)
    farthest = int(np.argmin(nearest))
    filter_ = (
        f'metadata["page"] >= {farthest} and metadata["page"] <= {farthest}'  # a planner cannot tell that it is rare
    )
    asked = Asked(vectors(3000)[0].tolist(), 3, filter_, {"ef": 16})
    assert [one.id for one in await reader.search(made.collection, asked)] == [passages(3000)[farthest].id]
    store.drop(made)


async def test_the_few_that_a_group_may_see_are_found_among_many(
    store: Store, reader: Reader, database: Database
) -> None:
    """Vectors are wide, so that Qdrant, which goes through a small collection one by one, has an index of them."""
    many, width = 4000, 1024
    wide = np.random.default_rng(5).normal(size=(many, width)).astype(np.float32)
    few = [at for at in range(many) if at % 500 == 0]
    some = [Passage(f"s/{at}#0", f"s/{at}", "s", f"{at}", {"groups": ["few" if at in few else "many"]})
            for at in range(many)]  # fmt: skip
    index = Index("HNSW", "Cosine", {"M": 16, "efConstruction": 100})
    told = {SEEN_BY: "groups"} if database.name in (LITE, QDRANT) else {}  # as the operator has them made
    made = store.create(f"{prefix(store)}1_wide", width, index, {"generation": 1, **told})
    for at in range(0, many, 1000):
        store.insert(made.collection, some[at : at + 1000], wide[at : at + 1000].tolist())
    store.settle(made.collection)
    await reader.load(made.collection)
    only = Restriction("groups", frozenset({"few"}), column=bool(told))
    lengths = np.linalg.norm(wide, axis=1)
    for question in wide[7:11]:
        best = sorted(few, key=lambda at: -(wide[at] @ question / lengths[at]))[:4]
        asked = Asked(question.tolist(), 4, search={"ef": 32}, only=only)
        found = await widen.search(reader, many, made.collection, asked)
        assert [one.document for one in found] == [f"s/{at}" for at in best]
    store.drop(made)


def test_long_names_stay_apart(database: Database) -> None:
    aliases = [f"{'n' * 63}_{'i' * 63}_1a2b3c4{last}" for last in "de"]
    with (
        closing(open_store(database.where, aliases[0], f"{aliases[0]}__g")) as one,
        closing(open_store(database.where, aliases[1], f"{aliases[1]}__g")) as other,
    ):
        made = [empty(one, 1), empty(other, 1)]
        one.insert(made[0].collection, passages(3), vectors(3).tolist())
        one.point(made[0])
        assert (one.active(), other.active()) == (made[0], None)
        assert (one.generations(), other.generations()) == (made[:1], made[1:])
        assert (one.count(made[0].collection), other.count(made[1].collection)) == (3, 0)
        other.drop(made[1])
        assert one.count(made[0].collection) == 3


def test_texts_come_back_as_they_were(store: Store) -> None:
    """But for NUL, which PostgreSQL keeps in no text."""
    evil = "x'); DROP TABLE llmops_generations; -- %s {} \\ \" ü\u2028\n"
    odd = Passage(
        "ä/ö 語's; --.md#0", "ä/ö 語's; --.md", "ä", f"{evil} 語", {evil: evil, "deep": {"a": [1, 2.5, True, None]}}
    )
    made = empty(store, 1)
    store.insert(made.collection, [odd], vectors(1).tolist())
    store.insert(made.collection, [replace(odd, text="a\0b")], vectors(1).tolist(), again=True)
    (found,) = store.passages(made.collection)
    assert replace(found, text=odd.text) == odd
    assert found.text.replace("\0", "") == "ab"


def test_what_an_engine_refuses_is_said_in_words(store: Store) -> None:
    for ask in (store.count, store.settle, lambda name: list(store.ids(name)), lambda name: list(store.vectors(name))):
        with pytest.raises(StoreError):
            ask(f"{prefix(store)}9_gone")


async def test_an_engine_that_is_not_there_is_told_from_one_that_has_no_alias(database: Database) -> None:
    nowhere = replace(database.where, uri=f"{database.where.uri.rpartition(':')[0]}:{free_port()}")
    with pytest.raises(Away):
        open_store(nowhere, "a", "a__g", patience=0)
    reader = open_reader(nowhere)
    with pytest.raises(Away):
        await reader.points_to("a")
    await reader.close()
