"""Who may see which document: the query server's own ASGI application over a real Milvus Lite, asked by people who try
to get at what is not theirs. Generation 1 is of a time before permissions, with groups in its JSON only; 2 has a
column."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from typing import Any

import aiohttp
import numpy as np
import orjson
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.retrieval.conftest import seen as seen_index
from tests.unit.retrieval.conftest import work_of
from tests.unit.retrieval.databases import Database

from llmops.retrieval import widen
from llmops.retrieval.embedder import Embedder
from llmops.retrieval.ingest.making import Making
from llmops.retrieval.ingest.spool import Spool
from llmops.retrieval.passage import Passage
from llmops.retrieval.rank import Placed
from llmops.retrieval.server import passages
from llmops.retrieval.server.app import App
from llmops.retrieval.server.live import Live
from llmops.retrieval.server.permissions import Permissions, seen
from llmops.retrieval.server.poor import Poor
from llmops.retrieval.stores import open_reader, open_store
from llmops.retrieval.stores.base import Asked, Found, Index, Reader, Restriction
from llmops.retrieval.stores.restricted import SEEN_BY_BYTES, seen_by
from llmops.retrieval.work import SourceWork
from llmops.telemetry import metrics

WIDTH = 16
STAFF, SUPPORT = "staff", "support"
GROUPS: dict[str, Any] = {
    "public": ["*"], "public2": "*", "staff": ["staff"], "staff2": "staff", "both": ["support", "staff"],
    "support": ["support"], "longer": ["staff-only"], "longer2": "staffroom", "part": "taff", "empty": [],
    "null": None, "nested": [["staff"]], "named": {"staff": True}, "number": 1, "other": ["bank/staff"],
    "under": "a_b", "wild": "axb", "tilde": "a~b", "odd": "x|odd|y", "odd2": ["%", "_", "|odd|"], "long": ["z" * 200],
}  # fmt: skip
DOCUMENTS = {**{f"s/{name}": {"groups": one, "n": at} for at, (name, one) in enumerate(GROUPS.items())}, "s/absent": {}}
"""By their names, with their metadata."""
EVERYBODYS = {"s/public", "s/public2"}
STAFFS = EVERYBODYS | {"s/staff", "s/staff2", "s/both"}


def vector(text: str) -> list[float]:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    return [float(one) for one in np.random.default_rng(seed).normal(size=WIDTH)]


async def embeddings(request: web.Request) -> web.Response:
    texts = (await request.json())["input"]
    return web.json_response({"data": [{"index": at, "embedding": vector(one)} for at, one in enumerate(texts)]})


class Server:
    """A query server's application, and the loop that it lives on."""

    def __init__(self, loop: asyncio.AbstractEventLoop, reader: Reader, live: Live) -> None:
        self.loop, self.reader, self.live = loop, reader, live
        self.rule: Permissions | None = Permissions("groups")
        self.tenants = ""

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def post(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        app, sent = App("shop/faq", self.reader, self.live, Poor(lambda: 0.0), self.rule, self.tenants), list[Any]()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": orjson.dumps(body)}

        async def send(message: Any) -> None:
            sent.append(message)

        self.run(app({"method": "POST", "path": "/search"}, receive, send))
        return sent[0]["status"], orjson.loads(sent[1]["body"])

    def found(self, *groups: str, **more: Any) -> set[str]:
        """The documents that members of these groups find."""
        caller = {"caller": {"groups": list(groups)}} if groups else {}
        status, answer = self.post({"text": "anything", "topK": 100, **caller, **more})
        assert status == 200, answer
        return {one["source"] for one in answer["passages"]}

    def engine(self, filter_: str, only: Restriction | None = None) -> set[str]:
        """What the engine itself finds."""
        assert self.live.served is not None
        asked = Asked(vector("anything"), 100, filter_, {"ef": 100}, only=only)
        return {one.document for one in self.run(self.reader.search(self.live.served.collection, asked))}


async def begin(
    where: Any, documents: dict[str, Any] = DOCUMENTS, column: Any = None, keyword: bool = False
) -> tuple[aiohttp.ClientSession, web.AppRunner, Reader, Live]:
    """A generation that is served, its embedder, and who follows it; `column`: what is told of the second."""
    app = web.Application()
    app.router.add_post("/v1/embeddings", embeddings)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    session = aiohttp.ClientSession()
    space = await Embedder(session, url, "shop/tiny").space("")
    store = open_store(where, "shop_faq", "faq__g", patience=10)
    embedding = {"url": url, "model": "shop/tiny", "document_prefix": "", "query_prefix": ""}
    told = {"complete": True, "served": 1.0, "space": space.dumps(), "embedding": embedding, "search": {"ef": 100},
            "rows": len(documents), "keyword": keyword}  # fmt: skip
    passages = [Passage(f"{name}#0", name, "s", f"text of {name}", one) for name, one in documents.items()]
    for number, more in ((1, {}), (2, column or {"seen_by": "groups"})):
        index = Index("HNSW", "Cosine", {"M": 16, "efConstruction": 100}, keyword)
        made = store.create(f"faq__g{number}_x", WIDTH, index, {**told, **more, "generation": number})
        store.insert(made.collection, passages, [vector(one.text) for one in passages])
        store.settle(made.collection)
        store.point(made)
    reader = open_reader(where)
    live = Live(reader, session, "shop_faq")
    await live.look()
    return session, runner, reader, live


@pytest.fixture(scope="module")
def one_server(database: Database) -> Iterator[Server]:
    loop = asyncio.new_event_loop()
    session, runner, reader, live = loop.run_until_complete(begin(database.where))
    assert live.why_not is None
    yield Server(loop, reader, live)
    for end in (reader.close(), session.close(), runner.cleanup()):
        loop.run_until_complete(end)
    loop.close()


@pytest.fixture
def server(one_server: Server) -> Server:
    one_server.rule = Permissions("groups")
    return one_server


def withheld() -> float:
    return float(metrics.RETRIEVAL_WITHHELD._value.get())


def test_without_permissions_everybody_finds_everything_whoever_they_say_they_are(server: Server) -> None:
    server.rule = None
    assert server.found() == server.found(STAFF) == set(DOCUMENTS)
    assert "groups" not in server.post({"text": "anything"})[1]


@pytest.mark.parametrize(
    ("groups", "found"),
    [
        ((), EVERYBODYS),
        ((STAFF,), STAFFS),
        ((SUPPORT,), EVERYBODYS | {"s/support", "s/both"}),
        ((STAFF, SUPPORT), STAFFS | {"s/support"}),
        (("bank/staff",), EVERYBODYS | {"s/other"}),
        (("Staff",), EVERYBODYS),
        (("staff-only",), EVERYBODYS | {"s/longer"}),
        (("nobody",), EVERYBODYS),
        (("a_b",), EVERYBODYS | {"s/under"}),
        (("axb", "a.b", "a-b"), EVERYBODYS | {"s/wild"}),
        (("odd",), EVERYBODYS),
    ],
)
def test_members_find_what_names_one_of_their_groups_and_what_is_everybodys(
    server: Server, groups: tuple[str, ...], found: set[str]
) -> None:
    before = withheld()
    for generation in (1, 2):
        assert server.found(*groups, generation=generation) == found
        assert server.found(*groups, generation=generation, filter="source == 's'") == found
        assert server.found(*groups, generation=generation, filter="source == 'elsewhere'") == set()
    assert withheld() == before  # the engine's own doing
    assert server.post({"text": "x", "caller": {"groups": list(groups)}})[1]["groups"] == sorted(groups)


def test_who_may_see_one_document_in_a_hundred_finds_the_nearest_of_those(server: Server, database: Database) -> None:
    store = open_store(database.where, "shop_many", "many__g", patience=10)
    index, told = Index("HNSW", "Cosine", {"M": 16, "efConstruction": 100}), {"seen_by": "groups"}
    made = store.create("many__g1_x", WIDTH, index, told)
    vectors = np.random.default_rng(3).normal(size=(3000, WIDTH)).astype(np.float32)
    mine = [at for at in range(3000) if at % 100 == 0]
    passages = [Passage(f"s/{at}#0", f"s/{at}", "s", f"{at}", {"groups": ["few" if at in mine else "many"]})
                for at in range(3000)]  # fmt: skip
    store.insert(made.collection, passages, vectors.tolist())
    store.settle(made.collection)
    only = Restriction("groups", frozenset({"few"}), column=True)
    scores = vectors / np.linalg.norm(vectors, axis=1, keepdims=True) @ vectors[7]
    best = sorted(mine, key=lambda at: -scores[at])[:10]
    asked = Asked(vectors[7].tolist(), 10, search={"ef": 32}, only=only)
    found = [one.document for one in server.run(widen.search(server.reader, 3000, made.collection, asked))]
    assert found == [f"s/{at}" for at in best]


def test_documents_that_say_nothing_are_nobodys_unless_the_index_says_otherwise(server: Server) -> None:
    for generation in (1, 2):
        server.rule = Permissions("groups", missing=True)
        assert server.found(generation=generation) - EVERYBODYS == {"s/absent", "s/null"}
        assert server.found(STAFF, generation=generation) - STAFFS == {"s/absent", "s/null"}
        server.rule = Permissions("department")
        assert server.found(STAFF, generation=generation) == set()
        server.rule = Permissions("department", missing=True)
        assert server.found(generation=generation) == set(DOCUMENTS)


def test_a_page_for_drafts_says_who_finds_each_passage_and_whoever_asks_as_that_does(server: Server) -> None:
    served = server.live.served
    assert served is not None
    for missing in (False, True):
        server.rule = Permissions("groups", missing)
        page = server.run(passages.page(server.reader, served, "shop/faq", b"", "", server.rule))
        whose = {one["source"]: one["groups"] for one in page["passages"]}
        assert (whose["s/both"], whose["s/public2"], whose["s/empty"]) == (["staff", "support"], ["*"], [])
        assert whose["s/absent"] == whose["s/null"] == (["*"] if missing else [])
        for source, groups in whose.items():
            asked = [one for one in groups if one != "*"]
            assert (source in server.found(*asked)) is bool(groups), source
    (without, *_) = server.run(passages.page(server.reader, served, "shop/faq", b""))["passages"]
    assert "groups" not in without


@pytest.mark.parametrize(
    "caller",
    ["staff", ["staff"], {"groups": "staff"}, {"groups": None}, {"groups": ["*"]}, {"groups": ["staff", 1]},
     {"groups": ['staff"] or true or x in ["']}, {"groups": ["a" * 128]}, {"groups": ["a/b/staff"]},
     {"groups": [f"g{n}" for n in range(65)]}, {"groups": [""]}, {"groups": ["staff\n"]}, False],
)  # fmt: skip
def test_a_caller_who_cannot_be_read_is_refused_and_finds_nothing(server: Server, caller: Any) -> None:
    status, answer = server.post({"text": "anything", "caller": caller})
    assert (status, "caller" in answer["error"]["message"]) == (400, True)


ALWAYS = ("true", "1 == 1", "1 < 2", "n == 0", "source == 's'", "document != ''", 'metadata["groups"] != "x"',
          'exists metadata["groups"]', 'json_contains(metadata["groups"], "support")', "id like '%'")  # fmt: skip
OUT = (
    "{0}", "not ({0})", "({0})", "(({0}))", "{0} or {0}", "{0} || {0}", "{0}) or ({0}", "{0})) or (({0}", ") or ({0}",
    ") or {0} or (", "{0}) or {0} or ({0}", "{0}) || ({0}", "(({0}) or ({0}", "({0})) or ({0}", "[{0}]) or ([{0}]",
    "source == 's') or (source == 's'", "source == '\\') or ({0}", "source == \"\\\") or ({0}",
    "source == '\\'' or {0}",
    "source == '' or {0} or source == ''", "source == '\") or ({0}) or (source == \"'", "source == \"') or ({0}",
    "source == ')' or {0}", "source == '(' or {0}", "source == ')' ) or ( {0}", "source == r'\\') or ({0}",
    "{0} //", "{0}) //", "{0}) or {0} //", "{0}) or ({0} /* ", "{0} /* ) */ or ({0}", "{0} -- ) or (", "{0}) --",
    "{0}) #", "{0};", "{0}); ({0}", "{0})\x00", "{0}\x00) or ({0}", "{0}\n) or (\n{0}", "{0}\u2028) or ({0}",
    "{0}\uff09 or \uff08{0}", "{0}) or true\\", "{0}) or (not (metadata[\"groups\"] == 'x')", "{0} and {0} or {0}",
    "{0} or not exists metadata[\"groups\"]", "{{x}}) or ({0}", "{{0}}", "({0}", "{0})", "])", "[(", "{0} or (",
    "'", '"', "\\", "('", ")(", ") or (", "$meta[\"x\"] == 1) or ({0}", "text_match(text, ')') or {0}",
    "json_contains_any(metadata[\"groups\"], [\"support\", \"staff\", \"*\"])", "metadata[\"groups\"] == 'support'",
    "not (metadata[\"groups\"] == 'staff')", "document in ['s/support', 's/empty', 's/absent']",
    "u8') or ({0}", "L\"\\\") or ({0}", "source == 's' and ({0} or {0}) or {0}", "{0} ) OR ( {0}", "{0} ) or NOT ( {0}",
)  # fmt: skip
HOSTILE = sorted({one.format(always) for one in OUT for always in ALWAYS})


def tried(server: Server, filter_: str) -> None:
    """Nothing but staff's own comes of it, and it is the engine that finds no more."""
    before = withheld()
    status, answer = server.post({"text": "x", "topK": 100, "filter": filter_, "caller": {"groups": [STAFF]}})
    assert status in (200, 400), (filter_, answer)
    assert {one["source"] for one in answer.get("passages", ())} <= STAFFS, filter_
    assert withheld() == before, f"only the second look at what was found withheld it: {filter_}"


def test_no_filter_gets_around_what_the_caller_may_see(server: Server) -> None:
    assert len(HOSTILE) > 300
    for filter_ in HOSTILE:
        tried(server, filter_)


WORDS = (*ALWAYS, "(", ")", "[", "]", " or ", " and ", " not ", "'", '"', "\\", "\\'", '\\"', ",", "//", "/*", "*/",
         "--", "#", ";", "||", "&&", "!", "==", " in ",
         "\n", "\x00", "\u2028", "{x}", "$meta", "r'", 'u8"')  # fmt: skip
TRIES = settings(
    max_examples=250, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@TRIES
@given(words=st.lists(st.sampled_from(WORDS) | st.text(max_size=3), min_size=1, max_size=9))
def test_no_heap_of_words_gets_around_it_either(server: Server, words: list[str]) -> None:
    tried(server, "".join(words).encode(errors="ignore").decode())


PARTS = st.sampled_from(("source == 's'", "document == 's/staff'", 'metadata["n"] > 3', "document like 's/%2'",
                         'metadata["groups"] == "support"', "document in ['s/both', 's/empty']", "source != ')'",
                         'text != "it\'s ("'))  # fmt: skip
EXPRESSIONS = st.recursive(
    PARTS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from((" or ", " and ", " || ", " && ")), inner).map("".join),
        inner.map(lambda one: f"({one})"),
        inner.map(lambda one: f"not ({one})"),
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("column", [False, True])
@TRIES
@given(filter_=EXPRESSIONS)
def test_of_what_a_filter_finds_alone_exactly_that_is_found_that_may_be_seen(
    server: Server, filter_: str, column: bool
) -> None:
    only = Restriction("groups", frozenset({STAFF}), column=column)
    may = {name for name, one in DOCUMENTS.items() if only.admits(one)}
    assert may == STAFFS
    assert server.engine(filter_, only) == server.engine(filter_) & may


def test_what_an_engine_finds_against_its_orders_is_withheld_and_counted() -> None:
    only, before = Restriction("groups", frozenset({STAFF})), withheld()
    found = [Placed(Found(name, "", name, 1.0, one)) for name, one in DOCUMENTS.items()]
    assert {one.found.document for one in seen(found, only)} == STAFFS
    assert withheld() - before == len(DOCUMENTS) - len(STAFFS)
    assert seen(found, None) == found


def test_a_column_of_more_names_than_fit_has_whole_names_only() -> None:
    assert seen_by(["a_b", "*", "staff"]) == "|a~b|*|staff|"
    assert (seen_by(None), seen_by([]), seen_by(["%", 5])) == ("", "|", "|")
    whole = seen_by([f"{n:0100}" for n in range(1000)])
    assert len(whole) <= SEEN_BY_BYTES
    assert {len(one) for one in whole[1:-1].split("|")} == {100}


def test_a_document_that_could_not_be_read_again_is_seen_by_whom_the_spec_says_now(database: Database) -> None:
    store = open_store(database.where, "shop_kept", "kept__g", patience=10)
    active = store.create("kept__g1_x", WIDTH, Index("HNSW", "Cosine"), {})
    old = [Passage(f"{one}/1#0", f"{one}/1", one, one, {"groups": ["*"], "n": 1}) for one in ("manual", "faq")]
    store.insert(active.collection, old, [vector(one.text) for one in old])
    sources = (SourceWork("manual", "Auto", "id", "text", metadata={"groups": ["staff"]}),
               SourceWork("faq", "Auto", "id", "text"))  # fmt: skip
    work = replace(work_of(seen_index()), sources=sources, never_delete=True)
    made = Making(work, {}, None, None, store, active, Spool(":memory:"), None)  # type: ignore[arg-type]
    made._carry(active)
    [batch] = made.spool.missing()
    assert {one.id: one.metadata for one in batch} == {
        "manual/1#0": {"groups": ["staff"], "n": 1}, "faq/1#0": {"groups": ["*"], "n": 1},
    }  # fmt: skip


def test_a_list_that_is_written_as_a_text_is_one_strange_name() -> None:
    """Milvus Lite reads such a text as a list; a comma in a cell of CSV must not open a document."""
    assert not Restriction("groups", frozenset({STAFF})).admits({"groups": '["staff"]'})
    assert not Restriction("groups", frozenset({STAFF})).admits({"groups": "staff,support"})
    assert replace(Restriction("groups"), missing=True).admits({"n": 1})
