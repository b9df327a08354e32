"""Asks a generation that is not served yet as the query server will ask it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmops.retrieval.rank import Placed, Way, answer
from llmops.retrieval.stores.base import Asked, Reader
from llmops.web import Passing

TRIES = 3


@dataclass(frozen=True)
class Asking:
    """One generation, and the way that questions take to its passages."""

    reader: Reader
    way: Way
    collection: str
    metric: str
    search: Mapping[str, int]

    async def ask(self, question: str, vector: Sequence[float], k: int) -> list[Placed]:
        """The first k passages."""
        asked = Asked(vector, k, search=self.search, metric=self.metric, seconds=30)
        for _ in range(TRIES):
            given = await answer(self.reader.search, self.way, self.collection, asked, question)
            if given.reranked is not False:
                return given.passages
        # what is served would not be what was measured
        raise Passing(f"a question of the gates was not reranked: {given.problem}")
