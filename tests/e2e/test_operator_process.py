"""`llmops operator` as two processes: who leads, who takes over and when, and what they answer on their port."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from tests.ports import free_port

from llmops.kube.client import Client
from llmops.kube.resources import EVAL_JOB

LEASE_SECONDS = 20.0
AT_ONCE = LEASE_SECONDS / 2
"""Who waits for the lease to run out needs longer, however slow the machine; who is let in needs far less."""
TEMPLATE = {"dataset": {"inline": [{"input": "a", "target": "b"}]}, "metrics": [{"name": "exact_match"}]}


@dataclass
class Replica:
    """One operator of the pair."""

    process: asyncio.subprocess.Process
    port: int

    async def answer(self, path: str) -> tuple[int, str]:
        """Status and text; 0 when it does not answer."""
        async with aiohttp.ClientSession() as session:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"http://127.0.0.1:{self.port}{path}") as reply:
                    return reply.status, await reply.text()
        return 0, ""

    async def figure(self, name: str) -> float:
        """A metric, summed over its labels."""
        lines = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", (await self.answer("/metrics"))[1], re.MULTILINE)
        return sum(map(float, lines))

    async def ready(self) -> bool:
        return await self.answer("/readyz") == (200, "ok")

    async def leads(self) -> bool:
        return await self.figure("llmops_leading") == 1


async def start(namespace: str) -> Replica:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "llmops.cli", "operator", f"--namespace={namespace}", f"--lease-namespace={namespace}",
        "--kinds=EvalJob", f"--port={port}", stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": "operator", "LLMOPS_LEASE_SECONDS": str(LEASE_SECONDS)},
    )  # fmt: skip
    return Replica(process, port)


@pytest.fixture
async def pair(cluster: Any, namespace: str) -> AsyncIterator[list[Replica]]:
    pair = [await start(namespace), await start(namespace)]
    yield pair
    for one in pair:
        with contextlib.suppress(ProcessLookupError):
            one.process.kill()
        await one.process.wait()


async def eventually(test: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(120):
        while not await test():
            await asyncio.sleep(0.05)


async def leader(pair: list[Replica]) -> Replica:
    found: list[Replica] = []

    async def one_leads() -> bool:
        found[:] = [one for one in pair if one.process.returncode is None and await one.leads()]
        return bool(found)

    await eventually(one_leads)
    assert len(found) == 1
    return found[0]


async def reconciled(client: Client, namespace: str, name: str) -> None:
    made = {"apiVersion": EVAL_JOB.api_version, "kind": EVAL_JOB.kind, "spec": TEMPLATE}
    await client.create(EVAL_JOB, {**made, "metadata": {"namespace": namespace, "name": name}})

    async def seen() -> bool:
        return "status" in await client.get(EVAL_JOB, namespace, name)

    await eventually(seen)


async def test_a_killed_leader_is_followed_when_its_lease_ran_out_and_an_ended_one_at_once(
    pair: list[Replica], client: Client, namespace: str
) -> None:
    first = await leader(pair)
    assert not await next(one for one in pair if one is not first).leads()
    await reconciled(client, namespace, "before")
    first.process.kill()
    await first.process.wait()
    killed = time.monotonic()
    second = await leader(pair)
    assert time.monotonic() - killed > AT_ONCE
    await reconciled(client, namespace, "between")

    pair.append(third := await start(namespace))
    await eventually(third.ready)
    second.process.send_signal(signal.SIGTERM)
    ended = time.monotonic()
    await leader([third])
    assert time.monotonic() - ended < AT_ONCE
    await reconciled(client, namespace, "after")
    assert await second.process.wait() == 0


async def test_an_operator_with_nothing_to_do_writes_nothing_but_its_lease(
    pair: list[Replica], client: Client, namespace: str
) -> None:
    one = await leader(pair)
    await reconciled(client, namespace, "only")
    before = await written(one)
    turns = await one.figure("llmops_reconciles_total")
    await client.patch(EVAL_JOB, namespace, "only", {"metadata": {"annotations": {"somebodys": "note"}}})

    async def looked() -> bool:
        return await one.figure("llmops_reconciles_total") > turns

    await eventually(looked)
    assert await written(one) == before


async def written(one: Replica) -> set[str]:
    """Calls to the API server that change something, by verb and resource, with their counts; less the lease's."""
    lines = (await one.answer("/metrics"))[1].splitlines()
    calls = (line for line in lines if line.startswith("llmops_api_calls_total{"))
    return {line for line in calls if not re.search(r'resource="leases"|verb="(get|list)"', line)}
