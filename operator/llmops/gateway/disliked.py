"""A thumb down on an answer that passages were found for is told to their index (POST /poor): people who write its
documents should read that question.

What was searched for is remembered by the answer's id, where there was an index and a user: in this process's memory
only, of the newest answers, for an hour at most; it is told to nobody but the index that was searched for it, and once.
Where another gateway gave the answer, the feedback may bring the question along. Nobody waits for it, and no feedback
fails of it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
import orjson

from llmops.gateway.marks import Mark
from llmops.gateway.snapshot import STABLE, Endpoint, Release, Snapshot
from llmops.telemetry import metrics

MOST = 5000
"""Answers."""
LONGEST = 1000
"""Characters of a question; the query server shows 300."""
KEEP = 3600.0
AT_ONCE = 8
SECONDS = 5.0


@dataclass(slots=True)
class _Kept:
    at: float
    index: str
    question: str
    told: bool = False


class Disliked:
    """Of one gateway."""

    def __init__(
        self, session: aiohttp.ClientSession, current: Callable[[], Snapshot],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._session, self._current, self._clock = session, current, clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self.running = set[asyncio.Task[None]]()

    def remember(self, id_: str, index: str, question: str) -> None:
        """What was searched for an answer that a user gets."""
        now = self._clock()
        self._kept[id_] = _Kept(now, index, question[:LONGEST])
        while len(self._kept) > MOST or now - next(iter(self._kept.values())).at > KEEP:
            self._kept.popitem(last=False)

    def tell(self, release: Release, mark: Mark, id_: str, question: str | None) -> None:
        """A thumb down; returns at once."""
        index = _index(release, mark)
        kept = self._kept.get(id_)
        if kept is None or self._clock() - kept.at > KEEP:
            if index is None:
                return
            if not question:
                metrics.GATEWAY_DISLIKED.labels(index, "unknown").inc()
                return
            self.remember(id_, index, question)
            kept = self._kept[id_]
        if not kept.told:
            kept.told = True  # a second thumb down for the same answer says nothing new
            self._begin(kept)

    def _begin(self, kept: _Kept) -> None:
        if len(self.running) >= AT_ONCE:
            return metrics.GATEWAY_DISLIKED.labels(kept.index, "unable").inc()
        task = asyncio.get_running_loop().create_task(self._tell(kept))
        self.running.add(task)
        return task.add_done_callback(self.running.discard)

    async def _tell(self, kept: _Kept) -> None:
        result, body = "unable", orjson.dumps({"text": kept.question})
        for endpoint in self._current().indexes.get(kept.index, ()):
            if await self._took(endpoint, body):
                result = "told"
                break
        metrics.GATEWAY_DISLIKED.labels(kept.index, result).inc()

    async def _took(self, endpoint: Endpoint, body: bytes) -> bool:
        headers = {"content-type": "application/json"}
        try:
            async with (
                asyncio.timeout(SECONDS),
                self._session.post(endpoint.url + "/poor", data=body, headers=headers) as response,
            ):
                return response.status == 200
        except (TimeoutError, aiohttp.ClientError, OSError):
            return False


def _index(release: Release, mark: Mark) -> str | None:
    """Of the version that answered. A mark of a rollout has the candidate's digest, also where stable answered."""
    by_digest = (one for digest, one in release.versions.items() if digest.startswith(mark.digest))
    version = release.stable if mark.attempt and mark.variant == STABLE else next(by_digest, None)
    return version.retrieval.index if version is not None and version.retrieval is not None else None
