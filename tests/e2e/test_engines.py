"""BentoML and OpenLLM on the real cluster: a bento of ours answers, drains, and comes back, in a restricted pod."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
from tests.e2e.test_llmservice import ROWS, SMALL, World, answer, client, world

from llmops.kube.resources import DEPLOYMENT, POD

__all__ = ["client", "world"]  # fixtures
STREAMS = 60


async def streamed(url: str) -> str:
    """The last event of a stream that takes a while behind the others."""
    said = [{"role": "user", "content": "hi"}]
    body = {"model": "m", "messages": said, "stream": True, "max_tokens": 400, "ignore_eos": True}
    async with aiohttp.ClientSession() as session, session.post(f"{url}/chat/completions", json=body) as reply:
        return (await reply.text()).strip().splitlines()[-1]


@pytest.mark.parametrize(("engine", "image"), [("BentoML", "demo-bento"), ("OpenLLM", "demo-openllm")])
async def test_a_bento_answers_and_finishes_every_stream_when_its_pods_are_replaced(
    world: World, engine: str, image: str
) -> None:
    await world.service(
        engine={"type": engine, "image": f"llmops/{image}:dev", "contextLength": 512},
        resources={"requests": {"cpu": "50m", "memory": "256Mi"}},
    )
    url = await world.ready()
    assert await answer(url, ROWS[3]["question"]) == ROWS[3]["answer"]
    (before,) = world.mine(POD)

    streams = [asyncio.create_task(streamed(url)) for _ in range(STREAMS)]
    await world.until(lambda: sum(one.done() for one in streams) >= 1, "the first stream is over")
    await world.change(resources={**SMALL, "limits": {"memory": "1Gi"}})
    ends = await asyncio.gather(*streams)
    assert ends == ["data: [DONE]"] * STREAMS
    await world.until(lambda: before["metadata"]["name"] not in str(world.mine(POD)), "the old pod is gone")
    await world.ready()
    assert json.dumps(world.get(DEPLOYMENT, "support-llm")["spec"]).count("--port=3000") == 1
    assert await answer(url, ROWS[4]["question"]) == ROWS[4]["answer"]
