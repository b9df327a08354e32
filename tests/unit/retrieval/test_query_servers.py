"""Several query servers of one index: what is made of them, what is said of them, and how each of them ends."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import aiohttp
import orjson
import pytest
from tests.ports import free_port
from tests.unit.retrieval.conftest import seen
from tests.unit.retrieval.test_index_plan import condition, message

from llmops.retrieval import replicas
from llmops.retrieval.children import asked_labels
from llmops.retrieval.embedder import NotEmbedded
from llmops.retrieval.observe import Seen
from llmops.retrieval.plan import plan
from llmops.retrieval.server.app import App
from llmops.retrieval.server.drain import Draining
from llmops.retrieval.server.live import Live
from llmops.retrieval.server.pinned import IDLE
from llmops.retrieval.server.poor import Poor
from llmops.retrieval.server.served import Served
from llmops.retrieval.space import Space
from llmops.retrieval.status import status
from llmops.retrieval.stores.base import Asked, Away, Found, NoAlias, NotAllowed, StoreError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Object = dict[str, Any]


def child(kind: str, one: Seen) -> Object | None:
    """That of the query servers."""
    named = [each for each in plan(one).children if (each["kind"], each["metadata"]["name"]) == (kind, "faq-index")]
    return named[0] if named else None


def made(kind: str, one: Seen) -> Object:
    found = child(kind, one)
    assert found is not None
    spec: Object = found["spec"]
    return spec


def test_there_is_one_query_server_unless_more_are_asked_for_and_only_several_have_a_budget() -> None:
    assert made("Deployment", seen())["replicas"] == 1
    assert child("PodDisruptionBudget", seen()) is None
    three = seen({"query": {"replicas": 3}})
    assert made("Deployment", three)["replicas"] == 3
    assert made("PodDisruptionBudget", three)["maxUnavailable"] == 1


def test_before_the_first_generation_no_query_server_holds_a_node_up() -> None:
    assert made("PodDisruptionBudget", seen({"query": {"replicas": 2}}))["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_the_budget_counts_those_that_the_service_leads_to_also_while_permissions_change() -> None:
    for missing in ("Deny", "Allow"):
        one = seen({"query": {"replicas": 2, "permissions": {"field": "groups", "missing": missing}}})
        service, budget = made("Service", one), made("PodDisruptionBudget", one)
        assert budget["selector"]["matchLabels"] == service["selector"] == asked_labels(one.index)


def test_more_of_them_are_more_of_the_same_so_none_is_restarted_by_it() -> None:
    templates = [made("Deployment", seen({"query": {"replicas": many}}))["template"] for many in (1, 2, 16)]
    assert templates[0] == templates[1] == templates[2]


def test_they_keep_apart_over_nodes_and_zones_where_that_can_be() -> None:
    pod = made("Deployment", seen({"query": {"replicas": 2}}))["template"]["spec"]
    terms = pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    over = {one["podAffinityTerm"]["topologyKey"]: one["weight"] for one in terms}
    assert over["kubernetes.io/hostname"] > over["topology.kubernetes.io/zone"] > 0


def pod(labels: dict[str, str], ready: str = "True", **metadata: Any) -> Object:
    return {"metadata": {"labels": labels, **metadata}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


def test_only_those_that_are_asked_are_counted_and_not_one_that_ends_or_knows_no_permissions() -> None:
    asked = asked_labels(seen({"query": {"permissions": {"field": "groups"}}}).index)
    of_before = asked_labels(seen().index)
    pods = [pod(asked), pod(asked, "False"), pod(asked, deletionTimestamp="2026-01-01T00:00:00Z"), pod(of_before)]
    assert replicas.ready([*pods, {"metadata": {"labels": asked}}], asked) == 1


STARTING = (
    "generation 1 is chosen; the query server is starting; where it stays so, the engine may have lost what was built: "
    "llmops retry vi faq -n shop (annotation llmops.dev/retry) builds what is missing"
)


@pytest.mark.parametrize(
    ("ready", "available", "whole", "said"),
    [
        (0, "False", "False", STARTING),
        (1, "True", "False", "1 of 2 query servers is ready: more are starting"),
        (2, "True", "True", "generation 1 with 100 passages is served"),
        (3, "True", "True", "generation 1 with 100 passages is served"),  # while they are replaced
    ],
)
def test_an_index_is_available_by_one_and_ready_by_all(
    served: Seen, ready: int, available: str, whole: str, said: str
) -> None:
    one = seen({"query": {"replicas": 2}}, served.raw["status"], runs=served.runs, servers_ready=ready)
    told = status(one, plan(one), NOW)
    assert (condition(told, "Available"), condition(told, "Ready")) == (available, whole)
    assert message(told, "Ready") == said


def test_what_keeps_one_of_them_from_starting_is_said(served: Seen) -> None:
    one = seen({"query": {"replicas": 3}}, served.raw["status"], runs=served.runs, servers_ready=2)
    told = status(replace(one, trouble="pod x: Unschedulable: no room"), plan(one), NOW)
    assert message(told, "Ready") == "2 of 3 query servers are ready: pod x: Unschedulable: no room"


class Embedder:
    """Puts everything in one place."""

    model = "shop/tiny"

    async def embed(self, texts: list[str], purpose: str) -> list[list[float]]:
        return [[1.0, 0.0] for _ in texts]


class Reader:
    """An engine that has let go of a generation, or is away."""

    def __init__(self, comes_back: bool = True) -> None:
        self.loaded, self.comes_back = False, comes_back

    async def load(self, collection: str) -> None:
        self.loaded = self.comes_back

    async def search(self, collection: str, asked: Asked) -> list[Found]:
        if not self.loaded:
            raise Away("collection not loaded")
        return [Found("faq/a#0", "Yes.", "faq/a", 0.9, {})]


class Serving:
    """One generation, served."""

    why_not = mismatch = None
    looks = 0

    def __init__(self) -> None:
        told = {"generation": 1, "rows": 1}
        self.served = Served("faq__g1_x", told, Embedder(), Space(((1.0, 0.0),)), "")  # type: ignore[arg-type]

    def look_now(self) -> None:
        self.looks += 1


async def asked(app: App, path: str = "/search", method: str = "POST") -> tuple[int, Object, dict[bytes, bytes]]:
    """Status, answer and headers."""
    sent = list[Any]()

    async def receive() -> Object:
        return {"type": "http.request", "body": orjson.dumps({"text": "Is it dry?"})}

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"method": method, "path": path, "query_string": b""}, receive, send)
    return sent[0]["status"], orjson.loads(sent[1]["body"]), dict(sent[0]["headers"])


def app_of(reader: Reader) -> App:
    return App("shop/faq", reader, Serving(), Poor(lambda: 0.0))  # type: ignore[arg-type]


async def test_what_another_query_server_let_go_of_is_loaded_again_and_the_question_answered() -> None:
    status_, answer, _ = await asked(app_of(Reader()))
    assert (status_, answer["passages"][0]["id"]) == (200, "faq/a#0")


async def test_an_engine_that_is_away_is_asked_twice_and_no_more() -> None:
    status_, answer, _ = await asked(app_of(Reader(comes_back=False)))
    assert (status_, "the engine did not answer" in answer["error"]["message"]) == (503, True)


class Unembedded(Reader):
    """One generation that passed its gates; nobody embeds at its embedder's address."""

    async def points_to(self, alias: str) -> str:
        return "faq__g1_x"

    async def collections(self, prefix: str) -> list[str]:
        return ["faq__g1_x"]

    async def told(self, collection: str) -> Object:
        url = f"http://127.0.0.1:{free_port()}/v1"
        embedding = {"url": url, "model": "shop/tiny", "document_prefix": "", "query_prefix": ""}
        space = Space(((1.0, 0.0),)).dumps()
        return {"generation": 1, "rows": 1, "space": space, "embedding": embedding}


