"""A filter's tree as Qdrant's conditions. Pure.

Qdrant asks lists by their elements: `metadata["tags"] == "new"` is true of a list that has "new" too, where other
engines want json_contains.
"""

from __future__ import annotations

import re
from typing import Any

from llmops.api.filters import POSITIVE, FilterWrong, Test, Tree
from llmops.api.grammar import parse
from llmops.retrieval.stores.base import Restriction
from llmops.retrieval.stores.tenants import TENANT, Tenant

Condition = dict[str, Any]

HAS = "has"
"""Of a point's payload: the names of its metadata that are not null."""
OLDEST = (1, 16)
"""The first version whose collections have metadata."""
NEWER = {"prefix": ((1, 19), 'like "a%"'), "substring": ((1, 20), 'like "%a%"')}
"""Matches that came later, and that older servers refuse: qdrant/qdrant's pull request 9683 is in 1.19.0, substrings
are in the 1.20.0 of its clients."""
RANGES = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}


def conditions(text: str, only: Restriction | None = None, tenant: Tenant | None = None) -> Condition:
    """As Qdrant's `filter`; FilterWrong where it has no such condition."""
    ours = [_of_tenant(tenant)] if tenant else []
    ours += [_may_be_found(only)] if only else []
    return {"must": [*ours, *([_condition(parse(text))] if text else [])]}


def since(wanted: Condition) -> tuple[tuple[int, int], str]:
    """The first version that knows all of a filter, and what of ours needs it."""
    parts = (one for word in ("must", "should", "must_not") for one in wanted.get(word, ()))
    own = (NEWER[how] for how in wanted.get("match", ()) if how in NEWER)
    return max([(OLDEST, ""), *own, *map(since, parts)])


def _of_tenant(tenant: Tenant) -> Condition:
    """In metadata Qdrant takes a list that names it for the name; those the query server leaves out."""
    if tenant.mark:
        return {"key": TENANT, "match": {"value": tenant.mark}}
    return {"key": _key(("metadata", tenant.field)), "match": {"value": tenant.name}}


def _may_be_found(only: Restriction) -> Condition:
    """As `Restriction.admits` says."""
    key = _key(("metadata", only.field))
    named = {"key": key, "match": {"any": [*only.names]}}
    # not is_empty: an empty list is empty too, and yet names nobody
    nothing = {"must_not": [{"key": HAS, "match": {"value": only.field}}]}
    return {"should": [named, nothing]} if only.missing else {"must": [named]}


def _condition(tree: Tree) -> Condition:
    if not isinstance(tree, Test):
        return {"must" if tree.word == "and" else "should": [_condition(one) for one in tree.parts]}
    key, exists = _key(tree.path), {"must_not": [{"is_empty": {"key": _key(tree.path)}}]}
    if tree.is_ == "exists":
        return exists
    if tree.is_ == "missing":
        return {"is_empty": {"key": key}}
    if tree.is_ in POSITIVE:  # a passage without the key is left out of the opposite too
        return {"must": [exists], "must_not": [_positive(key, POSITIVE[tree.is_], tree.value)]}
    return _positive(key, tree.is_, tree.value)


def _positive(key: str, is_: str, value: Any) -> Condition:
    if is_ == "like":
        return {"key": key, "match": _like(value)} if value.strip("%") else {"must_not": [{"is_empty": {"key": key}}]}
    if is_ == "in":
        # an empty `should` would keep everything
        return {"should": [_equal(key, one) for one in value]} if value else {"has_id": []}
    if is_ in RANGES:
        if isinstance(value, str):
            raise FilterWrong("Qdrant compares only numbers with <, <=, > and >=: write ==, in or like for a text")
        return {"key": key, "range": {RANGES[is_]: value}}
    return _equal(key, value)


def _equal(key: str, value: Any) -> Condition:
    if isinstance(value, str | bool):
        return {"key": key, "match": {"value": value}}
    return {"key": key, "range": {"gte": value, "lte": value}}  # 1 is 1.0, which a match does not know


def _like(pattern: str) -> Condition:
    """Qdrant knows what a text is, begins with, and has in it."""
    found = re.fullmatch(r"(%*)((?:\\.|[^%_\\])*)(%*)", pattern, re.DOTALL)
    if found is None or (found[1] and not found[3]):
        raise FilterWrong('Qdrant knows like "a%" and like "%a%" only')
    text = re.sub(r"\\(.)", r"\1", found[2], flags=re.DOTALL)
    return {"substring" if found[1] else "prefix" if found[3] else "value": text}


def _key(path: tuple[str, ...]) -> str:
    if any(mark in name for name in path for mark in '"\\'):
        raise FilterWrong("Qdrant reads no key of metadata with a quote or a backslash in it")
    return ".".join([path[0], *(f'"{name}"' for name in path[1:])])
