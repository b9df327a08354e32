"""The vector database as a Job needs it. Milvus, through its own client; what is said of a generation stands in the
properties of its collection (descriptions do not survive a restart of Milvus Lite; properties do)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import MilvusException

from llmops.retrieval import space
from llmops.retrieval.ingest.chunk import TEXT_BYTES, Passage
from llmops.retrieval.space import Space

PROPERTY = "llmops"
METRICS = {"Cosine": "COSINE", "L2": "L2", "IP": "IP"}
BATCH = 500
PAGE = 2000
STARTING = 120.0  # seconds to wait for an engine that has just been started


@dataclass(frozen=True)
class Generation:
    """One collection and what is written about it."""

    collection: str
    told: Mapping[str, Any]

    @property
    def number(self) -> int:
        return int(self.told.get("generation", 0))

    @property
    def complete(self) -> bool:
        """Every passage is in it."""
        return bool(self.told.get("complete"))

    @property
    def served(self) -> float:
        """When it last passed its gates, in seconds; 0 where it never did."""
        return float(self.told.get("served") or 0)

    @property
    def space(self) -> Space | None:
        return space.loads(self.told["space"]) if self.told.get("space") else None


class Store:
    """The generations of one index."""

    def __init__(self, uri: str, alias: str, prefix: str) -> None:
        self.alias, self.prefix = alias, prefix
        end = time.monotonic() + STARTING
        while True:
            try:
                self.client = MilvusClient(uri=uri, timeout=30)
                return
            except MilvusException:
                if time.monotonic() >= end:
                    raise
                time.sleep(1.0)

    def generations(self) -> list[Generation]:
        """All of this index, complete or not."""
        found = [self._generation(name) for name in self.client.list_collections() if name.startswith(self.prefix)]
        return sorted(found, key=lambda one: one.number)

    def active(self) -> Generation | None:
        """Where the alias points."""
        if self.alias not in self.client.list_aliases()["aliases"]:
            return None
        return self._generation(self.client.describe_alias(self.alias)["collection_name"])

    def _generation(self, collection: str) -> Generation:
        properties = self.client.describe_collection(collection).get("properties") or {}
        return Generation(collection, json.loads(properties.get(PROPERTY) or "{}"))

    def create(self, collection: str, dimensions: int, index: Mapping[str, Any], told: Mapping[str, Any]) -> Generation:
        """An empty generation with its index."""
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=1024)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimensions)
        schema.add_field("text", DataType.VARCHAR, max_length=65_535)
        schema.add_field("document", DataType.VARCHAR, max_length=1024)
        schema.add_field("source", DataType.VARCHAR, max_length=255)
        schema.add_field("hash", DataType.VARCHAR, max_length=64)
        schema.add_field("metadata", DataType.JSON)
        wanted = self.client.prepare_index_params()
        wanted.add_index(
            "vector", index_type=index["type"], metric_type=METRICS[index["metric"]], params=index["parameters"]
        )
        self.client.create_collection(
            collection, schema=schema, index_params=wanted, properties={PROPERTY: json.dumps(told)}
        )
        return Generation(collection, told)

    def insert(
        self, collection: str, passages: Sequence[Passage], vectors: Sequence[Sequence[float]], again: bool = False
    ) -> None:
        """`again`: some may be there already, and are replaced."""
        rows = [
            {
                "id": one.id, "vector": vector, "text": one.text.encode()[:TEXT_BYTES].decode(errors="ignore"),
                "document": one.document, "source": one.source, "hash": one.hash, "metadata": dict(one.metadata),
            }
            for one, vector in zip(passages, vectors, strict=True)
        ]  # fmt: skip
        for at in range(0, len(rows), BATCH):
            write = self.client.upsert if again else self.client.insert
            write(collection, rows[at : at + BATCH])

    def tell(self, generation: Generation, **news: Any) -> Generation:
        """Write something about a generation."""
        told = {**generation.told, **news}
        self.client.alter_collection_properties(generation.collection, {PROPERTY: json.dumps(told)})
        return Generation(generation.collection, told)

    def settle(self, collection: str) -> None:
        """All of it on disk and searched through its index: until it is loaded anew, a search of fresh rows goes
        through them one by one, and every recall measured is a false 1.0."""
        self.client.flush(collection)
        self.client.release_collection(collection)
        self.client.load_collection(collection)

    def loaded(self, collection: str) -> None:
        self.client.load_collection(collection)

    def rows(self, collection: str, fields: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Every row."""
        return (row for page in self._pages(collection, fields) for row in page)

    def _pages(self, collection: str, fields: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        self.client.load_collection(collection)
        pages = self.client.query_iterator(collection, batch_size=PAGE, output_fields=list(fields))
        try:
            while page := pages.next():
                yield page
        finally:
            pages.close()

    def ids(self, collection: str) -> Iterator[tuple[str, str]]:
        """Each row's id and hash."""
        return ((row["id"], row["hash"]) for row in self.rows(collection, ("id", "hash")))

    def documents(self, collection: str) -> Iterator[tuple[str, str]]:
        """Each row's document and source."""
        return ((row["document"], row["source"]) for row in self.rows(collection, ("id", "document", "source")))

    def passages(self, collection: str) -> Iterator[dict[str, Any]]:
        """Every row without its vector."""
        return self.rows(collection, ("id", "document", "source", "text", "metadata"))

    def vectors(self, collection: str) -> Iterator[tuple[list[str], list[str], np.ndarray[Any, Any]]]:
        """Ids, hashes and vectors, page by page."""
        for page in self._pages(collection, ("id", "hash", "vector")):
            vectors = np.array([row["vector"] for row in page], "f4")
            yield [row["id"] for row in page], [row["hash"] for row in page], vectors

    def search(
        self, collection: str, vector: Sequence[float], k: int, search: Mapping[str, int]
    ) -> list[tuple[str, str]]:
        """The ids and documents of the k nearest, nearest first."""
        found = self.client.search(
            collection, [list(vector)], limit=k, search_params={"params": dict(search)}, output_fields=["document"]
        )[0]
        return [(one["id"], one["entity"]["document"]) for one in found]

    def point(self, generation: Generation) -> None:
        """Move the alias: from now on queries see this generation."""
        active = self.active()
        if active is None:
            self.client.create_alias(generation.collection, self.alias)
        elif active.collection != generation.collection:
            self.client.alter_alias(generation.collection, self.alias)

    def drop(self, generation: Generation) -> None:
        """Remove it; never the one that the alias points to (only newer engines refuse that themselves)."""
        active = self.active()
        if active is None or active.collection != generation.collection:
            self.client.drop_collection(generation.collection)
