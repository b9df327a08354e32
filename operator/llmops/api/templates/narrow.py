"""A template of a search's filter: what it writes of a variable is a literal, so no value can change what is filtered.

    metadata["product"] == {{ product }}                   of "AX-200": metadata["product"] == "AX-200"
    source in {{ sources }}{% if year %} and metadata["year"] >= {{ year }}{% endif %}

A literal keeps to itself only outside of quotes. So the text between two of them must close each that it opens, which
is looked at when the template is compiled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jinja2 import Undefined, nodes

from llmops.api import filters
from llmops.api.templates.budget import Budget, Refused, weigh
from llmops.api.templates.prompt import RUNTIME, Template, check_text, declared, parsed

SAMPLES = {"integer": 1, "number": 1, "boolean": True}
_CLOSED = re.compile(filters.QUOTED, re.DOTALL)


class Filter:
    """Compiled."""

    __slots__ = ("_template",)

    def __init__(self, text: str) -> None:
        """Refused says why it cannot be used, as the end of a sentence that begins with its place."""
        for between in parsed(text).find_all(nodes.TemplateData):
            if re.search("[\"']", _CLOSED.sub("", between.data)):
                raise Refused("has {{ }} within quotes, or a quote left open: a text gets its quotes by itself")
        self._template = Template(text)

    def render(self, variables: Mapping[str, Any]) -> str:
        """The filter, empty for none; Refused says what is wrong with the variables."""
        weigh(variables)
        budget = _Literals()
        try:
            return self._template.render(variables, budget, budget.functions()).strip()
        except (Refused, *RUNTIME) as problem:
            raise Refused(f"{problem or type(problem).__name__}") from None


class _Literals(Budget):
    __slots__ = ()

    def out(self, value: Any) -> str:
        if isinstance(value, Undefined):
            str(value)  # raises UndefinedError, which names the variable
        try:
            return super().out(filters.literal(self.charge(value)))
        except filters.FilterWrong as problem:
            raise Refused(str(problem)) from None


def check_filter(text: str, schema: Mapping[str, Any] | None) -> list[str]:
    """As `check_text`; and whether the filter can be read, with a value for every variable that is declared."""
    if said := check_text(text, schema):
        return said
    try:
        template = Filter(text)
    except Refused as refused:
        return [str(refused)]
    from llmops.api import grammar  # so that the door does without it

    try:
        filled = template.render({name: _sample(one) for name, one in declared(schema).items()})
    except Refused:
        return []  # it looks into its variables, which samples cannot stand for
    try:
        if filled:
            grammar.parse(filled)
    except filters.FilterWrong as problem:
        return [f"makes {filled} of values as spec.variables declares them, and {problem}"]
    return []


def _sample(schema: Any) -> Any:
    """A value as JSON Schema wants it, as far as a filter cares: of its type."""
    told = schema if isinstance(schema, Mapping) else {}
    if told.get("enum"):
        return told["enum"][0]
    if "const" in told:
        return told["const"]
    types = told.get("type")
    type_ = types[0] if isinstance(types, list) and types else types
    if type_ == "array":
        items = told.get("items")
        return [] if isinstance(items, Mapping) and items.get("type") == "array" else [_sample(items)]
    return SAMPLES.get(str(type_), "a")
