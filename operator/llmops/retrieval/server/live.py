"""What is served now. The alias is looked at every second; a new generation is loaded, its embedder checked, and then
collection, embedder and search parameters are swapped in one assignment."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

import aiohttp

from llmops.retrieval.embedder import NotEmbedded
from llmops.retrieval.server.pinned import Pinned
from llmops.retrieval.server.served import Served, Table
from llmops.retrieval.stores.base import NoAlias, Reader, StoreError
from llmops.telemetry import metrics

log = logging.getLogger(__name__)

EVERY = 1.0
RETRIES = 60  # of a check of the embedder that gave nothing, in the time between two that do
NOTHING_YET = "no generation has passed its gates yet"
LOST = "the alias is gone: the engine no longer has what was built"
MISMATCHED_EVERY = 60.0  # seconds after which an embedder that no longer matches is looked at again, at most


class Live:
    """Follows one alias."""

    def __init__(self, reader: Reader, session: aiohttp.ClientSession, alias: str) -> None:
        self._reader, self._alias, self._table = reader, alias, Table(reader, session)
        self._pinned = Pinned(self._table, time.monotonic)
        self.served: Served | None = None
        self.problem: str | None = NOTHING_YET
        self.mismatch: str | None = None
        self._without = NOTHING_YET  # why there is no alias
        self._tried: tuple[str, Mapping[str, Any]] | None = None
        self._check_at, self._refused = 0.0, ""
        self._look_now = asyncio.Event()

    @property
    def why_not(self) -> str | None:
        """Why nothing can be searched; None where it can."""
        return self.mismatch or (self.problem if self.served is None else None)

    def look_now(self) -> None:
        """A search failed: the engine may have been restarted, and have nothing loaded."""
        self._pinned.forget()
        self._look_now.set()

    async def pinned(self, generation: int, active: Served) -> Served | str:
        """Another generation than the active one, or why it cannot be searched."""
        try:
            return await self._pinned.get(generation, active)
        except (StoreError, ValueError, KeyError) as problem:
            return f"it cannot be looked at: {_told(problem)}"

    async def follow(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            try:
                async with asyncio.timeout(EVERY):
                    await self._look_now.wait()
            except TimeoutError:
                pass
            self._look_now.clear()

    async def look(self) -> None:
        """Once: never raises, since serving goes on with what is known."""
        try:
            served = await self._find()
            if served is not None:
                await self._check(served)
                self._swap(served)
                self.problem = None
            await self._pinned.look(self.served)
        except (TimeoutError, StoreError, NotEmbedded, ValueError, KeyError) as problem:
            told = f"the index cannot be looked at: {_told(problem)}"
            if told != self.problem:
                log.warning("%s", told)
            self.problem = told

    async def _find(self) -> Served | None:
        """What the alias points to, loaded."""
        try:
            collection = await self._reader.points_to(self._alias)
        except NoAlias:  # an answer, unlike that of an engine that is away: there is nothing to be searched
            self._let_go()
            return None
        told = await self._reader.told(collection)
        await self._reader.load(collection)
        if self.served is not None and (self.served.collection, self.served.told) == (collection, told):
            return self.served
        return self._table.served(collection, told)

    async def _check(self, served: Served) -> None:
        """Does the embedder still put sentences where it put the passages? Now and then, and before a flip."""
        now, every = asyncio.get_running_loop().time(), served.embedder.check_every
        tried = (served.collection, served.told)
        if tried == self._tried and now < self._check_at:
            if served is self.served:
                return
            raise ValueError(self._refused)
        self._tried, self._check_at = tried, now + every / RETRIES  # somebody's API is paid for each look
        try:
            today = await served.embedder.space(served.told["embedding"]["document_prefix"])
        except NotEmbedded as problem:
            if served is self.served:
                return  # away for the moment: searches say so themselves
            self._refused = str(problem)
            raise
        differs = served.space.differs(today)
        if differs and served is not self.served and self.served is not None:
            self._refused = f"generation {served.generation} is not served: {served.mismatch(differs)}"
            raise ValueError(self._refused)
        self.mismatch = served.mismatch(differs) if differs else None
        self._check_at = now + min(every, MISMATCHED_EVERY if differs else every)
        metrics.RETRIEVAL_EMBEDDING_MATCHES.set(0 if differs else 1)

    def _let_go(self) -> None:
        if self.served is not None:
            log.warning("%s", LOST)
            metrics.RETRIEVAL_GENERATION.set(0)
            self._pinned.forget()
            self.served, self.mismatch, self._without = None, None, LOST
            self._tried = None  # what comes back is looked at anew
        self.problem = self._without

    def _swap(self, served: Served) -> None:
        if served is not self.served:
            log.info("serving generation %s (%s)", served.generation, served.collection)
            metrics.RETRIEVAL_GENERATION.set(served.generation)
            if self.served is not None:
                self._pinned.leave(self.served.collection)
            self.served = served


def _told(problem: BaseException) -> str:
    return str(problem) or type(problem).__name__
