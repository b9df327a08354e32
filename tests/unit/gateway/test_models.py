"""A model by name: the unmodified client, every path, and what is refused with which sentence."""

from __future__ import annotations

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from tests.unit.gateway.world import KEY, World

ASK: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


async def test_a_model_answers_the_openai_client(world: World) -> None:
    reply = await world.client().chat.completions.create(model="support", messages=ASK, temperature=0.5)
    assert reply.choices[0].message.content == "hello"
    assert reply.usage
    assert reply.usage.total_tokens == 10
    assert world.engine.asked[0]["model"] == "shop/support"
    assert world.engine.asked[0]["temperature"] == 0.5


async def test_a_stream_arrives_in_pieces_and_without_the_usage_nobody_asked_for(world: World) -> None:
    stream = await world.client().chat.completions.create(model="shop/support", messages=ASK, stream=True)
    chunks = [chunk async for chunk in stream]
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["he", "llo"]
    assert all(chunk.usage is None for chunk in chunks)


async def test_a_stream_tells_its_usage_to_who_asks(world: World) -> None:
    stream = await world.client().chat.completions.create(
        model="support", messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].usage
    assert chunks[-1].usage.total_tokens == 10


async def test_embeddings_go_to_a_service_that_embeds(world: World) -> None:
    reply = await world.client().embeddings.create(model="minilm", input="hello", encoding_format="float")
    assert reply.data[0].embedding == [0.5, -0.5]


async def test_a_service_is_asked_only_what_it_does(world: World) -> None:
    with pytest.raises(openai.BadRequestError, match="task Generate: ask it through /v1/chat/completions"):
        await world.client().embeddings.create(model="support", input="hello", encoding_format="float")


async def test_models_lists_what_this_key_opens(world: World) -> None:
    world.add_key(KEY, models=["support"])
    world.apply()
    listed = await world.client().models.list()
    assert [one.id for one in listed.data] == ["shop/support"]


async def test_without_a_credential_the_sentence_says_what_to_send(world: World) -> None:
    reply = await world.http.post("/v1/chat/completions", json={"model": "support", "messages": ASK})
    error = (await reply.json())["error"]
    assert reply.status == 401
    assert "Authorization: Bearer llmops_<namespace>.<name>.<secret>" in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


async def test_an_unknown_model_is_a_404_that_names_the_namespace(world: World) -> None:
    with pytest.raises(openai.NotFoundError, match="no LLMService shop/nothing is there for namespace shop") as caught:
        await world.client().chat.completions.create(model="nothing", messages=ASK)
    assert caught.value.code == "model_not_found"


async def test_a_key_that_does_not_open_a_model_is_told_what_to_add(world: World) -> None:
    world.add_key(KEY, models=["minilm"])
    world.apply()
    with pytest.raises(openai.PermissionDeniedError, match="add 'shop/support' to its"):
        await world.client().chat.completions.create(model="support", messages=ASK)


async def test_another_namespace_meets_a_service_only_where_access_lets_it(world: World) -> None:
    stranger = world.client(world.token("app", "bank"))
    with pytest.raises(openai.NotFoundError):
        await stranger.chat.completions.create(model="shop/support", messages=ASK)
    world.objects["services"].clear()
    world.add_service("support", access={"from": "Selector", "selector": {"matchLabels": {"team": "money"}}})
    world.objects["namespaces"] = [{"metadata": {"name": "bank", "labels": {"team": "money"}}}]
    world.apply()
    assert (await stranger.chat.completions.create(model="shop/support", messages=ASK)).choices
    world.objects["namespaces"] = [{"metadata": {"name": "bank", "labels": {"team": "other"}}}]
    world.apply()
    with pytest.raises(openai.NotFoundError):
        await stranger.chat.completions.create(model="shop/support", messages=ASK)


async def test_service_accounts_can_be_denied(world: World) -> None:
    world.objects["services"].clear()
    world.add_service("support", access={"serviceAccounts": "Deny"})
    world.apply()
    with pytest.raises(openai.PermissionDeniedError, match="send a GatewayKey's key"):
        await world.client(world.token()).chat.completions.create(model="support", messages=ASK)
    assert (await world.client().chat.completions.create(model="support", messages=ASK)).choices


@pytest.mark.parametrize(
    ("body", "says"), [(b"{", "not JSON"), (b"[]", "must be a JSON object"), (b"{}", "`model` is missing")]
)
async def test_a_body_that_cannot_be_read_is_a_400(world: World, body: bytes, says: str) -> None:
    reply = await world.http.post("/v1/chat/completions", data=body, headers={"authorization": f"Bearer {KEY}"})
    assert reply.status == 400
    assert says in (await reply.json())["error"]["message"]


async def test_an_unknown_path_lists_the_doors_own(world: World) -> None:
    reply = await world.http.get("/v1/files")
    assert reply.status == 404
    assert "/v1/chat/completions" in (await reply.json())["error"]["message"]


async def test_the_door_is_ready_only_with_a_configuration_and_not_while_draining() -> None:
    async with World() as world:
        assert (await world.http.get("/readyz")).status == 503
        world.apply()
        assert (await world.http.get("/readyz")).status == 200
        world.door.draining = True
        assert (await world.http.get("/readyz")).status == 503
        assert (await world.http.get("/healthz")).headers["connection"] == "close"


async def test_metrics_tell_requests_by_model_and_status(world: World) -> None:
    await world.client().chat.completions.create(model="support", messages=ASK)
    text = await (await world.http.get("/metrics")).text()
    assert (
        'llmops_gateway_requests_total{path="/v1/chat/completions",status="200",target="shop/support"'
        ',variant="",version=""}'
    ) in text
