"""A release that promises a form of its answers: who gets which answer, who pays, and what a rollout is told."""

from __future__ import annotations

from typing import Any

import openai
import orjson
import pytest
from aiohttp import web
from tests.unit.gateway.test_evidence_report import RELEASE, ask, report
from tests.unit.gateway.world import USAGE, Answer, Object, World

from llmops.gateway.form import Form
from llmops.gateway.schema import validator
from llmops.gateway.stream import Events

SCHEMA = {"type": "object", "required": ["open"], "properties": {"open": {"type": "boolean"}}}
GOOD, WRONG = '{"open": true}', '{"open": "at nine"}'


def says(world: World, *texts: str, ended: str = "stop", tools: bool = False) -> Answer:
    """An engine that answers these, one after the other, and then the last again."""
    left = list(texts)

    async def answer(request: web.Request, body: Object) -> web.StreamResponse:
        text = left.pop(0) if len(left) > 1 else left[0]
        if body.get("stream"):
            return await world.engine.pieces(request, body, [text[:5], text[5:]])
        message: Object = {"role": "assistant", "content": text}
        if tools:
            function = {"name": "clock", "arguments": "{}"}
            message = {
                **message,
                "content": None,
                "tool_calls": [{"id": "1", "type": "function", "function": function}],
            }
        choice = {"index": 0, "message": message, "finish_reason": ended}
        reply = {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [choice],
            "usage": USAGE,
        }
        return web.json_response(reply)

    return answer


def promise(world: World, on_invalid: str = "Retry", weight: int = 100) -> str:
    """A release in its canary, whose both versions promise SCHEMA; the candidate's digest."""
    response = {"schema": SCHEMA, "onInvalid": on_invalid}
    stable = world.add_version(RELEASE, "1.0.0", response=response)
    candidate = world.add_version(RELEASE, "2.0.0", system="Be kind.", response=response)
    world.release(RELEASE, stable, candidate, weight)
    return candidate


async def told(world: World) -> list[tuple[str, str | None]]:
    return [(one["variant"], one["signal"]) for one in (await report(world))["units"]]


async def test_an_answer_in_the_promised_form_is_passed_on_and_nothing_fails(world: World) -> None:
    promise(world)
    world.engine.answer = says(world, GOOD)
    assert (await ask(world, "ann")).parse().choices[0].message.content == GOOD
    assert world.engine.asked[0]["response_format"]["json_schema"]["schema"] == SCHEMA
    assert await told(world) == [("candidate", None)]


async def test_a_wrong_answer_is_asked_for_once_more_and_still_counts_once_for_its_user(world: World) -> None:
    promise(world)
    world.engine.answer = says(world, WRONG, GOOD)
    assert (await ask(world, "ann")).parse().choices[0].message.content == GOOD
    assert len(world.engine.asked) == 2
    world.engine.answer = says(world, WRONG, GOOD)
    await ask(world, "ann")
    assert await told(world) == [("candidate", None), ("candidate", "InvalidResponse")]
    assert (await report(world))["spend"][0]["tokens"] == 4 * USAGE["total_tokens"]  # who asked pays for every try


@pytest.mark.parametrize(("on_invalid", "asked", "words"), [("Retry", 2, ", twice: ask again"), ("Fail", 1, "open: ")])
async def test_an_answer_that_stays_wrong_is_an_error_that_carries_nothing_of_it(
    world: World, on_invalid: str, asked: int, words: str
) -> None:
    promise(world, on_invalid)
    world.engine.answer = says(world, WRONG)
    with pytest.raises(openai.InternalServerError, match=r"does not fit spec\.response\.schema") as refused:
        await ask(world, "ann")
    assert (refused.value.status_code, refused.value.code) == (502, "response_invalid")
    assert words in str(refused.value)
    assert "at nine" not in str(refused.value)
    assert len(world.engine.asked) == asked
    assert await told(world) == [("candidate", None), ("candidate", "Errors"), ("candidate", "InvalidResponse")]
    assert (await report(world))["spend"][0]["tokens"] == asked * USAGE["total_tokens"]


@pytest.mark.parametrize("text", [GOOD, WRONG])
async def test_a_stream_is_judged_at_its_end_and_cannot_be_asked_for_again(world: World, text: str) -> None:
    promise(world)
    world.engine.answer = says(world, text)
    heard = ""
    try:
        async for chunk in (await ask(world, "ann", stream=True)).parse():
            heard += chunk.choices[0].delta.content or "" if chunk.choices else ""
        ended = ""
    except openai.APIError as problem:
        ended = str(problem)
    assert heard == text
    assert len(world.engine.asked) == 1
    failed = [("candidate", "Errors"), ("candidate", "InvalidResponse")]
    assert await told(world) == [("candidate", None), *(failed if text == WRONG else [])]
    assert ("does not fit spec.response.schema" in ended) == (text == WRONG)


async def test_who_is_asked_for_no_form_is_not_judged_and_tools_are_not_the_last_word(world: World) -> None:
    stable = world.add_version(RELEASE, "1.0.0")
    candidate = world.add_version(RELEASE, "2.0.0", response={"schema": SCHEMA})
    world.release(RELEASE, stable, candidate, 100)
    world.engine.answer = says(world, "", tools=True)
    assert (await ask(world, "ann")).parse().choices[0].message.tool_calls
    world.release(RELEASE, stable, candidate, 1)
    world.engine.answer = says(world, "It is open.")
    assert (await ask(world, "bob")).parse().choices[0].message.content == "It is open."
    assert await told(world) == [("candidate", None), ("stable", None)]


@pytest.mark.parametrize(
    ("text", "ended", "words"),
    [
        (GOOD, "stop", None),
        ("It is open.", "stop", "is not JSON"),
        ("", "stop", "is not JSON"),
        ('{"open": tr', "length", "is not JSON: it was cut off, raise spec.parameters.maxTokens"),
        (WRONG, "stop", "does not fit spec.response.schema (open: type: "),
        ("[]", "stop", "does not fit spec.response.schema (type: "),
    ],
)
def test_what_is_wrong_is_said_without_the_answer(text: str, ended: str, words: str | None) -> None:
    wrong = Form("shop/answer", validator("spec.response.schema", SCHEMA), again=False).wrong(text, ended)
    assert (wrong is None) == (words is None)
    assert wrong is None or wrong.startswith(words or "")
    assert "nine" not in (wrong or "")


def test_a_schema_that_points_elsewhere_breaks_its_version_only(world: World) -> None:
    version: Any = world.add_version(RELEASE, "1.0.0", response={"schema": {"$ref": "https://example.com/x.json"}})
    world.release(RELEASE, version)
    made = world.door.snapshot.releases[f"shop/{RELEASE}"].stable
    assert made is not None
    assert "spec.response.schema is not a JSON Schema that can be used" in (made.broken or "")


def test_streams_without_a_promise_are_passed_as_the_bytes_they_came_in() -> None:
    chunk = b'data: {"choices": [{"delta": {"content":   "x"}}]}\n\n'
    assert Events(None, False, None).feed(chunk) is chunk
    assert orjson.loads(chunk[6:])
