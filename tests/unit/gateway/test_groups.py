"""Whose documents a prompt finds: what the index is told of who asks, and that nobody is more than an admin wrote."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from aiohttp import web
from tests.unit.gateway.world import KEY, Engine, Object, World, until

RELEASE = "support-answer"
STAFF = "llmops_shop.staff.correct-horse-battery-staple"
ABROAD = "llmops_bank.teller.correct-horse-battery-staple"
NOBODY: list[str] = []


async def search(request: web.Request, body: Object) -> web.StreamResponse:
    found = [{"id": "faq/1#0", "text": "Tents.", "score": 0.9, "source": "faq/1", "metadata": {}}]
    return web.json_response({"generation": 1, "index": "faq", "passages": found})


@pytest.fixture
async def index(world: World) -> Engine:
    """Asked by a release that every namespace may use; two keys have groups, KEY has none."""
    index = await world.new_engine()
    index.answer = search
    world.point("faq", index, kind="VectorIndex", service="faq-index")
    reference = {"name": "faq", "topK": 2, "variable": "context"}
    digest = world.add_version(RELEASE, "1.0.0", system="Use: {{ context }}", indexRef=reference)
    world.add_key(STAFF, "staff", groups=["support", "staff"])
    abroad = world.add_key(ABROAD, "teller", groups=["staff"])
    abroad["metadata"]["namespace"] = "bank"
    world.put_release(RELEASE, digest)
    world.objects["releases"][0]["spec"]["access"] = {"from": "All"}
    world.apply()
    return index


async def asked(world: World, index: Engine, key: str, **prompt: Any) -> list[str]:
    """The groups that the index is told of."""
    index.asked.clear()
    wanted = {"id": f"shop/{RELEASE}", "variables": {"question": "Why?"}, **prompt}
    await world.client(key).chat.completions.create(model="-", messages=[], extra_body={"prompt": wanted})
    [body] = index.asked
    assert body.keys() <= {"text", "topK", "caller", "remember"}
    return list(body["caller"]["groups"]) if "caller" in body else NOBODY


async def test_the_keys_groups_are_told_and_a_request_may_name_fewer_and_never_more(
    world: World, index: Engine
) -> None:
    assert await asked(world, index, STAFF) == ["staff", "support"]
    assert await asked(world, index, STAFF, groups=["support"]) == ["support"]
    assert await asked(world, index, STAFF, groups=["support", "board", "*"]) == ["support"]
    assert await asked(world, index, STAFF, groups=[]) == NOBODY
    assert await asked(world, index, STAFF, version="stable", groups=["staff"]) == ["staff"]
    assert await asked(world, index, KEY) == NOBODY
    assert await asked(world, index, KEY, groups=["staff"]) == NOBODY


async def test_another_namespaces_admin_makes_nobody_one_of_our_staff(world: World, index: Engine) -> None:
    assert await asked(world, index, ABROAD) == ["bank/staff"]
    assert await asked(world, index, ABROAD, groups=["staff"]) == ["bank/staff"]
    assert await asked(world, index, ABROAD, groups=["bank/staff", "shop/staff"]) == NOBODY


async def test_a_service_account_is_of_no_group_and_only_our_evaluations_say_whose_eyes_they_have(
    world: World, index: Engine
) -> None:
    for account in (world.token("app"), world.token("quality-eval", "bank")):
        assert await asked(world, index, account) == NOBODY
        assert await asked(world, index, account, groups=["staff"]) == NOBODY
    assert await asked(world, index, world.token("quality-eval")) == NOBODY
    assert await asked(world, index, world.token("quality-eval"), groups=["staff"]) == ["staff"]


@pytest.mark.parametrize("groups", [None, "staff", {"staff": True}, [1], ["staff", None], ["x"] * 65])
async def test_groups_that_cannot_be_read_are_refused_rather_than_taken_for_all(
    world: World, index: Engine, groups: Any
) -> None:
    with pytest.raises(openai.BadRequestError, match=r"prompt\.groups must be a list") as caught:
        await asked(world, index, STAFF, groups=groups)
    assert caught.value.param == "prompt.groups"
    assert not index.asked


async def test_a_key_that_is_taken_out_of_a_group_is_out_of_it_with_the_next_request(
    world: World, index: Engine
) -> None:
    assert "staff" in await asked(world, index, STAFF)
    world.add_key(STAFF, "staff", groups=["support"])
    world.apply()
    assert await asked(world, index, STAFF) == ["support"]


async def test_a_shadowed_candidate_sees_what_the_user_may_see(world: World, index: Engine) -> None:
    reference = {"name": "faq", "topK": 2, "variable": "context"}
    stable, candidate = (
        world.add_version(RELEASE, version, system=f"{version}: {{{{ context }}}}", indexRef=reference)
        for version in ("3.0.0", "4.0.0")
    )
    world.release(RELEASE, stable, candidate, 0, shadow=100)
    wanted = {"id": RELEASE, "variables": {"question": "Why?"}, "groups": ["support"]}
    await world.client(STAFF).chat.completions.create(model="-", messages=[], extra_body={"prompt": wanted})
    await until(lambda: len(index.asked) == 2)
    assert [one["caller"] for one in index.asked] == [{"groups": ["support"]}] * 2
