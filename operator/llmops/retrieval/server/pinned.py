"""Generations that a release was made with (PromptRelease.spec.indexRef.generation), beside the active one: loaded when
they are first asked for, checked as the active one is, and let go when nobody has asked for a while. So is what was
active before: kept for going back to, it would take as much of the engine's memory as what is served."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from llmops.retrieval.embedder import NotEmbedded
from llmops.retrieval.server.served import Served, Table

IDLE = 600.0
Clock = Callable[[], float]


@dataclass
class _Kept:
    served: Served
    asked: float
    checked: float
    problem: str | None = None


class Pinned:
    """Those in use."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table, self._clock = table, clock
        self._kept: dict[int, _Kept] = {}
        self._left: dict[str, float] = {}  # collections that were asked, until when
        self._finding = asyncio.Lock()

    async def get(self, generation: int, active: Served) -> Served | str:
        """The generation, or why it cannot be searched."""
        kept = self._kept.get(generation)
        if kept is None:
            async with self._finding:  # one load, however many ask at once
                found = self._kept.get(generation) or await self._find(generation, active)
            if isinstance(found, str):
                return found
            kept = self._kept.setdefault(generation, found)
        kept.asked = self._clock()
        return kept.problem or kept.served

    async def _find(self, generation: int, active: Served) -> _Kept | str:
        for collection in await self._table.siblings(active.collection):
            told = await self._table.reader.told(collection)
            if told.get("generation") == generation and told.get("served"):
                await self._table.reader.load(collection)
                served, now = self._table.served(collection, told), self._clock()
                self._kept[generation] = kept = _Kept(served, now, now, await _differs(served))
                return kept
        return "it is gone, or never passed its gates: status.generation.kept of the index lists those there are"

    def leave(self, collection: str) -> None:
        """It was active until now. Other query servers may search it for a moment more, and a release may name it."""
        self._left[collection] = self._clock()

    async def look(self, active: Served | None) -> None:
        """Now and then, from outside of any search."""
        for generation, kept in list(self._kept.items()):
            now = self._clock()
            if now - kept.asked > IDLE:
                del self._kept[generation]
                self._left[kept.served.collection] = kept.asked
            elif now - kept.checked > kept.served.embedder.check_every:
                kept.checked = now
                await _ignoring_absence(self._check(kept))
        for collection, since in list(self._left.items()):
            if self._clock() - since > IDLE:
                await self._release(collection, active)  # or at the next look, where the engine is away
                del self._left[collection]

    async def _release(self, collection: str, active: Served | None) -> None:
        """Where nobody needs it, and no Job has dropped it meanwhile."""
        needed = {one.served.collection for one in self._kept.values()} | ({active.collection} if active else set())
        if collection not in needed and collection in await self._table.siblings(collection):
            await self._table.reader.release(collection)

    async def _check(self, kept: _Kept) -> None:
        kept.problem = await _differs(kept.served)

    def forget(self) -> None:
        """The engine may have been restarted, and have nothing loaded."""
        self._kept.clear()


async def _differs(served: Served) -> str | None:
    differs = served.space.differs(await served.embedder.space(served.told["embedding"]["document_prefix"]))
    return served.mismatch(differs) if differs else None


async def _ignoring_absence(check: Awaitable[None]) -> None:
    """An embedder that is away for a moment is told by the searches themselves."""
    try:
        await check
    except NotEmbedded:
        return
