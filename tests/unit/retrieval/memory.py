"""A build without an engine and a model: a store in memory, an embedding service that counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from tests.unit.retrieval.conftest import seen, work_of

from llmops.retrieval.embedder import Embedder
from llmops.retrieval.ingest.making import Making, Progress
from llmops.retrieval.ingest.places import Listing
from llmops.retrieval.ingest.places.listing import File
from llmops.retrieval.ingest.report import Folder
from llmops.retrieval.ingest.spool import Spool
from llmops.retrieval.passage import Passage
from llmops.retrieval.space import PROBES, Space
from llmops.retrieval.stores.base import Generation, Index, Page, Store

SPACE = Space(tuple((1.0, 0.0) for _ in PROBES))


@dataclass
class Memory:
    """A Store with what a build asks of it."""

    made: dict[str, Generation] = field(default_factory=dict)
    rows: dict[str, dict[str, Passage]] = field(default_factory=dict)

    def generations(self) -> list[Generation]:
        return list(self.made.values())

    def create(self, name: str, _: int, __: Index, told: Mapping[str, Any]) -> Generation:
        self.rows[name] = {}
        return self.tell(Generation(name, told))

    def tell(self, one: Generation, **news: Any) -> Generation:
        self.made[one.collection] = Generation(one.collection, {**one.told, **news})
        return self.made[one.collection]

    def insert(self, name: str, passages: Sequence[Passage], _: object, __: bool = False) -> None:
        self.rows[name].update({one.id: one for one in passages})

    def ids(self, name: str) -> Iterator[tuple[str, str]]:
        return ((one.id, one.hash) for one in self.rows[name].values())

    def documents(self, name: str) -> set[str]:
        return {one.document for one in self.rows[name].values()}

    def vectors(self, name: str) -> Iterator[Page]:
        rows = list(self.rows[name].values())
        yield Page(
            [one.id for one in rows], [one.hash for one in rows], np.ones((len(rows), 2), "f4"), [""] * len(rows)
        )

    def passages(self, name: str) -> Iterator[Passage]:
        return iter(list(self.rows[name].values()))

    def drop(self, one: Generation) -> None:
        del self.made[one.collection], self.rows[one.collection]

    def settle(self, _: str) -> None: ...

    def loaded(self, _: str) -> None: ...


@dataclass
class Counting:
    """An embedding service that counts."""

    embedded: list[str] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)

    async def embed(self, texts: Sequence[str], _: float = 0.0, __: str = "document") -> list[list[float]]:
        self.embedded += texts
        self.requests.append(len(texts))
        return [[1.0, 0.0] for _ in texts]


def making(store: Memory, service: Counting, texts: Sequence[str], folder: str, **change: Any) -> Making:
    work = replace(work_of(seen()), copy_vectors=True, **{"max_delete_percent": 100, **change})
    work = replace(work, sources=(replace(work.sources[0], sha256=str(texts)),))
    work = replace(work, chunking={"strategy": "Document", "maxTokens": 200, "overlap": 0})
    work = replace(work, embedding=replace(work.embedding, url="http://127.0.0.1:9/v1"))
    files = [File(f"{at}.md", text.encode) for at, text in enumerate(texts)]
    listing = Listing("v", lambda: iter(files))
    active = max((one for one in store.generations() if one.complete), key=lambda one: one.number, default=None)
    return Making(
        work, {"faq": listing}, SPACE, cast("Embedder", service), cast("Store", store), active,
        Spool(Path(folder) / "spool"), Progress(Folder(Path(folder))),
    )  # fmt: skip
