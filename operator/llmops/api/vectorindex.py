"""VectorIndex: documents in, a measured, queryable alias out."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from llmops.api.common import (
    Access,
    Amount,
    Column,
    Cron,
    KubernetesObject,
    Model,
    Name,
    Preserved,
    Quantity,
    Ref,
    Rule,
    SecretRef,
    Similarity,
    Status,
    Uri,
    Url,
    Word,
    matches,
)


class EngineStorage(Model):
    """The engine's volume."""

    size: Quantity = "10Gi"
    """How much."""
    storage_class: Word | None = None
    """Its StorageClass; the cluster's default if absent."""


class ExternalEngine(Model):
    """An engine that is already there."""

    uri: Annotated[
        Uri, matches("[a-z]+://[^ ]+", "write the engine's address, such as https://milvus.example.org:19530")
    ]
    """Its address."""
    credentials_secret_ref: SecretRef | None = None
    """A Secret with its token (for Qdrant, its API key), or its username and password."""
    database: Annotated[str, Field(max_length=63)] | None = None
    """The database in it."""


_SAME = "the vectors lie there: write what was there before, or make another index"


class ObjectStorage(Model):
    """A bucket."""

    endpoint: Annotated[
        Uri,
        matches("https?://[^/ ]+", "write the store's address, such as https://s3.eu-central-1.amazonaws.com"),
        Rule("self == oldSelf", _SAME),
    ]
    """The store's address; it speaks S3."""
    bucket: Annotated[str, Field(min_length=3, max_length=63), Rule("self == oldSelf", _SAME)]
    """The bucket."""
    credentials_secret_ref: SecretRef
    """A Secret with accesskey and secretkey, which the Milvus Operator reads."""


class ClusterEngine(Model):
    """Milvus as a cluster, run by the Milvus Operator."""

    RULES = (
        Rule(
            "has(self.name) != has(self.storage)",
            "write storage: {endpoint, bucket, credentialsSecretRef} to have a Milvus made, or the name of one that is"
            " there",
        ),
        Rule(
            "has(self.name) || !has(self.credentialsSecretRef)",
            "a Milvus that is made for the index asks for no password: remove credentialsSecretRef, and write that of"
            " the bucket in storage",
        ),
        Rule(
            "has(self.storage) || !has(self.replicas)",
            "the Milvus that is there has its own size: remove replicas, and write spec.components.queryNode in it",
        ),
    )
    storage: ObjectStorage | None = None
    """Have a Milvus made, with its vectors in this bucket."""
    replicas: Annotated[int, Field(ge=1, le=100)] | None = None
    """Query nodes, which hold the vectors and search them; absent, what the Milvus object says, or 1."""
    name: Name | None = None
    """A Milvus object that is there, in this namespace."""
    credentials_secret_ref: SecretRef | None = None
    """A Secret with its token, or its username and password, where it asks for them."""


class VectorEngine(Model):
    """The vector database."""

    RULES = (
        Rule(
            "(self.mode == 'External') == has(self.external)",
            "write external: {uri: ...} if and only if mode is External",
        ),
        Rule(
            "!(self.mode == 'External' && has(self.storage))",
            "an external engine keeps its own volumes: remove storage",
        ),
        Rule(
            "(self.mode == 'Cluster') == has(self.cluster)",
            "write cluster: {storage: ...} or cluster: {name: ...} if and only if mode is Cluster",
        ),
        Rule(
            "!(self.mode == 'Cluster' && has(self.storage))",
            "a cluster keeps its vectors in a bucket: write cluster: {storage: ...} instead of storage",
        ),
        Rule(
            "self.type == 'Milvus' || self.mode == 'External'",
            "Qdrant and PgVector are used where they run already: write mode: External and external: {uri: ...}",
        ),
        Rule(
            "self.type != 'PgVector' || !has(self.external) || self.external.uri.matches('^postgres(ql)?://')",
            "write PostgreSQL's address, such as postgresql://db.example.org:5432/shop?sslmode=require",
        ),
        Rule(
            "self.type != 'Qdrant' || !has(self.external) || self.external.uri.matches('^https?://')"
            " && !has(self.external.database)",
            "write Qdrant's HTTP address, such as http://qdrant.data:6333, and no database: it has none",
        ),
        Rule(
            "self.type == 'Milvus' || !has(self.external)"
            " || !self.external.uri.matches('//[^/]*:[^/]*@|[?&]password=')",
            "a password in the address is seen by everybody: put it into the Secret of credentialsSecretRef",
        ),
    )
    type: Literal["Milvus", "Qdrant", "PgVector"] = "Milvus"
    """Which."""
    mode: Literal["Lite", "Standalone", "Cluster", "External"] = "Lite"
    """Lite: one small pod. Standalone: one real server. Cluster: through the Milvus Operator. External:
    already there."""
    storage: EngineStorage | None = None
    """Its volume, where it is ours."""
    cluster: ClusterEngine | None = None
    """Of which Milvus, in mode Cluster."""
    external: ExternalEngine | None = None
    """Where it is, where it is not ours."""


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


