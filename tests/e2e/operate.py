"""The operator in the test's own process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from llmops.api import Settings
from llmops.control import Controller, SystemClock
from llmops.control.follow import find_by
from llmops.control.loop import Loop
from llmops.kube.cache import Cache
from llmops.kube.client import Client
from llmops.kube.cluster import Cluster


@asynccontextmanager
async def operating(
    client: Client, namespace: str, *controllers: Controller, settings: Settings | None = None
) -> AsyncIterator[Cluster]:
    """Reconciles these kinds in one namespace for as long as the block; what it sees."""
    cache = Cache(client)
    seen = Cluster(client, cache, settings or Settings())
    loop = Loop(controllers, seen, SystemClock())
    find_by(cache, controllers)
    cache.subscribe(loop.changed)
    for resource in {
        one for each in controllers for one in (each.resource, *each.owns, *(refers.resource for refers in each.refers))
    }:
        cache.follow(resource, namespace if resource.namespaced else None)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(cache.close)
        await cache.synced(60)
        running = asyncio.create_task(loop.run(2))
        stack.push_async_callback(lambda: asyncio.gather(running, return_exceptions=True))
        stack.callback(running.cancel)
        yield seen
