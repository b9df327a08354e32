"""Somebody's API behind the door: the same client, the same shapes; its credential neither read nor diverted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import openai
import pytest
from tests.unit.gateway.somebody import SECRET, TEXT, Somebody, gemini_said
from tests.unit.gateway.test_evidence_report import report
from tests.unit.gateway.world import KEY, World, fails

from llmops.api.periods import period
from llmops.api.provider import ProviderSpec
from llmops.gateway.providers import ADAPTERS

ASK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]
KINDS = sorted(ADAPTERS)
both = pytest.mark.parametrize("kind", KINDS)


class Place:
    """A door, somebody's server, and where the admin's credentials are mounted."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.folder = world, folder

    async def offer(self, kind: str, **provider: Any) -> Somebody:
        somebody = Somebody(kind)
        await somebody.start()
        self.world._stack.push_async_callback(somebody.stop)
        (self.folder / "theirs").write_text(SECRET + "\n")
        self.world.add_provider("theirs", somebody.url, kind, **provider)
        self.world.add_external("far", "theirs", pricing={"inputPerMillionTokens": "1", "outputPerMillionTokens": "2"})
        self.world.apply()
        return somebody

    async def ask(self, model: str = "far", **more: Any) -> Any:
        client = self.world.client()
        return await client.chat.completions.create(model=model, **{"messages": ASK, **more})

    async def stream(self, **more: Any) -> str:
        pieces = await self.ask(stream=True, **more)
        return "".join([one.choices[0].delta.content or "" async for one in pieces if one.choices])


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with World(credentials_folder=str(tmp_path)) as world:
        yield Place(world, tmp_path)


@both
async def test_an_unmodified_client_is_answered_whole_and_streamed(place: Place, kind: str) -> None:
    somebody = await place.offer(kind)
    whole = await place.ask(temperature=0.5, max_tokens=32)
    assert whole.choices[0].message.content == "".join(TEXT)
    assert whole.choices[0].finish_reason == "stop"
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (11, 5)
    assert await place.stream() == "".join(TEXT)
    if kind == "Gemini":
        paths = ["/v1/models/their-model:generateContent", "/v1/models/their-model:streamGenerateContent"]
        assert somebody.paths == paths
        assert somebody.asked[0]["generationConfig"] == {"temperature": 0.5, "maxOutputTokens": 32}
        return
    assert [one["model"] for one in somebody.asked] == ["their-model"] * 2
    assert (somebody.asked[0]["temperature"], somebody.asked[0]["max_tokens"]) == (0.5, 32)


@both
async def test_usage_is_metered_and_priced_whole_and_streamed(place: Place, kind: str) -> None:
    await place.offer(kind)
    await place.ask()
    await place.stream()
    (account,) = [one for one in place.world.door.accounts.all() if one.name == "shop/app"]
    assert account.tokens == 32
    assert account.cost == pytest.approx(2 * (11 + 2 * 5) / 1e6)


@pytest.mark.parametrize("kind", ["Anthropic", "Cohere", "Gemini"])
async def test_a_stream_with_usage_has_it_in_its_last_chunk(place: Place, kind: str) -> None:
    await place.offer(kind)
    pieces = [one async for one in await place.ask(stream=True, stream_options={"include_usage": True})]
    assert pieces[-1].usage.total_tokens == 16
    assert pieces[-2].choices[0].finish_reason == "length"


EMBED: dict[str, tuple[str, dict[str, Any]]] = {
    "OpenAI": ("/v1/embeddings", {"input": "x"}),
    "Cohere": ("/v1/embed", {"texts": ["x"], "input_type": "search_document", "embedding_types": ["float"]}),
    "Gemini": ("/v1/models/their-model:batchEmbedContents",
               {"requests": [{"model": "models/their-model", "content": {"parts": [{"text": "x"}]}}]}),
}  # fmt: skip