class ConfigMapSource(Model):
    """Documents in a ConfigMap, one a data key."""

    name: Word
    """Its name; label it llmops.dev/watch: "true" to have changes followed."""
    key: Annotated[str, Field(max_length=253)] | None = None
    """Only this data key."""


class PvcSource(Model):
    """Files on a volume."""

    claim: Word
    """The PersistentVolumeClaim."""
    path: Annotated[
        str, Field(max_length=1024), Rule("self.startsWith('/')", "write a path from the volume's root, such as /")
    ] = "/"
    """Where on it."""


class HttpSource(Model):
    """A file on the web."""

    url: Url
    """Its address."""


class S3Source(Model):
    """Objects in a bucket."""

    uri: Annotated[Uri, matches("s3://[^/ ]+(/[^ ]*)?", "write s3://bucket/prefix")]
    """The bucket and prefix."""
    endpoint: Url | None = None
    """The store's address, where it is not AWS."""
    credentials_secret_ref: SecretRef | None = None
    """A Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""


class GitSource(Model):
    """Files in a repository."""

    url: Annotated[
        Uri, matches("(https|ssh)://[^ ]+", "write the repository's address, such as https://host/org/repo.git")
    ]
    """Its address."""
    ref: Annotated[str, Field(max_length=253)] = "HEAD"
    """A branch, tag or commit."""
    path: Annotated[str, Field(max_length=1024)] = "/"
    """Where in it."""
    credentials_secret_ref: SecretRef | None = None
    """A Secret with username and password, or ssh-privatekey."""


class SourceFields(Model):
    """Which fields of a row of jsonl or csv mean what."""

    id: Annotated[str, Field(min_length=1, max_length=63)] = "id"
    """The passage's identity."""
    text: Annotated[str, Field(min_length=1, max_length=63)] = "text"
    """Its text."""


FieldName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matches("[A-Za-z_][A-Za-z0-9_]*", "write a metadata field's name in letters, digits and _, such as groups"),
]


class Source(Model):
    """A place that documents come from."""

    RULES = (
        Rule(
            "[has(self.configMapRef), has(self.pvc), has(self.http), has(self.s3), has(self.git)].filter(x,"
            " x).size() == 1",
            "write exactly one of configMapRef, pvc, http, s3 and git for each source",
        ),
    )
    name: Name
    """Its name, part of every passage's identity."""
    config_map_ref: ConfigMapSource | None = None
    """Documents in a ConfigMap."""
    pvc: PvcSource | None = None
    """Files on a volume."""
    http: HttpSource | None = None
    """A file on the web."""
    s3: S3Source | None = None
    """Objects in a bucket."""
    git: GitSource | None = None
    """Files in a repository."""
    include: Annotated[list[Annotated[str, Field(min_length=1, max_length=253)]], Field(max_length=32)] = []
    """Only files whose path matches one of these globs, such as docs/*.md; absent, those whose ending says that they
    are documents."""
    format: Literal["Auto", "Markdown", "HTML", "PDF", "Docx", "Text", "Jsonl", "Csv"] = "Auto"
    """How to read them; Auto goes by the file's ending."""
    fields: SourceFields = SourceFields()
    """What the fields of jsonl and csv mean."""
    metadata: Annotated[
        dict[str, Annotated[list[Annotated[str, Field(max_length=253)]], Field(max_length=64)]],
        Field(max_length=16),
        Rule(
            "self.all(k, k.matches('^[A-Za-z_][A-Za-z0-9_]{0,62}$'))",
            "write the names of metadata in letters, digits and _, such as groups",
        ),
    ] = {}
    """What all its documents get as metadata, in place of what they have under these names, such as groups: [staff]."""


class Chunking(Model):
    """How documents become passages."""

    RULES = (
        Rule("self.overlap < self.maxTokens", "chunking.overlap must be less than maxTokens, or passages never end"),
    )
    strategy: Literal["Semantic", "Headings", "Fixed", "Document"] = "Semantic"
    """Semantic: at the ends of sections, paragraphs and sentences. Headings: so too, and never across a heading, which
    each passage begins with. Fixed: at maxTokens. Document: one passage each."""
    max_tokens: Annotated[int, Field(ge=8, le=32_768)] = 200
    """The longest passage, in the embedding model's tokens."""
    overlap: Annotated[int, Field(ge=0, le=16_384)] = 20
    """Tokens that neighbours share."""


