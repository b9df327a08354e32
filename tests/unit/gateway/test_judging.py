"""Answers that a model reads: whose, of which version, what is told of them, and that nobody waits or pays for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from tests.unit.gateway.test_evidence_report import report
from tests.unit.gateway.world import KEY, USAGE, Engine, Object, World, fails, until

from llmops.api.rollout import OnlineSignal
from llmops.telemetry import metrics

SIGNAL: Object = {"signal": "Judge", "serviceRef": {"name": "judge"}, "rubric": "Is it kind?", "min": "3"}
RELEASE, VARIANTS = "support-answer", ("stable", "candidate")


def says(score: Callable[[str], str], tops: Object | None = None) -> Callable[..., Awaitable[web.StreamResponse]]:
    """A judge; `score` from the form that it is given."""

    async def answer(_: web.Request, body: Object) -> web.StreamResponse:
        text = score(body["messages"][0]["content"])
        choice: Object = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        if tops and body.get("logprobs"):
            likely = [{"token": token, "logprob": value} for token, value in tops.items()]
            choice["logprobs"] = {"content": [{"token": text, "logprob": 0.0, "top_logprobs": likely}]}
        return web.json_response({"id": "x", "object": "chat.completion", "created": 1, "model": body["model"],
                                  "choices": [choice], "usage": USAGE})  # fmt: skip

    return answer


@pytest.fixture
async def judge(world: World) -> Engine:
    engine = await world.new_engine()
    engine.answer = says(lambda _: "5")
    world.add_service("judge", engine)
    return engine


def canary(world: World, weight: int = 50, asked: Object = SIGNAL, frozen: Object = SIGNAL, **signal: Any) -> None:
    stable = world.add_version(RELEASE, "1.0.0", system="Be brief.")
    candidate = world.add_version(RELEASE, "2.0.0", system="Be long.")
    identity = OnlineSignal.model_validate({**frozen, **signal}).identity
    world.put_release(RELEASE, stable, candidate, weight, judge=identity)
    [made] = [one for one in world.objects["releases"] if one["metadata"]["name"] == RELEASE]
    made["spec"]["rollout"] = {"online": [{**asked, **signal}]}
    world.apply()


async def ask(world: World, user: str, question: str = "hello", **more: Any) -> Any:
    prompt = {"prompt": {"id": RELEASE, "variables": {"question": question}}}
    client = world.client(KEY, default_headers={"x-user-id": user})
    got = await client.chat.completions.with_raw_response.create(model="-", messages=[], extra_body=prompt, **more)
    if more.get("stream"):
        async for _ in got.parse():
            pass
    return got


async def told(world: World, kind: str) -> dict[str, str]:
    """Of whom, and the variant."""
    await until(lambda: not world.door.judges.running)
    return {one["unit"]: one["variant"] for one in (await report(world))["units"] if one["kind"] == kind}


@pytest.mark.parametrize("stream", [False, True])
async def test_the_first_answer_of_either_version_is_judged_after_the_user_was_answered(
    world: World, judge: Engine, stream: bool
) -> None:
    canary(world)
    judge.answer = says(lambda form: "1" if "Be long." in form else "5")
    variants = {}
    for n in range(20):
        variants[n] = (await ask(world, f"user-{n}", stream=stream)).headers["x-llmops-variant"]
        await until(lambda: not world.door.judges.running)
    await ask(world, "user-0", stream=stream)
    judged = await told(world, "judged")
    assert len(judged) == len(judge.asked) == 20
    assert (
        sum(one == "candidate" for one in judged.values()) == sum(one == "candidate" for one in variants.values()) > 3
    )
    failed = await told(world, "failure")
    assert failed == {unit: variant for unit, variant in judged.items() if variant == "candidate"}
    form = judge.asked[0]["messages"][0]["content"]
    assert "Is it kind?" in form
    assert "hello" in form
    assert "system: Be " in form
    assert judge.asked[0]["temperature"] == 0


async def test_half_the_users_are_judged_where_that_was_asked_and_which_has_nothing_to_do_with_the_version(
    world: World, judge: Engine
) -> None:
    canary(world, percent=50)
    for n in range(120):
        await ask(world, f"user-{n}")
        await until(lambda: not world.door.judges.running)
    judged = await told(world, "judged")
    assert 40 <= len(judged) <= 80
    assert 0.3 <= sum(one == "candidate" for one in judged.values()) / len(judged) <= 0.7


@pytest.mark.parametrize(
    ("tops", "fails"),
    [({"3": -0.1, "2": -3.0}, True), ({"3": -0.1, "4": -3.0}, False), (None, False)],
)
async def test_a_score_is_weighed_by_what_else_the_judge_might_have_said(
    world: World, judge: Engine, tops: Object | None, fails: bool
) -> None:
    canary(world)
    judge.answer = says(lambda _: "3", tops)
    await ask(world, "ann")
    assert bool(await told(world, "failure")) == fails
    assert len(await told(world, "judged")) == 1


async def test_a_judge_that_tells_no_probabilities_is_asked_without(world: World, judge: Engine) -> None:
    canary(world)
    plain = says(lambda _: "4")

    async def answer(request: web.Request, body: Object) -> web.StreamResponse:
        return await (fails(400) if body.get("logprobs") else plain)(request, body)

    judge.answer = answer
    await ask(world, "ann")
    assert len(await told(world, "judged")) == 1
    assert len(judge.asked) == 2


def replies(choices: list[Object]) -> Callable[..., Awaitable[web.StreamResponse]]:
    async def answer(_: web.Request, body: Object) -> web.StreamResponse:
        return web.json_response({"id": "x", "model": body["model"], "choices": choices, "usage": USAGE})

    return answer


def counted(result: str) -> float:
    return sum(metrics.GATEWAY_JUDGED.labels("shop/" + RELEASE, variant, result)._value.get() for variant in VARIANTS)


CHOICE: Object = {"index": 0, "message": {"role": "assistant", "content": "5"}, "finish_reason": "stop"}


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (says(lambda _: "I like it"), "unreadable"),
        (says(lambda _: "9"), "unreadable"),
        (says(lambda _: "5", {"5": 1e4}), "unable"),
        (fails(500), "unable"),
        (fails(404), "unable"),
        (replies([]), "unable"),
        (replies([CHOICE, CHOICE]), "unable"),
        (replies([{"index": 0}]), "unable"),
    ],
)
async def test_what_is_no_score_is_no_observation_and_is_counted(
    world: World, judge: Engine, answer: Any, result: str
) -> None:
    canary(world)
    judge.answer = answer
    before = counted(result)
    assert (await ask(world, "ann")).http_response.status_code == 200
    await until(lambda: not world.door.judges.running, 30)
    assert await told(world, "judged") == {}
    assert await told(world, "failure") == {}
    assert len(await told(world, "exposure")) == 1
    assert counted(result) == before + 1


async def test_an_answer_that_another_service_gave_is_not_judged(world: World, judge: Engine) -> None:
    spare = await world.new_engine()
    world.add_service("spare", spare)
    [service] = [one for one in world.objects["services"] if one["metadata"]["name"] == "support"]
    service["spec"]["fallbackRefs"] = [{"name": "spare"}]
    service["metadata"]["resourceVersion"] = "again"
    canary(world)
    world.engine.answer = fails(500)
    await ask(world, "ann")
    assert spare.asked
    assert await told(world, "judged") == {}
    assert not judge.asked


async def test_nobody_is_judged_while_the_spec_asks_something_else_than_the_attempt_began_with(
    world: World, judge: Engine
) -> None:
    canary(world, asked={**SIGNAL, "rubric": "Is it long?"})
    await ask(world, "ann")
    assert await told(world, "judged") == {}
    assert not judge.asked


async def test_a_busy_judge_is_left_alone(world: World, judge: Engine) -> None:
    canary(world)
    [service] = [one for one in world.objects["services"] if one["metadata"]["name"] == "judge"]
    endpoint = world.door.snapshot.services["shop/judge"].endpoints[0]
    endpoint.pending = 1
    await ask(world, "ann")
    assert await told(world, "judged") == {}
    endpoint.pending = 0
    await ask(world, "ann")
    assert len(await told(world, "judged")) == 1
    assert service["metadata"]["name"] == "judge"
