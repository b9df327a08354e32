"""What one index Job has to do, as a value that travels as JSON, and the digests that say which change costs what."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, NamedTuple

from llmops.api import digest, short
from llmops.retrieval.words import CUT

WORK_FILE = "work.json"
QUESTIONS_FILE = "questions.jsonl"
OUTCOME = "outcome.json"
PROGRESS = "progress.json"
FAILURE = "failure.txt"
WAITING = "waiting.json"
PINNED = "pinned.json"  # told by the operator, at any time: the generations that releases name, which are never removed
CONFIG_ERROR = 3  # exit status of a Job whose work is wrong: no retry helps


def content_sha256(files: Mapping[str, bytes]) -> str:
    """The identity of a ConfigMap source's content: of the files that its pod sees, text or not."""
    whole = json.dumps(sorted((name, _written(one)) for name, one in files.items()), ensure_ascii=False)
    return hashlib.sha256(whole.encode()).hexdigest()


def _written(one: bytes) -> str:
    try:
        return one.decode()
    except UnicodeDecodeError:
        return base64.b64encode(one).decode()


@dataclass(frozen=True)
class SourceWork:
    """One source. A ConfigMap is handed over by the digest of its content; what stands behind another address only the
    Job can tell, so the work names the look (a turn of the schedule, a person's retry) that it is for."""

    name: str
    format: str
    id_field: str
    text_field: str
    sha256: str = ""
    key: str | None = None
    kind: str = ""  # pvc, http, s3, git; empty for a ConfigMap
    address: str = ""  # a path on the claim, a web address, s3://bucket/prefix, a repository
    claim: str = ""
    endpoint: str = ""
    ref: str = ""
    path: str = ""
    include: tuple[str, ...] = ()
    secret: str = ""  # its name: a key that was wrong is mended by naming the right one
    look: str = ""
    version: str = ""  # what the place said of its content when it was read
    metadata: Mapping[str, list[str]] = field(default_factory=dict)  # what each of its documents gets


@dataclass(frozen=True)
class EmbeddingWork:
    """Who embeds: the service's own address, the name it knows itself by, and the digest of its revision. Where it is
    somebody's API: the door's address, and the type of its Provider."""

    url: str
    model: str
    revision: str
    query_prefix: str = ""
    document_prefix: str = ""
    batch_size: int = 32
    provider: str = ""


@dataclass(frozen=True)
class RerankWork:
    """Who reads the first `candidates` passages again, and how long it may take."""

    url: str
    model: str
    revision: str
    candidates: int = 40
    seconds: float = 2.0

    @classmethod
    def read(cls, told: Mapping[str, Any] | None) -> RerankWork | None:
        """As it was written, perhaps by another version, which may have told more."""
        return cls(**{one.name: told[one.name] for one in fields(cls) if one.name in told}) if told else None


@dataclass(frozen=True)
class Parts:
    """The work's digests, by what a change in them costs; `documents` apart from `chunking` since vectors of
    unchanged passages can be copied over, and `space` since then none can."""

    space: str
    chunking: str
    documents: str
    index: str
    search: str

    @property
    def collection(self) -> str:
        """The identity of a generation's content and index: equal means that nothing needs to be built."""
        return digest(
            {"space": self.space, "chunking": self.chunking, "documents": self.documents, "index": self.index}
        )

    @property
    def key(self) -> str:
        """The identity of the whole: equal means that nothing needs to be done."""
        return digest(asdict(self))


