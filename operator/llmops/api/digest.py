"""The identity of a content: the same fields give the same digest in every version of this program.

The caller lists the fields that matter; None, empty maps, lists and texts are dropped at every depth, so that a field
that exists from now on with an empty default changes no digest. The hashed text begins with the rules' own version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

RULES = "llmops.dev/digest/1"


def digest(fields: Mapping[str, Any]) -> str:
    """64 hexadecimal characters: SHA-256 of the canonical JSON of `fields`."""
    text = json.dumps(
        _without_empty(fields), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(f"{RULES}\n{text}".encode()).hexdigest()


def short(whole: str) -> str:
    """The first ten characters, as in the names of Revisions."""
    return whole[:10]


def _without_empty(value: Any) -> Any:
    if isinstance(value, Mapping):
        kept = {str(key): _without_empty(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if not _empty(inner)}
    if isinstance(value, list | tuple):
        return [_without_empty(inner) for inner in value]  # a place in a list means something: nothing is dropped
    return value


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str | dict | list) and not value)
