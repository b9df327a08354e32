"""What an index needs of a vector database: `Store` for the Job that builds, `Reader` for the server that answers.

A collection has one generation's passages. What is known about a generation (`told`) is kept beside its collection in
the engine, and the alias is the one point of commitment; both outlive a restart of the engine.

    StoreError         an engine's no, in words
    ├── Away           it does not answer, or not in time: asking again may help
    ├── NotAllowed     it does not let us in
    ├── NoAlias        nothing is served yet
    ├── FilterRefused  the engine does not take the filter
    ├── Unfit          this engine cannot hold what the spec asks for
    └── StillServed    the alias points to what was to be removed
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from llmops.api.filters import FilterWrong
from llmops.retrieval import space
from llmops.retrieval.passage import Passage
from llmops.retrieval.space import Space
from llmops.retrieval.stores.tenants import Tenant

if TYPE_CHECKING:
    import numpy as np

Client = TypeVar("Client")

PAGE = 500
STARTING = 120.0  # seconds to wait for an engine that has just been started


class StoreError(Exception):
    """An engine's no, in words."""


class Away(StoreError):
    """It does not answer, or not in time."""


class NotAllowed(StoreError):
    """It does not let us in."""


class NoAlias(StoreError):
    """Nothing is served yet."""


class FilterRefused(StoreError, FilterWrong):
    """The engine cannot read the filter as it was written for it."""


class Unfit(StoreError):
    """This engine cannot hold what the spec asks for; no retry helps."""


class StillServed(StoreError):
    """The alias points to what was to be removed."""


@dataclass(frozen=True)
class Where:
    """An engine, and what lets us in; its secrets are never printed."""

    type: str
    uri: str
    database: str = ""
    token: str = field(default="", repr=False)
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class Index:
    """How vectors are found, in the spec's own words; each engine has its own for it."""

    type: str  # HNSW, FLAT, …
    metric: str  # Cosine, L2 or IP
    parameters: Mapping[str, Any] = field(default_factory=dict)
    keyword: bool = False  # passages are found by their words too; Unfit where the engine has no BM25


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


@dataclass(frozen=True)
class Page:
    """Some rows, row by row in the same order."""

    ids: list[str]
    hashes: list[str]
    vectors: np.ndarray[Any, Any]  # float32, a row a passage
    tenants: list[str]  # their marks; empty where the generation has no column of them


EVERYBODY = "*"
SEEN_BY = "seen_by"
"""Told of a generation that has the groups in a column too: the metadata field that they were read from."""


@dataclass(frozen=True)
class Restriction:
    """What may be found at all: passages whose metadata `field` names one of these groups, or everybody. Given as data,
    so that each engine says it in its own words; `admits` is what they must all mean."""

    field: str
    groups: frozenset[str] = frozenset()
    missing: bool = False  # whether passages without the field are everybody's
    column: bool = False  # whether the generation has the groups in a column of their own too

    @property
    def names(self) -> tuple[str, ...]:
        """What a passage may have in its field to be seen."""
        return (EVERYBODY, *sorted(self.groups))

    def admits(self, metadata: Mapping[str, Any]) -> bool:
        """Whether a passage with this metadata may be seen."""
        given = metadata.get(self.field)
        if given is None:
            return self.missing
        listed = given if isinstance(given, list) else [given]
        return any(isinstance(one, str) and one in self.names for one in listed)


@dataclass(frozen=True)
class Asked:
    """One search. `search` has the engine's parameters: ef for HNSW, nprobe for IVF."""

    vector: Sequence[float]
    top_k: int
    filter: str = ""
    search: Mapping[str, int] = field(default_factory=dict)
    metric: str = "Cosine"
    seconds: float = 10.0
    words: str = ""  # as words.py cuts them: the order is BM25's then; a score is nearness to the vector all the same
    only: Restriction | None = None
    tenant: Tenant | None = None

    @property
    def within(self) -> bool:
        """Whether not all passages may be found, whatever is asked."""
        return self.only is not None or self.tenant is not None


@dataclass(frozen=True)
class Found:
    """A passage. Higher scores are nearer, whatever the metric: cosine, inner product, or 1 / (1 + squared L2)."""

    id: str
    text: str
    document: str
    score: float
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """A passage as it lies there."""

    id: str
    text: str
    document: str
    hash: str
    metadata: Mapping[str, Any]


MOST = {"ef": 4096, "nprobe": 1024}
"""How far a search is widened by ourselves."""
TAKES = {"PgVector": {"ef": 1000}}
"""What an engine takes, where that is less."""
HNSW_ONLY = frozenset({"Qdrant"})
"""Engines that know no other index."""


class Store(Protocol):
    """The generations of one index, as its Job needs them. One writer at a time."""

    def generations(self) -> list[Generation]:
        """All of this index, complete or not, by their numbers."""

    def active(self) -> Generation | None:
        """Where the alias points."""

    def create(self, collection: str, dimensions: int, index: Index, told: Mapping[str, Any]) -> Generation:
        """An empty generation."""

    def insert(
        self, collection: str, passages: Sequence[Passage], vectors: Sequence[Sequence[float]], again: bool = False
    ) -> None:
        """Add passages; with `again` those whose ids are there already are replaced."""

    def ids(self, collection: str) -> Iterator[tuple[str, str]]:
        """Every passage's id and its text's hash."""

    def vectors(self, collection: str, ids: Sequence[str] | None = None) -> Iterator[Page]:
        """Every passage's vector, or those of these passages that are there; a page in memory at a time."""

    def documents(self, collection: str) -> set[str]:
        """The documents that the passages are of."""

    def passages(self, collection: str) -> Iterator[Passage]:
        """Every passage, a page in memory at a time."""

    def count(self, collection: str) -> int:
        """How many passages."""

    def tell(self, generation: Generation, **news: Any) -> Generation:
        """Write something about a generation."""

    def settle(self, collection: str) -> None:
        """All of it on disk and found through its index, so that what is measured is what will be served."""

    def loaded(self, collection: str) -> None:
        """Make it searchable, where a restart of the engine left it lying."""

    def point(self, generation: Generation) -> None:
        """Move the alias in one step: from now on queries see this generation."""

    def drop(self, generation: Generation) -> None:
        """Remove it; StillServed where the alias points to it."""

    def close(self) -> None:
        """Let go of connections."""


class Reader(Protocol):
    """One engine, as the query server asks it. Every method may raise Away or NotAllowed."""

    async def points_to(self, alias: str) -> str:
        """The collection that is served; NoAlias where there is none."""

    async def told(self, collection: str) -> dict[str, Any]:
        """What its Job wrote about it."""

    async def collections(self, prefix: str) -> list[str]:
        """Those whose names begin so."""

    async def load(self, collection: str) -> None:
        """Into memory, where it is not there yet."""

    async def release(self, collection: str) -> None:
        """Out of memory."""

    async def search(self, collection: str, asked: Asked) -> list[Found]:
        """Nearest first; FilterWrong where the filter cannot be read."""

    async def page(self, collection: str, low: str, high: str, limit: int) -> list[Row]:
        """Passages whose hashes are from `low` and below `high` (empty: to the end), at most so many of them."""

    async def close(self) -> None:
        """Let go of connections."""


def nearness(squared: float) -> float:
    """A score for a squared L2 distance."""
    return round(1 / (1 + squared), 6)


def patiently(connect: Callable[[], Client], patience: float) -> Client:
    """Again while it is away: it may have just been started."""
    end = time.monotonic() + patience
    while True:
        try:
            return connect()
        except Away:
            if time.monotonic() >= end:
                raise
        time.sleep(1.0)
