"""GET /passages?from=HEX&to=HEX&limit=N: some of the served generation, by the hashes of their texts, for people who
make something of them. A hash says nothing of what a text is about, so any page is a fair sample.

-> {generation, index, rows, passages: [{id, text, source, hash, tenant?, groups?}]}; `rows` is how many there are in
all, `groups` whose members find the passage (["*"]: everybody, []: nobody), in an index with permissions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from llmops.retrieval.server.permissions import Permissions
from llmops.retrieval.server.served import Served
from llmops.retrieval.stores.base import Reader, Row
from llmops.retrieval.stores.tenants import named

MOST = 100
HASH = re.compile(r"[0-9a-f]{0,64}")


class WindowWrong(ValueError):
    """What was asked for, in a sentence that says what to write."""


@dataclass(frozen=True)
class Window:
    """Hashes from `low` and below `high`; an empty `high` is the end."""

    low: str = ""
    high: str = ""
    limit: int = MOST


def parse(query: bytes) -> Window:
    """Of the address's query, or WindowWrong."""
    given = {name: values[-1] for name, values in parse_qs(query.decode("latin-1")).items()}
    low, high, limit = given.get("from", ""), given.get("to", ""), given.get("limit", str(MOST))
    if not HASH.fullmatch(low) or not HASH.fullmatch(high):
        raise WindowWrong("from and to must be small hex digits, at most 64, such as from=40&to=4f")
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit) <= MOST:
        raise WindowWrong(f"limit must be a whole number from 1 to {MOST}")
    return Window(low, high, int(limit))


async def page(
    reader: Reader, served: Served, index: str, query: bytes, tenants: str = "", rule: Permissions | None = None
) -> dict[str, Any]:
    """The reply. `tenants`: the field of metadata with whose a passage is; `rule`: who sees it. Else WindowWrong, or
    StoreError."""
    wanted = parse(query)
    found = await reader.page(served.collection, wanted.low, wanted.high, wanted.limit)
    return {
        "generation": served.generation,
        "index": index,
        "rows": int(served.told["rows"]),
        "passages": [_shown(one, tenants, rule) for one in found],
    }


def _shown(one: Row, tenants: str, rule: Permissions | None) -> dict[str, Any]:
    whose = named(one.metadata, tenants) if tenants else None
    told: dict[str, Any] = {"id": one.id, "text": one.text, "source": one.document, "hash": one.hash}
    told |= {} if whose is None else {"tenant": whose}
    return told if rule is None else {**told, "groups": rule.whose(one.metadata)}
