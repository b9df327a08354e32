"""How an index's questions are answered, and who may see what."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from llmops.api.common import Model, Ref, Rule, Similarity, matches
from llmops.api.index_sources import FieldName

KEYWORD_ENGINES = ("Milvus",)
"""Those whose stores/ finds passages by their words too."""


_OwnField = Annotated[
    FieldName,
    Rule(
        "!(self in ['title', 'headings'])",
        "title and headings are what a document says of itself: write another metadata field, such as groups",
    ),
]


class Permissions(Model):
    """Who may see which document. Of which groups a caller is, the door says by the caller's key."""

    field: _OwnField
    """The metadata field that names the groups that may see a document: a list, or one name; "*" is everybody."""
    missing: Literal["Deny", "Allow"] = "Deny"
    """Who may see documents without that field: nobody, or everybody."""


class Tenants(Model):
    """Whose each document is. A search is within one tenant's documents, and whose they may be is in the key's
    spec.tenants."""

    field: _OwnField
    """The metadata field that names a document's one tenant, a text. Documents without it are left out and named in
    status.unread."""


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

    replicas: Annotated[int, Field(ge=1, le=16)] = 1
    """Query servers, on different nodes and zones where that can be. With 2 no question is lost when a node is drained,
    and hardly one when it breaks. One is the default: the vector database of a small index is one pod too, and the
    gateway asks again for ten seconds."""
    rerank: Rerank | None = None
    """Have the first passages ordered by how well they answer the question."""
    poor_below: Similarity | None = None
    """A question whose best passage is less near than this found nothing good, and is kept for `llmops search --poor`;
    without it only those that found nothing at all are."""
    permissions: Permissions | None = None
    """Find only what the caller may see; without it every caller finds everything."""
    tenants: Tenants | None = None
    """Keep the documents of many tenants in this index apart; each search names one of them, and finds no other's."""
