"""Pods that die, refuse, hang or break off: what the caller sees, and what is counted."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from aiohttp import web
from openai.types.chat import ChatCompletionMessageParam
from tests.unit.gateway.world import KEY, Object, World, fails, until

ASK: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


async def ask(world: World, model: str = "support", **more: Any) -> Any:
    return await world.client().chat.completions.create(model=model, messages=ASK, **more)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_dead_pod_is_not_noticed(world: World, stream: bool) -> None:
    dead = await world.new_engine()
    await world.kill(dead)
    world.point("support", dead, world.engine)
    world.apply()
    for _ in range(4):
        assert await ask(world, stream=stream)
    assert len(world.engine.asked) == 4


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_an_answer_of_a_failing_pod_is_had_from_another(world: World, status: int) -> None:
    failing = await world.new_engine()
    failing.answer = fails(status)
    world.point("support", failing, world.engine)
    world.apply()
    for _ in range(3):
        assert await ask(world)


async def test_a_pod_that_dies_before_its_first_byte_is_not_noticed(world: World) -> None:
    async def die(request: web.Request, body: Object) -> web.StreamResponse:
        assert request.transport
        request.transport.close()
        return web.Response()

    dying = await world.new_engine()
    dying.answer = die
    world.point("support", dying, world.engine)
    world.apply()
    for stream in (False, True, False, True):
        assert await ask(world, stream=stream)


async def test_without_a_pod_a_request_waits_for_one(world: World) -> None:
    world.objects["slices"].clear()
    world.apply()
    waiting = asyncio.create_task(ask(world))
    await until(lambda: world.running() == 1)
    assert not waiting.done()
    world.point("support", world.engine)
    world.apply()
    assert (await waiting).choices


async def test_no_replicas_is_said_at_once(world: World) -> None:
    world.add_service("asleep", replicas=0)
    world.apply()
    with pytest.raises(openai.InternalServerError, match="has no replicas: write"):
        await ask(world, "asleep")


async def test_a_hanging_pod_ends_in_a_504_that_names_the_limit(world: World) -> None:
    async def hang(request: web.Request, body: Object) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    world.engine.answer = hang
    world.add_service("slow", world.engine, limits={"timeout": "1s"})
    world.apply()
    with pytest.raises(openai.InternalServerError, match=r"limits.timeout of 1 s") as caught:
        await ask(world, "slow")
    assert caught.value.status_code == 504
    await until(lambda: world.engine.gone == 1)


async def test_the_engines_own_refusal_reaches_the_caller(world: World) -> None:
    world.engine.answer = fails(400)
    with pytest.raises(openai.BadRequestError, match="no"):
        await ask(world)
    assert len(world.engine.asked) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_fallback_answers_and_says_so(world: World, status: int) -> None:
    world.engine.answer = fails(status)
    other = await world.new_engine()
    world.add_service("main", world.engine, limits={"timeout": "300ms"}, fallbackRefs=[{"name": "spare"}])
    world.add_service("spare", other)
    world.apply()
    reply = await world.client().chat.completions.with_raw_response.create(model="main", messages=ASK)
    assert reply.headers["x-llmops-fallback"] == "shop/spare"
    assert other.asked[0]["model"] == "shop/spare"


async def test_a_stream_that_breaks_off_raises_in_the_client(world: World) -> None:
    async def broken(request: web.Request, body: Object) -> web.StreamResponse:
        return await world.engine.pieces(request, body, ["he"], end=False)

    world.engine.answer = broken
    with pytest.raises(openai.APIError, match="broke off in the middle of its answer"):
        async for _ in await ask(world, stream=True):
            pass


async def test_who_hangs_up_stops_the_engine(world: World) -> None:
    async def endless(request: web.Request, body: Object) -> web.StreamResponse:
        response = await world.engine.pieces(request, body, ["a"], end=False)
        await asyncio.Event().wait()
        return response

    world.engine.answer = endless
    stream = await ask(world, stream=True)
    await anext(aiter(stream))
    await stream.close()
    await until(lambda: world.engine.gone == 1)
    await until(lambda: world.running() == 0)


async def test_the_pod_with_the_fewest_requests_is_asked(world: World) -> None:
    release = asyncio.Event()

    async def hold(request: web.Request, body: Object) -> web.StreamResponse:
        await release.wait()
        return await world.engine.echo(request, body)

    busy = await world.new_engine()
    busy.answer = hold
    world.point("support", busy)
    world.apply()
    held = [asyncio.create_task(ask(world)) for _ in range(3)]
    await until(lambda: len(busy.asked) == 3)
    world.point("support", busy, world.engine)
    world.apply()
    for _ in range(4):
        await ask(world)
    assert len(world.engine.asked) == 4
    release.set()
    await asyncio.gather(*held)


async def test_a_key_revoked_in_mid_stream_is_refused_only_afterwards(world: World) -> None:
    revoked = asyncio.Event()

    async def slow(request: web.Request, body: Object) -> web.StreamResponse:
        response = await world.engine.pieces(request, body, ["he"], end=False)
        await revoked.wait()
        await response.write(b"data: [DONE]\n\n")
        return response

    world.engine.answer = slow
    stream = await ask(world, stream=True)
    chunks = aiter(stream)
    await anext(chunks)
    world.objects["keys"].clear()
    world.apply()
    revoked.set()
    assert [chunk async for chunk in chunks] == []
    with pytest.raises(openai.AuthenticationError, match="not known"):
        await ask(world)


async def test_a_service_takes_no_more_at_a_time_than_it_says(world: World) -> None:
    running = most = 0

    async def count(request: web.Request, body: Object) -> web.StreamResponse:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return await world.engine.echo(request, body)

    world.engine.answer = count
    world.add_service("narrow", world.engine, limits={"maxConcurrency": 2})
    world.apply()
    replies = await asyncio.gather(*(ask(world, "narrow") for _ in range(8)))
    assert len(replies) == 8
    assert most == 2


async def test_limits_of_a_key_answer_429_with_retry_after(world: World) -> None:
    world.add_key(KEY, limits={"requestsPerMinute": 2})
    world.apply()
    await ask(world)
    await ask(world)
    with pytest.raises(openai.RateLimitError, match="requestsPerMinute is 2; try again in 30 s") as caught:
        await ask(world)
    assert caught.value.response.headers["retry-after"] == "30"


async def test_a_spent_budget_answers_429_until_the_period_ends(world: World) -> None:
    world.objects["services"].clear()
    world.add_service("support", pricing={"inputPerMillionTokens": "100000", "outputPerMillionTokens": "100000"})
    world.add_key(KEY, budget={"amount": "1.50", "period": "Day"})
    world.apply()
    await ask(world)  # 10 tokens at 0.10 each
    await ask(world)
    with pytest.raises(openai.RateLimitError, match="the budget of GatewayKey shop/app") as caught:
        await ask(world)
    assert caught.value.code == "insufficient_quota"


async def test_a_budget_in_another_currency_is_refused(world: World) -> None:
    world.objects["services"].clear()
    world.add_service("support", pricing={"inputPerMillionTokens": "1", "currency": "EUR"})
    world.add_key(KEY, budget={"amount": "1.50", "currency": "USD"})
    world.apply()
    with pytest.raises(openai.PermissionDeniedError, match="priced in EUR"):
        await ask(world)
