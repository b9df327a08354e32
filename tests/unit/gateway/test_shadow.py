"""A candidate that answers real requests unseen: nobody notices, nobody pays, and the operator is told of pairs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import openai
import pytest
from aiohttp import web
from tests.unit.gateway.test_evidence_report import RELEASE, ask, report
from tests.unit.gateway.test_forms import GOOD, SCHEMA, WRONG
from tests.unit.gateway.world import USAGE, Engine, Object, World, fails, slowly, until

from llmops.rollout.split import unit_hash

Pair = tuple[str, str | None]


def unseen(world: World, shadow: int = 100, latency: str | None = None, **content: Any) -> tuple[str, str]:
    """A release whose candidate says “Be kind.” to the model, and has no users yet."""
    stable = world.add_version(RELEASE, "1.0.0", **content)
    candidate = world.add_version(RELEASE, "2.0.0", system="Be kind.", **content)
    moving = {"latency": latency} if latency else {}
    world.release(RELEASE, stable, candidate, 0, shadow=shadow, **moving)
    return stable, candidate


def of_candidate(body: Object) -> bool:
    return bool(body["messages"][0]["content"] == "Be kind.")


def only(which: Callable[[Object], bool], engine: Engine, answer: Any) -> Any:
    """An engine that does `answer` for these, and echoes for the others."""

    async def both(request: web.Request, body: Object) -> web.StreamResponse:
        response: web.StreamResponse = await (answer if which(body) else engine.echo)(request, body)
        return response

    return both


def says(text: str) -> Any:
    async def answer(request: web.Request, body: Object) -> web.StreamResponse:
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return web.json_response({"id": "x", "object": "chat.completion", "choices": [choice], "usage": USAGE})

    return answer


async def pairs(world: World, wanted: int = 1) -> list[Pair]:
    """What was told, once so many unseen answers were read."""
    await until(lambda: len(world.engine.asked) >= 2 * wanted and not world.door.shadows.running)
    told = (await report(world))["units"]
    assert {(one["kind"], one["weight"]) for one in told} <= {("pair", 0)}
    return [(one["variant"], one["signal"]) for one in told]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_user_gets_stables_answer_and_the_candidate_is_asked_afterwards(world: World, stream: bool) -> None:
    _, candidate = unseen(world)
    reply = await ask(world, "ann", stream=stream)
    assert reply.headers["x-llmops-variant"] == "stable"
    text = reply.parse()
    if stream:
        assert [chunk async for chunk in text]
    assert await pairs(world) == [("candidate", None)]
    first, second = world.engine.asked
    assert (of_candidate(first), of_candidate(second)) == (False, True)
    assert first["messages"][1:] == second["messages"][1:]
    assert bool(second.get("stream")) == stream
    [told] = (await report(world))["units"]
    assert (told["unit"], told["digest"], told["attempt"]) == (unit_hash("ann"), candidate, 1)
    serving = (await report(world))["serving"][f"shop/{RELEASE}"]
    assert (serving["weight"], serving["shadow"]) == (0, 100)


async def test_nobody_waits_for_an_unseen_answer_and_there_are_few_at_a_time(world: World) -> None:
    unseen(world)
    others = [await world.new_engine() for _ in range(3)]
    world.objects["services"].clear()
    world.add_service("support", world.engine, *others, limits={"timeout": "60s"})  # who hangs, hangs to the end
    world.apply()
    hang = asyncio.Event()

    async def never(request: web.Request, body: Object) -> web.StreamResponse:
        await hang.wait()
        return await world.engine.echo(request, body)

    for engine in (world.engine, *others):
        engine.answer = only(of_candidate, engine, never)
    client, prompt = world.client(), {"id": RELEASE, "variables": {"question": "Why?"}}
    for n in range(8):
        await client.chat.completions.create(
            model="-", messages=[], extra_body={"prompt": prompt}, extra_headers={"x-user-id": f"user-{n}"}
        )
    await until(lambda: sum(map(of_candidate, [one for each in (world.engine, *others) for one in each.asked])) == 2)
    assert len(world.door.shadows.running) == 2
    hang.set()
    await until(lambda: not world.door.shadows.running)
    assert len((await report(world))["units"]) == 2


@pytest.mark.parametrize(("limits", "many"), [({}, 0), ({"maxConcurrency": 9}, 1), ({"maxConcurrency": 1}, 0)])
async def test_where_the_service_is_busy_it_is_left_out(world: World, limits: Object, many: int) -> None:
    unseen(world)
    world.objects["services"].clear()
    world.add_service("support", world.engine, limits={"timeout": "60s", **limits})
    world.apply()
    hang = asyncio.Event()

    async def hangs(request: web.Request, body: Object) -> web.StreamResponse:
        await hang.wait()
        return await world.engine.echo(request, body)

    world.engine.answer = only(lambda body: body["messages"][-1]["content"] == "Wait?", world.engine, hangs)
    stable_only = {"variables": {"question": "Wait?"}, "version": "stable"}
    slow = asyncio.create_task(ask(world, "slow", prompt=stable_only))
    await until(lambda: world.engine.asked)
    quick = asyncio.create_task(ask(world, "ann"))
    if limits.get("maxConcurrency") == 1:
        await until(lambda: world.running() == 2)
    else:
        await quick
        await until(lambda: not world.door.shadows.running)
        assert len((await report(world))["units"]) == many
    hang.set()
    await asyncio.gather(slow, quick)


async def test_of_users_only_the_share_and_of_requests_only_the_drawn_are_asked_again(world: World) -> None:
    unseen(world, shadow=30)
    for n in range(40):
        await ask(world, f"user-{n}")
        await until(lambda: not world.door.shadows.running)
    asked = sum(map(of_candidate, world.engine.asked))
    assert 3 <= asked <= 22
    await ask(world, "ann", prompt={"version": "stable"})
    world.door.heard_at -= 31  # a door that hears nothing does not know whether there is still a shadow
    for n in range(40):
        await ask(world, f"user-{n}")
    assert not world.door.shadows.running
    assert sum(map(of_candidate, world.engine.asked)) == asked
    assert "shadow" not in (await report(world))["serving"][f"shop/{RELEASE}"]


@pytest.mark.parametrize(
    ("which", "told"),
    [
        (of_candidate, [("candidate", None), ("candidate", "Errors")]),
        (lambda body: not of_candidate(body), [("candidate", None), ("stable", "Errors")]),
        (lambda body: True, [("candidate", None)]),
    ],
    ids=["the candidate's", "stable's", "both"],
)
async def test_only_a_difference_between_the_two_is_told(world: World, which: Any, told: list[Pair]) -> None:
    unseen(world)
    world.engine.answer = only(which, world.engine, fails(400))
    for _ in range(2):  # the same user again tells nothing new
        with suppress(openai.BadRequestError):
            await ask(world, "ann")
        assert await pairs(world) == told


async def test_an_unseen_answer_without_the_form_differs_in_that_and_is_not_asked_for_twice(world: World) -> None:
    unseen(world, response={"schema": SCHEMA})
    good = only(lambda body: not of_candidate(body), world.engine, says(GOOD))
    world.engine.answer = lambda request, body: (says(WRONG) if of_candidate(body) else good)(request, body)
    await ask(world, "ann")
    assert await pairs(world) == [("candidate", None), ("candidate", "InvalidResponse")]
    assert len(world.engine.asked) == 2


async def test_a_slow_unseen_answer_differs_in_latency(world: World) -> None:
    unseen(world, latency="10s")
    world.engine.answer = only(of_candidate, world.engine, slowly(world, world.engine, 11))
    await ask(world, "ann")
    assert await pairs(world) == [("candidate", None), ("candidate", "Latency")]


async def test_no_callers_limit_or_budget_pays_for_it(world: World) -> None:
    unseen(world)
    world.add_key("llmops_shop.few.secret", "few", limits={"requestsPerMinute": 2})
    world.apply()
    for _ in range(2):
        await ask(world, "ann", key="llmops_shop.few.secret")
        await until(lambda: not world.door.shadows.running)
    assert len(world.engine.asked) == 4
    spend = [one for one in (await report(world))["spend"] if one["key"] == "shop/few"]
    assert spend == [{"key": "shop/few", "requests": 2, "tokens": 2 * USAGE["total_tokens"], "cost": 0.0}]
    scraped = await (await world.http.get("/metrics")).text()
    assert f'llmops_gateway_shadow_tokens_total{{direction="in",release="shop/{RELEASE}"}}' in scraped


async def test_what_tells_nothing_of_the_candidate_is_no_pair(world: World) -> None:
    stable = world.add_version(RELEASE, "1.0.0")
    more = {"type": "object", "required": ["question", "tone"], "properties": {"question": {}, "tone": {}}}
    candidate = world.add_version(RELEASE, "2.0.0", system="Be kind.", variables=more)
    world.release(RELEASE, stable, candidate, 0, shadow=100)
    await ask(world, "ann")  # asked with what stable reads, the candidate cannot be rendered
    with pytest.raises(openai.BadRequestError):
        await ask(world, "bob", prompt={"variables": {}})  # and of the caller's mistakes there is nothing to learn
    await until(lambda: not world.door.shadows.running)
    assert (await report(world))["units"] == []
    assert len(world.engine.asked) == 1