@pytest.mark.parametrize("kind", EMBED)
async def test_embeddings_go_through(place: Place, kind: str) -> None:
    somebody = await place.offer(kind)
    path, sent = EMBED[kind]
    place.world.add_external("vectors", "theirs", task="Embed")
    place.world.apply()
    reply = await place.world.client().embeddings.create(model="vectors", input="x")
    assert reply.data[0].embedding == [0.25]
    assert somebody.paths == [path]
    assert somebody.asked[0].items() >= sent.items()


@pytest.mark.parametrize(
    ("kind", "asked", "sent"),
    [
        ("Cohere", {"input_type": "search_query"}, {"input_type": "search_query"}),
        ("Cohere", {"input_type": "search_document", "truncate": "NONE"}, {"truncate": "NONE"}),
        ("Gemini", {"input_type": "search_query"}, {"taskType": "RETRIEVAL_QUERY"}),
        ("Gemini", {"input_type": "search_document"}, {"taskType": "RETRIEVAL_DOCUMENT"}),
    ],
)
async def test_what_an_embedding_is_for_goes_through(place: Place, kind: str, asked: Any, sent: Any) -> None:
    somebody = await place.offer(kind)
    place.world.add_external("vectors", "theirs", task="Embed")
    place.world.apply()
    await place.world.client().embeddings.create(model="vectors", input="x", extra_body=asked)
    body = somebody.asked[0]["requests"][0] if kind == "Gemini" else somebody.asked[0]
    assert body.items() >= sent.items()
    if kind == "Gemini":
        with pytest.raises(openai.BadRequestError, match="Gemini knows no input_type 'x': write one of search_docu"):
            await place.world.client().embeddings.create(model="vectors", input="x", extra_body={"input_type": "x"})


TOOLS = [{"type": "function", "function": {"name": "stock", "description": "d", "parameters": {"type": "object"}}}]


async def test_tools_are_translated_both_ways(place: Place) -> None:
    somebody = await place.offer("Anthropic")
    use = {"type": "tool_use", "id": "t1", "name": "stock", "input": {"item": "lamp"}}
    somebody.reply = {"id": "m", "model": "m", "content": [use], "stop_reason": "tool_use", "usage": {}}
    reply = await place.ask(tools=TOOLS, tool_choice="required")
    (call,) = reply.choices[0].message.tool_calls
    assert (call.id, call.function.name, json.loads(call.function.arguments)) == ("t1", "stock", {"item": "lamp"})
    assert reply.choices[0].finish_reason == "tool_calls"
    assert somebody.asked[0]["tool_choice"] == {"type": "any"}
    assert somebody.asked[0]["tools"] == [{"name": "stock", "description": "d", "input_schema": {"type": "object"}}]
    assert somebody.asked[0]["system"] == "Be brief."
    told = {"role": "tool", "tool_call_id": "t1", "content": "4 left"}
    somebody.reply = None
    await place.ask(messages=[*ASK, reply.choices[0].message.model_dump(exclude_none=True), told])
    assert somebody.asked[1]["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "hello"}]},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "4 left"}]},
    ]


async def test_tools_are_cohere_s_both_ways_whole_and_streamed(place: Place) -> None:
    somebody = await place.offer("Cohere")
    tool = {"id": "t1", "type": "function", "function": {"name": "stock", "arguments": '{"item":"lamp"}'}}
    somebody.reply = {"id": "c", "finish_reason": "TOOL_CALL", "usage": {},
                      "message": {"role": "assistant", "tool_plan": "look", "tool_calls": [tool]}}  # fmt: skip
    reply = await place.ask(tools=TOOLS, tool_choice="required", top_p=0.9, stop="!")
    assert reply.choices[0].message.tool_calls[0].model_dump() == tool
    assert reply.choices[0].finish_reason == "tool_calls"
    sent = somebody.asked[0]
    assert (sent["tool_choice"], sent["tools"], sent["p"], sent["stop_sequences"]) == ("REQUIRED", TOOLS, 0.9, ["!"])
    told = {"role": "tool", "tool_call_id": "t1", "content": "4 left"}
    await place.ask(messages=[*ASK, reply.choices[0].message.model_dump(exclude_none=True), told])
    assert somebody.asked[1]["messages"][-2:] == [{"role": "assistant", "tool_calls": [tool]}, told]

    begun = {**tool, "function": {"name": "stock", "arguments": ""}}
    more = {"tool_calls": {"function": {"arguments": '{"item":"lamp"}'}}}
    feed = ADAPTERS["Cohere"].events()
    events: list[Any] = [
        {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "look"}}},
        {"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": begun}}},
        {"type": "tool-call-delta", "index": 0, "delta": {"message": more}},
        {"type": "tool-call-end", "index": 0},
        {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": {}}},
    ]
    assert _streamed(feed, events) == ("t1", "stock", '{"item":"lamp"}', "tool_calls")


