"""Whether an answer has a form: a regular expression, a JSON Schema. Pure; both sides use it.

Both meet texts that nobody chose, so neither may take for ever: expressions are RE2 (linear time, no look-around, no
back-references), and so are the patterns inside a schema; a `$ref` out of the schema is refused and never fetched. The
operator compiles them before a run begins, so that a mistake is told at once and costs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

Fits = Callable[[str], bool]


class FormError(ValueError):
    """What is wrong with the pattern or the schema."""


def compiled(kind: str, settings: Mapping[str, Any]) -> Fits:
    """The test of a metric of type Regex or JSONSchema."""
    return expression(str(settings["pattern"])) if kind == "Regex" else schema(settings["schema"])


def expression(pattern: str) -> Fits:
    """Whether it is found anywhere in the answer."""
    import re2  # google-re2; it logs to stderr what it refuses unless told not to

    options = re2.Options()
    options.log_errors = False
    try:
        found = re2.compile(pattern, options)
    except re2.error as problem:
        said = problem.args[0] if problem.args else problem
        words = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        raise FormError(f"pattern is not a regular expression that RE2 knows ({words})") from None
    return lambda answer: found.search(answer) is not None


def schema(wanted: Mapping[str, Any]) -> Fits:
    """Whether the answer is JSON, nothing before or after it, and fits."""
    import jsonschema_rs

    try:
        validator = jsonschema_rs.validator_for(
            dict(wanted), retriever=_refuse, pattern_options=jsonschema_rs.RegexOptions()
        )
    except (ValueError, jsonschema_rs.ValidationError) as problem:
        first = str(problem).split("\n", 1)[0]
        raise FormError(f"schema is not a JSON Schema that can be used ({first})") from None

    def fits(answer: str) -> bool:
        try:
            return validator.is_valid(json.loads(answer, parse_constant=_no_constant))
        except (ValueError, RecursionError):
            return False

    return fits


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _refuse(uri: str) -> Any:
    raise FormError(f"$ref {uri} points outside the schema: write the definition under $defs")
