"""Whose each document is, where an index keeps tenants apart: decided once, when it is read. Pure.

A document of nobody's is not taken for everybody's: it is left out and named. What its source says (sources[].metadata)
counts before what it says itself, and its own word is never redacted: two customers called by their e-mail addresses
would become one, [email].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmops.api.tenants import FORM
from llmops.retrieval.ingest.parse import Document
from llmops.retrieval.passage import Passage
from llmops.retrieval.stores.tenants import named

Given = Mapping[str, list[str]]
"""What a source says of all its documents."""


def owned(one: Document, own: Mapping[str, Any], given: Given, field: str) -> Document | str:
    """The document with its tenant in the field, or why it has none; `own` is its metadata before redaction."""
    whose = {field: _of_source(given, field) if field in given else own.get(field)}
    if named(whose, field) is None:
        said = "says nothing" if whose[field] is None else f"is {str(whose[field])[:60]!r}"
        return (
            f"document {one.id} is no tenant's and left out: its metadata {field} {said}, and must be {FORM} "
            "(spec.query.tenants)"
        )
    return replace(one, metadata={**one.metadata, **whose})


def carried(one: Passage, given: Given, field: str, believed: bool) -> Passage | None:
    """A passage of the served generation, where its document was not seen this time; None where it is nobody's.
    `believed`: whether what stands in its field was written there as a tenant."""
    own = one.metadata.get(field) if believed else None
    metadata = {**one.metadata, field: _of_source(given, field) if field in given else own}
    return replace(one, metadata=metadata) if named(metadata, field) is not None else None


def _of_source(given: Given, field: str) -> str | list[str]:
    return given[field][0] if len(given[field]) == 1 else given[field]
