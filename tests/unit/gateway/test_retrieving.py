"""Which of an index's query servers is asked, and what is done when it does not answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from aiohttp import web
from tests.unit.gateway.world import Engine, Object, World

from llmops.gateway import retrieve
from llmops.gateway.errors import BadRequest, UpstreamFailed
from llmops.gateway.retrieve import Sought
from llmops.gateway.snapshot import Endpoint, Retrieval

FOUND = {"id": "faq/a#0", "text": "Yes.", "score": 0.9, "source": "faq/a", "metadata": {}}
FAQ = Retrieval("shop/faq", 1, None, "context", None)


async def finds(request: web.Request, body: Object) -> web.StreamResponse:
    return web.json_response({"generation": 1, "index": "shop/faq", "passages": [FOUND]})


async def hangs(request: web.Request, body: Object) -> web.StreamResponse:
    await asyncio.sleep(60)
    raise AssertionError("nobody waits so long")


async def refuses(request: web.Request, body: Object) -> web.StreamResponse:
    return web.json_response({"error": {"message": "not now"}}, status=503)


async def query_servers(world: World, *answers: Any) -> list[Engine]:
    servers = [await world.new_engine() for _ in answers]
    for one, answer in zip(servers, answers, strict=True):
        one.answer = answer
    world.point("faq", *servers, kind="VectorIndex", service="faq-index")
    world.apply()
    return servers


async def search(world: World) -> str:
    (found,) = await world.door.search(FAQ, Sought("Is it dry?"))
    return found.id


async def test_questions_are_shared_among_the_query_servers(world: World) -> None:
    for many in (2, 3):
        servers = await query_servers(world, *[finds] * many)
        for _ in range(6 * many):
            await search(world)
        assert [len(one.asked) for one in servers] == [6] * many


async def test_one_that_hangs_is_left_for_another_and_then_asked_last(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the one that hangs meets with a short patience, and what is counted is whom the door asked, not who heard
    it in time: a busy machine changes neither."""
    asked, ask = Counter[str](), retrieve.Retriever._ask

    async def counted(self: retrieve.Retriever, one: Endpoint, body: bytes, patience: float) -> Any:
        asked[one.url] += 1
        short = one.url == hanging.url and patience == retrieve.PATIENCE
        return await ask(self, one, body, 0.2 if short else 60)

    monkeypatch.setattr(retrieve.Retriever, "_ask", counted)
    monkeypatch.setattr(retrieve, "AVOID", 60)
    hanging, other = await query_servers(world, hangs, finds)
    for _ in range(6):
        assert await search(world) == "faq/a#0"
    assert asked == {hanging.url: 1, other.url: 6}


async def test_one_that_refuses_or_is_gone_is_left_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"PATIENCE": 60, "SECONDS": 90, "AVOID": 90}.items():
        monkeypatch.setattr(retrieve, name, seconds)
    refusing, gone, other = await query_servers(world, refuses, finds, finds)
    await world.kill(gone)
    async with asyncio.timeout(30):
        for _ in range(6):
            assert await search(world) == "faq/a#0"
    assert (len(refusing.asked) <= 1, len(gone.asked), len(other.asked)) == (True, 0, 6)


async def test_the_only_one_has_all_the_time_there_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieve, "PATIENCE", 0.1)

    async def slowly(request: web.Request, body: Object) -> web.StreamResponse:
        await asyncio.sleep(0.4)
        return await finds(request, body)

    (only,) = await query_servers(world, slowly)
    assert await search(world) == "faq/a#0"
    assert len(only.asked) == 1
    only.answer = hangs
    monkeypatch.setattr(retrieve, "SECONDS", 1.0)
    with pytest.raises(UpstreamFailed, match=r"did not answer within 1 s \(its query server has not answered yet\)"):
        await search(world)


@pytest.mark.parametrize(
    ("status", "code"), [(400, "question_refused"), (413, "question_refused"), (400, "filter_refused")]
)
async def test_a_question_that_the_index_refuses_is_asked_once_and_told_to_who_asks(
    world: World, status: int, code: str
) -> None:
    async def too_long(request: web.Request, body: Object) -> web.StreamResponse:
        error = {"message": "the question was not embedded: input is too long", "code": code}
        return web.json_response({"error": error}, status=status)

    servers = await query_servers(world, too_long, too_long)
    with pytest.raises(BadRequest, match="input is too long") as caught:
        await search(world)
    assert (caught.value.code, caught.value.param) == (code, "prompt.variables")
    assert sum(len(one.asked) for one in servers) == 1
    for one in servers:
        one.answer = finds
    for _ in range(4):
        await search(world)
    assert all(one.asked for one in servers)  # and none of them is avoided for it


async def test_a_filter_that_the_engine_does_not_know_is_the_releases_fault(world: World) -> None:
    async def unsupported(request: web.Request, body: Object) -> web.StreamResponse:
        error = {"message": 'filter: Qdrant knows like "a%" only', "code": "filter_unsupported"}
        return web.json_response({"error": error}, status=400)

    servers = await query_servers(world, unsupported, unsupported)
    with pytest.raises(UpstreamFailed, match=r"indexRef\.filter: Qdrant knows like"):
        await search(world)
    assert sum(len(one.asked) for one in servers) == 1


async def test_a_server_of_before_that_refuses_without_a_code_is_left_for_another(world: World) -> None:
    async def strange(request: web.Request, body: Object) -> web.StreamResponse:
        return web.json_response({"error": {"message": "what is that?"}}, status=400)

    await query_servers(world, strange, finds)
    for _ in range(4):
        assert await search(world) == "faq/a#0"
