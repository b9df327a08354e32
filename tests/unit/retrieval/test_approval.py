"""A build that nobody approved never embeds more than it may: whatever the texts, the copies and the limit."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.retrieval.conftest import seen, work_of

from llmops.retrieval.embedder import Embedder
from llmops.retrieval.ingest.making import Making, Progress, Unapproved
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

    def settle(self, _: str) -> None: ...


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
    active = next((one for one in store.generations() if one.complete), None)
    return Making(
        work, {"faq": listing}, SPACE, cast("Embedder", service), cast("Store", store), active,
        Spool(Path(folder) / "spool"), Progress(Folder(Path(folder))),
    )  # fmt: skip


TEXTS = st.lists(st.sampled_from([f"Passage number {at}." for at in range(12)]), min_size=1, max_size=20)


@settings(max_examples=40, deadline=None)
@given(before=TEXTS, after=TEXTS, most=st.integers(0, 14))
def test_an_unapproved_build_embeds_all_or_nothing_and_never_more_than_the_limit(
    before: list[str], after: list[str], most: int
) -> None:
    store, first, second = Memory(), Counting(), Counting()
    after = [*after, "This one is new."]
    new = set(after) - set(before)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(making(store, first, before, folder).build())
        assert set(first.embedded) == set(before)
        asked = making(store, second, after, folder, ask_above={"passages": most})
        if len(new) > most:
            with pytest.raises(Unapproved) as waits:
                asyncio.run(asked.build())
            assert (waits.value.estimate.passages, second.embedded) == (len(new), [])
            asked = making(store, second, after, folder)  # approved
        built = asyncio.run(asked.build())
    assert set(second.embedded) == new
    assert len(store.rows[built.collection]) == len(after)


@pytest.mark.parametrize(("most", "requests"), [(32, [32] * 9 + [12]), (150, [150, 150]), (2048, [300])])
def test_a_request_has_as_many_texts_as_may_be(most: int, requests: list[int], tmp_path: Path) -> None:
    service, texts = Counting(), [f"Passage number {at}." for at in range(300)]
    made = making(Memory(), service, texts, str(tmp_path))
    made.wanted = replace(made.wanted, embedding=replace(made.wanted.embedding, batch_size=most))
    asyncio.run(made.build())
    assert service.requests == requests
