"""A process that wants to lead: `python -m tests.e2e.contender NAMESPACE`. While it leads, it writes its name.

It writes as fast as it can through the client that the operator uses, without ever looking at the time itself: what
keeps two of these from writing in turns is the lease alone.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import uuid

from llmops.kube.client import Client
from llmops.kube.errors import ApiError
from llmops.kube.lease import Lease, LeaseLost, Times
from llmops.kube.resources import CONFIG_MAP

LEASE, JOURNAL = "contest", "journal"
QUICK = Times.of(3.0)


async def contend(namespace: str) -> None:
    identity = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
    async with await Client.connect() as client:
        task = asyncio.ensure_future(
            Lease(client, namespace, LEASE, identity, QUICK).lead(lambda: write(client, namespace, identity))
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await task


async def write(client: Client, namespace: str, identity: str) -> None:
    async def one(line: str) -> None:
        for count in itertools.count():
            try:
                await client.patch(CONFIG_MAP, namespace, JOURNAL, {"data": {"writer": identity, line: str(count)}})
            except ApiError:
                await asyncio.sleep(0.02)

    await asyncio.gather(one("first"), one("second"))


if __name__ == "__main__":
    try:
        asyncio.run(contend(sys.argv[1]))
    except LeaseLost as lost:
        sys.exit(str(lost))
    except asyncio.CancelledError:
        sys.exit(0)
