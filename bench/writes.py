"""What one write costs the API server: the children of a service made by POST and by server-side apply, and a status.

CPU is the API server's own count of its seconds; other work on the cluster is in it, so run it alone.

    python3 -m bench writes
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

from tests.cluster import choose
from tests.cluster.access import Access

from bench.controlplane import bare, server_seconds, service, space, tell
from llmops.kube.client import Client
from llmops.kube.errors import NotFound
from llmops.kube.resources import DEPLOYMENT, LLM_SERVICE, REVISION, Resource

Object = dict[str, Any]
TIMES = 60


async def measure(access: Access, what: str, once: Callable[[int], Awaitable[object]]) -> None:
    idle = server_seconds(access)
    before, began = server_seconds(access), time.perf_counter()
    asking = before - idle  # what the question itself costs
    for number in range(TIMES):
        await once(number)
    wall, cpu = time.perf_counter() - began, server_seconds(access) - before - asking
    tell(what, 1000 * cpu / TIMES, "ms CPU", wall_ms=round(1000 * wall / TIMES, 1))


def revision(namespace: str, name: str) -> Object:
    content = {"ofKind": "LLMService", "ofName": "s", "digest": "0" * 64, "content": {"model": {"uri": "file:///m"}}}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": REVISION.api_version, "kind": REVISION.kind, "metadata": metadata, "spec": content}


def named(child: Object, name: str) -> Object:
    return {**child, "metadata": {**child["metadata"], "name": name}}


async def absent(client: Client, namespace: str) -> None:
    try:
        await client.get(DEPLOYMENT, namespace, "absent")
    except NotFound:
        return


async def main() -> None:
    os.environ["KUBECONFIG"] = str(path := choose.up())
    access = Access(path, choose.choose())
    async with await Client.connect() as client, space(client) as (namespace, _):
        await measure(access, "GET of what is not there", lambda _: absent(client, namespace))
        for child in [*bare(namespace, 0), revision(namespace, "r")]:
            resource = Resource.of(child)
            posted = lambda n, c=child, r=resource: client.create(r, named(c, f"p{n}"))  # noqa: E731
            await measure(access, f"POST {child['kind']}", posted)
            applied = lambda n, c=child, r=resource: client.apply(r, named(c, f"a{n}"))  # noqa: E731
            await measure(access, f"apply {child['kind']}, new", applied)
        await measure(access, "POST LLMService", lambda n: client.create(LLM_SERVICE, service(namespace, n)))
        said = [{"type": kind, "status": "True", "reason": "A", "message": "m" * 80,
                 "lastTransitionTime": "2026-01-01T00:00:00Z"} for kind in "ABCDEFG"]  # fmt: skip
        status = {"status": {"replicas": 1, "conditions": said}}
        patch = lambda n: client.patch(LLM_SERVICE, namespace, f"s{n}", status, sub="status")  # noqa: E731
        await measure(access, "PATCH of an LLMService's status", patch)


if __name__ == "__main__":
    asyncio.run(main())
