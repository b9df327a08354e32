"""A passage: what is embedded, stored, found and cited."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmops.api.filters import WHOLE

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


DEEPEST = 32
UNSEEN = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff\x00]")  # marks that tell how letters are set
HALVES = re.compile("[\ud800-\udfff]")  # of a letter that was cut in two: no text that can be kept


def storable(value: Any, deepest: int = DEEPEST) -> Any:
    """Metadata as every engine holds them: whole numbers of more than 64 bits only nearly, what is no letter as U+FFFD.
    ValueError for a number that is too large even so, and for what lies within itself too deep."""
    if isinstance(value, str):
        return HALVES.sub("\ufffd", value)
    if isinstance(value, dict | list):
        if not deepest:
            raise ValueError(f"it has lists or fields more than {DEEPEST} deep")
        if isinstance(value, list):
            return [storable(one, deepest - 1) for one in value]
        return {storable(name): storable(one, deepest - 1) for name, one in value.items()}
    if isinstance(value, int) and value not in WHOLE:
        try:
            return float(value)
        except OverflowError:
            raise ValueError("it has a whole number that is too large to be kept") from None
    return value
