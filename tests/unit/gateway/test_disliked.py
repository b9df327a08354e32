"""A thumb down on an answer that passages were found for: its index hears of the question, whatever becomes of it."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import REGISTRY
from tests.unit.gateway.test_evidence_report import RELEASE
from tests.unit.gateway.world import KEY, Object, World, until

from llmops.gateway import disliked, marks
from llmops.gateway.choose import Share

INDEX = {"indexRef": {"name": "faq", "topK": 2, "variable": "context"}}


class Asked(list[tuple[str, Object]]):
    """What an index's query server was sent, by path."""

    def of(self, path: str) -> list[Object]:
        return [body for at, body in self if at == path]


async def indexed(world: World, shadow: int = 0) -> Asked:
    """A release that is answered from an index; with `shadow` its candidate answers unseen."""
    asked, server = Asked(), await world.new_engine()

    async def answer(request: web.Request, body: Object) -> web.StreamResponse:
        asked.append((request.path, body))
        found = {"id": "faq/a#0", "text": "Yes.", "score": 0.9, "source": "faq/a", "metadata": {}}
        return web.json_response({"generation": 1, "index": "shop/faq", "passages": [found]})

    server.answer = answer
    world.point("faq", server, kind="VectorIndex", service="faq-index")
    stable = world.add_version(RELEASE, "1.0.0", system="{{ context }}", **INDEX)
    if shadow:
        candidate = world.add_version(RELEASE, "2.0.0", system="Kindly: {{ context }}", **INDEX)
        world.release(RELEASE, stable, candidate, 0, shadow=shadow)
    else:
        world.release(RELEASE, stable)
    return asked


async def answered(world: World, question: str = "Is it dry?", credential: str = KEY, **more: Any) -> str:
    """The answer's id."""
    prompt = {"id": RELEASE, "variables": {"question": question}, **more.pop("prompt", {})}
    client = world.client(credential)
    reply: Any = await client.chat.completions.create(model="-", messages=[], extra_body={"prompt": prompt}, **more)
    if more.get("stream"):
        reply = [chunk async for chunk in reply][-1]
    return str(reply.id)


async def rate(world: World, id_: str, rating: str = "down", **more: Any) -> int:
    reply = await world.http.post(
        "/v1/feedback", json={"id": id_, "rating": rating, **more}, headers={"authorization": f"Bearer {KEY}"}
    )
    await until(lambda: not world.door.disliked.running)
    return reply.status


def counted(result: str) -> float:
    labels = {"index": "shop/faq", "result": result}
    return REGISTRY.get_sample_value("llmops_gateway_disliked_total", labels) or 0.0


@pytest.mark.parametrize("stream", [False, True])
async def test_the_index_is_told_the_question_of_an_answer_that_was_disliked_once(world: World, stream: bool) -> None:
    asked = await indexed(world)
    id_ = await answered(world, "Is it dry?", stream=stream)
    assert await rate(world, id_, "up") == 200
    assert asked.of("/poor") == []
    for _ in range(2):
        assert await rate(world, id_) == 200
    assert asked.of("/poor") == [{"text": "Is it dry?"}]


async def test_where_another_gateway_answered_the_feedback_brings_the_question(world: World) -> None:
    asked, unknown = await indexed(world), counted("unknown")
    stable = next(iter(world.door.snapshot.releases[f"shop/{RELEASE}"].versions))
    id_ = marks.new(f"shop/{RELEASE}", stable, "stable", None)
    assert await rate(world, id_) == 200
    assert (asked.of("/poor"), counted("unknown")) == ([], unknown + 1)
    for _ in range(2):
        assert await rate(world, id_, question="Is it dry?") == 200
    assert asked.of("/poor") == [{"text": "Is it dry?"}]
    assert await rate(world, id_, question=["Is it dry?"]) == 400


async def test_of_a_rollout_the_index_of_the_version_that_answered_is_told(world: World) -> None:
    asked = await indexed(world)
    stable = next(iter(world.door.snapshot.releases[f"shop/{RELEASE}"].versions))
    candidate = world.add_version(RELEASE, "2.0.0", system="Without an index.")
    world.release(RELEASE, stable, candidate, 50)
    share = Share(candidate, 1, 50, "ann")
    for variant in ("stable", "candidate"):
        id_ = marks.new(f"shop/{RELEASE}", "", variant, share)
        assert await rate(world, id_, question=f"Of {variant}?") == 200
    assert asked.of("/poor") == [{"text": "Of stable?"}]


async def test_an_index_that_is_away_or_slow_fails_no_feedback(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await indexed(world)
    ids, unable = [await answered(world) for _ in range(2)], counted("unable")
    hang = asyncio.Event()

    async def never(request: web.Request, body: Object) -> web.StreamResponse:
        await hang.wait()
        return web.json_response({})

    slow = await world.new_engine()
    slow.answer = never
    world.point("faq", slow, kind="VectorIndex", service="faq-index")
    world.apply()
    monkeypatch.setattr(disliked, "SECONDS", 0.05)
    assert await rate(world, ids[0]) == 200
    world.point("faq", kind="VectorIndex", service="faq-index")
    world.apply()
    assert await rate(world, ids[1]) == 200
    assert counted("unable") == unable + 2
    hang.set()


async def test_answers_without_an_index_are_not_remembered_nor_are_those_of_evaluations(world: World) -> None:
    await indexed(world)
    plain = world.add_version("plain", "1.0.0")
    world.release("plain", plain)
    id_ = await answered(world, prompt={"id": "plain"})
    measured = await answered(world, credential=world.token("quality-eval"))
    await answered(world, credential=world.token("app"))
    assert len(world.door.disliked._kept) == 1
    assert await rate(world, id_) == await rate(world, measured) == 200


async def test_it_remembers_so_many_so_long_and_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disliked, "MOST", 2)
    now = [0.0]
    async with aiohttp.ClientSession() as session:
        one = disliked.Disliked(session, lambda: world.door.snapshot, lambda: now[0])
        for id_ in "abc":
            one.remember(id_, "shop/faq", "x" * 9000)
        assert {id_: len(kept.question) for id_, kept in one._kept.items()} == {"b": 1000, "c": 1000}
        now[0] = disliked.KEEP + 1
        one.remember("d", "shop/faq", "x")
        assert list(one._kept) == ["d"]


async def test_only_what_a_user_asks_is_remembered_by_the_index(world: World) -> None:
    asked = await indexed(world, shadow=100)
    await answered(world, "By a user?")
    await until(lambda: len(asked.of("/search")) == 2 and not world.door.shadows.running)
    await answered(world, "By an evaluation?", world.token("quality-eval"), prompt={"version": "candidate"})
    told = [(body["text"], body.get("remember", True)) for body in asked.of("/search")]
    assert told == [("By a user?", True), ("By a user?", False), ("By an evaluation?", False)]
