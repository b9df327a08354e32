"""One generation with everything a search in it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from llmops.retrieval import space
from llmops.retrieval.embedder import Embedder
from llmops.retrieval.rank import DENSE, Way
from llmops.retrieval.reranker import Reranker
from llmops.retrieval.space import Space
from llmops.retrieval.stores.base import Reader
from llmops.retrieval.work import RerankWork


@dataclass(frozen=True)
class Served:
    """One generation, with everything a search in it needs."""

    collection: str
    told: Mapping[str, Any]
    embedder: Embedder
    space: Space
    query_prefix: str
    way: Way = field(default_factory=Way)

    @property
    def generation(self) -> int:
        return int(self.told["generation"])

    def mismatch(self, differs: str) -> str:
        """In words: its vectors mean nothing to the embedder of today."""
        return f"{self.embedder.model} no longer embeds as it did for generation {self.generation}: {differs}"


class Table:
    """The collections of one engine."""

    def __init__(self, reader: Reader, session: aiohttp.ClientSession) -> None:
        self.reader, self._session = reader, session

    async def siblings(self, collection: str) -> list[str]:
        """Of the index that `collection` is a generation of."""
        return await self.reader.collections(collection.rpartition("__g")[0] + "__g")

    def served(self, collection: str, told: Mapping[str, Any]) -> Served:
        """Ready to be searched."""
        embedding = told["embedding"]
        # generations of an earlier version have no provider, mode, reranker or cut
        embedder = Embedder(self._session, embedding["url"], embedding["model"], embedding.get("provider", ""))
        rerank = RerankWork.read(told.get("rerank"))
        reranker = Reranker(self._session, rerank) if rerank else None
        way = Way(told.get("mode", DENSE), reranker, told.get("cut", 1))
        return Served(collection, told, embedder, space.loads(told["space"]), embedding["query_prefix"], way)
