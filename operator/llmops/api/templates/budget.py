"""What rendering may cost, and the only functions that a rewritten template can call; each charges before it works.

One unit is some 0.1 to 0.3 microseconds: a node evaluated in a loop, or 32 characters looked at or copied. All values
are JSON's (text, number, boolean, null, list, object): nothing here reads an attribute of a Python object.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jinja2 import Undefined

MAX_WORK = 100_000
MAX_OUTPUT = 256 * 1024
MAX_VARIABLES = 1024 * 1024
MAX_RANGE = 1_000
MAX_DEPTH = 64


class Refused(ValueError):
    """A template that cannot be rendered with these variables; the sentence names the bound or the variable."""


METHODS: dict[str, tuple[type, ...]] = {
    "items": (dict,), "keys": (dict,), "values": (dict,), "get": (dict,),
    "strip": (str,), "lstrip": (str,), "rstrip": (str,), "lower": (str,), "upper": (str,), "title": (str,),
    "capitalize": (str,), "startswith": (str,), "endswith": (str,), "split": (str,), "splitlines": (str,),
}  # fmt: skip
"""The methods that may be called, and on what; none makes more text than it is given."""


_VIEWS = {"items", "keys", "values"}


class Budget:
    """What one rendering of one prompt may still do."""

    __slots__ = ("output", "work")

    def __init__(self) -> None:
        self.work = MAX_WORK
        self.output = MAX_OUTPUT

    def functions(self) -> dict[str, Callable[..., Any]]:
        """By the names that rewritten templates call them."""
        return {
            "_out": self.out, "_charge": self.charge, "_cat": self.cat, "_add": self.add, "_steps": self.steps,
            "_range": self.range, "_method": self.method, "_filter": self.filter,
        }  # fmt: skip

    def spend(self, units: int) -> None:
        """Charge; Refused when there is not so much left."""
        self.work -= units
        if self.work < 0:
            raise Refused(f"it takes more than {MAX_WORK:,} steps: use shorter lists or fewer loops")

    def out(self, value: Any) -> str:
        """An expression's value as output."""
        text = value if type(value) is str else self.text(value)
        self.output -= len(text)
        if self.output < 0:
            raise Refused(f"it writes more than {MAX_OUTPUT // 1024} KiB: shorten the variables or the template")
        self.spend(1 + (len(text) >> 5))
        return text

    def text(self, value: Any) -> str:
        """As Jinja2 would write it; containers are measured first, since shared parts can write out endlessly."""
        self.charge(value)
        return str(value)

    def charge(self, value: Any) -> Any:
        """The value itself, once looking at all of it was charged."""
        if type(value) is str:
            self.spend(1 + (len(value) >> 5))
        elif isinstance(value, list | tuple | dict):
            self._deep(value, MAX_DEPTH)
        elif isinstance(value, range):
            self.spend(1 + len(value))
        elif type(value) is int:
            self.spend(1 + (value.bit_length() >> 6))
        return value

    def _deep(self, value: Any, depth: int) -> None:
        if depth == 0:
            raise Refused(f"its lists are nested more than {MAX_DEPTH} deep")
        self.spend(1 + len(value))
        for inner in [*value, *value.values()] if isinstance(value, dict) else value:
            if isinstance(inner, list | tuple | dict):
                self._deep(inner, depth - 1)
            else:
                self.charge(inner)

    def cat(self, *values: Any) -> str:
        """The `~` operator."""
        texts = [value if type(value) is str else self.text(value) for value in values]
        self.spend(1 + (sum(map(len, texts)) >> 5))
        return "".join(texts)

    def add(self, left: Any, right: Any) -> Any:
        """The `+` operator, for numbers, texts and lists."""
        self.charge(left)
        self.charge(right)
        return left + right

    def steps(self, values: Iterable[Any], each: int) -> Iterator[Any]:
        """A loop's values; `each` is what one turn of its body costs."""
        for value in values:
            self.spend(each)
            yield value

    def range(self, *bounds: Any) -> range:
        """`range()`, of at most 1,000 numbers."""
        made = range(*bounds)
        if len(made) > MAX_RANGE:
            raise Refused(f"range() of {len(made):,} numbers is longer than {MAX_RANGE:,}")
        return made

    def method(self, value: Any, name: str, *args: Any) -> Any:
        """One of METHODS."""
        if isinstance(value, Undefined):
            str(value)  # raises UndefinedError, which names the variable
        if not isinstance(value, METHODS[name]):
            raise Refused(f"{name}() is for {METHODS[name][0].__name__} values, not {type(value).__name__}")
        self.charge(value)
        for arg in args:
            self.charge(arg)
        made = getattr(value, name)(*args)
        return list(made) if name in _VIEWS else made

    def filter(self, value: Any, name: str, *args: Any) -> Any:
        """One of FILTERS."""
        if name not in _TAKES_UNDEFINED and isinstance(value, Undefined):
            str(value)  # raises UndefinedError, which names the variable
        self.charge(value)
        for arg in args:
            self.charge(arg)
        return FILTERS[name](self, value, *args)


