"""One index for many tenants: the query server's own ASGI application over a real Milvus Lite, asked by those who
try to find another's, and what a Job does with documents that are nobody's. Generation 1 is of a time before tenants,
with their names in its JSON only; 2 has a column."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.retrieval.conftest import seen as seen_index
from tests.unit.retrieval.conftest import work_of
from tests.unit.retrieval.databases import Database
from tests.unit.retrieval.test_permissions import HOSTILE, TRIES, WORDS, Server, begin, vector, withheld

from llmops.api import VectorIndex
from llmops.api.tenants import is_tenant
from llmops.retrieval.embedder import NotEmbedded
from llmops.retrieval.ingest.making import Making
from llmops.retrieval.ingest.places.listing import File, Listing
from llmops.retrieval.ingest.read import Reading, documents
from llmops.retrieval.ingest.spool import Spool
from llmops.retrieval.passage import Passage
from llmops.retrieval.rank import Placed
from llmops.retrieval.referred import Missing, questions_of
from llmops.retrieval.server import passages
from llmops.retrieval.server.permissions import Permissions, seen
from llmops.retrieval.stores import open_store
from llmops.retrieval.stores.base import Found, Index
from llmops.retrieval.stores.tenants import Tenant
from llmops.retrieval.work import Question, SourceWork, Work
from llmops.web import Wrong

WIDTH = 16
NAMES = ("acme", "Acme", "globex", "it's", 'a"b', "back\\slash", "größe 😀", "x) or (1 == 1", "n" * 255, "bank/acme")
NOBODYS: tuple[Any, ...] = (None, [], ["acme"], ["acme", "globex"], "", "*", " acme", "n" * 256, 7, {"acme": 1})
DOCUMENTS: dict[str, Any] = {
    **{f"s/{at}-{part}": {"customer": name, "groups": [part]} for at, name in enumerate(NAMES)
       for part in ("staff", "*")},
    **{f"s/nobody-{at}": {"customer": one, "groups": ["*"]} for at, one in enumerate(NOBODYS)},
    "s/absent": {"groups": ["*"]},
}  # fmt: skip
ACMES = {"s/0-staff", "s/0-*"}


@pytest.fixture(scope="module")
def one_server(database: Database) -> Iterator[Server]:
    loop = asyncio.new_event_loop()
    made = begin(database.where, DOCUMENTS, {"tenant": "customer", "seen_by": "groups"}, keyword=True)
    session, runner, reader, live = loop.run_until_complete(made)
    assert live.why_not is None
    yield Server(loop, reader, live)
    for end in (reader.close(), session.close(), runner.cleanup()):
        loop.run_until_complete(end)
    loop.close()


@pytest.fixture
def server(one_server: Server) -> Server:
    one_server.rule, one_server.tenants = None, "customer"
    return one_server


@pytest.mark.parametrize("generation", [1, 2])
@pytest.mark.parametrize("mode", ["Dense", "Keyword", "Hybrid"])
def test_a_search_finds_its_tenants_documents_and_nobody_elses(server: Server, generation: int, mode: str) -> None:
    before = withheld()
    for at, name in enumerate(NAMES):
        asked: dict[str, Any] = {"tenant": name, "generation": generation, "mode": mode, "text": "text of s"}
        assert server.found(**asked) == {f"s/{at}-staff", f"s/{at}-*"}, name
        assert server.found(**asked, filter="source == 's'") == {f"s/{at}-staff", f"s/{at}-*"}, name
        assert server.found(**asked, filter=f"document == 's/{at}-staff'") == {f"s/{at}-staff"}, name
    assert server.found(tenant="nobody", generation=generation, mode=mode) == set()
    assert withheld() == before  # the engine's own doing
    assert server.post({"text": "x", "tenant": "acme"})[1]["tenant"] == "acme"


def test_within_a_tenant_everybody_finds_what_he_may_see_and_no_group_opens_another_tenant(server: Server) -> None:
    server.rule = Permissions("groups")
    for generation in (1, 2):
        assert server.found(tenant="acme", generation=generation) == {"s/0-*"}
        assert server.found("staff", tenant="acme", generation=generation) == ACMES
        assert server.found("globex", tenant="acme", generation=generation) == {"s/0-*"}
        server.rule = Permissions("groups", missing=True)
        assert server.found("staff", tenant="acme", generation=generation) == ACMES
        server.rule = Permissions("groups")


def test_who_names_no_tenant_is_refused_with_what_to_write_and_never_answered_from_all(server: Server) -> None:
    nobody: list[dict[str, Any]] = [{}, {"tenant": None}, {"caller": {"groups": []}}, {"caller": {"tenant": None}}]
    for more in nobody:
        status, answer = server.post({"text": "anything", **more})
        assert (status, answer["error"]["code"]) == (400, "tenant_missing")
        assert '{"tenant": "acme"}' in answer["error"]["message"]
        assert "spec.tenants of the GatewayKey" in answer["error"]["message"]


def test_a_question_that_no_pod_could_answer_is_told_by_a_code(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def too_long(*_: Any, **__: Any) -> Any:
        raise NotEmbedded("input is too long", final=True, everything=False)

    assert server.live.served is not None
    monkeypatch.setattr(server.live.served.embedder, "embed", too_long)
    for text, status in (("why?", 400), (" ", 400), ("why? " * 60_000, 413)):
        told, answer = server.post({"text": text, "tenant": "acme"})
        assert (told, answer["error"]["code"]) == (status, "question_refused")


def test_the_only_tenant_of_who_asks_counts_where_the_request_names_none(server: Server) -> None:
    assert server.found(caller={"tenant": "acme"}) == ACMES
    assert server.found(caller={"tenant": "globex"}, tenant="acme") == ACMES  # which the door has allowed


def test_an_index_without_tenants_answers_nobody_who_names_one(server: Server) -> None:
    server.tenants = ""
    status, answer = server.post({"text": "anything", "tenant": "acme"})
    assert (status, answer["error"]["code"]) == (400, "no_tenants")
    assert "write its spec.query.tenants, or ask without a tenant" in answer["error"]["message"]
    assert server.found(caller={"tenant": "acme"}) == set(DOCUMENTS)  # a key's only one, meant for another index


@pytest.mark.parametrize(
    "name", ["", " ", "acme ", "\tacme", "*", ["acme"], {"acme": 1}, 1, True, "n" * 256, "n" * 1000, "a\nb", "a\x00b",
             "a\u2028b", "a\u200bb", "\u202eacme"],
)  # fmt: skip
def test_what_is_no_tenants_name_is_refused_and_finds_nothing(server: Server, name: Any) -> None:
    assert not is_tenant(name)
    for body in ({"tenant": name}, {"caller": {"tenant": name}}):
        status, answer = server.post({"text": "anything", **body})
        assert (status, 'one text of 1 to 255 printable characters, such as "acme"' in answer["error"]["message"]) == (
            400, True,
        )  # fmt: skip


THEIRS = ('metadata["customer"] == "globex"', "tenant != ''", "customer == 'globex'", 'metadata["customer"] != "acme"',
          'exists metadata["customer"]', "not (metadata[\"customer\"] == 'acme')", "tenant like '%'",
          "document == 's/2-*'", 'tenant == "" or tenant != ""', "{0}) or ({0}".format("tenant != 'x'"),
          'metadata["customer"] in ["globex", "acme"]')  # fmt: skip


def tried(server: Server, filter_: str, name: str = "acme", generation: int = 2) -> None:
    """Nothing but the tenant's own comes of it, and it is the engine that finds no more."""
    before, mine = withheld(), {f"s/{NAMES.index(name)}-staff", f"s/{NAMES.index(name)}-*"}
    body = {"text": "x", "topK": 100, "filter": filter_, "tenant": name, "generation": generation}
    status, answer = server.post(body)
    assert status in (200, 400), (filter_, answer)
    assert {one["source"] for one in answer.get("passages", ())} <= mine, filter_
    assert withheld() == before, f"only the second look at what was found withheld it: {filter_}"


