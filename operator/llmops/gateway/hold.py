"""Requests for a service of which no pod is Ready: held until one is, as many as the setting held_requests allows.

This is what makes a service that sleeps answer: the first request held is told to the operator at once (report.py),
which starts a pod; its endpoint arrives by watch, and the snapshot that has it lets everybody go. Callers take turns
then, one request each, so that who came with a thousand does not stand before who came with one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from llmops.gateway.errors import NotReady
from llmops.gateway.snapshot import Service, Snapshot
from llmops.telemetry import metrics

Callers = dict[str, deque[asyncio.Future[None]]]


class Lobby:
    """Who waits, by service and caller. `first` is called when somebody begins to wait where nobody did."""

    def __init__(self, limit: int, first: Callable[[], None]) -> None:
        self._limit, self._first = limit, first
        self._held: dict[str, Callers] = {}

    def count(self, service: str) -> int:
        """How many wait for a pod of this service."""
        return sum(map(len, self._held.get(service, {}).values()))

    async def wait(self, service: Service, caller: str) -> None:
        """Returns when the service may have a pod, or is gone; whoever waits looks again."""
        waiting = self.count(service.name)
        if waiting >= self._limit:
            raise NotReady(
                f"LLMService {service.name} has no pod ready, and {waiting} requests wait for one already: try again "
                "later, or keep one awake with spec.autoscaling.min: 1",
                code="queue_full",
                retry_after=service.cold_start or 5,
            )
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        callers = self._held.setdefault(service.name, {})
        queue = callers.setdefault(caller, deque())
        queue.append(place)
        metrics.GATEWAY_HELD.inc()
        if not waiting:
            self._first()
        try:
            await place
        finally:
            metrics.GATEWAY_HELD.dec()
            if not place.done() or place.cancelled():
                self._leave(service.name, caller, place)

    def follow(self, snapshot: Snapshot) -> None:
        """Lets go who need not wait any more."""
        for name in list(self._held):
            service = snapshot.services.get(name)
            if service is None or service.endpoints or not service.awaited:
                for place in in_turns(self._held.pop(name)):
                    if not place.done():
                        place.set_result(None)

    def _leave(self, service: str, caller: str, place: asyncio.Future[None]) -> None:
        callers = self._held.get(service, {})
        queue = callers.get(caller)
        if queue is not None and place in queue:
            queue.remove(place)
            if not queue:
                del callers[caller]
            if not callers:
                del self._held[service]


def in_turns(callers: Callers) -> Iterator[asyncio.Future[None]]:
    """The first of each caller, in the order in which the callers came, then the second of each, and so on."""
    queues = deque(deque(one) for one in callers.values())
    while queues:
        queue = queues.popleft()
        yield queue.popleft()
        if queue:
            queues.append(queue)
