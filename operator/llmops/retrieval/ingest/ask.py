"""Asks a generation that is not served yet as the query server will ask it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from llmops.retrieval import widen
from llmops.retrieval.rank import Placed, Way, answer
from llmops.retrieval.stores.base import Asked, Reader
from llmops.retrieval.stores.tenants import Tenant
from llmops.retrieval.work import Question
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
    rows: int = 0
    tenants: str = ""  # the metadata field with whose a passage is

    def within(self, question: Question) -> Tenant | None:
        """Whose passages it is asked of; stored vectors, which are no user's question, of everybody's."""
        return Tenant(self.tenants, question.tenant, column=True) if self.tenants and question.tenant else None

    async def ask(self, question: Question, vector: Sequence[float], k: int) -> list[Placed]:
        """The first k passages."""
        asked = Asked(vector, k, search=self.search, metric=self.metric, seconds=30, tenant=self.within(question))
        search = partial(widen.search, self.reader, self.rows)
        for _ in range(TRIES):
            given = await answer(search, self.way, self.collection, asked, question.text)
            if given.reranked is not False:
                return given.passages
        # what is served would not be what was measured
        raise Passing(f"a question of the gates was not reranked: {given.problem}")
