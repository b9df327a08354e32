"""The work queue: every key at most once, one worker a key at a time, failures later and later.

A key added while its turn runs gets one more turn afterwards, however often it was added (client-go's rule). Delays
keep the earliest time asked for: a look due in a second is not put off by one due in an hour.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

FIRST_DELAY = 0.2
LONGEST_DELAY = 60.0


class WorkQueue(Generic[K]):
    """Not thread-safe: everything on one event loop. Times are the loop's own monotonic clock."""

    def __init__(self) -> None:
        self._ready: OrderedDict[K, None] = OrderedDict()
        self._running: set[K] = set()
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._count = 0
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def waiting(self) -> int:
        """Keys whose time has not come."""
        return len(self._due)

    def add(self, key: K) -> None:
        """A turn as soon as a worker is free."""
        if key in self._running:
            self._again.add(key)
        elif key not in self._ready:
            self._ready[key] = None
            self._wake.set()

    def add_after(self, key: K, seconds: float) -> None:
        """A turn in so many seconds, unless an earlier one is planned already."""
        if seconds <= 0:
            return self.add(key)
        due = asyncio.get_running_loop().time() + seconds
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            self._count += 1
            heapq.heappush(self._heap, (due, self._count, key))
            self._set_timer()
        return None

    def failed(self, key: K) -> float:
        """Plans another turn after a failure and returns the delay: doubling from 0.2 s to a minute, with jitter."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay: float = min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(failures, 20)) * random.uniform(0.75, 1.25)
        self.add_after(key, delay)
        return delay

    def succeeded(self, key: K) -> None:
        """Forgets its failures."""
        self._failures.pop(key, None)

    async def take(self) -> K:
        """The key that has waited longest; done() must follow."""
        while not self._ready:
            self._wake.clear()
            await self._wake.wait()
        key, _ = self._ready.popitem(last=False)
        self._running.add(key)
        return key

    def done(self, key: K) -> None:
        """Its turn is over; another follows if it was added meanwhile."""
        self._running.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def _set_timer(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._heap[0][0], self._ripe) if self._heap else None

    def _ripe(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:  # else an earlier time took its place
                del self._due[key]
                self.add(key)
        self._set_timer()
