"""What befalls a service in its life: evictions and deletion under load, a full namespace, the longest names."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from tests.cluster.access import Access, KubectlFailed
from tests.e2e.test_llmservice import CHILDREN, ROWS, SMALL, World, answer, client, world

from llmops.kube.resources import LLM_SERVICE, PDB, POD, Resource

__all__ = ["client", "world"]  # fixtures
QUOTA = Resource("", "v1", "resourcequotas", "ResourceQuota", True)
DONE = "data: [DONE]"


class Streams:
    """So many at a time, each over a connection of its own, until told to stop; how each ended."""

    def __init__(self, base: str, many: int) -> None:
        self.base, self.many = base, many
        self.begun, self.ended = 0, list[str]()
        self._over = asyncio.Event()

    async def __aenter__(self) -> Streams:
        await answer(self.base, "Hello")  # the node's Service rules have the pod
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True, limit=0))
        self._asking = [asyncio.create_task(self._ask()) for _ in range(self.many)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over.set()
        await asyncio.gather(*self._asking)
        await self._session.close()

    def stop(self) -> None:
        """What runs ends, and nothing new begins."""
        self._over.set()

    async def _ask(self) -> None:
        said = [{"role": "user", "content": "Hello"}]
        body = {"model": "x", "messages": said, "max_tokens": 400, "stream": True, "ignore_eos": True}
        while not self._over.is_set():
            async with self._session.post(f"{self.base}/chat/completions", json=body) as reply:
                assert reply.status == 200
                self.begun += 1
                self.ended.append((await reply.text()).strip().splitlines()[-1])


def evict(cluster: Access, namespace: str, pod: str) -> bool:
    """As `kubectl drain` does; False where the disruption budget forbids it now."""
    asked = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
    address = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
    try:
        cluster.kubectl("create", "--raw", address, "-f", "-", stdin=json.dumps(asked))
    except KubectlFailed as refused:
        if "disruption budget" not in str(refused):
            raise
        return False
    return True


async def test_a_drained_node_takes_one_pod_at_a_time_and_every_stream_ends_whole(
    world: World, cluster: Access
) -> None:
    await world.service(replicas=2)
    base = await world.ready()
    await world.until(
        lambda: world.get(PDB, "support-llm").get("status", {}).get("disruptionsAllowed") == 1, "a budget"
    )
    before = [one["metadata"]["name"] for one in world.mine(POD)]
    refused = 0
    async with Streams(base, 3) as streams:
        await world.until(lambda: len(streams.ended) >= 3, "streams end")
        for pod in before:
            while not await asyncio.to_thread(evict, cluster, world.namespace, pod):
                refused += 1
                await asyncio.sleep(0.1)
        gone = lambda: not set(before) & {one["metadata"]["name"] for one in world.mine(POD)}  # noqa: E731
        await world.until(gone, "both are gone")
        await world.ready()
    assert refused > 0  # the second had to wait for the first one's successor
    assert set(streams.ended) == {DONE}


async def test_a_service_that_is_deleted_finishes_what_it_answers_and_leaves_nothing(world: World) -> None:
    await world.service()
    base = await world.ready()
    async with Streams(base, 3) as streams:
        await world.until(lambda: len(streams.ended) >= 3, "streams end")
        streams.stop()
        running = streams.begun
        await world.client.delete(LLM_SERVICE, world.namespace, "support")
    assert running <= len(streams.ended)
    assert set(streams.ended) == {DONE}
    await world.until(lambda: not any(world.mine(one) for one in (*CHILDREN, POD)), "nothing is left")


async def test_a_full_namespace_is_said_and_goes_on_by_itself_when_there_is_room(world: World) -> None:
    await world.create(QUOTA, "small", spec={"hard": {"pods": "1"}})
    used = lambda one: (one.get("status") or {}).get("hard") == {"pods": "1"}  # noqa: E731
    async with asyncio.timeout(60):
        while not used(await world.client.get(QUOTA, world.namespace, "small")):
            await asyncio.sleep(0.05)
    await world.service(replicas=2)
    await world.says("QuotaExceeded", "have the namespace's ResourceQuota raised, or lower spec.resources")
    await world.until(lambda: world.said("Available")[0] == "True", "the one that has room serves")
    await world.client.patch(QUOTA, world.namespace, "small", {"spec": {"hard": {"pods": "9"}}})
    await world.ready()
    assert len(world.mine(POD)) == 2


async def test_the_longest_name_that_is_admitted_is_short_enough_for_every_child(world: World) -> None:
    name = "n" + "a-1" * 13
    weights: dict[str, Any] = {"uri": "https://127.0.0.1:9/m.gguf", "cache": {"size": "1Gi"}}
    await world.service(name, autoscaling={"max": 3, "by": "HPA"}, resources=SMALL)
    await world.service(f"b{name[1:]}", model=weights)
    base = await world.ready(name)
    assert await answer(base, ROWS[0]["question"]) == ROWS[0]["answer"]
    await world.until(lambda: len({one["kind"] for one in _children(world, f"b{name[1:]}")}) >= 5, "a download's")
    with pytest.raises(Exception, match="40"):
        await world.service(f"{name}x")


def _children(world: World, name: str) -> list[dict[str, Any]]:
    return [one for resource in CHILDREN for one in world.mine(resource, name)]
