"""What the operator is told: who met what, what failed, what is served, what was spent."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import openai
import pytest
from aiohttp import web
from tests.unit.gateway.world import KEY, Object, World, fails, slowly, until

from llmops.rollout.split import unit_hash

RELEASE = "support-answer"


@pytest.fixture
async def digests(world: World) -> tuple[str, str]:
    stable, candidate = world.add_version(RELEASE, "1.0.0"), world.add_version(RELEASE, "2.0.0", system="Be kind.")
    world.release(RELEASE, stable, candidate, 50)
    return stable, candidate


async def ask(world: World, user: str, **more: Any) -> Any:
    prompt = {"id": RELEASE, "variables": {"question": "Why?"}, **more.pop("prompt", {})}
    client = world.client(more.pop("key", KEY), default_headers={"x-user-id": user})
    return await client.chat.completions.with_raw_response.create(
        model="-", messages=[], extra_body={"prompt": prompt}, **more
    )


async def report(world: World, instance: str | None = None, cursor: int = 0, wait: float = 0) -> Any:
    token = world.token("llmops-operator", "llmops-system")
    reply = await world.http.post(
        "/internal/report",
        json={"instance": instance, "cursor": cursor, "wait": wait},
        headers={"authorization": f"Bearer {token}"},
    )
    assert reply.status == 200, await reply.text()
    return await reply.json()


async def test_each_user_is_reported_once_with_its_variant(world: World, digests: tuple[str, str]) -> None:
    variants = {}
    for user in ("ann", "bob", "cid", "dora", "ann", "bob"):
        variants[unit_hash(user)] = (await ask(world, user)).headers["x-llmops-variant"]
    told = await report(world)
    assert {one["unit"]: one["variant"] for one in told["units"]} == variants
    assert len(told["units"]) == 4
    assert {(one["digest"], one["attempt"], one["weight"], one["kind"]) for one in told["units"]} == {
        (digests[1], 1, 50, "exposure")
    }
    assert told["serving"] == {
        "shop/support-answer": {"stable": digests[0], "candidate": digests[1], "attempt": 1, "weight": 50}
    }
    assert told["services"] == {"shop/support": 1, "shop/minilm": 1}


async def test_a_failed_answer_is_a_failure_of_its_variant(world: World, digests: tuple[str, str]) -> None:
    world.engine.answer = fails(500)
    with pytest.raises(openai.InternalServerError):
        await ask(world, "ann")
    told = (await report(world))["units"]
    assert [(one["kind"], one["signal"]) for one in told] == [("exposure", None), ("failure", "Errors")]


async def test_a_fallbacks_answer_is_a_failure_too(world: World, digests: tuple[str, str]) -> None:
    world.engine.answer = fails(500)
    world.objects["services"].clear()
    world.add_service("support", fallbackRefs=[{"name": "spare"}])
    world.add_service("spare", await world.new_engine())
    world.apply()
    assert (await ask(world, "ann")).parse().choices
    assert [one["signal"] for one in (await report(world))["units"]] == [None, "Errors"]


async def test_a_stream_that_breaks_is_a_failure(world: World, digests: tuple[str, str]) -> None:
    async def broken(request: web.Request, body: Object) -> web.StreamResponse:
        return await world.engine.pieces(request, body, ["he"], end=False)

    world.engine.answer = broken
    with suppress(openai.APIError):
        async for _ in (await ask(world, "ann", stream=True)).parse():
            pass
    assert [one["signal"] for one in (await report(world))["units"]] == [None, "Errors"]


@pytest.mark.parametrize(
    ("stream", "between", "signals"),
    [(False, False, [None, "Latency"]), (True, False, [None, "Latency"]), (True, True, [None])],
    ids=["a whole answer", "a first byte", "the rest of a stream"],
)
async def test_who_waits_too_long_for_something_to_read_counts_as_latency(
    world: World, digests: tuple[str, str], stream: bool, between: bool, signals: list[str | None]
) -> None:
    world.release(RELEASE, *digests, 50, latency="10s")
    await ask(world, "ann")
    assert [one["signal"] for one in (await report(world))["units"]] == [None]
    first_read = asyncio.Event()
    world.engine.answer = slowly(world, world.engine, 11, first_read if between else None)
    reply = (await ask(world, "bob", stream=stream)).parse()
    if stream:
        async for _ in reply:
            first_read.set()
        assert first_read.is_set()
    assert [one["signal"] for one in (await report(world))["units"][1:]] == signals


async def test_an_error_that_took_too_long_is_two_failures(world: World, digests: tuple[str, str]) -> None:
    world.release(RELEASE, *digests, 50, latency="10s")

    async def slow(request: web.Request, body: Object) -> web.StreamResponse:
        world.clock.now += 11
        return await fails(500)(request, body)

    world.engine.answer = slow
    with pytest.raises(openai.InternalServerError):
        await ask(world, "ann")
    assert [one["signal"] for one in (await report(world))["units"]] == [None, "Errors", "Latency"]


async def test_what_the_caller_did_wrong_is_no_evidence(world: World, digests: tuple[str, str]) -> None:
    with pytest.raises(openai.BadRequestError):
        await ask(world, "ann", prompt={"variables": {}})
    await ask(world, "bob", prompt={"version": "candidate"})
    assert (await report(world))["units"] == []


async def test_a_thumb_down_counts_once_for_the_version_that_answered(world: World, digests: tuple[str, str]) -> None:
    reply = await ask(world, "ann")
    body = {"id": reply.parse().id, "rating": "down"}
    variant = reply.headers["x-llmops-variant"]
    world.release(RELEASE, digests[0], digests[1], 90)  # the weight in force when it answered is what counts
    for _ in range(2):
        told = await world.http.post("/v1/feedback", json=body, headers={"authorization": f"Bearer {KEY}"})
        assert (await told.json())["counted"] is True
    failures = [one for one in (await report(world))["units"] if one["kind"] == "failure"]
    assert [(one["signal"], one["variant"], one["weight"]) for one in failures] == [("Feedback", variant, 50)]


@pytest.mark.parametrize(
    ("body", "status"),
    [({"id": "chatcmpl-theirs", "rating": "down"}, 400), ({"id": "x", "rating": "sideways"}, 400), ({}, 400)],
)
async def test_feedback_that_means_nothing_is_refused(world: World, body: dict[str, str], status: int) -> None:
    told = await world.http.post("/v1/feedback", json=body, headers={"authorization": f"Bearer {KEY}"})
    assert told.status == status


async def test_feedback_on_an_older_attempt_is_not_counted(world: World, digests: tuple[str, str]) -> None:
    answered = (await ask(world, "ann")).parse().id
    world.release(RELEASE, digests[0], digests[1], 50, attempt=2)
    told = await world.http.post(
        "/v1/feedback", json={"id": answered, "rating": "down"}, headers={"authorization": f"Bearer {KEY}"}
    )
    assert (await told.json())["counted"] is False
    assert (await report(world))["units"] == []


async def test_a_poll_waits_for_news_and_tells_only_them(world: World, digests: tuple[str, str]) -> None:
    await ask(world, "ann")
    first = await report(world)
    waiting = asyncio.create_task(report(world, first["instance"], first["cursor"], wait=20))
    await until(lambda: world.door.ledger._waiting)
    await ask(world, "bob")
    second = await waiting
    assert [one["unit"] for one in second["units"]] == [unit_hash("bob")]
    again = await report(world, "another-instance", second["cursor"], wait=20)
    assert len(again["units"]) == 2


async def test_a_new_split_ends_the_wait(world: World, digests: tuple[str, str]) -> None:
    first = await report(world)
    waiting = asyncio.create_task(report(world, first["instance"], first["cursor"], wait=20))
    await until(lambda: world.door.ledger._waiting)
    world.release(RELEASE, digests[0], digests[1], 0)
    assert (await waiting)["serving"]["shop/support-answer"]["weight"] == 0


async def test_an_ended_rollout_is_forgotten(world: World, digests: tuple[str, str]) -> None:
    await ask(world, "ann")
    world.release(RELEASE, digests[1])
    assert (await report(world))["units"] == []


async def test_what_came_with_a_key_is_told(world: World, digests: tuple[str, str]) -> None:
    await ask(world, "ann")
    assert (await report(world))["spend"] == [{"key": "shop/app", "requests": 1, "tokens": 10, "cost": 0.0}]


async def test_only_the_operator_is_told(world: World) -> None:
    for credential in (KEY, world.token("llmops-operator", "shop"), world.token("other", "llmops-system")):
        told = await world.http.post("/internal/report", json={}, headers={"authorization": f"Bearer {credential}"})
        assert told.status == 403