def weigh(variables: Mapping[str, Any]) -> None:
    """Refused when the variables together are larger than any prompt needs."""
    left = MAX_VARIABLES
    todo: list[Any] = list(variables.values())
    while todo:
        value = todo.pop()
        if type(value) is str:
            left -= len(value)
        elif isinstance(value, list | dict):
            left -= 8 * len(value)
            todo.extend([*value, *value.values()] if isinstance(value, dict) else value)
        else:
            left -= 8
        if left < 0:
            raise Refused(f"its variables are larger than {MAX_VARIABLES // 1024} KiB together")


def _replace(budget: Budget, value: Any, old: str, new: str) -> str:
    text = budget.text(value)
    longer = text.count(old) * max(len(new) - len(old), 0)
    budget.spend(1 + ((len(text) + longer) >> 5))
    return text.replace(old, new)


def _join(budget: Budget, values: Any, between: str = "") -> str:
    texts = [value if type(value) is str else budget.text(value) for value in values]
    budget.spend(1 + (sum(map(len, texts)) + len(texts) * len(between) >> 5))
    return between.join(texts)


def _truncate(_: Budget, value: str, length: int = 255, end: str = "...") -> str:
    return value if len(value) <= length else value[: max(length - len(end), 0)] + end


def _indent(budget: Budget, value: str, width: int = 4) -> str:
    if not 0 <= width <= 32:
        raise Refused("indent() takes a width from 0 to 32")
    lines = value.split("\n")
    budget.spend(1 + len(lines))
    return ("\n" + " " * width).join(lines)


def _round(_: Budget, value: float, digits: int = 0) -> float:
    if not 0 <= digits <= 15:  # round(5, -10**9) computes 10**10**9
        raise Refused("round() takes 0 to 15 digits")
    return round(value, digits)


def _default(_: Budget, value: Any, otherwise: Any = "", also_empty: bool = False) -> Any:
    return otherwise if isinstance(value, Undefined) or (also_empty and not value) else value


def _listed(_: Budget, value: Any) -> list[Any]:
    return list(value)


_TAKES_UNDEFINED = {"default", "d"}

FILTERS: dict[str, Callable[..., Any]] = {
    "capitalize": lambda _, value: str(value).capitalize(),
    "count": lambda _, value: len(value),
    "d": _default,
    "default": _default,
    "first": lambda _, value: next(iter(value)),
    "float": lambda _, value: float(value),
    "indent": _indent,
    "int": lambda _, value: int(value),
    "items": lambda _, value: list(value.items()),
    "join": _join,
    "last": lambda _, value: value[-1],
    "length": lambda _, value: len(value),
    "list": _listed,
    "lower": lambda _, value: str(value).lower(),
    "replace": _replace,
    "reverse": lambda _, value: value[::-1],
    "round": _round,
    "string": lambda _, value: str(value),
    "title": lambda _, value: str(value).title(),
    "tojson": lambda _, value: json.dumps(value, ensure_ascii=False),
    "trim": lambda _, value: str(value).strip(),
    "truncate": _truncate,
    "upper": lambda _, value: str(value).upper(),
}
"""The filters that may be used; values and arguments are charged before they are called."""