@pytest.mark.parametrize("generation", [1, 2])
def test_no_filter_reaches_another_tenant(server: Server, generation: int) -> None:
    for filter_ in (*THEIRS, *HOSTILE[::7]):
        tried(server, filter_, generation=generation)
        tried(server, filter_, 'a"b', generation)


@TRIES
@given(words=st.lists(st.sampled_from((*WORDS, *THEIRS)) | st.text(max_size=3), min_size=1, max_size=9))
def test_no_heap_of_words_reaches_one_either(server: Server, words: list[str]) -> None:
    tried(server, "".join(words).encode(errors="ignore").decode(), "x) or (1 == 1")


@TRIES
@given(name=st.text(alphabet="acme\"'\\ )(%_*=|orn{}\u00e9\n\x00", max_size=12) | st.text(max_size=300))
def test_a_tenants_name_finds_that_tenants_documents_whatever_stands_in_it(server: Server, name: str) -> None:
    for generation in (1, 2):
        before = withheld()
        status, answer = server.post({"text": "x", "topK": 100, "tenant": name, "generation": generation})
        assert status == (200 if is_tenant(name) else 400), answer
        found = {DOCUMENTS[one["source"]]["customer"] for one in answer.get("passages", ())}
        assert found <= {name}
        assert withheld() == before


