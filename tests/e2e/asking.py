"""Constant load: somebody who asks all the time, and keeps what went wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

PAUSE = 0.02


@dataclass
class Asked:
    """How many questions of each were answered, what the others met, and the seconds of the slowest."""

    each: list[int]
    failed: list[str] = field(default_factory=list)
    slowest: float = 0.0

    @property
    def answered(self) -> int:
        return sum(self.each)


@asynccontextmanager
async def asking(*ask: Callable[[], Awaitable[object]]) -> AsyncIterator[Asked]:
    """Each of these again and again, for as long as the block; one that raises was not answered."""
    asked, over = Asked([0] * len(ask)), asyncio.Event()

    async def goes_on(at: int, one: Callable[[], Awaitable[object]]) -> None:
        while not over.is_set():
            began = time.monotonic()
            try:
                await one()
                asked.each[at] += 1
            except Exception as problem:  # noqa: BLE001 - any: it is what the test is about
                asked.failed.append(f"{type(problem).__name__}: {problem}")
            asked.slowest = max(asked.slowest, time.monotonic() - began)
            await asyncio.sleep(PAUSE)

    async with asyncio.TaskGroup() as tasks:
        for at, one in enumerate(ask):
            tasks.create_task(goes_on(at, one))
        try:
            yield asked
        finally:
            over.set()


class Leading:
    """A Service of this machine's: each connection leads to one of `ports`, by turns, and stays there."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self._turn, self._pumps = 0, set[asyncio.Task[None]]()

    async def __aenter__(self) -> Leading:
        self._server = await asyncio.start_server(self._lead, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._turn += 1
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.ports[self._turn % len(self.ports)])
        except OSError:
            return writer.close()
        self._pumps |= {asyncio.create_task(_pump(reader, back)), asyncio.create_task(_pump(there, writer))}
        return None


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