async def test_it_is_not_ready_before_it_knows_the_generation_and_has_seen_its_embedder() -> None:
    reader = Unembedded()
    async with aiohttp.ClientSession() as session:
        live = Live(reader, session, "shop_faq")  # type: ignore[arg-type]
        app = App("shop/faq", reader, live, Poor(lambda: 0.0))  # type: ignore[arg-type]
        assert (await asked(app, "/readyz", "GET"))[:2] == (
            503, {"ready": False, "problem": "no generation has passed its gates yet", "generation": None},
        )  # fmt: skip
        await live.look()
        code, told, _ = await asked(app, "/readyz", "GET")
        assert (code, told["generation"], "cannot be looked at" in told["problem"]) == (503, None, True)


class Losing(Unembedded):
    """One that may have no alias, or be away; what is told of its generation stays the same."""

    problem: StoreError | None = None
    same: Object | None = None

    async def told(self, collection: str) -> Object:
        self.same = self.same or await super().told(collection)
        return dict(self.same)

    async def points_to(self, alias: str) -> str:
        if self.problem is not None:
            raise self.problem
        return await super().points_to(alias)


async def test_an_engine_that_lost_the_alias_is_not_searched_and_one_that_is_away_is_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def space(self: object, prefix: str, patience: float = 0.0) -> Space:
        return Space(((1.0, 0.0),))

    monkeypatch.setattr("llmops.retrieval.embedder.Embedder.space", space)
    reader = Losing()
    async with aiohttp.ClientSession() as session:
        live = Live(reader, session, "shop_faq")  # type: ignore[arg-type]
        app = App("shop/faq", reader, live, Poor(lambda: 0.0))  # type: ignore[arg-type]
        nothing_yet = "no generation has passed its gates yet"
        lost = "the alias is gone: the engine no longer has what was built"
        for problem, code, why in (
            (Away("no answer"), 503, "the index cannot be looked at: no answer"),
            (NoAlias("none"), 503, nothing_yet),
            (None, 200, None),
            (Away("no answer"), 200, None),
            (NoAlias("none"), 503, lost),
            (Away("no answer"), 503, "the index cannot be looked at: no answer"),
            (NoAlias("none"), 503, lost),
            (None, 200, None),
        ):
            reader.problem = problem
            await live.look()
            told = (await asked(app, "/readyz", "GET"))[:2]
            assert told == (code, {"ready": not why, "problem": why, "generation": live.served and 1}), problem
        reader.problem = NoAlias("none")
        await live.look()
        status_, answer, _ = await asked(app)
        assert (status_, lost in answer["error"]["message"]) == (503, True)


