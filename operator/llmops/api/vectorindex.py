"""VectorIndex: documents in, a measured, queryable alias out."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from llmops.api.common import Access, Column, KubernetesObject, Model, Preserved, Quantity, Ref, Rule, Status
from llmops.api.index_engine import IndexSettings, VectorEngine
from llmops.api.index_query import KEYWORD_ENGINES, QuerySettings
from llmops.api.index_rollout import IndexRollout
from llmops.api.index_sources import Chunking, Cleaning, Refresh, Source


class Embedding(Model):
    """The model that turns texts into vectors."""

    service_ref: Ref
    """An LLMService with task Embed."""
    query_prefix: Annotated[str, Field(max_length=1024)] = ""
    """Put before each question."""
    document_prefix: Annotated[str, Field(max_length=1024)] = ""
    """Put before each passage."""
    batch_size: Annotated[int, Field(ge=1, le=2048)] = 32
    """Texts a request."""


class IndexBuild(Model):
    """The Job that builds and measures."""

    memory: Quantity = "4Gi"
    """The most memory it may take; it asks for 256Mi, or for 336Mi where languages are told apart. A build that needed
    more begins again when this is raised."""


class VectorIndexSpec(Model):
    """What is indexed, with what, and how good it must be."""

    RULES = (
        Rule(
            "!(has(self.engine) && self.engine.type == 'Milvus' && self.engine.mode == 'Lite' && has(self.index)"
            " && self.index.type in ['DISKANN', 'IVF_PQ', 'SCANN'])",
            "Milvus Lite knows HNSW, FLAT, IVF_FLAT, IVF_SQ8 and AUTOINDEX: write one of them, or engine.mode"
            " Standalone",
        ),
        Rule(
            "!(has(self.engine) && self.engine.type == 'PgVector' && has(self.index)"
            " && !(self.index.type in ['HNSW', 'IVF_FLAT', 'FLAT']))",
            "PgVector knows HNSW, IVF_FLAT and FLAT: write one of them as index.type",
        ),
        Rule(
            "!(has(self.engine) && self.engine.type == 'Qdrant' && has(self.index) && self.index.type != 'HNSW')",
            "Qdrant knows HNSW only: write index.type: HNSW",
        ),
        Rule(
            "!(has(self.engine) && self.engine.type == 'PgVector' && has(self.index) && has(self.index.search)"
            " && has(self.index.search.ef) && self.index.search.ef > 1000)",
            "PgVector looks at 1000 candidates at most: write index.search.ef of at most 1000",
        ),
        Rule(
            "self.sources.all(a, self.sources.exists_one(b, b.name == a.name))",
            "two sources have the same name: give each its own",
        ),
        Rule(
            "!(has(self.rollout) && has(self.rollout.autoTuneSearch) && self.rollout.autoTuneSearch)"
            " || has(self.rollout.gates) && self.rollout.gates.exists(g, g.type == 'AnnRecall')",
            "autoTuneSearch widens searches until the AnnRecall gate passes: add that gate, or remove autoTuneSearch",
        ),
        Rule(
            "!has(self.query) || self.query.mode == 'Dense' || !has(self.engine)"
            f" || self.engine.type in {list(KEYWORD_ENGINES)}",
            f"query.mode Keyword and Hybrid need engine.type {' or '.join(KEYWORD_ENGINES)}: write it, or mode Dense",
        ),
    )
    engine: VectorEngine = VectorEngine()
    """The vector database."""
    embedding: Embedding
    """The model that turns texts into vectors."""
    sources: Annotated[list[Source], Field(min_length=1, max_length=32)]
    """Where documents come from."""
    cleaning: Cleaning = Cleaning()
    """What is done to documents first."""
    chunking: Chunking = Chunking()
    """How documents become passages."""
    index: IndexSettings = IndexSettings()
    """The index in the engine."""
    refresh: Refresh = Refresh()
    """When to read the sources again."""
    build: IndexBuild = IndexBuild()
    """The Job that builds and measures."""
    rollout: IndexRollout = IndexRollout()
    """How a new generation reaches queries."""
    query: QuerySettings = QuerySettings()
    """How questions are answered."""
    access: Access = Access()
    """Who may use it."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """Of volumes we made, when this object is deleted. External data is never deleted."""
    suspend: bool = False
    """Stop advancing: the active generation stays, no new one is built, and a build that goes on is stopped. Going back
    to what was served before is done, as long as its generation is kept."""


class Generation(Model):
    """Which build of the index is what."""

    active: int | None = None
    """The one that queries see."""
    building: int | None = None
    """The one being built."""
    name: Annotated[str, Field(max_length=255)] | None = None
    """The active collection's name in the engine."""
    previous: Annotated[str, Field(max_length=255)] | None = None
    """The collection kept for rollback; absent where none is."""
    kept: Annotated[list[int], Field(max_length=100)] = []
    """Those that passed their gates and are still there: a release may pin one (indexRef.generation)."""
    digest: Annotated[str, Field(max_length=64)] | None = None
    """The identity of what the active one was built from."""
    building_digest: Annotated[str, Field(max_length=64)] | None = None
    """The identity of what is being built."""
    rejected: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=10)] = []
    """Identities that failed their gates and are not built again by themselves."""


