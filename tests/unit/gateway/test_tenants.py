"""Whose documents a prompt finds: what the index is told, and that nobody asks for a tenant whom no admin gave him."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from aiohttp import web
from tests.unit.gateway.world import KEY, Engine, Object, World, until

from llmops.gateway import retrieve

RELEASE = "support-answer"
KEYS = {name: f"llmops_{'bank' if name == 'abroad' else 'shop'}.{name}.correct-horse-battery-staple"
        for name in ("one", "two", "any", "abroad")}  # fmt: skip
TENANTS = {"one": ["acme"], "two": ["acme", "it's"], "any": ["*"], "abroad": ["acme"]}
REFUSED = {"error": {"message": "VectorIndex shop/faq has many: name one", "code": "tenant_missing"}}


async def search(request: web.Request, body: Object) -> web.StreamResponse:
    found = [{"id": "faq/1#0", "text": "Tents.", "score": 0.9, "source": "faq/1", "metadata": {}}]
    whose = body.get("tenant") or (body.get("caller") or {}).get("tenant")
    answer = {"generation": 1, "index": "faq", "passages": found, **({"tenant": whose} if whose else {})}
    return web.json_response(answer) if whose else web.json_response(REFUSED, status=400)


@pytest.fixture
async def index(world: World) -> Engine:
    """One that keeps tenants apart, asked by a release that every namespace may use."""
    index = await world.new_engine()
    index.answer = search
    world.point("faq", index, kind="VectorIndex", service="faq-index")
    reference = {"name": "faq", "topK": 2, "variable": "context"}
    digest = world.add_version(RELEASE, "1.0.0", system="Use: {{ context }}", indexRef=reference)
    for name, key in KEYS.items():
        made = world.add_key(key, name, tenants=TENANTS[name])
        made["metadata"]["namespace"] = "bank" if name == "abroad" else "shop"
    world.put_release(RELEASE, digest)
    world.objects["releases"][0]["spec"]["access"] = {"from": "All"}
    world.apply()
    return index


async def asked(world: World, index: Engine, key: str, **prompt: Any) -> tuple[str, str]:
    """The tenant that the index is told the request names, and whose its caller is said to be."""
    index.asked.clear()
    wanted = {"id": f"shop/{RELEASE}", "variables": {"question": "Why?"}, **prompt}
    await world.client(key).chat.completions.create(model="-", messages=[], extra_body={"prompt": wanted})
    [body] = index.asked
    assert body.keys() <= {"text", "topK", "caller", "tenant", "remember"}
    return body.get("tenant", ""), (body.get("caller") or {}).get("tenant", "")


async def test_a_request_names_one_of_the_keys_tenants_and_a_key_of_one_need_not(world: World, index: Engine) -> None:
    assert await asked(world, index, KEYS["one"]) == ("", "acme")
    assert await asked(world, index, KEYS["one"], tenant="acme") == ("acme", "")
    assert await asked(world, index, KEYS["two"], tenant="it's") == ("it's", "")
    assert await asked(world, index, KEYS["any"], tenant="größe 😀") == ("größe 😀", "")
    assert await asked(world, index, KEYS["two"], tenant="acme", version="stable") == ("acme", "")


@pytest.mark.parametrize("question", ["", " \n"])
async def test_nothing_is_not_searched_for(world: World, index: Engine, question: str) -> None:
    with pytest.raises(openai.BadRequestError, match="what VectorIndex shop/faq is to be searched for is empty") as no:
        await asked(world, index, KEYS["one"], variables={"question": question})
    assert (no.value.code, no.value.param) == ("no_question", "prompt.variables")
    assert not index.asked


@pytest.mark.parametrize(
    ("key", "tenant"),
    [("one", "globex"), ("one", "Acme"), ("one", "acme2"), ("two", "its"), ("one", "bank/acme"), ("abroad", "globex"),
     ("abroad", "bank/acme"), ("abroad", "shop/acme")],
)  # fmt: skip
async def test_a_tenant_that_the_key_has_not_is_refused_before_the_index_is_asked(
    world: World, index: Engine, key: str, tenant: str
) -> None:
    with pytest.raises(openai.PermissionDeniedError, match=r"add it to its spec\.tenants") as caught:
        await asked(world, index, KEYS[key], tenant=tenant)
    assert (caught.value.code, caught.value.param) == ("tenant_not_allowed", "prompt.tenant")
    assert not index.asked
    with pytest.raises(openai.PermissionDeniedError):
        await asked(world, index, KEY, tenant="acme")


async def test_another_namespaces_key_asks_for_that_namespaces_tenants_only(world: World, index: Engine) -> None:
    assert await asked(world, index, KEYS["abroad"]) == ("", "bank/acme")
    assert await asked(world, index, KEYS["abroad"], tenant="acme") == ("bank/acme", "")
    world.add_key(KEYS["abroad"], "abroad", tenants=["*"])["metadata"]["namespace"] = "bank"
    world.apply()
    for name in ("acme", "shop/acme", "../shop/acme"):
        assert await asked(world, index, KEYS["abroad"], tenant=name) == (f"bank/{name}", "")


@pytest.mark.parametrize("key", [KEY, KEYS["two"], KEYS["any"]])
async def test_who_has_no_tenant_or_several_and_names_none_is_told_at_once_in_the_indexs_words(
    world: World, index: Engine, key: str
) -> None:
    with pytest.raises(openai.BadRequestError, match="VectorIndex shop/faq has many: name one") as caught:
        await asked(world, index, key)
    assert (caught.value.code, caught.value.param) == ("tenant_missing", "prompt.tenant")
    assert len(index.asked) == 1  # no other pod would say otherwise


@pytest.mark.parametrize("tenant", [None, "", " ", "*", ["acme"], 1, {"acme": 1}, "n" * 256, "a\nb", "acme "])
async def test_a_tenant_that_cannot_be_read_is_refused_rather_than_taken_for_the_keys_own(
    world: World, index: Engine, tenant: Any
) -> None:
    for key in (KEYS["one"], KEYS["any"]):
        with pytest.raises(openai.BadRequestError, match=r"prompt\.tenant must be one text") as caught:
            await asked(world, index, key, tenant=tenant)
        assert caught.value.param == "prompt.tenant"
        assert not index.asked


async def test_a_service_account_asks_for_no_tenant_and_our_evaluations_for_the_one_they_name(
    world: World, index: Engine
) -> None:
    for account in (world.token("app"), world.token("quality-eval", "bank")):
        with pytest.raises(openai.PermissionDeniedError, match="send a GatewayKey's key"):
            await asked(world, index, account, tenant="acme")
        with pytest.raises(openai.BadRequestError):
            await asked(world, index, account)
    assert await asked(world, index, world.token("quality-eval"), tenant="acme") == ("acme", "")


async def test_an_index_that_says_nothing_of_the_tenant_is_not_believed(
    world: World, index: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a query server of a version that knows no tenants, and found something of everybody's."""

    async def until_time_is_up(_: float) -> None:
        raise TimeoutError

    monkeypatch.setattr(retrieve, "asyncio", SimpleNamespace(timeout=asyncio.timeout, sleep=until_time_is_up))

    async def knows_none(request: web.Request, body: Object) -> web.StreamResponse:
        return web.json_response({"generation": 1, "index": "faq", "passages": [{"id": "x", "text": "Secret."}]})

    index.answer = knows_none
    with pytest.raises(openai.APIStatusError, match="did not keep to the tenant that was named"):
        await asked(world, index, KEYS["one"], tenant="acme")
    assert await asked(world, index, KEYS["one"]) == ("", "acme")  # it may be an index without tenants


async def test_a_key_that_a_tenant_is_taken_from_finds_it_no_more_with_the_next_request(
    world: World, index: Engine
) -> None:
    assert await asked(world, index, KEYS["two"], tenant="it's") == ("it's", "")
    world.add_key(KEYS["two"], "two", tenants=["acme"])
    world.apply()
    with pytest.raises(openai.PermissionDeniedError):
        await asked(world, index, KEYS["two"], tenant="it's")


async def test_a_shadowed_candidate_searches_the_users_tenant(world: World, index: Engine) -> None:
    reference = {"name": "faq", "topK": 2, "variable": "context"}
    stable, candidate = (
        world.add_version(RELEASE, version, system=f"{version}: {{{{ context }}}}", indexRef=reference)
        for version in ("3.0.0", "4.0.0")
    )
    world.release(RELEASE, stable, candidate, 0, shadow=100)
    wanted = {"id": RELEASE, "variables": {"question": "Why?"}, "tenant": "acme"}
    await world.client(KEYS["two"]).chat.completions.create(model="-", messages=[], extra_body={"prompt": wanted})
    await until(lambda: len(index.asked) == 2)
    assert [one["tenant"] for one in index.asked] == ["acme"] * 2