def test_what_an_engine_finds_of_another_tenant_is_withheld_and_counted() -> None:
    found, before = [Placed(Found(name, "", name, 1.0, one)) for name, one in DOCUMENTS.items()], withheld()
    assert {one.found.document for one in seen(found, None, Tenant("customer", "acme"))} == ACMES
    assert withheld() - before == len(DOCUMENTS) - len(ACMES)


def test_a_page_for_drafts_says_whose_each_passage_is(server: Server) -> None:
    served = server.live.served
    assert served is not None
    page = server.run(passages.page(server.reader, served, "shop/faq", b"", "customer"))
    whose = {one["source"]: one.get("tenant") for one in page["passages"]}
    assert whose == {name: one["customer"] if is_tenant(one.get("customer")) else None
                     for name, one in DOCUMENTS.items()}  # fmt: skip


def apart(**change: Any) -> Work:
    return replace(work_of(seen_index({"query": {"tenants": {"field": "customer"}}})), **change)


def read(work: Work, *rows: dict[str, Any]) -> tuple[dict[str, Any], Reading]:
    """By document its tenant, and what is told of the others."""
    reading, text = Reading(), "\n".join(json.dumps({"text": "text", **one}) for one in rows)
    listing = {"faq": Listing("v1", lambda: [File("rows.jsonl", text.encode)])}
    return {one.id: one.metadata["customer"] for one in documents(work, listing, reading)}, reading


def test_a_document_that_is_nobodys_is_left_out_and_named_with_what_to_write() -> None:
    rows = [{"id": at, **({} if one is None else {"customer": one})} for at, one in enumerate(("acme", *NOBODYS))]
    found, reading = read(apart(), *rows)
    assert found == {"faq/0": "acme"}
    assert (reading.skipped, len(reading.problems)) == (len(NOBODYS), len(NOBODYS))
    assert reading.problems[0] == (
        "source faq: document faq/1 is no tenant's and left out: its metadata customer says nothing, and must be one "
        'text of 1 to 255 printable characters, such as "acme" (spec.query.tenants)'
    )
    assert "its metadata customer is \"['acme', 'globex']\", and must be" in reading.problems[3]
    assert not any(reading.stays(f"faq/{at}", "faq", never_delete=True) for at in range(1, len(rows)))
    plain, _ = read(work_of(seen_index()), {"id": 1, "customer": ["a"]})
    assert plain == {"faq/1": ["a"]}


def test_a_source_of_one_tenant_gives_it_to_all_of_its_documents() -> None:
    source = SourceWork("faq", "Auto", "id", "text", "a" * 64, metadata={"customer": ["acme"]})
    assert read(apart(sources=(source,)), {"id": 1}, {"id": 2, "customer": "globex"})[0] == {
        "faq/1": "acme", "faq/2": "acme",
    }  # fmt: skip
    several = replace(source, metadata={"customer": ["acme", "globex"]})
    assert read(apart(sources=(several,)), {"id": 1, "customer": "acme"})[0] == {}


def test_two_tenants_called_by_their_addresses_do_not_become_one_where_those_are_redacted() -> None:
    rows = [{"id": at, "customer": f"{at}@shop.example"} for at in range(2)]
    assert read(apart(redact=True), *rows)[0] == {"faq/0": "0@shop.example", "faq/1": "1@shop.example"}


def test_a_text_of_several_tenants_is_indexed_once_for_each() -> None:
    given = [Passage(f"s/{at}#0", f"s/{at}", "s", "same", {"customer": who}) for at, who in enumerate("aabb")]
    for tenants, kept in (("", 1), ("customer", 2)):
        spool = Spool(":memory:")
        assert spool.add(given, deduplicate=True, tenants=tenants) == 4 - kept
        assert len(spool) == kept


