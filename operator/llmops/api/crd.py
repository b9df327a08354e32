"""Models -> CustomResourceDefinitions. What cannot be said in a structural schema stops the generator with a sentence.

pydantic's JSON Schema goes in; out comes what the API server accepts: references inlined, `X | None` as an optional
X, `int | str` as x-kubernetes-int-or-string, constants as enums, every text and list bounded (else CEL's cost cannot
be estimated and the API server refuses the CRD), our rules beside what they speak of.
"""

from __future__ import annotations

from typing import Any

from llmops.api import KINDS, names
from llmops.api.common import RULES_KEY, Column, KubernetesObject

Schema = dict[str, Any]

INT_OR_STRING = "x-kubernetes-int-or-string"
PRESERVE = "x-kubernetes-preserve-unknown-fields"

_DROPPED = {"title", "$defs"}
_COPIED = {
    "description", "enum", "format", "minimum", "maximum", "minLength", "maxLength", "pattern", "minItems", "maxItems",
    "minProperties", "maxProperties", "required", "type", RULES_KEY, PRESERVE,
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
}  # fmt: skip
_HANDLED = {"$ref", "anyOf", "const", "properties", "items", "additionalProperties", "default"}


class Unsayable(TypeError):
    """A model uses something that a structural schema cannot express; names the place."""


def crds() -> dict[str, Schema]:
    """Every kind's CustomResourceDefinition by its name."""
    return {f"{kind.PLURAL}.{names.GROUP}": crd(kind) for kind in KINDS}


def crd(kind: type[KubernetesObject]) -> Schema:
    """One kind's CustomResourceDefinition."""
    version: Schema = {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": root(kind)},
    }
    if kind.SUBRESOURCE:
        version["subresources"] = {"status": {}}
    version["additionalPrinterColumns"] = [_column(column) for column in kind.COLUMNS]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.PLURAL}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "names": {
                "kind": kind.KIND,
                "listKind": f"{kind.KIND}List",
                "plural": kind.PLURAL,
                "singular": kind.KIND.lower(),
                "shortNames": [kind.SHORT],
                "categories": [names.CATEGORY],
            },
            "scope": "Namespaced",
            "versions": [version],
        },
    }


def root(kind: type[KubernetesObject]) -> Schema:
    """The structural schema of whole objects of this kind."""
    whole = kind.model_json_schema(by_alias=True)
    definitions: Schema = whole.get("$defs", {})
    properties: Schema = {
        "apiVersion": {"type": "string", "description": f"{names.API_VERSION}."},
        "kind": {"type": "string", "description": f"{kind.KIND}."},
        "metadata": {"type": "object"},
    }
    for name in ("spec", "status"):
        if name in whole["properties"]:
            properties[name] = _structural(whole["properties"][name], definitions, f"{kind.KIND}.{name}")
    rules = [{"rule": rule.cel, "message": rule.says} for rule in kind.NAME_RULES]
    description = (kind.__doc__ or "").strip()
    return {
        "type": "object",
        "description": description,
        "required": ["spec"],
        "properties": properties,
        RULES_KEY: rules,
    }


def _column(column: Column) -> Schema:
    made: Schema = {"name": column.name, "type": column.type, "jsonPath": column.path}
    if column.says:
        made["description"] = column.says
    if column.wide:
        made["priority"] = 1
    return made


def _structural(given: Schema, definitions: Schema, where: str) -> Schema:
    schema = _unwrapped(given, definitions, where)
    unknown = set(schema) - _COPIED - _HANDLED - _DROPPED - {INT_OR_STRING}
    if unknown:
        raise Unsayable(f"{where}: {', '.join(sorted(unknown))} has no place in a structural schema")
    made: Schema = {key: schema[key] for key in schema if key in _COPIED}
    if "description" in made:
        made["description"] = " ".join(made["description"].split())
    if "const" in schema:
        made["enum"] = [schema["const"]]
    if INT_OR_STRING in schema:
        made[INT_OR_STRING] = True
    _descend(schema, made, definitions, where)
    if schema.get("default") is not None:
        # whole, never {}: the API server checks the rules against a default before the defaults further in are added
        made["default"] = _without_null(schema["default"])
    _bounded(made, where)
    return made


def _descend(schema: Schema, made: Schema, definitions: Schema, where: str) -> None:
    if "properties" in schema:
        made["properties"] = {
            name: _structural(inner, definitions, f"{where}.{name}") for name, inner in schema["properties"].items()
        }
    if "items" in schema:
        made["items"] = _structural(schema["items"], definitions, f"{where}[]")
    more = schema.get("additionalProperties")
    if isinstance(more, dict) and PRESERVE not in schema:
        made["additionalProperties"] = _structural(more, definitions, f"{where}{{}}")


def _unwrapped(given: Schema, definitions: Schema, where: str) -> Schema:
    """Without `$ref` and `anyOf`: the outer description and default win, rules add up."""
    schema = dict(given)
    if "$ref" in schema:
        target = definitions[schema.pop("$ref").removeprefix("#/$defs/")]
        schema = _merged(target, schema)
    if "anyOf" in schema:
        choices = [choice for choice in schema.pop("anyOf") if choice != {"type": "null"}]
        schema = _merged(_chosen(choices, definitions, where), schema)
    return _unwrapped(schema, definitions, where) if "$ref" in schema or "anyOf" in schema else schema


def _chosen(choices: list[Schema], definitions: Schema, where: str) -> Schema:
    if len(choices) == 1:
        return choices[0]
    by_type = {choice.get("type"): choice for choice in choices}
    if set(by_type) != {"integer", "string"} or RULES_KEY in by_type["string"]:
        raise Unsayable(f"{where}: write one model with optional fields and a Rule instead of a union")
    return {INT_OR_STRING: True, **{key: value for key, value in by_type["string"].items() if key != "type"}}


def _merged(inner: Schema, outer: Schema) -> Schema:
    rules = [*inner.get(RULES_KEY, []), *outer.get(RULES_KEY, [])]
    return {**inner, **outer, **({RULES_KEY: rules} if rules else {})}


def _bounded(made: Schema, where: str) -> None:
    kind = made.get("type")
    if kind == "string" and not {"maxLength", "enum", "format"} & set(made):
        raise Unsayable(f"{where}: a text without maxLength")
    if kind == "array" and "maxItems" not in made:
        raise Unsayable(f"{where}: a list without max_length")
    if "additionalProperties" in made and "maxProperties" not in made:
        raise Unsayable(f"{where}: a map without max_length")
    if kind is None and INT_OR_STRING not in made:
        raise Unsayable(f"{where}: no type")


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_null(inner) for key, inner in value.items() if inner is not None}
    return [_without_null(inner) for inner in value] if isinstance(value, list) else value
