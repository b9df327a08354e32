"""How a filter is read: its grammar, and the tree that becomes of it (filters.py).

Apart, since only who reads filters needs lark: the operator that accepts them and the query server, not the door.
"""

from __future__ import annotations

import math
import re
from functools import cache, lru_cache
from typing import Any

from lark import Lark, Token, Transformer, UnexpectedInput, v_args

from llmops.api.filters import QUOTED, WHOLE, FilterWrong, Test, Together, Tree, Value, negated

GRAMMAR = rf"""
?start: any
?any: all (_OR all)*
?all: part (_AND part)*
?part: _NOT part -> inverted | "(" any ")" | test
test: path COMPARES value | path IN list | path LIKE value
    | _EXISTS path -> exists
    | CONTAINS "(" path "," (value | list) ")" -> contains
path: COLUMN -> column | "metadata" ("[" TEXT "]")+ -> key
list: "[" [value ("," value)*] "]"
value: TEXT -> text | NUMBER -> number | TRUE -> true | FALSE -> false
COLUMN: /(id|document|source|text|hash)\b/
CONTAINS: /json_contains(_any|_all)?\b/i
COMPARES: "==" | "!=" | "<=" | ">=" | "<" | ">"
IN: /(not\s+)?in\b/i
LIKE: /(not\s+)?like\b/i
_OR: /or\b|\|\|/i
_AND: /and\b|&&/i
_NOT: /not\b|!/i
_EXISTS: /exists\b/i
TRUE: /true\b/i
FALSE: /false\b/i
TEXT: /{QUOTED}/s
NUMBER: /-?\d+(\.\d+)?([eE][+-]?\d+)?\b/
%ignore /\s+/
"""
DEEPEST = 40
HOW = (
    'fields are id, document, source, text, hash and metadata["key"], each followed by ==, !=, <, <=, >, >=, like "a%" '
    'or in ["a", "b"]; exists metadata["key"]; json_contains(metadata["key"], "a"); join them with and, or, not and '
    "parentheses"
)
ESCAPES = {"\\": "\\", '"': '"', "'": "'", "n": "\n", "t": "\t", "r": "\r"}


@lru_cache(256)
def parse(text: str) -> Tree:
    """The tree, or FilterWrong with what to write."""
    try:
        tree: Tree = _parser().parse(text)  # type: ignore[assignment]
    except UnexpectedInput as problem:
        rest = text[problem.pos_in_stream :] if text.strip() else ""  # where nothing is, there is no position
        where = f"from here on: {rest[:40]}" if rest else "to its end"
        raise FilterWrong(f"it cannot be read {where} ({HOW})") from None
    return tree


@v_args(inline=True)
class _Build(Transformer[Token, Tree]):
    """Called for each rule while it is read, so that no depth of a filter is a depth of ours."""

    def any(self, *parts: Tree) -> Tree:
        return _together("or", parts)

    def all(self, *parts: Tree) -> Tree:
        return _together("and", parts)

    def inverted(self, tree: Tree) -> Tree:
        return negated(tree)

    def test(self, path: tuple[str, ...], word: Token, value: Any) -> Tree:
        is_ = " ".join(word.lower().split())
        values = value if isinstance(value, tuple) else (value,)
        if (len(path) == 1 or "like" in is_) and not all(isinstance(one, str) for one in values):
            raise FilterWrong(f"{path[0]} is compared with a text here: write it in quotes")
        if is_[0] in "<>" and isinstance(value, bool):
            raise FilterWrong("true and false are neither less nor more: write == or !=")
        return Test(path, is_, value)

    def exists(self, path: tuple[str, ...]) -> Tree:
        return Test(path, "exists")

    def contains(self, name: Token, path: tuple[str, ...], value: Any) -> Tree:
        several = value if isinstance(value, tuple) else (value,)
        if len(path) == 1 or not several or isinstance(value, tuple) == (name.lower() == "json_contains"):
            raise FilterWrong(
                'write json_contains(metadata["tags"], "a") or json_contains_any(metadata["tags"], ["a"])'
            )
        return _together("and" if name.lower().endswith("all") else "or", [Test(path, "contains", v) for v in several])

    def column(self, name: Token) -> tuple[str, ...]:
        return (str(name),)

    def key(self, *names: Token) -> tuple[str, ...]:
        return ("metadata", *map(self.text, names))

    def list(self, *values: Value | None) -> tuple[Value, ...]:
        return tuple(one for one in values if one is not None)

    def text(self, quoted: Token) -> str:
        def meant(one: re.Match[str]) -> str:
            if one[1] not in ESCAPES:
                raise FilterWrong(f"\\{one[1]} means nothing in a text: write \\\\ for a backslash")
            return ESCAPES[one[1]]

        return re.sub(r"\\(.)", meant, quoted[1:-1], flags=re.DOTALL)

    def number(self, word: Token) -> int | float:
        if not math.isfinite(float(word)):
            raise FilterWrong(f"{word} is too large a number")
        whole = re.fullmatch(r"-?\d+", word) and int(word) in WHOLE
        return int(word) if whole else float(word)

    def true(self, _: Token) -> bool:
        return True

    def false(self, _: Token) -> bool:
        return False


def _together(word: str, parts: Any) -> Tree:
    if len(parts) == 1:
        return parts[0]  # type: ignore[no-any-return]
    depth = 1 + max(part.depth if isinstance(part, Together) else 0 for part in parts)
    if depth > DEEPEST:
        raise FilterWrong(f"it has more than {DEEPEST} ands and ors in one another: write it flatter")
    return Together(word, tuple(parts), depth)


@cache
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr", transformer=_Build())
