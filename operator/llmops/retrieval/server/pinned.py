"""Generations that a release was made with (PromptRelease.spec.indexRef.generation), beside the active one: loaded when
they are first asked for, checked as the active one is, and let go when nobody has asked for a while. So is what was
active before: kept for going back to, it would take as much of the engine's memory as what is served."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from llmops.retrieval.embedder import NotEmbedded
from llmops.retrieval.server.served import Served, Table
from llmops.retrieval.stores.base import StoreError

log = logging.getLogger(__name__)

IDLE = 600.0
Clock = Callable[[], float]


@dataclass
class _Kept:
    served: Served
    asked: float
    checked: float
    problem: str | None = None


@dataclass
class _Left:
    due: float  # when it is let go of
    pause: float = 1.0  # seconds until it is tried again, where the engine does not let go of it


class Pinned:
    """Those in use."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table, self._clock = table, clock
        self._kept: dict[int, _Kept] = {}
        self._left: dict[str, _Left] = {}  # collections that are in the engine's memory, and perhaps for nothing
        self._finding, self._begun = asyncio.Lock(), False

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
                self.leave(collection)  # whatever comes of it
                await self._table.reader.load(collection)
                served, now = self._table.served(collection, told), self._clock()
                self._kept[generation] = kept = _Kept(served, now, now, await _differs(served))
                return kept
        return "it is gone, or never passed its gates: status.generation.kept of the index lists those there are"

    def leave(self, collection: str) -> None:
        """Nobody may need it from now on. Other query servers may search it for a moment more, and a release may name
        it."""
        self._left[collection] = _Left(self._clock() + IDLE)

    async def look(self, active: Served | None) -> None:
        """Now and then, from outside of any search."""
        if active is not None and not self._begun:
            self._begun = True
            await self._take_over(active)
        for generation, kept in list(self._kept.items()):
            now = self._clock()
            if now - kept.asked > IDLE:
                del self._kept[generation]
                self._left[kept.served.collection] = _Left(now)
            elif now - kept.checked > kept.served.embedder.check_every:
                kept.checked = now
                await _ignoring_absence(self._check(kept))
        for collection, left in list(self._left.items()):
            if self._clock() >= left.due:
                await self._let_go(collection, left, active)

    async def _take_over(self, active: Served) -> None:
        """What a process of before may have left in memory. Not what never served: a Job may be measuring it."""
        with suppress(StoreError):  # a user who may not list collections will not be let to either
            for one in await self._table.siblings(active.collection):
                if (await self._table.reader.told(one)).get("served"):
                    self._left.setdefault(one, _Left(self._clock() + IDLE))

    async def _let_go(self, collection: str, left: _Left, active: Served | None) -> None:
        try:
            await self._release(collection, active)
        except StoreError as problem:  # it is away, or refuses: then each second would be too often
            log.warning("%s stays in the engine's memory for another %g s: %s", collection, left.pause, problem)
            left.due, left.pause = self._clock() + left.pause, min(2 * left.pause, IDLE)
            return
        if self._left.get(collection) is left:  # else it was asked meanwhile
            del self._left[collection]

    async def _release(self, collection: str, active: Served | None) -> None:
        """Where nobody needs it, and no Job has dropped it meanwhile."""
        needed = {one.served.collection for one in self._kept.values()} | ({active.collection} if active else set())
        if collection not in needed and collection in await self._table.siblings(collection):
            await self._table.reader.release(collection)

    async def _check(self, kept: _Kept) -> None:
        kept.problem = await _differs(kept.served)

    def forget(self) -> None:
        """The engine may have been restarted, and have nothing loaded; or only have been slow, and have it all."""
        self._left |= {one.served.collection: _Left(one.asked + IDLE) for one in self._kept.values()}
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
