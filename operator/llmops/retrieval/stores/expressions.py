"""A filter's tree as Milvus's expression. Pure.

What Milvus is given is made of the tree alone, so that nothing in a filter can end the parentheses it stands in.

Milvus Lite reads `metadata`, which is JSON, row by row with the vectors. Dynamic fields cost it a seventh of that
(bench.filters), so a passage's metadata stands there too, key by key (`dynamic`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmops.api.filters import POSITIVE, FilterWrong, Test, Tree

PREFIX = "m."
"""So that no key of metadata is taken for a column."""
NOTHING = "id in []"
ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t"})


def dynamic(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A passage's dynamic fields; a null is as good as no key."""
    return {PREFIX + key: value for key, value in metadata.items() if value is not None}


def expression(tree: Tree, by_key: bool) -> str:
    """`by_key` where the collection has dynamic fields; FilterWrong for what Milvus cannot say."""
    if not isinstance(tree, Test):
        return _joined(tree.word, [expression(one, by_key) for one in tree.parts])
    field = _field(tree.path, by_key)
    if tree.is_ == "missing":
        return f"(not (exists {field}))"
    if tree.is_ not in POSITIVE:
        return _positive(tree, field)
    there = f"(exists {field}) and " if len(tree.path) > 1 else ""  # a passage without the key is left out of both
    return f"({there}not ({_positive(replace(tree, is_=POSITIVE[tree.is_]), field)}))"


def _joined(word: str, parts: list[str]) -> str:
    """Halves in halves: Milvus 2.3.5 reads no chain of a hundred."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return f"({_joined(word, parts[:half])} {word} {_joined(word, parts[half:])})"


def _positive(test: Test, field: str) -> str:
    if test.is_ == "exists":
        return f"(exists {field})"
    if test.is_ == "contains":  # which Milvus Lite asks of no dynamic field
        return f"json_contains({_field(test.path, by_key=False)}, {_said(test.value)})"
    if test.is_ == "in":
        if len(test.path) == 1:
            return f"{field} in {_said([*test.value])}"
        return _joined("or", [f"{field} == {_said(one)}" for one in test.value]) if test.value else NOTHING
    if test.is_ == "like" and "\\" in test.value:
        raise FilterWrong("Milvus knows no escaped % or _ in like: write == for a text that has them")
    return f"{field} {test.is_} {_said(test.value)}"


def _field(path: tuple[str, ...], by_key: bool) -> str:
    """A key within a key is found in the JSON only; so is one that is written strangely."""
    if by_key and len(path) == 2 and re.fullmatch(r"[\w .-]+", path[1]):
        return f'$meta["{PREFIX}{path[1]}"]'
    return "".join([path[0], *(f"[{_said(one)}]" for one in path[1:])])


def _said(value: Any) -> str:
    """Milvus Lite knows these escapes only."""
    if isinstance(value, str):
        return f'"{value.translate(ESCAPED)}"'
    return f"[{', '.join(map(_said, value))}]" if isinstance(value, list) else json.dumps(value)