class Cleaning(Model):
    """What is done to documents before they become passages."""

    redact: bool = False
    """Put a mark such as [EMAIL] where somebody's e-mail address, phone, card or account number, or a key stands."""
    deduplicate: bool = False
    """Index a text once that stands in several places; the first source, and the first file by name, has it."""


class IndexSearch(Model):
    """How to search."""

    ef: Annotated[int, Field(ge=1, le=32_768)] | None = None
    """HNSW: how many candidates to look at; more is slower and finds more."""
    nprobe: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """IVF: how many lists to look into."""


class IndexSettings(Model):
    """The index in the engine."""

    RULES = (
        Rule(
            "!has(self.search) || !has(self.search.ef) || self.type.startsWith('HNSW')",
            "search.ef belongs to HNSW: write nprobe for the IVF types, or remove it",
        ),
        Rule(
            "!has(self.search) || !has(self.search.nprobe) || self.type.startsWith('IVF')",
            "search.nprobe belongs to the IVF types: write ef for HNSW, or remove it",
        ),
    )
    type: Literal["HNSW", "FLAT", "IVF_FLAT", "IVF_SQ8", "IVF_PQ", "SCANN", "DISKANN", "AUTOINDEX"] = "HNSW"
    """How vectors are found."""
    metric: Literal["Cosine", "L2", "IP"] = "Cosine"
    """How near two vectors are."""
    parameters: Annotated[dict[str, int | Annotated[str, Field(max_length=63)]], Field(max_length=16)] = {}
    """The engine's own, such as M and efConstruction."""
    search: IndexSearch = IndexSearch()
    """How to search."""


class IndexBuild(Model):
    """The Job that builds and measures."""

    memory: Quantity = "4Gi"
    """The most memory it may take; it asks for 256Mi. A build that needed more begins again when this is raised."""


class Refresh(Model):
    """When to read the sources again."""

    schedule: Cron | None = None
    """At these times."""
    on_source_change: bool = True
    """When a followed source changes."""
    delete_policy: Literal["OnCompleteListing", "Never"] = "OnCompleteListing"
    """Remove passages whose document is gone only when the whole source could be listed, or never. Those of a source
    that is taken out of spec.sources go either way."""
    max_delete_percent: Annotated[int, Field(ge=0, le=100)] = 30
    """Removing more than this share is not done but reported."""


_NUMBER_OR_FRACTION = Annotated[
    int | Annotated[str, Field(max_length=26)],
    Rule(
        "type(self) == int || string(self).matches('^[0-9]{1,12}([.][0-9]{1,12})?$')",
        'write a number, or a decimal in quotes such as "0.95"',
    ),
]


class IndexGate(Model):
    """A measurement that a new generation must pass before queries see it."""

    RULES = (
        Rule(
            "self.type in ['Latency', 'ScoreDrift'] ? has(self.max) && !has(self.min)"
            " : has(self.min) && !has(self.max)",
            'Latency needs max, such as 50ms, and ScoreDrift too, such as "0.2"; every other gate needs min',
        ),
        Rule(
            "self.type != 'Latency' || !has(self.max) || self.max.matches('[a-z]$')",
            "Latency is a time: write max with its unit, such as 50ms",
        ),
        Rule(
            "self.type != 'ScoreDrift' || !has(self.max) || self.max.matches('[0-9]$')",
            'ScoreDrift is a number: write max as a decimal in quotes, such as "0.2"',
        ),
        Rule("!has(self.concurrency) || self.type == 'Latency'", "concurrency belongs to Latency: remove it"),
        Rule(
            "self.type in ['RowCount', 'Latency', 'ScoreDrift'] || !has(self.min) || type(self.min) == string &&"
            " double(string(self.min)) <= 1.0",
            'recall is between 0 and 1: write min as a decimal in quotes, such as "0.95"',
        ),
        Rule(
            "self.type != 'RowCount' || !has(self.min) || type(self.min) == int",
            "RowCount counts: write min as a whole number",
        ),
        Rule("(self.type == 'Retrieval') == has(self.evalJobRef)", "write evalJobRef if and only if type is Retrieval"),
    )
    type: Literal["AnnRecall", "Retrieval", "Latency", "RowCount", "ScoreDrift"]
    """AnnRecall: this index against exact search. Retrieval: recall on labelled questions. Latency: of a search.
    RowCount: passages. ScoreDrift: how far the best scores lie from those of the served generation."""
    min: _NUMBER_OR_FRACTION | None = None
    """The least it may be."""
    max: (
        Annotated[
            str,
            Field(max_length=26),
            matches(
                "([0-9]{1,6}(ms|s|m|h|d))+|[0-9]{1,12}([.][0-9]{1,12})?",
                'write a duration such as 50ms for Latency, a decimal in quotes such as "0.2" for ScoreDrift',
            ),
        ]
        | None
    ) = None
    """The most it may be: a time for Latency, a population stability index for ScoreDrift."""
    at_k: Annotated[int, Field(ge=1, le=1000)] = 10
    """Recall among the first so many."""
    percentile: Annotated[int, Field(ge=1, le=100)] = 95
    """Which percentile, for Latency."""
    concurrency: Annotated[int, Field(ge=1, le=64)] | None = None
    """Searches at a time, for Latency; one if absent."""
    eval_job_ref: Ref | None = None
    """An EvalJob whose dataset has the questions and the passages that answer them."""


