"""Requests for a service without a pod: held, told to the operator at once, bounded, and let go in fair turns."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from tests.unit.gateway.world import KEY, World, until

from llmops.gateway.hold import in_turns

ASK: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
OTHER = "llmops_shop.other.another-horse"


async def poll(world: World, cursor: int = 0, wait: float = 0.0, instance: str | None = None) -> Any:
    token = world.token("llmops-operator", "llmops-system")
    body = {"instance": instance, "cursor": cursor, "wait": wait}
    async with world.http.post("/internal/report", json=body, headers={"authorization": f"Bearer {token}"}) as reply:
        return await reply.json()


async def ask(world: World, key: str = KEY, model: str = "sleepy", text: str = "hello") -> Any:
    said: list[ChatCompletionMessageParam] = [{"role": "user", "content": text}]
    return await world.client(key).chat.completions.create(model=model, messages=said)


def asleep(world: World, **more: Any) -> None:
    world.add_service("sleepy", autoscaling={"min": 0, "max": 2}, replicas=0, **more)
    world.apply()


def held(world: World) -> int:
    return world.door.lobby.count("shop/sleepy")


def holds(world: World, many: int) -> bool:
    return held(world) == many


async def test_a_held_request_ends_the_operators_poll_at_once() -> None:
    async with World() as world:
        asleep(world)
        first = await poll(world)
        waiting = asyncio.create_task(poll(world, first["cursor"], 10.0, first["instance"]))
        await until(lambda: world.door.ledger._waiting)
        began = asyncio.get_running_loop().time()
        asking = asyncio.create_task(ask(world))
        told = (await waiting)["load"]["shop/sleepy"]
        assert asyncio.get_running_loop().time() - began < 5
        assert told == {"running": 0, "held": 1, "asked": 1, "tokens": 0}
        world.point("sleepy", world.engine)
        world.apply()
        assert (await asking).choices[0].message.content == "hello"
        assert (await poll(world))["load"]["shop/sleepy"] == {"running": 0, "held": 0, "asked": 1, "tokens": 3}


async def test_callers_take_turns_when_the_pod_is_there() -> None:
    async with World(held_requests=7) as world:
        world.add_key(OTHER, "other")
        asleep(world)
        asking = []
        for number in range(5):
            asking.append(asyncio.create_task(ask(world, text=f"many {number}")))
            await until(partial(holds, world, number + 1))
        for number in range(2):
            asking.append(asyncio.create_task(ask(world, OTHER, text=f"few {number}")))
            await until(partial(holds, world, 6 + number))
        world.point("sleepy", world.engine)
        world.apply()
        await asyncio.gather(*asking)
        assert held(world) == 0
        assert len(world.engine.asked) == 7


def test_turns_go_round_among_callers() -> None:
    loop = asyncio.new_event_loop()
    try:
        places = {name: loop.create_future() for name in ("a1", "a2", "a3", "b1", "c1", "c2")}
        from collections import deque

        callers = {who: deque(place for name, place in places.items() if name[0] == who) for who in "abc"}
        order = [next(name for name, one in places.items() if one is place) for place in in_turns(callers)]
        assert order == ["a1", "b1", "c1", "a2", "c2", "a3"]
    finally:
        loop.close()


async def test_more_than_may_be_held_are_told_when_to_come_again() -> None:
    async with World(held_requests=1) as world:
        asleep(world)
        world.objects["services"][-1]["status"] = {"scaling": {"coldStart": "14s"}}
        world.objects["services"][-1]["metadata"]["resourceVersion"] = "more"
        world.apply()
        first = asyncio.create_task(ask(world))
        await until(lambda: held(world) == 1)
        with pytest.raises(openai.InternalServerError, match="1 requests wait for one already") as caught:
            await ask(world)
        assert caught.value.status_code == 503
        assert caught.value.response.headers["retry-after"] == "14"
        world.point("sleepy", world.engine)
        world.apply()
        await first


async def test_who_hangs_up_or_waits_too_long_is_held_no_more() -> None:
    async with World() as world:
        asleep(world, limits={"timeout": "200ms"})
        with pytest.raises(openai.InternalServerError, match="no pod is Ready") as caught:
            await ask(world)
        assert caught.value.status_code == 504
        assert held(world) == 0
        world.add_service("sleepy", autoscaling={"min": 0, "max": 2}, replicas=0)
        world.objects["services"].pop(-2)
        world.apply()
        gone = asyncio.create_task(ask(world))
        await until(lambda: held(world) == 1)
        gone.cancel()
        await until(lambda: held(world) == 0)


async def test_a_service_that_is_deleted_lets_go_with_a_sentence() -> None:
    async with World() as world:
        asleep(world)
        asking = asyncio.create_task(ask(world))
        await until(lambda: held(world) == 1)
        world.objects["services"].pop()
        world.apply()
        with pytest.raises(openai.InternalServerError, match="was deleted"):
            await asking
