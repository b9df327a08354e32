"""Which of an index's query servers is asked, and what is done when it does not answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web
from tests.unit.gateway.world import Engine, Object, World

from llmops.gateway import retrieve
from llmops.gateway.errors import BadRequest, UpstreamFailed
from llmops.gateway.snapshot import Retrieval
from llmops.gateway.tenants import Whose

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
    (found,) = await world.door.search(FAQ, "Is it dry?", (), Whose())
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
    monkeypatch.setattr(retrieve, "PATIENCE", 0.2)
    hanging, other = await query_servers(world, hangs, finds)
    for _ in range(6):
        assert await search(world) == "faq/a#0"
    assert (len(hanging.asked), len(other.asked)) == (1, 6)


async def test_one_that_refuses_or_is_gone_is_left_at_once(world: World) -> None:
    refusing, gone, other = await query_servers(world, refuses, finds, finds)
    await gone.stop()
    async with asyncio.timeout(2):
        for _ in range(6):
            assert await search(world) == "faq/a#0"
    assert (len(refusing.asked) <= 1, len(gone.asked), len(other.asked)) == (True, 0, 6)


async def test_the_only_one_has_all_the_time_there_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieve, "PATIENCE", 0.1)
    monkeypatch.setattr(retrieve, "SECONDS", 1.0)

    async def slowly(request: web.Request, body: Object) -> web.StreamResponse:
        await asyncio.sleep(0.4)
        return await finds(request, body)

    (only,) = await query_servers(world, slowly)
    assert await search(world) == "faq/a#0"
    assert len(only.asked) == 1
    only.answer = hangs
    with pytest.raises(UpstreamFailed, match=r"did not answer within 1 s \(its query server has not answered yet\)"):
        await search(world)


@pytest.mark.parametrize("status", [400, 413])
async def test_a_question_that_the_index_refuses_is_asked_once_and_told_to_who_asks(world: World, status: int) -> None:
    async def too_long(request: web.Request, body: Object) -> web.StreamResponse:
        error = {"message": "the question was not embedded: input is too long", "code": "question_refused"}
        return web.json_response({"error": error}, status=status)

    servers = await query_servers(world, too_long, too_long)
    with pytest.raises(BadRequest, match="input is too long") as caught:
        await search(world)
    assert (caught.value.code, caught.value.param) == ("question_refused", "prompt.variables")
    assert sum(len(one.asked) for one in servers) == 1
    for one in servers:
        one.answer = finds
    for _ in range(4):
        await search(world)
    assert all(one.asked for one in servers)  # and none of them is avoided for it


async def test_a_server_of_before_that_refuses_without_a_code_is_left_for_another(world: World) -> None:
    async def strange(request: web.Request, body: Object) -> web.StreamResponse:
        return web.json_response({"error": {"message": "what is that?"}}, status=400)

    await query_servers(world, strange, finds)
    for _ in range(4):
        assert await search(world) == "faq/a#0"