class ApproveAbove(Model):
    """More than this is not embedded before a person has approved it."""

    RULES = (Rule("has(self.passages) || has(self.cost)", 'write passages, such as 50000, or cost, such as "5.00"'),)
    passages: Annotated[int, Field(ge=0)] | None = None
    """Passages that need a new vector."""
    cost: Amount | None = None
    """What their tokens cost, by the embedding service's spec.pricing and in its currency."""


class IndexRollout(Model):
    """How a new generation reaches queries."""

    gates: Annotated[list[IndexGate], Field(max_length=8)] = []
    """All must pass."""
    auto_tune_search: bool = False
    """Raise search.ef until the recall gate passes, or say that it cannot."""
    approve_above: ApproveAbove | None = None
    """Wait for the annotation llmops.dev/approve before more than this is embedded anew."""
    keep_generations: Annotated[int, Field(ge=1, le=10)] = 2
    """Generations kept, the active one included; the one before is there for instant rollback."""


KEYWORD_ENGINES = ("Milvus",)
"""Those whose stores/ finds passages by their words too."""


class Permissions(Model):
    """Who may see which document. Who asks is told by the door, from the key's groups; not by who asks."""

    field: Annotated[
        FieldName,
        Rule(
            "!(self in ['title', 'headings'])",
            "title and headings are what a document says of itself: write another metadata field, such as groups",
        ),
    ]
    """The metadata field that names the groups that may see a document: a list, or one name; "*" is everybody."""
    missing: Literal["Deny", "Allow"] = "Deny"
    """Who may see documents without that field: nobody, or everybody."""


class Rerank(Model):
    """A second look at the first passages, by a model that reads question and passage together."""

    service_ref: Ref
    """An LLMService with task Rerank."""
    candidates: Annotated[int, Field(ge=1, le=200)] = 40
    """How many passages it reads; where more are asked for, all of those."""
    timeout: Annotated[
        str,
        Field(max_length=5),
        matches("[1-9][0-9]{1,2}ms|[1-5]s", "a search has 10 s in all: write 10ms to 999ms, or 1s to 5s"),
    ] = "2s"
    """After which passages are answered in the order that they were found in."""


class QuerySettings(Model):
    """How questions are answered."""

    mode: Literal["Dense", "Keyword", "Hybrid"] = "Dense"
    """By what passages are found. Dense: nearness of vectors. Keyword: their words (BM25). Hybrid: both, by reciprocal
    rank fusion."""

    rerank: Rerank | None = None
    """Have the first passages ordered by how well they answer the question."""
    poor_below: Similarity | None = None
    """A question whose best passage is less near than this found nothing good, and is kept for `llmops search --poor`;
    without it only those that found nothing at all are."""
    permissions: Permissions | None = None
    """Find only what the caller may see; without it every caller finds everything."""


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
            "autoTuneSearch raises ef until the AnnRecall gate passes: add that gate, or remove autoTuneSearch",
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
    """Stop advancing: the active generation stays, no new one is built."""


class Generation(Model):
    """Which build of the index is what."""

    active: int | None = None
    """The one that queries see."""
    building: int | None = None
    """The one being built."""
    name: Annotated[str, Field(max_length=255)] | None = None
    """The active collection's name in the engine."""
    previous: Annotated[str, Field(max_length=255)] | None = None
    """The collection kept for rollback."""
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

    ef: int
    """How many candidates were looked at."""
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
