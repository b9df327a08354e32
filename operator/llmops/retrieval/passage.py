"""A passage: what is embedded, stored, found and cited."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TEXT_BYTES = 65_000  # what is kept of its text: Milvus takes no more in a field


@dataclass(frozen=True)
class Passage:
    """A piece of a document, small enough to be embedded whole."""

    id: str
    document: str
    source: str
    text: str
    metadata: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """The identity of its text: an equal one needs no new vector."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def kept_text(text: str) -> str:
    """As much of a text as every engine keeps."""
    return text.encode()[:TEXT_BYTES].decode(errors="ignore")


WHOLE = range(-(2**63), 2**63)


def storable(value: Any) -> Any:
    """Metadata as every engine holds them: whole numbers of more than 64 bits only nearly. OverflowError for one that
    is too large even so."""
    if isinstance(value, dict):
        return {name: storable(one) for name, one in value.items()}
    if isinstance(value, list):
        return [*map(storable, value)]
    return float(value) if isinstance(value, int) and value not in WHOLE else value
