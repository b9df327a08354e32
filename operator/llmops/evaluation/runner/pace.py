"""How many requests a target gets at a time: as many as the run may send, until it says that these are too many.

A 429, or a 503 that says when to come again, halves the number and keeps everybody waiting for as long as it was told;
answers let it grow by one in as many answers as there are requests at a time, until it is what it was: the additive
increase and multiplicative decrease of TCP (Chiu and Jain 1989). Refusals of requests that were under way when it was
halved are the same news, and halve nothing again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

LONGEST = 60.0
"""The longest that is waited for one Retry-After, in seconds."""
WITHOUT = 1.0
"""How long is waited after a refusal that does not say."""


class Pace:
    """Of one target; `limit` is None while it takes all that comes."""

    def __init__(self, now: Callable[[], float], sleep: Callable[[float], object] = asyncio.sleep) -> None:
        self._now, self._sleep = now, sleep
        self.limit: float | None = None
        self._running = self._most = 0
        self._halved = self._until = float("-inf")
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[float]:
        """Waits for a place; gives the time at which it was taken."""
        while (pause := self._until - self._now()) > 0 or (self.limit is not None and self._running >= int(self.limit)):
            await self._waited(pause)
        self._running += 1
        self._most = max(self._most, self._running)
        try:
            yield self._now()
        finally:
            self._running -= 1
            self._changed.set()

    async def _waited(self, pause: float) -> None:
        if pause > 0:
            await self._sleep(pause)  # type: ignore[misc]
            return
        self._changed.clear()
        await self._changed.wait()

    def answered(self) -> None:
        """A little more is dared."""
        if self.limit is not None:
            self.limit += 1 / self.limit
            if self.limit >= self._most:
                self.limit = None
            self._changed.set()

    def refused(self, began: float, after: float | None) -> None:
        """Of a request that had its place since `began`; `after`: in how many seconds it may come again."""
        now = self._now()
        self._until = max(self._until, now + min(LONGEST, WITHOUT if after is None else max(0.0, after)))
        if began > self._halved:
            self.limit = max(1.0, (self.limit or self._running) / 2)
            self._halved = now
