"""What Milvus is asked to filter by: the user's filter, within what the caller may see. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

from llmops.api.grammar import parse
from llmops.retrieval.stores.base import SEEN_BY, Asked, Restriction
from llmops.retrieval.stores.expressions import expression
from llmops.retrieval.stores.tenants import TENANT, Tenant

SEEN_BY_BYTES = 16_000
"""Of the column with who may see a passage, in Milvus Lite: what is in JSON it reads row by row, 230 ms of 6000."""


def within(asked: Asked, by_key: bool = False) -> str:
    """The user's filter, within what may be found at all; `by_key` where the collection has dynamic fields."""
    ours = [_of_tenant(asked.tenant)] if asked.tenant else []
    ours += [_may_be_found(asked.only)] if asked.only else []
    theirs = [expression(parse(asked.filter), by_key)] if asked.filter else []
    return " and ".join(f"({one})" for one in ours + theirs)


def seen_by(given: Any) -> str:
    """|staff|support|; empty where nothing is said. Names that no group can have are left out, and what LIKE takes for
    any letter stands as another sign."""
    if given is None:
        return ""
    listed = given if isinstance(given, list) else [given]
    names = [one for one in listed if isinstance(one, str) and re.fullmatch(r"\*|[-A-Za-z0-9_./]{1,127}", one)]
    whole = "|".join(["", *names, ""])[:SEEN_BY_BYTES]
    return whole[: whole.rindex("|") + 1].replace("_", "~") or "|"


def _of_tenant(tenant: Tenant) -> str:
    """Of a partition's key Milvus makes out which partition to search only where it stands first, and alone."""
    if tenant.mark:
        return f'{TENANT} == "{tenant.mark}"'
    return f'metadata["{tenant.field}"] == {json.dumps(tenant.name, ensure_ascii=False)}'


def _may_be_found(only: Restriction) -> str:
    """In Milvus's words."""
    if only.column:
        ways = [f'{SEEN_BY} like "%{seen_by([name])}%"' for name in only.names]
        return " or ".join(ways + [f'{SEEN_BY} == ""'] * only.missing)
    return _in_json(only)


def _in_json(only: Restriction) -> str:
    """`==` and not `in`, which Milvus Lite does not know for a part of JSON."""
    field, names = f'metadata["{only.field}"]', [json.dumps(name) for name in only.names]
    ways = [f"json_contains_any({field}, [{', '.join(names)}])", *(f"{field} == {name}" for name in names)]
    return " or ".join(ways + [f"not exists {field}"] * only.missing)