class Flipped(Unembedded):
    """An engine with three generations, whose alias is moved; tells what was let go of."""

    points = 1

    def __init__(self) -> None:
        super().__init__()
        self.there, self.released, self.away = ["faq__g1_x", "faq__g2_x", "faq__g3_x"], list[str](), False

    async def points_to(self, alias: str) -> str:
        return f"faq__g{self.points}_x"

    async def told(self, collection: str) -> Object:
        return {**await super().told(collection), "generation": int(collection[6]), "served": 1.0}

    async def collections(self, prefix: str) -> list[str]:
        return self.there

    async def release(self, collection: str) -> None:
        assert collection in self.there
        if self.away:
            raise Away("no answer")
        self.released.append(collection)


async def test_what_was_active_is_let_go_of_a_while_later_unless_it_is_still_asked_or_active_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def space(self: object, prefix: str, patience: float = 0.0) -> Space:
        return Space(((1.0, 0.0),))

    monkeypatch.setattr("llmops.retrieval.embedder.Embedder.space", space)
    reader, now = Flipped(), 0.0
    async with aiohttp.ClientSession() as session:
        live = Live(reader, session, "shop_faq")  # type: ignore[arg-type]
        live._pinned._clock = lambda: now

        async def later(seconds: float, points: int) -> list[str]:
            nonlocal now
            now += seconds
            reader.points = points
            await live.look()
            assert live.problem is None
            return reader.released

        there, reader.there = reader.there, ["faq__g1_x"]
        assert await later(0, 1) == await later(IDLE + 1, 1) == []
        reader.there = there
        assert await later(1, 2) == await later(IDLE - 1, 2) == []  # others may search it, or come back to it
        reader.away = True
        assert await later(2, 2) == []
        reader.away = False
        assert await later(1, 2) == ["faq__g1_x"]
        assert await later(IDLE + 1, 2) == ["faq__g1_x"]
        await later(1, 3)
        await later(1, 2)
        assert await later(IDLE + 1, 2) == ["faq__g1_x", "faq__g3_x"]  # and not 2, which is active again
        reader.released.clear()
        await later(1, 3)
        assert live.served is not None
        now += IDLE - 1
        assert isinstance(await live.pinned(2, live.served), Served)
        assert await later(2, 3) == []  # a release asks for it
        assert await later(IDLE, 3) == ["faq__g2_x"]
        await later(1, 1)
        reader.there.remove("faq__g3_x")
        assert await later(IDLE + 1, 1) == ["faq__g2_x"]  # a Job dropped it