def _streamed(feed: Any, events: list[Any]) -> tuple[str, str, str, str]:
    """(id, name, arguments, finish) of the one call that these events make."""
    passed = b"".join(feed(b"data: " + json.dumps(one).encode() + b"\n\n") for one in events).decode()
    chunks = [json.loads(line[6:]) for line in passed.splitlines() if line.startswith("data: {")]
    choices = [one["choices"][0] for one in chunks if one["choices"]]
    calls = [one["delta"]["tool_calls"][0] for one in choices if one["delta"].get("tool_calls")]
    assert {one["index"] for one in calls} == {0}
    arguments = "".join(one["function"]["arguments"] for one in calls)
    return calls[0]["id"], calls[0]["function"]["name"], arguments, choices[-1]["finish_reason"]


async def test_tools_are_gemini_s_both_ways_whole_and_streamed(place: Place) -> None:
    somebody = await place.offer("Gemini")
    part = {"functionCall": {"name": "stock", "args": {"item": "lamp"}}, "thoughtSignature": "abc"}
    somebody.reply = gemini_said([part], finishReason="STOP")
    choice = {"type": "function", "function": {"name": "stock"}}
    reply = await place.ask(tools=TOOLS, tool_choice=choice, stop=["!"], seed=7)
    (call,) = reply.choices[0].message.tool_calls
    assert (call.id, call.function.name, json.loads(call.function.arguments)) == ("call_0", "stock", {"item": "lamp"})
    assert reply.choices[0].finish_reason == "tool_calls"
    sent = somebody.asked[0]
    assert sent["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    assert sent["generationConfig"] == {"stopSequences": ["!"], "seed": 7}
    declared = {"name": "stock", "description": "d", "parametersJsonSchema": {"type": "object"}}
    assert sent["tools"] == [{"functionDeclarations": [declared]}]
    assert sent["toolConfig"] == {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["stock"]}}
    told = {"role": "tool", "tool_call_id": "call_0", "content": "4 left"}
    await place.ask(messages=[*ASK, reply.choices[0].message.model_dump(exclude_none=True), told])
    assert somebody.asked[1]["contents"] == [
        {"role": "user", "parts": [{"text": "hello"}]},
        {"role": "model", "parts": [part]},
        {"role": "user", "parts": [{"functionResponse": {"name": "stock", "response": {"result": "4 left"}}}]},
    ]
    pieces = [gemini_said([part]), gemini_said([{"text": ""}], finishReason="STOP")]
    assert _streamed(ADAPTERS["Gemini"].events(), pieces) == ("call_0", "stock", '{"item":"lamp"}', "tool_calls")


