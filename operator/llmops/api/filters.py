"""The filter of a search: Milvus's expressions, read once for every engine, as a tree.

    source == "faq" and (metadata["year"] >= 2024 or document in ["faq/a", "faq/b"]) and not text like "%draft%"

A field is id, document, source, text, hash, or a key of metadata: metadata["a"]["b"]. Whatever is asked of a key that a
passage does not have, the passage is left out, also with != and not; `exists metadata["a"]` asks for the key itself.
Negations are carried to the tests, so that a tree has none: `not (a == 1 or b > 2)` becomes `a != 1 and b <= 2`.
How one is read stands in grammar.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

Value = str | bool | int | float

QUOTED = r""""(\\.|[^"\\])*"|'(\\.|[^'\\])*'"""
"""A text; the grammar's, and by it no template's `{{ }}` stands within one (templates/narrow.py)."""
NEGATED = {
    "==": "!=", "<": ">=", ">": "<=", "in": "not in", "like": "not like", "exists": "missing", "contains": "lacks",
}  # fmt: skip
NEGATED |= {opposite: one for one, opposite in NEGATED.items()}
POSITIVE = {"!=": "==", "not in": "in", "not like": "like", "lacks": "contains", "missing": "exists"}
"""Of what leaves passages out, what it leaves out."""
WHOLE = range(-(2**63), 2**63)  # larger numbers every engine knows only nearly
LONGEST = 4096  # characters


class FilterWrong(Exception):
    """A filter that cannot be read, or not by this engine; the sentence says what to write."""


@dataclass(frozen=True)
class Test:
    """One question about one field."""

    __test__ = False  # pytest takes the name for a class of tests

    path: tuple[str, ...]  # ("document",), or ("metadata", "year")
    is_: str  # one of NEGATED
    value: Any = None  # a Value, a tuple of them for `in`, None for `exists`


@dataclass(frozen=True)
class Together:
    """All of its parts (`and`), or at least one (`or`)."""

    word: str
    parts: tuple[Tree, ...]
    depth: int = 1


Tree = Test | Together


def literal(value: Any) -> str:
    """A value as a filter writes it; FilterWrong for what it cannot hold."""
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float) and math.isfinite(value):
        return str(value)
    if isinstance(value, list | tuple) and not any(isinstance(one, list | tuple) for one in value):
        return f"[{', '.join(map(literal, value))}]"
    kind = "null" if value is None else f"a value of type {type(value).__name__}"
    raise FilterWrong(f"{kind} has no place in a filter: give a text, a number, true, false or a list of those")


def negated(tree: Tree) -> Tree:
    """What leaves out what `tree` keeps."""
    if isinstance(tree, Test):
        return Test(tree.path, NEGATED[tree.is_], tree.value)
    return Together("or" if tree.word == "and" else "and", tuple(map(negated, tree.parts)), tree.depth)
