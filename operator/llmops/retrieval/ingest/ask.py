"""Asks a generation that is not served yet as the query server will ask it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from llmops.retrieval import widen
from llmops.retrieval.rank import Placed, Way, answer
from llmops.retrieval.stores.base import Asked, Found, Reader
from llmops.retrieval.stores.tenants import Tenant
from llmops.web import Passing

TRIES = 3


@dataclass(frozen=True)
class Query:
    """What is asked, of whose passages: a labelled question, or the vector of a passage that is there."""

    vector: Sequence[float]
    text: str = ""
    tenant: Tenant | None = None


@dataclass(frozen=True)
class Asking:
    """One generation, and the way that questions take to its passages."""

    reader: Reader
    way: Way
    collection: str
    metric: str
    search: Mapping[str, int]
    rows: int = 0

    async def ask(self, query: Query, k: int) -> list[Placed]:
        """The first k passages."""
        search = partial(widen.search, self.reader, self.rows)
        for _ in range(TRIES):
            given = await answer(search, self.way, self.collection, self._asked(query, k), query.text)
            if given.reranked is not False:
                return given.passages
        # what is served would not be what was measured
        raise Passing(f"a question of the gates was not reranked: {given.problem}")

    async def nearest(self, query: Query, k: int) -> list[Found]:
        """The k passages whose vectors the index finds nearest, whatever the way of questions is."""
        return await widen.search(self.reader, self.rows, self.collection, self._asked(query, k))

    def _asked(self, query: Query, k: int) -> Asked:
        return Asked(query.vector, k, search=self.search, metric=self.metric, seconds=30, tenant=query.tenant)
