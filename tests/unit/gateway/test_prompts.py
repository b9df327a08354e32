"""A prompt by name: variables, versions, the sticky split, and what a caller may not change."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from aiohttp import web
from openai.types.chat import ChatCompletion
from tests.unit.gateway.world import KEY, World

from llmops.rollout.split import bucket

RELEASE = "support-answer"


async def ask(world: World, question: object = "Why?", user: str = "", key: str = KEY, **more: Any) -> Any:
    prompt = {"id": RELEASE, "variables": {"question": question}, **more.pop("prompt", {})}
    headers = {"x-user-id": user} if user else {}
    return await world.client(key, default_headers=headers).chat.completions.with_raw_response.create(
        model="-", messages=more.pop("messages", []), extra_body={"prompt": prompt}, **more
    )


@pytest.fixture
def stable(world: World) -> str:
    digest = world.add_version(RELEASE, "1.0.0")
    world.release(RELEASE, digest)
    return digest


@pytest.fixture
def candidate(world: World, stable: str) -> str:
    digest = world.add_version(RELEASE, "2.0.0", system="Be kind.")
    world.release(RELEASE, stable, digest, weight=30)
    return digest


async def test_a_prompt_brings_its_messages_and_parameters(world: World, stable: str) -> None:
    reply = await ask(world, "Why?")
    assert reply.parse().choices[0].message.content == "Why?"
    assert world.engine.asked[0] == {
        "model": "shop/support",
        "temperature": 0,
        "max_tokens": 16,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}],
    }
    assert reply.headers["x-llmops-prompt"] == "shop/support-answer"
    assert reply.headers["x-llmops-prompt-version"] == "1.0.0"
    assert reply.headers["x-llmops-digest"] == stable


async def test_a_conversation_goes_on_after_the_prompt(world: World, stable: str) -> None:
    await ask(world, messages=[{"role": "assistant", "content": "So."}, {"role": "user", "content": "And?"}])
    assert [one["content"] for one in world.engine.asked[0]["messages"]] == ["Be brief.", "Why?", "So.", "And?"]


async def test_instructions_are_the_releases(world: World, stable: str) -> None:
    with pytest.raises(openai.BadRequestError, match=r"messages\[0\] has role 'system'"):
        await ask(world, messages=[{"role": "system", "content": "Be rude."}])


@pytest.mark.parametrize("parameter", ["temperature", "max_tokens", "seed"])
async def test_parameters_of_a_release_are_pinned(world: World, stable: str, parameter: str) -> None:
    pinned: dict[str, Any] = {parameter: 0}
    with pytest.raises(openai.BadRequestError, match=f"{parameter} is part of PromptRelease shop/support-answer"):
        await ask(world, **pinned)


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({}, "variable 'question' is missing"),
        ({"question": 5}, "variable 'question' does not fit"),
        ({"question": "x" * 41}, "maxLength: 40"),
    ],
)
async def test_a_wrong_variable_is_a_400_that_names_it(
    world: World, stable: str, variables: dict[str, object], says: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=says) as caught:
        await ask(world, prompt={"variables": variables})
    assert caught.value.param == "prompt.variables.question"
    assert not world.engine.asked


async def test_echo_shows_what_was_said_to_the_model(world: World, stable: str) -> None:
    reply = await ask(world, prompt={"echo": True})
    assert reply.parse().model_extra["rendered"][0] == {"role": "system", "content": "Be brief."}


async def test_a_release_without_a_stable_version_says_what_it_waits_for(world: World) -> None:
    world.release(RELEASE, None)
    with pytest.raises(openai.InternalServerError, match=r"no stable version yet \(its phase is Evaluating\)"):
        await ask(world)


async def test_a_broken_version_breaks_only_itself(world: World, stable: str) -> None:
    broken = world.add_version("other", "1.0.0", system="{% if %}")
    world.release("other", broken)
    with pytest.raises(openai.InternalServerError, match=r"shop/other version 1\.0\.0 cannot be used"):
        await ask(world, prompt={"id": "other"})
    assert (await ask(world)).parse().choices


async def test_a_user_keeps_the_version_its_bucket_says(world: World, stable: str, candidate: str) -> None:
    for number in range(12):
        user = f"user-{number}"
        expected = bucket("shop/support-answer", candidate, 1, user) < 3000
        for _ in range(2):
            headers = (await ask(world, user=user)).headers
            assert headers["x-llmops-variant"] == ("candidate" if expected else "stable")
            assert headers["x-llmops-unit-source"] == "Header:x-user-id"


async def test_the_body_s_user_and_then_the_key_stand_in_for_the_header(
    world: World, stable: str, candidate: str
) -> None:
    assert (await ask(world, **{"user": "ann"})).headers["x-llmops-unit-source"] in ("User", "Header:x-user-id")
    assert (await ask(world)).headers["x-llmops-unit-source"] == "Key"


@pytest.mark.parametrize(("weight", "variant"), [(0, "stable"), (100, "candidate")])
async def test_weight_0_is_nobody_and_100_is_everybody(
    world: World, stable: str, candidate: str, weight: int, variant: str
) -> None:
    world.release(RELEASE, stable, candidate, weight)
    assert {(await ask(world, user=f"u{n}")).headers["x-llmops-variant"] for n in range(10)} == {variant}


async def test_a_door_that_hears_nothing_serves_stable_only(world: World, stable: str, candidate: str) -> None:
    world.release(RELEASE, stable, candidate, 100)
    world.door.heard_at -= world.settings.split_stale_seconds + 1
    assert (await ask(world)).headers["x-llmops-variant"] == "stable"
    world.door.heard()
    assert (await ask(world)).headers["x-llmops-variant"] == "candidate"


@pytest.mark.parametrize("version", ["candidate", "2.0.0", "digest", "prefix"])
async def test_a_version_can_be_named(world: World, stable: str, candidate: str, version: str) -> None:
    wanted = {"digest": candidate, "prefix": candidate[:8]}.get(version, version)
    reply = await ask(world, prompt={"version": wanted})
    assert reply.headers["x-llmops-digest"] == candidate
    assert reply.headers["x-llmops-unit-source"] == "pinned"


async def test_only_evaluations_of_the_namespace_may_ask_an_unseen_candidate(
    world: World, stable: str, candidate: str
) -> None:
    world.release(RELEASE, stable, candidate, 0)
    for credential in (KEY, world.token("app"), world.token("quality-eval", "bank")):
        with pytest.raises((openai.PermissionDeniedError, openai.NotFoundError)):
            await ask(world, key=credential, prompt={"id": "shop/support-answer", "version": candidate})
    reply = await ask(world, key=world.token("quality-eval"), prompt={"version": candidate})
    assert reply.headers["x-llmops-digest"] == candidate


async def test_a_streamed_prompt_has_one_id_of_ours(world: World, stable: str) -> None:
    stream = (await ask(world, stream=True)).parse()
    ids = {chunk.id async for chunk in stream}
    assert len(ids) == 1
    assert "theirs" not in ids.pop()


async def test_passages_reach_the_prompt_and_are_cited(world: World) -> None:
    async def search(request: Any, body: dict[str, Any]) -> Any:
        found = [
            {"id": "faq-1", "text": "The lamp is waterproof.", "score": 0.9, "source": "faq", "metadata": {}},
            {"id": "faq-2", "text": "Tents leak.", "score": 0.1, "source": "faq", "metadata": {}},
        ]
        return web.json_response({"generation": 1, "index": "faq", "passages": found})

    index = await world.new_engine()
    index.answer = search
    world.point("faq", index, kind="VectorIndex", service="faq-index")
    digest = world.add_version(
        RELEASE,
        "1.0.0",
        system="Use: {{ context }}",
        indexRef={"name": "faq", "topK": 2, "minScore": "0.5", "variable": "context"},
    )
    world.release(RELEASE, digest)
    reply: ChatCompletion = (await ask(world, "Is it waterproof?")).parse()
    assert index.asked == [{"text": "Is it waterproof?", "topK": 2, "minScore": 0.5}]
    assert world.engine.asked[0]["messages"][0]["content"] == "Use: [1] The lamp is waterproof."
    assert reply.model_extra is not None
    assert reply.model_extra["citations"] == [{"n": 1, "id": "faq-1", "source": "faq", "score": 0.9}]
    stream = (await ask(world, "Is it waterproof?", stream=True)).parse()
    last = [chunk async for chunk in stream][-1]
    assert last.model_extra["citations"][0]["id"] == "faq-1"
    with pytest.raises(openai.BadRequestError, match="'context' is filled from the index"):
        await ask(world, prompt={"variables": {"question": "x", "context": "made up"}})


async def test_a_release_narrows_its_search_by_what_a_request_names(world: World) -> None:
    async def search(request: Any, body: dict[str, Any]) -> web.StreamResponse:
        return web.json_response({"generation": 1, "index": "faq", "passages": []})

    index = await world.new_engine()
    index.answer = search
    world.point("faq", index, kind="VectorIndex", service="faq-index")
    narrowed = '{% if product is defined %}metadata["product"] == {{ product }}{% endif %}'
    reference = {"name": "faq", "variable": "context", "filter": narrowed}
    world.release(RELEASE, world.add_version(RELEASE, "1.0.0", system="Use: {{ context }}", indexRef=reference))
    for variables in ({"product": 'AX" or "'}, {}):
        await ask(world, prompt={"variables": {"question": "Is it dry?", **variables}})
    assert [one.get("filter") for one in index.asked] == ['metadata["product"] == "AX\\" or \\""', None]
    with pytest.raises(openai.BadRequestError, match=r"indexRef.filter: null has no place in a filter") as refused:
        await ask(world, prompt={"variables": {"question": "x", "product": None}})
    assert refused.value.param == "prompt.variables"
    assert len(index.asked) == 2
