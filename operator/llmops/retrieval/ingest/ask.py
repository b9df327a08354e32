"""Asks a generation that is not served yet as the query server will ask it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from llmops.retrieval.rank import Way, answer
from llmops.retrieval.stores.base import Asked, Reader
from llmops.retrieval.work import Work
from llmops.web import Passing

TRIES = 3

Ask = Callable[[str, str, Sequence[float], int, Mapping[str, int]], list[tuple[str, str]]]
"""Collection, question, its vector, k, search parameters -> ids and documents of the first k passages."""


@asynccontextmanager
async def asking(reader: Reader, wanted: Work, way: Way) -> AsyncIterator[Ask]:
    """For measuring, which waits in a thread of its own: each question is asked in this loop."""
    loop = asyncio.get_running_loop()

    async def asked_for(
        collection: str, question: str, vector: Sequence[float], k: int, search: Mapping[str, int]
    ) -> list[tuple[str, str]]:
        asked = Asked(vector, k, search=search, metric=wanted.metric, seconds=30)
        for _ in range(TRIES):
            given = await answer(reader.search, way, collection, asked, question)
            if given.reranked is not False:
                return [(one.found.id, one.found.document) for one in given.passages]
        # what is served would not be what was measured
        raise Passing(f"a question of the Retrieval gate was not reranked: {given.problem}")

    def ask(
        collection: str, question: str, vector: Sequence[float], k: int, search: Mapping[str, int]
    ) -> list[tuple[str, str]]:
        return asyncio.run_coroutine_threadsafe(asked_for(collection, question, vector, k, search), loop).result()

    try:
        yield ask
    finally:
        await reader.close()
