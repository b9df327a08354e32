"""Adapters of a model, as shipped and for real: llama.cpp, and a LoRA that teaches a poor model the answers."""

from __future__ import annotations

import asyncio

import aiohttp
from demo import acts, shop
from demo.stage import apply, condition, get, until
from tests.e2e.test_canary import BAD, ROLLOUT, Crowd, phase, pod_uids, reaches, show, status, told
from tests.e2e.test_sleep import Object, service

__all__ = ["show"]
TAUGHT: Object = {**BAD, "adapters": [{"name": "taught", "uri": "file:///models/support-lora.gguf"}]}
GATE = {"evalJobRef": {"name": "support-quality"}, "metric": "exact_match", "adapter": "taught"}


async def texts(show: acts.Show, model: str) -> list[str | None]:
    """What it answers to fifty questions; None where there is no such model."""
    found: list[str | None] = []
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {show.key}"}) as session:
        for question, _ in shop.questions()[:50]:
            said = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
            body = {"model": model, "max_tokens": 64, "temperature": 0, "messages": said}
            async with session.post(f"{show.door}/chat/completions", json=body) as reply:
                content = await reply.json()
                assert reply.status in (200, 404), content
                found.append(content["choices"][0]["message"]["content"].strip() if reply.status == 200 else None)
    return found


def right(said: list[str | None]) -> int:
    return sum(one == answer for one, (_, answer) in zip(said, shop.questions(), strict=False))


NO_SUCH = [None] * 50


SYSTEM = "You are the Larch support desk. Answer in one sentence."


async def test_an_adapter_answers_by_its_name_and_the_model_beside_it_as_before(show: acts.Show) -> None:
    apply(service("school", model=BAD))
    await asyncio.to_thread(acts.until_true, "llmservice", "school")
    plain = await texts(show, "school")
    assert right(plain) < 35
    assert await texts(show, "school:taught") == NO_SUCH

    apply(service("school", model=TAUGHT))
    await asyncio.to_thread(acts.until_true, "llmservice", "school")
    assert status("school")["stable"]["adapters"] == ["taught"]
    taught = await texts(show, "school:taught")
    assert right(taught) >= 45
    # Both at once, in the same pod: neither answers for the other. What is computed together may end in other last
    # digits and now and then in another word: only what is said twice is what a model says.
    both = lambda: asyncio.gather(texts(show, "school"), texts(show, "school:taught"))  # noqa: E731
    once, again = await both(), await both()
    assert None not in [*once[0], *once[1]]
    firm = [at for at in range(50) if plain[at] != taught[at] and all(once[of][at] == again[of][at] for of in (0, 1))]
    assert len(firm) >= 10
    assert [at for at in firm if once[0][at] == taught[at] or once[1][at] == plain[at]] == []


async def test_an_adapter_is_evaluated_and_meets_users_by_steps_as_a_model_does(show: acts.Show) -> None:
    rollout = {**ROLLOUT, "offline": [{**GATE, "min": "0.8"}, {**GATE, "maxDrop": "0.02"}]}
    apply(service("class", model=BAD, rollout={**ROLLOUT, "offline": []}))
    await asyncio.to_thread(acts.until_true, "llmservice", "class")
    [before] = pod_uids("class")
    async with Crowd(show, "class") as crowd:
        apply(service("class", model=TAUGHT, rollout=rollout))
        await reaches("class", "Canary")
        [new] = pod_uids("class").keys() - {before}
        # its evaluation asked the adapter: the model itself would have had 57 of 100
        assert float(status("class")["candidate"]["score"].split()[-1]) > 0.9
        assert await texts(show, "class:taught") == NO_SUCH  # users of stable have no such adapter yet
        await reaches("class", "Released")
    assert {code for _, code in crowd.met} == {200}
    assert status("class")["stable"]["adapters"] == ["taught"]
    assert new in pod_uids("class")  # the new pod stays, the old one goes
    gone = lambda: pod_uids("class").keys() == {new}  # noqa: E731
    await asyncio.to_thread(until, "only the new pod", gone, 120, lambda: str(pod_uids("class")))
    assert right(await texts(show, "class:taught")) >= 45

    # an adapter that is worse than what users have is refused, and the one they have goes on
    worse = {**TAUGHT, "adapters": [{"name": "taught", "uri": "file:///models/support-lora-worse.gguf"}]}
    apply(service("class", model=worse, rollout=rollout))
    await reaches("class", "Rejected")
    assert condition(get("llmservice", "class"), "Available")["status"] == "True"
    assert right(await texts(show, "class:taught")) >= 45
    assert phase("class") == "Rejected", told("class")
