"""Requests that are remembered for evaluations: which, what of them, for how long, and who may read it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.gateway.world import KEY, Engine, Object, World

from llmops.gateway import capture
from llmops.telemetry import metrics

RELEASE = "support-answer"


def captured(world: World, percent: int = 100, keep: str = "24h", **release: Any) -> None:
    variables = {"type": "object", "properties": {"question": {"type": "string", "maxLength": 10_000}}}
    stable = world.add_version(RELEASE, "1.0.0", system="Be brief.", variables=variables)
    world.put_release(RELEASE, stable, **release)
    [made] = [one for one in world.objects["releases"] if one["metadata"]["name"] == RELEASE]
    made["spec"]["capture"] = {"percent": percent, "keep": keep}
    made["metadata"]["resourceVersion"] += "x"
    world.apply()


async def ask(world: World, question: str = "hello", messages: Any = (), **prompt: Any) -> str:
    asked = {"prompt": {"id": RELEASE, "variables": {"question": question}, **prompt}}
    got = await world.client(KEY).chat.completions.create(model="-", messages=list(messages), extra_body=asked)
    return got.id


async def traffic(world: World, account: str = "weekly-eval", namespace: str = "shop", status: int = 200) -> Object:
    token = world.token(account, namespace)
    async with world.http.post(
        capture.PATH, json={"prompt": f"shop/{RELEASE}"}, headers={"authorization": f"Bearer {token}"}
    ) as reply:
        assert reply.status == status
        told: Object = await reply.json()
    return told


async def test_a_request_is_kept_with_its_answer_redacted_and_with_what_the_model_was_given(world: World) -> None:
    captured(world)
    name = await ask(world, "I am ana@shop.example, help")
    [row] = (await traffic(world))["rows"]
    assert row["id"] == name
    assert row["variables"] == {"question": "I am [email], help"}
    assert (row["version"], row["variant"], row["question"]) == ("1.0.0", "stable", None)
    assert row["answer"] == "I am [email], help"  # the engine repeats
    assert {"role": "system", "content": "Be brief."} in row["given"]
    assert row["digest"]
    assert row["at"].endswith("Z")


async def test_a_stream_is_kept_as_well_once_it_has_ended(world: World) -> None:
    captured(world)
    asked = {"prompt": {"id": RELEASE, "variables": {"question": "hello"}}}
    stream = await world.client(KEY).chat.completions.create(model="-", messages=[], extra_body=asked, stream=True)
    async for _ in stream:
        pass
    [row] = (await traffic(world))["rows"]
    assert row["answer"] == "hello"


async def test_what_the_caller_says_in_a_message_is_the_question_and_a_conversation_is_left_out(world: World) -> None:
    captured(world)
    said = [{"role": "user", "content": "and who are you?"}]
    await ask(world, messages=said)
    answered = [*said, {"role": "assistant", "content": "a model"}, {"role": "user", "content": "why?"}]
    await ask(world, messages=answered)
    assert [one["question"] for one in (await traffic(world))["rows"]] == ["and who are you?"]
    assert counted("conversation") == 1


async def test_who_asks_for_a_version_by_name_is_no_user(world: World) -> None:
    captured(world)
    await ask(world, version="stable")
    assert (await traffic(world))["rows"] == []


async def test_without_capture_nothing_is_kept_and_ending_it_forgets_everything(world: World) -> None:
    captured(world)
    told = await ask(world)
    await rate(world, told, "down")
    assert (await traffic(world))["ratings"] == {told: "down"}
    [made] = [one for one in world.objects["releases"] if one["metadata"]["name"] == RELEASE]
    del made["spec"]["capture"]
    made["metadata"]["resourceVersion"] += "y"
    world.apply()
    await ask(world)
    captured(world)
    assert await traffic(world) == {"rows": [], "ratings": {}}


async def rate(world: World, told: str, rating: str) -> None:
    reply = await world.http.post(
        "/v1/feedback", json={"id": told, "rating": rating}, headers={"authorization": f"Bearer {KEY}"}
    )
    assert reply.status == 200


async def test_a_share_of_the_requests_is_kept(world: World) -> None:
    captured(world, percent=25)
    for _ in range(200):
        await ask(world)
    assert 20 <= len((await traffic(world))["rows"]) <= 85


@pytest.mark.parametrize(
    ("namespace", "account"), [("other", "weekly-eval"), ("shop", "default"), ("shop", "weekly-evals")]
)
async def test_only_an_evaluation_of_the_release_s_namespace_may_read_it(
    world: World, namespace: str, account: str
) -> None:
    captured(world)
    await ask(world)
    told = await traffic(world, account, namespace, status=403)
    assert "rows" not in told
    assert told["error"]["code"] == "traffic_private"


async def test_no_key_opens_it(world: World) -> None:
    captured(world)
    reply = await world.http.post(
        capture.PATH, json={"prompt": f"shop/{RELEASE}"}, headers={"authorization": f"Bearer {KEY}"}
    )
    assert reply.status == 403


async def test_what_is_long_or_empty_is_left_out_and_what_the_model_was_given_where_there_is_no_room(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured(world)
    await ask(world, "x" * capture.MOST)
    assert counted("long") == 1
    await ask(world, "x" * (capture.MOST // 2 - 300))
    [row] = (await traffic(world))["rows"]
    assert "given" not in row

    async def nothing(request: Any, body: Object) -> Any:
        return await Engine.echo(world.engine, request, {**body, "messages": [{"content": " "}]})

    world.engine.answer = nothing
    await ask(world)
    assert counted("empty") == 1
    assert len((await traffic(world))["rows"]) == 1


async def test_the_oldest_go_first_by_number_by_age_and_where_all_releases_take_too_much(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured(world)
    monkeypatch.setattr(capture, "ROWS", 3)
    for n in range(5):
        await ask(world, f"q{n}")
    assert await questions(world) == ["q2", "q3", "q4"]
    monkeypatch.setattr(capture, "TOTAL", 2 * len(world.door.captures.told(f"shop/{RELEASE}")) // 3)
    await ask(world, "q5")
    assert await questions(world) == ["q5"] or (await questions(world))[-1] == "q5"
    assert len(await questions(world)) < 3
    world.door.captures._clock = lambda: 1e11
    assert await questions(world) == []
    assert world.door.captures._size == 0


async def questions(world: World) -> list[str]:
    return [one["variables"]["question"] for one in (await traffic(world))["rows"]]


@pytest.fixture(autouse=True)
def _count_anew() -> None:
    metrics.GATEWAY_CAPTURED.clear()


def counted(result: str) -> float:
    return float(metrics.GATEWAY_CAPTURED.labels(f"shop/{RELEASE}", result)._value.get())
