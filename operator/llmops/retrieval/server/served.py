"""One generation with everything a search in it needs, and the engine as the query server asks it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from pymilvus import AsyncMilvusClient
from pymilvus.client.types import LoadState

from llmops.retrieval import space
from llmops.retrieval.embedder import Embedder
from llmops.retrieval.space import Space

PROPERTY = "llmops"


@dataclass(frozen=True)
class Served:
    """One generation, with everything a search in it needs."""

    collection: str
    told: Mapping[str, Any]
    embedder: Embedder
    space: Space
    query_prefix: str

    @property
    def generation(self) -> int:
        return int(self.told["generation"])

    def mismatch(self, differs: str) -> str:
        """In words: its vectors mean nothing to the embedder of today."""
        return f"{self.embedder.model} no longer embeds as it did for generation {self.generation}: {differs}"


class Table:
    """The collections of one engine."""

    def __init__(self, client: AsyncMilvusClient, session: aiohttp.ClientSession) -> None:
        self.client, self._session = client, session

    async def collections(self, sibling: str) -> list[str]:
        """Of the index that `sibling` is a generation of."""
        prefix = sibling.rpartition("__g")[0] + "__g"
        return [one for one in await self.client.list_collections() if one.startswith(prefix)]

    async def told(self, collection: str) -> dict[str, Any]:
        """What its Job wrote about it."""
        properties = (await self.client.describe_collection(collection)).get("properties") or {}
        found: dict[str, Any] = json.loads(properties.get(PROPERTY) or "{}")
        return found

    async def load(self, collection: str) -> None:
        """Into memory, where it is not there yet."""
        if (await self.client.get_load_state(collection))["state"] != LoadState.Loaded:
            await self.client.load_collection(collection)

    async def release(self, collection: str) -> None:
        """Out of memory."""
        await self.client.release_collection(collection)

    def served(self, collection: str, told: Mapping[str, Any]) -> Served:
        """Ready to be searched."""
        embedding = told["embedding"]
        embedder = Embedder(self._session, embedding["url"], embedding["model"])
        return Served(collection, told, embedder, space.loads(told["space"]), embedding["query_prefix"])