@pytest.mark.parametrize(("redact", "believed"), [(False, True), (True, False)])
def test_what_was_not_seen_this_time_stays_whose_it_was_if_that_is_known(
    database: Database, redact: bool, believed: bool
) -> None:
    name = f"stays{redact}".lower()
    with closing(open_store(database.where, f"shop_{name}", f"{name}__g", patience=10)) as store:
        active = store.create(f"{name}__g1_x", WIDTH, Index("HNSW", "Cosine"), {})  # of a time before tenants
        owners: dict[str, dict[str, Any]] = {"faq": {"customer": "acme"}, "manual": {}, "list": {"customer": ["acme"]}}
        old = [Passage(f"{one}/1#0", f"{one}/1", one, one, whose) for one, whose in owners.items()]
        store.insert(active.collection, old, [vector(one.text) for one in old])
        sources = (SourceWork("manual", "Auto", "id", "text", metadata={"customer": ["globex"]}),
                   *(SourceWork(one, "Auto", "id", "text") for one in ("faq", "list")))  # fmt: skip
        nothing: Any = None
        made = Making(apart(sources=sources, never_delete=True, redact=redact), {}, nothing, nothing, store, active,
                      Spool(":memory:"), nothing)  # fmt: skip
        made._carry(active)
        [batch] = made.spool.missing()
        kept = {one.id: one.metadata["customer"] for one in batch}
        assert kept == {"manual/1#0": "globex", **({"faq/1#0": "acme"} if believed else {})}


def test_a_wrong_field_that_would_empty_the_index_is_told_instead(database: Database) -> None:
    with closing(open_store(database.where, "shop_wrong", "wrong__g", patience=10)) as store:
        active = store.create("wrong__g1_x", WIDTH, Index("HNSW", "Cosine"), {})
        store.insert(active.collection, [Passage("faq/1#0", "faq/1", "faq", "a", {})], [vector("a")])
        row = '{"id": 1, "text": "a", "client": "acme"}'
        listing = {"faq": Listing("v1", lambda: [File("rows.jsonl", row.encode)])}
        made = Making(apart(), listing, None, None, store, active, Spool(":memory:"), None)  # type: ignore[arg-type]
        made.spool.add([Passage("faq/2#0", "faq/2", "faq", "b", {"customer": "acme"})])
        [*documents(made.wanted, listing, made.reading)]
        with pytest.raises(Wrong, match=r"1 of 1 documents are gone .* document faq/1 is no tenant's and left out"):
            made._carry(active)


class Holding:
    """An EvalJob with these rows."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.job = {"apiVersion": "llmops.dev/v1alpha1", "kind": "EvalJob", "metadata": {"name": "q", "namespace": "s"},
                    "spec": {"dataset": {"inline": list(rows)}}}  # fmt: skip

    def get(self, *_: Any) -> Any:
        return self.job


@pytest.mark.parametrize("tenant", [None, "", ["acme"], "*", 7])
async def test_a_labelled_question_names_its_tenant_or_the_gate_waits_with_a_sentence(tenant: Any) -> None:
    rows = [{"input": "Why?", "relevant": ["faq/1"], "tenant": "acme"}, {"input": "How?", "relevant": ["faq/2"]}]
    gate = {"rollout": {"gates": [{"type": "Retrieval", "min": "0.5", "evalJobRef": {"name": "q"}}]}}
    index: VectorIndex = seen_index({**gate, "query": {"tenants": {"field": "customer"}}}).index
    found, _ = await questions_of(index, Holding(rows[0], {**rows[1], "tenant": tenant}))  # type: ignore[arg-type]
    assert isinstance(found, Missing)
    assert "whose documents it is asked of: write one text of 1 to 255" in found.sentence
    found, _ = await questions_of(index, Holding(rows[0], {**rows[1], "tenant": "b"}))  # type: ignore[arg-type]
    assert found == [Question("Why?", ["faq/1"], "acme"), Question("How?", ["faq/2"], "b")]
    plain, _ = await questions_of(seen_index(gate).index, Holding(*rows))  # type: ignore[arg-type]
    assert plain == [Question("Why?", ["faq/1"]), Question("How?", ["faq/2"])]
