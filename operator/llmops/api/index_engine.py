"""The vector database of an index: which, where, and whose."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from llmops.api.common import Model, Name, Quantity, Resources, Rule, SecretRef, Uri, Word, matches


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
            "!has(self.image) || self.mode in ['Lite', 'Standalone']",
            "this engine is not run by us: remove image, and change it where the engine is (of a Milvus that is made "
            "for the index, in spec.components.image of that Milvus)",
        ),
        Rule(
            "!has(self.resources) || self.mode in ['Lite', 'Standalone']",
            "this engine is not run by us: remove resources, and size it where it is (a Milvus that is made for the "
            "index by cluster.replicas and in spec.components of that Milvus)",
        ),
        Rule(
            "!has(self.backup) || self.mode in ['Lite', 'Standalone']",
            "only the volume of an engine that we run (mode Lite or Standalone) is backed up: remove backup, and back "
            "this one up where it is",
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
    resources: Resources | None = None
    """CPU and memory of its pod, where it is ours, such as limits: {memory: 16Gi}; Lite has 4Gi at most by itself,
    Standalone 8Gi."""
    image: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """Its container image, where it is ours, of the same mode; the operator's own if absent, which an upgrade of the
    operator may change."""
    backup: Literal["BeforeImageChange", "Never"] | None = None
    """Whether what an image wrote to the volume is saved before another image opens it, and put back when that image
    comes back: BeforeImageChange, if absent. Never: whatever image comes opens what is there."""
    cluster: ClusterEngine | None = None
    """Of which Milvus, in mode Cluster."""
    external: ExternalEngine | None = None
    """Where it is, where it is not ours."""


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
