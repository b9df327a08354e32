"""What a filter means, in Python, and filters at random to ask engines for."""

from __future__ import annotations

import operator
import random
import re
from collections.abc import Mapping
from typing import Any

from llmops.api.filters import POSITIVE, Test, Tree

ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
VALUES = ("1", "2", "2.5", "'x'", "'abc'", "'1'", "'a%'", "'q'")


def admits(tree: Tree, columns: Mapping[str, str], metadata: Mapping[str, Any]) -> bool:
    """Whether a passage is kept."""
    if not isinstance(tree, Test):
        return (all if tree.word == "and" else any)(admits(one, columns, metadata) for one in tree.parts)
    value: Any = columns[tree.path[0]] if len(tree.path) == 1 else metadata
    for key in tree.path[1:]:
        value = value.get(key) if isinstance(value, dict) else None
    if tree.is_ == "missing" or value is None:
        return tree.is_ == "missing" and value is None
    if tree.is_ in POSITIVE:
        return not _positive(POSITIVE[tree.is_], value, tree.value)
    return _positive(tree.is_, value, tree.value)


def _positive(is_: str, value: Any, asked: Any) -> bool:
    if is_ == "exists":
        return True
    if is_ == "contains":
        return isinstance(value, list) and any(_same(one, asked) for one in value)
    if is_ == "in":
        return any(_same(value, one) for one in asked)
    if is_ == "like":
        return isinstance(value, str) and re.fullmatch(asked.replace("%", ".*"), value, re.DOTALL) is not None
    if is_ == "==":
        return _same(value, asked)
    return _kind(value) == _kind(asked) and bool(ORDER[is_](value, asked))


def _same(one: Any, other: Any) -> bool:
    return _kind(one) == _kind(other) and bool(one == other)


def _kind(value: Any) -> type:
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)


def some(chance: random.Random, lists: bool, depth: int = 0) -> str:
    """A filter; without `lists` for an engine that takes a list for each of its elements, and one value for a list.
    Flags are compared with no numbers: to Milvus Lite true is 1."""
    if depth > 2 or chance.random() < 0.45:
        written = _of_column(chance) if chance.random() < 0.25 else _of_metadata(chance, lists)
    else:
        parts = [some(chance, lists, depth + 1) for _ in range(chance.randint(2, 3))]
        written = f"({chance.choice([' and ', ' or ']).join(parts)})"
    return f"not ({written})" if chance.random() < 0.25 else written


def _of_column(chance: random.Random) -> str:
    how = ("== 'a/1'", "!= 'a'", "in ['a', 'a/2']", "not in ['a/3#0', 'a/2']", "like 'a/%'", "not like 'a/2%'")
    return f"{chance.choice(['document', 'source', 'id', 'text'])} {chance.choice(how)}"


def _of_metadata(chance: random.Random, lists: bool) -> str:
    keys = ("page", "t", "flag", "tags", "deep", 'deep"]["k', "no")
    key = chance.choice(keys)
    field = f'metadata["{key}"]'
    values: tuple[str, ...] = ("true", "false", "'x'") if key == "flag" else VALUES
    several = ", ".join(chance.sample(values, chance.randint(0, 3)))
    contained = (f"json_contains({field}, {chance.choice(values)})", f"json_contains_any({field}, ['p', 'q'])")
    there = (f"exists {field}", f"not exists {field}")
    compared = (
        *(f"{field} {word} {chance.choice(values)}" for word in ("==", "!=")),
        *(f"{field} {word} {chance.choice(VALUES)}" for word in ORDER if key != "flag"),
        f"{field} in [{several}]", f"{field} not in [{several}]", f"{field} like 'a%'", f"{field} not like 'a%'",
    )  # fmt: skip
    if lists:
        return chance.choice((*contained, *there, *compared))
    return chance.choice((*contained, *there) if key == "tags" else (*there, *compared))
