"""A prompt's variables against its JSON Schema: compiled once, 0.7 us a request, and a 400 that names the variable.

Hazards: a `$ref` to the web must not make the door fetch anything, so nothing but the schema itself is resolved; and
patterns run on the linear-time engine, since a tenant's pattern meets other people's texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jsonschema_rs

from llmops.gateway.errors import BadRequest

Check = Callable[[Mapping[str, Any]], None]


class SchemaError(ValueError):
    """A schema that cannot be used; the release's validation says the same earlier."""


def _refuse(uri: str) -> Any:
    raise SchemaError(f"$ref {uri} points outside the schema: write the definition under $defs")


def compile_check(release: str, schema: Mapping[str, Any] | None) -> Check:
    """A function that raises BadRequest for variables that do not fit."""
    if not schema:
        return lambda variables: None
    try:
        validator = jsonschema_rs.validator_for(
            dict(schema), retriever=_refuse, pattern_options=jsonschema_rs.RegexOptions()
        )
    except (ValueError, jsonschema_rs.ValidationError) as problem:
        first = str(problem).split("\n", 1)[0]
        raise SchemaError(f"spec.variables is not a JSON Schema that can be used: {first}") from None

    def check(variables: Mapping[str, Any]) -> None:
        if not validator.is_valid(variables):
            raise _explained(release, next(iter(validator.iter_errors(variables))))

    return check


def _explained(release: str, error: jsonschema_rs.ValidationError) -> BadRequest:
    """Never the whole instance: an error must not carry somebody's text into logs."""
    path = ".".join(str(part) for part in error.instance_path)
    missing = getattr(error.kind, "property", None)
    if error.kind.name == "required" and missing:
        name = f"{path}.{missing}" if path else str(missing)
        says = f"variable {name!r} is missing: add it under prompt.variables"
    elif path:
        says = f"variable {path!r} does not fit the release's schema ({_rule(error)})"
        name = path
    else:
        says = f"prompt.variables do not fit the release's schema: {error.message[:200]}"
        name = None
    param = f"prompt.variables.{name}" if name else "prompt.variables"
    return BadRequest(f"PromptRelease {release}: {says}", code="invalid_variables", param=param)


def _rule(error: jsonschema_rs.ValidationError) -> str:
    """`maxLength: 4000`, from the schema rather than from the caller's text."""
    kind = error.kind
    for attribute in ("limit", "types", "pattern", "format", "options", "expected_value", "multiple_of"):
        value = getattr(kind, attribute, None)
        if value is not None:
            return f"{kind.name}: {value}"[:200]
    return str(kind.name)