async def test_what_gemini_will_not_answer_is_told_as_filtered_and_forms_and_images_go_on(place: Place) -> None:
    somebody = await place.offer("Gemini")
    somebody.reply = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}}
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
    reply = await place.ask(messages=[{"role": "user", "content": [picture]}], response_format=form)
    assert reply.choices[0].finish_reason == "content_filter"
    sent = somebody.asked[0]
    assert sent["contents"][0]["parts"] == [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]
    wanted = {"responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}}
    assert sent["generationConfig"] == wanted
    somebody.reply = gemini_said([], finishReason="PROHIBITED_CONTENT")
    assert (await place.ask()).choices[0].finish_reason == "content_filter"


LINK = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
NAMED = {"type": "function", "function": {"name": "stock"}}


@pytest.mark.parametrize(
    ("kind", "asked", "words"),
    [
        ("Cohere", {"n": 2}, "one answer a request"),
        ("Cohere", {"tools": TOOLS, "tool_choice": NAMED}, "tool_choice: required, and that tool alone"),
        ("Gemini", {"n": 2}, "one answer a request"),
        ("Gemini", {"messages": [{"role": "user", "content": [LINK]}]}, "images as data: URLs"),
        ("Gemini", {"messages": [{"role": "tool", "tool_call_id": "nobody", "content": "x"}]}, "cannot be put to Gem"),
    ],
)
async def test_what_the_others_cannot_do_is_a_400_that_says_so(place: Place, kind: str, asked: Any, words: str) -> None:
    somebody = await place.offer(kind)
    with pytest.raises(openai.BadRequestError, match=words):
        await place.ask(**asked)
    assert not somebody.asked


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"n": 2}, "remove n"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "text and images"),
        ({"messages": [{"role": "user"}], "tools": [{"type": "function"}]}, "cannot be put to Anthropic"),
    ],
)
async def test_what_a_provider_cannot_do_is_a_400_that_says_so(place: Place, asked: Any, words: str) -> None:
    somebody = await place.offer("Anthropic")
    with pytest.raises(openai.BadRequestError, match=words):
        await place.ask(**asked)
    assert not somebody.asked