class CurvePoint(Model):
    """One way to search that was tried."""

    ef: int | None = None
    """HNSW: how many candidates were looked at."""
    nprobe: int | None = None
    """IVF: how many lists were looked into."""
    recall: Annotated[str, Field(max_length=26)]
    """Of the AnnRecall gate; of several the worst."""
    p95: Annotated[str, Field(max_length=26)]
    """Of a search, one at a time."""


class EmbeddingStatus(Model):
    """The model the active generation was embedded with."""

    model: Annotated[str, Field(max_length=253)] | None = None
    """Its name at the door."""
    dimensions: int | None = None
    """Numbers a vector."""
    fingerprint: Annotated[str, Field(max_length=128)] | None = None
    """The identity of its vector space."""


class VectorIndexStatus(Status):
    """What the index is doing."""

    endpoint: Annotated[str, Field(max_length=2048)] | None = None
    """Its query server: POST /search {text, topK, filter}."""
    alias: Annotated[str, Field(max_length=255)] | None = None
    """The alias in the engine."""
    phase: Annotated[str, Field(max_length=32)] | None = None
    """Where a build stands."""
    generation: Generation | None = None
    """Which build is what."""
    rows: int | None = None
    """Passages in the active generation."""
    measured: Annotated[dict[str, int | Annotated[str, Field(max_length=63)]], Field(max_length=32)] = {}
    """What was measured, such as annRecallAt10, retrievalRecallAt4, p95 and ef."""
    curve: Annotated[list[CurvePoint], Field(max_length=20)] = []
    """What autoTuneSearch tried with the generation that was measured last, and what each cost."""
    embedding: EmbeddingStatus | None = None
    """The model it was embedded with."""
    last_refresh: Annotated[str, Field(max_length=40)] | None = None
    """When the sources were read last."""
    next_refresh: Annotated[str, Field(max_length=40)] | None = None
    """When the schedule reads them next."""
    last_schedule_time: Annotated[str, Field(max_length=40)] | None = None
    """The schedule's turn that was read last, or is being read."""
    unread: Annotated[list[Annotated[str, Field(max_length=1024)]], Field(max_length=20)] = []
    """What could not be read, and why: the first twenty of them. Everything else is indexed."""
    memory: Preserved | None = None
    """What the operator must remember across a restart, in its own words."""


class VectorIndex(KubernetesObject):
    """Documents in, a measured, queryable index out; a new generation is built beside the old and gated."""

    KIND: ClassVar[str] = "VectorIndex"
    PLURAL: ClassVar[str] = "vectorindexes"
    SHORT: ClassVar[str] = "vi"
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("Engine", ".spec.engine.type"),
        Column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
        Column("Generation", ".status.generation.active", "integer"),
        Column("Rows", ".status.rows", "integer"),
        Column("Recall", ".status.measured.annRecallAt10", says="of the index against exact search"),
        Column("Reason", '.status.conditions[?(@.type=="Ready")].reason', wide=True),
        Column("Alias", ".status.alias", wide=True),
        Column("Age", ".metadata.creationTimestamp", "date"),
    )
    spec: VectorIndexSpec
    """What is wanted."""
    status: VectorIndexStatus | None = None
    """What is so."""