@dataclass(frozen=True)
class Work:
    """Everything a Job needs to know."""

    index: str  # namespace/name
    alias: str
    engine: str  # its address
    sources: tuple[SourceWork, ...]
    chunking: Mapping[str, Any]
    embedding: EmbeddingWork
    index_type: str
    metric: str
    parameters: Mapping[str, Any]
    search: Mapping[str, int]
    gates: tuple[Mapping[str, Any], ...] = ()
    questions_sha256: str = ""
    auto_tune: bool = False
    keep_generations: int = 2
    max_delete_percent: int = 30
    copy_vectors: bool = field(default=False)
    redact: bool = False
    deduplicate: bool = False
    languages: tuple[str, ...] = ()  # sorted; "*" for all; none: nobody looks which they are in
    never_delete: bool = False
    engine_type: str = "Milvus"
    database: str = ""
    mode: str = "Dense"  # by what passages are found: Dense, Keyword or Hybrid
    rerank: RerankWork | None = None
    ask_above: Mapping[str, int] = field(default_factory=dict)  # passages, tokens: more are not embedded unapproved
    seen_by: str = ""  # the metadata field that permissions are searched by, where a generation is made for that
    tenants: str = ""  # the metadata field that names a document's one tenant, where tenants are kept apart
    after: int = 0  # the highest number that a generation had, by the index's status
    place: str = ""  # which engine this is, where it is not Lite: in another one, everything is to be built
    only_there: bool = False  # serve a generation that is there already, or nothing

    @property
    def keyword(self) -> bool:
        """Whether passages are to be found by their words too, which takes a field and an index of its own."""
        return self.mode != "Dense"

    @property
    def parts(self) -> Parts:
        """Each digest lists the fields that matter for it; what is in none (keepGenerations…) costs nothing."""
        embedding = self.embedding
        return Parts(
            space=digest({
                "model": embedding.model, "revision": embedding.revision, "prefix": embedding.document_prefix,
                "metric": self.metric, "provider": embedding.provider,
            }),
            chunking=digest({
                **self.chunking, "redact": self.redact or None, "deduplicate": self.deduplicate or None,
                "languages": self.languages,
            }),
            documents=digest({"sources": [asdict(one) for one in self.sources]}),
            index=digest({
                "type": self.index_type, "parameters": self.parameters, "place": self.place, "seen_by": self.seen_by,
                "keyword": CUT if self.keyword else None, "tenants": self.tenants or None,
            }),
            search=digest({
                "search": self.search, "gates": list(self.gates), "questions": self.questions_sha256,
                "tune": self.auto_tune or None, "prefix": embedding.query_prefix,
                "mode": self.mode if self.keyword else None, "rerank": asdict(self.rerank) if self.rerank else None,
            }),
        )  # fmt: skip

    def read(self, versions: Mapping[str, str]) -> Work:
        """The same work, with what its sources turned out to have instead of when to look: its `parts.collection` is
        the identity of a generation."""
        sources = (replace(one, look="", version=versions[one.name] if one.kind else "") for one in self.sources)
        return replace(self, sources=tuple(sources))

    @property
    def timeless(self) -> str:
        """The identity of the whole, whenever its sources are looked at."""
        return replace(self, sources=tuple(replace(one, look="") for one in self.sources)).parts.key

    @property
    def short(self) -> str:
        """As in the names of the Job and its ConfigMaps."""
        return short(self.parts.key)

    @property
    def prefix(self) -> str:
        """How the names of this index's collections begin; with the whole alias where others may be in that engine."""
        return f"{self.alias if self.place else _letters(self.index.split('/', 1)[1])}__g"

    def dumps(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)


def loads(text: str) -> Work:
    """What `dumps` wrote; ValueError says what does not fit."""
    raw = json.loads(text)
    try:
        sources = tuple(SourceWork(**{**one, "include": tuple(one.get("include", ()))}) for one in raw.pop("sources"))
        return Work(
            sources=sources,
            embedding=EmbeddingWork(**raw.pop("embedding")),
            gates=tuple(raw.pop("gates")),
            languages=tuple(raw.pop("languages", ())),
            rerank=RerankWork.read(raw.pop("rerank", None)),
            **raw,
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"work that cannot be read: {error!r}") from None


def alias_of(namespace: str, name: str) -> str:
    """The alias: engines know no namespaces and few characters; the hash keeps a-b and a_b apart."""
    mark = hashlib.sha256(f"{namespace}/{name}".encode()).hexdigest()[:8]
    return f"{_letters(namespace)}_{_letters(name)}_{mark}"


def _letters(name: str) -> str:
    text = re.sub("[^A-Za-z0-9]", "_", name)
    return text if text[0].isalpha() else f"n{text}"


class Question(NamedTuple):
    """A labelled question: the documents (or passages) that answer it, and whose they are where tenants are kept
    apart."""

    text: str
    documents: list[str]
    tenant: str = ""

    @property
    def row(self) -> dict[str, Any]:
        """As it is handed to the Job."""
        told = {"question": self.text, "documents": self.documents}
        return {**told, "tenant": self.tenant} if self.tenant else told


Questions = list[Question]
