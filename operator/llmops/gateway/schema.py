"""A tenant's JSON Schema, compiled once; what variables (variables.py) and answers (form.py) are checked against.

Hazards: a `$ref` to the web must not make the door fetch anything, so nothing but the schema itself is resolved; and
patterns run on the linear-time engine, since a tenant's pattern meets other people's texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema_rs


class SchemaError(ValueError):
    """A schema that cannot be used; the release's validation says the same earlier."""


def _refuse(uri: str) -> Any:
    raise SchemaError(f"$ref {uri} points outside the schema: write the definition under $defs")


def validator(field: str, schema: Mapping[str, Any]) -> Any:
    """The compiled schema, or SchemaError that names the field it stands in."""
    try:
        return jsonschema_rs.validator_for(
            dict(schema), retriever=_refuse, pattern_options=jsonschema_rs.RegexOptions()
        )
    except (ValueError, jsonschema_rs.ValidationError) as problem:
        first = str(problem).split("\n", 1)[0]
        raise SchemaError(f"{field} is not a JSON Schema that can be used: {first}") from None


def rule(error: jsonschema_rs.ValidationError) -> str:
    """`maxLength: 4000`, from the schema rather than from somebody's text."""
    kind = error.kind
    for attribute in ("limit", "types", "pattern", "format", "options", "expected_value", "multiple_of"):
        value = getattr(kind, attribute, None)
        if value is not None:
            return f"{kind.name}: {value}"[:200]
    return str(kind.name)
