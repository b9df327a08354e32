"""Two revisions of a model behind one name: who meets which, what is told, and that nobody suffers from the new one."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from tests.unit.gateway.test_evidence_report import report
from tests.unit.gateway.world import KEY, Engine, Object, World, fails, slowly

OLD, NEW = "a" * 64, "b" * 64
SUBJECT = "llm/shop/support"
ASK: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


def roll(
    world: World, weight: int, phase: str = "Canary", stable: bool = True, moving: Any = None, **spec: Any
) -> None:
    """What the operator wrote: the candidate's pods are behind a Service of their own."""
    [service] = [one for one in world.objects["services"] if one["metadata"]["name"] == "support"]
    service["spec"] |= {"rollout": {}, **spec}
    service["metadata"].pop("resourceVersion", None)
    status: Object = {"phase": phase, "stable": {"digest": OLD, "service": "support-llm"}} if stable else {}
    moving = {"digest": NEW, "service": "support-llm-new", "attempt": 1, "weight": weight, **(moving or {})}
    service["status"] = {**status, "phase": phase, "candidate": moving}
    world.objects["services"] = [
        {**service} if one is service else one for one in world.objects["services"]
    ]  # another object is another version
    world.apply()


@pytest.fixture
async def new(world: World) -> Engine:
    engine = await world.new_engine()
    slices = world.objects["slices"]
    kept = list(slices)
    world.point("support", engine, service="support-llm-new")
    slices[:] = [*kept, *({**one, "metadata": {**one["metadata"], "name": "new"}} for one in slices if one not in kept)]
    return engine


async def ask(world: World, user: str, model: str = "support", **more: Any) -> Any:
    client = world.client(more.pop("key", KEY), default_headers={"x-user-id": user})
    return await client.chat.completions.with_raw_response.create(model=model, messages=ASK, **more)


async def test_the_published_share_of_users_meets_the_candidate_and_each_keeps_its_own(
    world: World, new: Engine
) -> None:
    roll(world, 30)
    variants: dict[str, str] = {}
    for turn in range(2):
        for n in range(100):
            told = (await ask(world, f"user-{n}")).headers["x-llmops-model-variant"]
            assert variants.setdefault(f"user-{n}", told) == told, f"turn {turn}"
    met = sum(one == "candidate" for one in variants.values())
    assert 15 <= met <= 45
    assert len(new.asked) == 2 * met
    assert {one["model"] for one in new.asked} == {"shop/support"}
    told = await report(world)
    assert told["serving"][SUBJECT] == {"stable": OLD, "candidate": NEW, "attempt": 1, "weight": 30}
    assert sum(one["variant"] == "candidate" for one in told["units"]) == met
    assert {(one["release"], one["kind"]) for one in told["units"]} == {(SUBJECT, "exposure")}
    assert told["services"]["shop/support"] == 1


@pytest.mark.parametrize("weight", [0, 100])
async def test_at_nought_nobody_meets_it_and_at_a_hundred_everybody(world: World, new: Engine, weight: int) -> None:
    roll(world, weight)
    for n in range(20):
        await ask(world, f"user-{n}")
    assert len(new.asked) == weight // 5
    assert len(world.engine.asked) == 20 - weight // 5


@pytest.mark.parametrize("stream", [False, True])
async def test_a_candidate_that_fails_costs_no_user_an_answer_and_is_charged_with_it(
    world: World, new: Engine, stream: bool
) -> None:
    roll(world, 100)
    new.answer = fails(503)
    assert await ask(world, "ann", stream=stream)
    assert len(new.asked) == 2  # nobody waits for its better times while stable could answer
    await world.kill(new)
    assert await ask(world, "bob", stream=stream)
    if stream:
        return  # a stream counts when it has ended, which nobody waits for here
    told = (await report(world))["units"]
    assert [(one["variant"], one["signal"]) for one in told] == [("candidate", None), ("candidate", "Errors")] * 2


async def test_a_slow_candidate_is_charged_with_latency(world: World, new: Engine) -> None:
    roll(world, 100, moving={"latency": "10s"})
    new.answer = slowly(world, new, 11)
    assert await ask(world, "ann")
    told = (await report(world))["units"]
    assert [(one["variant"], one["signal"]) for one in told] == [("candidate", None), ("candidate", "Latency")]


async def test_a_candidate_without_pods_is_charged_and_stable_answers(world: World) -> None:
    roll(world, 100)
    assert await ask(world, "ann")
    assert [one["signal"] for one in (await report(world))["units"]] == [None, "Errors"]


async def test_a_gateway_that_hears_nothing_sends_everybody_to_stable(world: World, new: Engine) -> None:
    roll(world, 100)
    world.door.heard_at -= 31
    reply = await ask(world, "ann")
    assert "x-llmops-model-variant" not in reply.headers
    assert not new.asked
    assert (await report(world))["serving"][SUBJECT]["weight"] == 0