@dataclass
class Letting:
    """What a query server keeps in the memory of its engine, at times of our own."""

    reader: Flipped
    live: Live
    now: float = 0.0
    embeds: bool = True

    async def look(self, seconds: float, points: int = 1) -> list[str]:
        self.now += seconds
        self.reader.points = points
        await self.live.look()
        assert self.live.problem is None
        return self.reader.released


@pytest.fixture
async def letting(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Letting]:
    reader = Flipped()
    async with aiohttp.ClientSession() as session:
        made = Letting(reader, Live(reader, session, "shop_faq"))  # type: ignore[arg-type]
        made.live._pinned._clock = lambda: made.now

        async def space(self: object, prefix: str, patience: float = 0.0) -> Space:
            if not made.embeds:
                raise NotEmbedded("away")
            return Space(((1.0, 0.0),))

        monkeypatch.setattr("llmops.retrieval.embedder.Embedder.space", space)
        yield made


async def test_what_an_engine_does_not_let_go_of_is_tried_ever_more_seldom_and_holds_nothing_else_up(
    letting: Letting,
) -> None:
    reader, tries = letting.reader, list[float]()
    release = reader.release

    async def refused(collection: str) -> None:
        if collection == "faq__g2_x":
            tries.append(letting.now)
            raise NotAllowed("not yours")
        await release(collection)

    reader.release = refused  # type: ignore[method-assign]
    await letting.look(0)
    await letting.look(IDLE)
    for _ in range(3600):
        await letting.look(1)
    assert reader.released == ["faq__g3_x"]
    assert [later - one for one, later in pairwise(tries)][:4] == [1, 2, 4, 8]
    assert len(tries) < 20


async def test_what_a_process_of_before_left_in_memory_is_let_go_of_but_nothing_that_a_job_may_be_measuring(
    letting: Letting,
) -> None:
    told = letting.reader.told

    async def unserved(collection: str) -> Object:
        return {**await told(collection), "served": 1.0 if collection != "faq__g3_x" else None}

    letting.reader.told = unserved  # type: ignore[method-assign]
    assert await letting.look(0) == await letting.look(IDLE - 1) == []
    assert await letting.look(1) == ["faq__g2_x"]


async def test_a_generation_that_was_asked_is_let_go_of_also_where_a_search_failed_or_nobody_embeds(
    letting: Letting,
) -> None:
    letting.reader.there = ["faq__g1_x"]
    await letting.look(0)
    assert letting.live.served is not None
    letting.reader.there = ["faq__g1_x", "faq__g2_x", "faq__g3_x"]
    assert isinstance(await letting.live.pinned(2, letting.live.served), Served)
    letting.live.look_now()  # the engine was only slow, and has it still
    letting.embeds = False
    with pytest.raises(NotEmbedded):
        await letting.live.pinned(3, letting.live.served)
    letting.embeds = True
    assert await letting.look(IDLE - 1) == []
    assert await letting.look(1) == ["faq__g2_x", "faq__g3_x"]


async def test_from_its_end_on_it_answers_for_a_while_and_every_answer_closes_its_connection() -> None:
    app = app_of(Reader())
    server = Draining(app, "127.0.0.1", 0, 0.2)
    assert b"connection" not in (await asked(app))[2]
    server.handle_exit(signal.SIGTERM, None)
    await asyncio.sleep(0)
    assert not server.should_exit
    code, _, headers = await asked(app)
    assert (code, headers[b"connection"]) == (200, b"close")
    assert (await asked(app, "/readyz", "GET"))[0] == 200  # the Service leads to it where there is no other
    await asyncio.sleep(0.4)
    assert server.should_exit


async def test_told_twice_or_without_time_to_drain_it_ends_at_once() -> None:
    for seconds, times in ((0.0, 1), (60.0, 2)):
        server = Draining(app_of(Reader()), "127.0.0.1", 0, seconds)
        for _ in range(times):
            server.handle_exit(signal.SIGTERM, None)
        assert server.should_exit


def test_the_grace_of_a_pod_is_longer_than_its_drain_and_what_is_unfinished_then() -> None:
    from llmops.retrieval.children import DRAIN
    from llmops.retrieval.server.drain import UNFINISHED

    assert made("Deployment", seen())["template"]["spec"]["terminationGracePeriodSeconds"] > DRAIN + UNFINISHED
