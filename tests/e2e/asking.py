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
    """How many questions were answered, what the others met, and the seconds of the slowest."""

    answered: int = 0
    failed: list[str] = field(default_factory=list)
    slowest: float = 0.0


@asynccontextmanager
async def asking(*ask: Callable[[], Awaitable[object]]) -> AsyncIterator[Asked]:
    """Each of these again and again, for as long as the block; one that raises was not answered."""
    asked, over = Asked(), asyncio.Event()

    async def goes_on(one: Callable[[], Awaitable[object]]) -> None:
        while not over.is_set():
            began = time.monotonic()
            try:
                await one()
                asked.answered += 1
            except Exception as problem:  # noqa: BLE001 - any: it is what the test is about
                asked.failed.append(f"{type(problem).__name__}: {problem}")
            asked.slowest = max(asked.slowest, time.monotonic() - began)
            await asyncio.sleep(PAUSE)

    async with asyncio.TaskGroup() as tasks:
        for one in ask:
            tasks.create_task(goes_on(one))
        try:
            yield asked
        finally:
            over.set()