async def test_prompts_on_the_model_are_split_too_and_only_the_model_is_charged_with_its_candidate(
    world: World, new: Engine
) -> None:
    stable, candidate = world.add_version("answer", "1.0.0"), world.add_version("answer", "2.0.0", system="Be kind.")
    world.release("answer", stable, candidate, 100)
    roll(world, 100)
    new.answer = fails(503)
    client = world.client(default_headers={"x-user-id": "ann"})
    prompt = {"id": "answer", "variables": {"question": "Why?"}}
    assert await client.chat.completions.create(model="-", messages=[], extra_body={"prompt": prompt})
    told = {(one["release"], one["signal"]) for one in (await report(world))["units"]}
    assert told == {("shop/answer", None), (SUBJECT, None), (SUBJECT, "Errors")}


async def test_a_revision_can_be_asked_by_name_once_users_meet_it_and_that_is_no_evidence(
    world: World, new: Engine
) -> None:
    roll(world, 10)
    for name in ("support@candidate", f"shop/support@{NEW[:8]}"):
        await ask(world, "ann", model=name)
    for name in ("support@stable", f"support@{OLD[:10]}"):
        await ask(world, "ann", model=name)
    assert (len(new.asked), len(world.engine.asked)) == (2, 2)
    assert (await report(world))["units"] == []
    with pytest.raises(openai.NotFoundError, match="serves no revision 'other': write shop/support@stable"):
        await ask(world, "ann", model="support@other")


async def test_a_candidate_that_nobody_meets_answers_its_evaluation_only_and_a_failure_is_seen(
    world: World, new: Engine
) -> None:
    roll(world, 0, "Evaluating", stable=False)
    with pytest.raises(openai.PermissionDeniedError, match="only its evaluation may ask it"):
        await ask(world, "ann", model="support@candidate")
    judge = world.token("quality-eval", "shop")
    assert await ask(world, "-", model=f"support@{NEW}", key=judge)
    new.answer = fails(503)
    with pytest.raises(openai.InternalServerError):  # nobody else's answer is taken for it
        await ask(world, "-", model=f"support@{NEW}", key=judge)
    assert not world.engine.asked


async def test_a_thumb_down_on_a_models_answer_counts_for_its_revision(world: World, new: Engine) -> None:
    roll(world, 100)
    reply = await ask(world, "ann")
    body = {"id": reply.parse().id, "rating": "down"}
    told = await world.http.post("/v1/feedback", json=body, headers={"authorization": f"Bearer {KEY}"})
    assert (await told.json())["counted"] is True
    assert [one["signal"] for one in (await report(world))["units"]] == [None, "Feedback"]


async def test_when_the_candidate_became_stable_its_pods_answer_everybody(world: World, new: Engine) -> None:
    roll(world, 100)
    [service] = [one for one in world.objects["services"] if one["metadata"]["name"] == "support"]
    world.objects["services"].remove(service)
    status = {"phase": "Released", "stable": {"digest": NEW, "service": "support-llm-new"}}
    world.objects["services"].append({**service, "status": status})
    world.apply()
    await ask(world, "ann")
    assert (len(new.asked), len(world.engine.asked)) == (1, 0)
    assert (await report(world))["serving"][SUBJECT]["stable"] == NEW


def pin(world: World, ready: bool = True) -> None:
    """A prompt that was released with the new revision, while the service itself is still at the old one."""
    reference = {"name": "support", "revision": f"support-llm-{NEW[:10]}"}
    version = world.add_version("support-answer", "1.0.0", serviceRef=reference)
    world.release("support-answer", version)
    roll(world, 0)
    [service] = [one for one in world.objects["services"] if one["metadata"]["name"] == "support"]
    service["status"]["pinned"] = [{"revision": NEW[:10], "digest": NEW, "service": "support-llm-new"}] if ready else []
    world.objects["services"] = [{**service} if one is service else one for one in world.objects["services"]]
    world.apply()


async def ask_prompt(world: World, user: str = "ann", **more: Any) -> Any:
    prompt = {"prompt": {"id": "support-answer", "variables": {"question": "hello"}}}
    client = world.client(default_headers={"x-user-id": user})
    completions = client.chat.completions.with_raw_response
    return await completions.create(model="-", messages=[], extra_body=prompt, **more)


async def test_a_prompt_is_answered_by_the_revision_it_was_released_with_and_nobody_else_is(
    world: World, new: Engine
) -> None:
    pin(world)
    for n in range(5):
        told = await ask_prompt(world, f"user-{n}")
        assert "x-llmops-model-variant" not in told.headers
        await ask(world, f"user-{n}")
    assert (len(new.asked), len(world.engine.asked)) == (5, 5)
    new.answer = fails(503)  # what another revision would say is no answer of this release
    with pytest.raises(openai.APIStatusError):
        await ask_prompt(world)
    assert len(world.engine.asked) == 5


async def test_a_prompt_whose_revision_has_no_pods_is_told_so(world: World, new: Engine) -> None:
    pin(world, ready=False)
    with pytest.raises(openai.APIStatusError) as refused:
        await ask_prompt(world)
    assert refused.value.status_code == 503
    assert f"has no pods of its revision {NEW[:10]}" in str(refused.value)
    assert not new.asked
    assert not world.engine.asked