@both
@pytest.mark.parametrize(
    ("status", "raised", "code", "words"),
    [
        (400, openai.BadRequestError, 400, "refused for …, says the server"),
        (429, openai.RateLimitError, 429, "refused for …"),
        (401, openai.InternalServerError, 502, "refused our credential"),
        (403, openai.InternalServerError, 502, "refused our credential"),
        (404, openai.InternalServerError, 502, "knows no model their-model"),
        (302, openai.InternalServerError, 502, "redirect .302., which is not followed"),
        (307, openai.InternalServerError, 502, "redirect .307., which is not followed"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_is_told_in_our_words_and_never_the_credential(
    place: Place, kind: str, status: int, raised: Any, code: int, words: str, stream: bool
) -> None:
    somebody = await place.offer(kind)
    somebody.next = [status] * 3
    with pytest.raises(raised, match=words) as caught:
        await place.ask(stream=stream)
    assert caught.value.status_code == code
    assert SECRET not in str(caught.value.response.text)
    assert caught.value.response.headers.get("retry-after") == ("7" if status == 429 else None)
    assert len(somebody.asked) == 1


@both
@pytest.mark.parametrize("status", [500, 503, 529])
async def test_an_overloaded_provider_is_asked_twice_and_no_more(place: Place, kind: str, status: int) -> None:
    somebody = await place.offer(kind)
    somebody.next = [status]
    assert (await place.ask()).choices
    somebody.next = [status] * 5
    with pytest.raises(openai.InternalServerError, match="failed twice"):
        await place.ask()
    assert len(somebody.asked) == 4


@both
@pytest.mark.parametrize("fault", ["overloaded", "malformed", "cut"])
async def test_what_breaks_in_mid_stream_raises_in_the_client(place: Place, kind: str, fault: str) -> None:
    somebody = await place.offer(kind)
    somebody.next = [fault]
    with pytest.raises((openai.APIError, json.JSONDecodeError)):
        await place.stream()


async def test_a_reply_that_makes_no_sense_is_a_502(place: Place) -> None:
    somebody = await place.offer("Anthropic")
    somebody.reply = {"content": [{"type": "text"}]}
    with pytest.raises(openai.InternalServerError, match="makes no sense"):
        await place.ask()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_provider_is_a_fallback_for_a_service_and_the_other_way_round(place: Place, stream: bool) -> None:
    somebody = await place.offer("Anthropic")
    world = place.world
    hasty = world.add_service("near", world.engine, limits={"timeout": "300ms"}, fallbackRefs=[{"name": "far"}])
    world.add_external("outer", "theirs", fallbackRefs=[{"name": "near"}])
    world.apply()
    world.engine.answer = fails(503)
    assert await place.ask("near", stream=stream)
    assert len(somebody.asked) == 1
    world.engine.answer = world.engine.echo
    world.objects["services"].remove(hasty)  # it has all the time that it needs to answer
    world.add_service("near", world.engine, fallbackRefs=[{"name": "far"}])
    world.apply()
    somebody.next = [429, 500, 500]
    for _ in range(2):
        assert await place.ask("outer", stream=stream)
    assert len(world.engine.asked) > 2


@pytest.mark.parametrize("stream", [False, True])
async def test_a_provider_whose_budget_is_spent_is_not_asked_and_a_fallback_is(place: Place, stream: bool) -> None:
    # 11 tokens in and 5 out: 0.90 an answer, whatever the tenant writes that it costs
    costs = {"model": "*", "inputPerMillionTokens": "36363.6", "outputPerMillionTokens": "100000"}
    terms = {"budget": {"amount": "1.50", "period": "Day"}, "pricing": [costs]}
    somebody, world = await place.offer("OpenAI", **terms), place.world
    for _ in range(2):
        await (place.stream() if stream else place.ask())
    with pytest.raises(openai.RateLimitError, match="the budget of Provider theirs") as caught:
        await place.ask()
    assert caught.value.code == "insufficient_quota"
    assert len(somebody.asked) == 2
    [spend] = [one for one in (await report(world))["spend"] if one["key"] == "provider:theirs"]
    assert (spend["requests"], spend["tokens"]) == (2, 32)
    assert spend["cost"] == pytest.approx(1.8, rel=1e-3)

    world.add_service("near", world.engine)
    world.add_external("outer", "theirs", fallbackRefs=[{"name": "near"}])
    world.apply()
    assert await place.ask("outer")
    assert len(somebody.asked) == 2

    # the operator's sum of all gateways, and a larger amount
    offered = world.add_provider("theirs", somebody.url, budget={"amount": "9", "period": "Day"}, pricing=[costs])
    offered["status"] = {"spent": "8.50", "periodStart": period("Day", world.door.today())[0].isoformat()}
    world.apply()
    assert await place.ask()
    with pytest.raises(openai.RateLimitError):
        await place.ask()


async def test_only_the_parsed_request_goes_on_none_of_the_callers_headers(place: Place) -> None:
    """Neither the caller's key nor a header that could steer a proxy on the way leaves the cluster."""
    somebody = await place.offer("OpenAI")
    headers = {"x-forwarded-host": "evil", "openai-organization": "evil", "x-user-id": "u", "host": "evil"}
    body = {"model": "far", "messages": ASK, "user": "me"}
    reply = await place.world.http.post(
        "/v1/chat/completions", json=body, headers={**headers, "authorization": f"Bearer {KEY}"}
    )
    assert reply.status == 200
    sent = somebody.headers[0]
    assert sent["authorization"] == f"Bearer {SECRET}"
    assert not {name.lower() for name in sent} & {"x-forwarded-host", "openai-organization", "x-user-id"}
    assert sent["host"] in somebody.url
    assert KEY not in str(dict(sent))


@pytest.mark.parametrize("field", ["baseURL", "base_url", "api_base", "api_key", "headers", "extra_headers"])
async def test_nothing_in_a_request_says_where_it_goes(place: Place, field: str) -> None:
    somebody = await place.offer("Anthropic")
    await place.ask(extra_body={field: "http://127.0.0.1:1/v1"})
    assert field not in somebody.asked[0]


async def test_a_namespace_that_is_not_admitted_sends_nothing(place: Place) -> None:
    somebody = await place.offer("OpenAI", access={"from": "Same"})
    with pytest.raises(openai.InternalServerError, match="does not admit namespace shop") as caught:
        await place.ask()
    assert caught.value.status_code == 503
    assert not somebody.asked


@pytest.mark.parametrize(("labels", "admitted"), [({"team": "a"}, True), ({"team": "b"}, False)])
async def test_a_selector_admits_by_the_namespaces_labels(place: Place, labels: Any, admitted: bool) -> None:
    somebody = await place.offer("OpenAI", access={"from": "Selector", "selector": {"matchLabels": {"team": "a"}}})
    place.world.objects["namespaces"] = [{"metadata": {"name": "shop", "labels": labels}}]
    place.world.apply()
    if admitted:
        await place.ask()
    else:
        with pytest.raises(openai.InternalServerError, match="does not admit"):
            await place.ask()
    assert bool(somebody.asked) == admitted


@pytest.mark.parametrize(
    ("provider", "words"),
    [
        ({"baseURL": "https://127.0.0.1:1/v1"}, "Secret llmops-providers, data key theirs"),
    ],
)
async def test_what_the_admin_has_to_do_first_is_said(place: Place, provider: Any, words: str) -> None:
    somebody = await place.offer("OpenAI", **provider)
    (place.folder / "theirs").unlink()
    with pytest.raises(openai.InternalServerError, match=words):
        await place.ask()
    assert not somebody.asked


@pytest.mark.parametrize(
    ("provider", "service", "words"),
    [
        ({"pricing": [{"model": "other"}]}, None, "has a budget and no price for their-model"),
        ({}, {"currency": "EUR"}, "has a budget in USD, and their-model a price in EUR"),
    ],
)
async def test_a_budget_that_could_not_be_counted_is_not_begun(
    place: Place, provider: Any, service: Any, words: str
) -> None:
    somebody = await place.offer("OpenAI", budget={"amount": "1"}, **provider)
    place.world.add_external("far", "theirs", **({"pricing": service} if service else {}))
    place.world.apply()
    with pytest.raises(openai.InternalServerError, match=words):
        await place.ask()
    assert not somebody.asked


async def test_where_the_admin_wrote_no_price_the_services_counts(place: Place) -> None:
    await place.offer("OpenAI", budget={"amount": "0.00002", "period": "Day"})  # 11 at 1 and 5 at 2 a million
    await place.ask()
    with pytest.raises(openai.RateLimitError, match="the budget of Provider theirs"):
        await place.ask()


async def test_a_provider_that_is_not_there_is_named(place: Place) -> None:
    place.world.add_external("far", "nobody")
    place.world.apply()
    with pytest.raises(openai.InternalServerError, match="there is no Provider nobody"):
        await place.ask()


async def test_a_changed_credential_is_used_at_once(place: Place) -> None:
    await place.offer("OpenAI")
    (place.folder / "theirs").write_text("old")
    with pytest.raises(openai.InternalServerError, match="refused our credential"):
        await place.ask()
    (place.folder / "theirs").write_text(SECRET)
    assert await place.ask()


async def test_the_operator_is_told_that_there_is_a_credential_and_not_which(place: Place) -> None:
    await place.offer("OpenAI")
    place.world.add_provider("other", "https://127.0.0.1:1")
    place.world.apply()
    headers = {"authorization": f"Bearer {place.world.token('llmops-operator', 'llmops-system')}"}
    reply = await place.world.http.post("/internal/report", json={"instance": None}, headers=headers)
    told = await reply.text()
    assert json.loads(told)["providers"] == {"theirs": True, "other": False}
    assert SECRET not in told


def test_what_the_kind_says_is_served_is_what_the_gateway_speaks() -> None:
    assert set(get_args(ProviderSpec.model_fields["type"].annotation)) == set(ADAPTERS)


async def test_models_lists_what_somebody_else_serves(place: Place) -> None:
    await place.offer("OpenAI")
    assert [one.id for one in (await place.world.client().models.list()).data] == ["shop/far"]
