"""Adapters at the door: `model: support:tone`, and never an answer of another model than was asked for."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from aiohttp import web
from tests.unit.gateway.test_revisions import NEW, OLD, ask, new, roll
from tests.unit.gateway.world import Engine, World

__all__ = ["new"]


def teach(world: World, *stable: str, wanted: tuple[str, ...] = (), candidate: tuple[str, ...] = ()) -> None:
    """What stable's pods answer as, what spec.model.adapters says, and what a candidate answers as."""
    [service] = [one for one in world.objects["services"] if one["metadata"]["name"] == "support"]
    adapters = [{"name": one, "uri": f"hf://acme/{one}"} for one in wanted or stable]
    service["spec"]["model"] = {**service["spec"]["model"], "adapters": adapters}
    service["metadata"].pop("resourceVersion", None)
    status = service.setdefault("status", {})
    status["stable"] = {**(status.get("stable") or {"digest": OLD}), "adapters": list(stable)}
    if candidate:
        status["candidate"]["adapters"] = list(candidate)
    world.objects["services"] = [{**one} if one is service else one for one in world.objects["services"]]
    world.apply()


async def refused(world: World, model: str) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        await ask(world, "ann", model)
    return caught.value


@pytest.mark.parametrize("model", ["support:tone", "shop/support:tone", "support:tone@stable"])
async def test_an_adapter_is_asked_for_by_its_name_after_the_models(world: World, model: str) -> None:
    teach(world, "tone")
    await ask(world, "ann", model)
    await ask(world, "ann", "support")
    assert [one["model"] for one in world.engine.asked] == ["shop/support:tone", "shop/support"]


@pytest.mark.parametrize(("status", "words"), [(404, "The model does not exist."), (400, "adapters are not loaded: x")])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_pod_that_has_not_loaded_it_yet_is_passed_over(
    world: World, status: int, words: str, stream: bool
) -> None:
    async def not_yet(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return web.json_response({"error": {"message": words}}, status=status)

    untaught = await world.new_engine()
    untaught.answer = not_yet
    world.point("support", untaught, world.engine)
    teach(world, "tone")
    for _ in range(3):
        messages: Any = [{"role": "user", "content": "hello"}]
        await world.client().chat.completions.create(model="support:tone", messages=messages, stream=stream)
    assert [one["model"] for one in world.engine.asked] == ["shop/support:tone"] * 3


async def test_what_the_model_itself_says_of_a_request_is_passed_on(world: World) -> None:
    async def refuses(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return web.json_response({"error": {"message": "no such thing"}}, status=404)

    world.engine.answer = refuses
    assert (await refused(world, "support")).status_code == 404


async def test_models_are_listed_with_their_adapters(world: World) -> None:
    teach(world, "tone", "law")
    listed = [one.id async for one in world.client().models.list()]
    assert {"shop/support", "shop/support:law", "shop/support:tone"} <= set(listed)


async def test_what_no_pod_has_is_refused_with_what_there_is(world: World) -> None:
    teach(world, "tone")
    told = await refused(world, "support:tune")
    assert told.status_code == 404
    assert "no pods of LLMService shop/support have an adapter 'tune'; there is shop/support:tone" in told.message
    assert world.engine.asked == []


async def test_while_pods_are_replaced_one_by_one_only_what_both_have_is_served(world: World) -> None:
    teach(world, "tone", "old", wanted=("tone", "new"))
    await ask(world, "ann", "support:tone")
    assert (await refused(world, "support:old")).status_code == 404
    assert (await refused(world, "support:new")).status_code == 404


async def test_a_new_adapter_of_a_candidate_meets_no_user_before_it_is_stable(world: World, new: Engine) -> None:
    roll(world, 100)
    teach(world, "tone", wanted=("tone", "law"), candidate=("tone", "law"))
    await ask(world, "ann", "support:tone")
    assert [one["model"] for one in new.asked] == ["shop/support:tone"]
    assert (await refused(world, "support:law")).status_code == 404
    await ask(world, "ann", f"support:law@{NEW[:10]}")
    assert [one["model"] for one in new.asked] == ["shop/support:tone", "shop/support:law"]


async def test_stable_answers_everybody_who_asks_for_what_its_candidate_has_not(world: World, new: Engine) -> None:
    roll(world, 100)
    teach(world, "tone", wanted=("law",), candidate=("law",))
    answer = await ask(world, "ann", "support:tone")
    assert "x-llmops-model-variant" not in answer.headers
    assert new.asked == []
    assert [one["model"] for one in world.engine.asked] == ["shop/support:tone"]
