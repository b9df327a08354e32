"""The API server's verdict without an API server: the generated CRDs themselves, run by jsonschema and cel-python.

In the server's order: unknown fields (strict), then the structural schema, then defaults, then the CEL rules, which
the server skips while the structure is wrong; and last, for a PromptRelease, what only the operator would find:
its templates. tests/data/bad_objects.yaml is judged both here and by a real API server.
"""

from __future__ import annotations

import copy
import difflib
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import celpy
import jsonschema
from celpy.adapter import json_to_cel
from celpy.celparser import CELParseError
from celpy.evaluation import CELEvalError

from llmops.api import KINDS, names, templates
from llmops.api.common import RULES_KEY
from llmops.api.crd import INT_OR_STRING, PRESERVE, Schema, root

METADATA = (
    "name", "generateName", "namespace", "labels", "annotations", "finalizers", "ownerReferences", "uid",
    "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink",
    "managedFields",
)  # fmt: skip


@dataclass(frozen=True)
class Refusal:
    """One thing wrong, where it is, and what to write instead."""

    path: str
    says: str

    def __str__(self) -> str:
        return f"{self.path}: {self.says}" if self.path else self.says


def judge(given: Mapping[str, Any]) -> list[Refusal]:
    """Everything wrong with one object; empty when it would be accepted."""
    kind = {kind.KIND: kind for kind in KINDS}.get(given.get("kind", ""))
    if kind is None or given.get("apiVersion") != names.API_VERSION:
        known = ", ".join(kind.KIND for kind in KINDS)
        named = f"{given.get('apiVersion')} {given.get('kind')}"
        return [Refusal("", f"{named} is not ours: write apiVersion: {names.API_VERSION} and one of {known} as kind")]
    schema = _root(kind.KIND)
    refused = [*_structure(given, kind.KIND), *_names(given.get("metadata"))]
    if refused:
        return refused
    whole = defaulted(copy.deepcopy(dict(given)), schema)
    refused = list(_rules(whole, schema, ""))
    return refused or (_templates(whole["spec"]) if kind.KIND == "PromptRelease" else [])


def is_ours(given: Any) -> bool:
    """Whether this is meant to be an object of our group, well written or not."""
    return isinstance(given, Mapping) and str(given.get("apiVersion", "")).startswith(f"{names.GROUP}/")


def defaulted(value: Any, schema: Schema) -> Any:
    """The value with the schema's defaults where nothing was written, as the API server stores it."""
    if isinstance(value, dict):
        for name, inner in schema.get("properties", {}).items():
            if name not in value and "default" in inner:
                value[name] = copy.deepcopy(inner["default"])
            if name in value:
                value[name] = defaulted(value[name], inner)
    elif isinstance(value, list) and "items" in schema:
        return [defaulted(one, schema["items"]) for one in value]
    return value


@functools.cache
def _root(kind: str) -> Schema:
    return root(next(one for one in KINDS if kind == one.KIND))


# Structure


@functools.cache
def _validator(kind: str) -> jsonschema.Draft202012Validator:
    schema = _strict(_root(kind))
    schema["properties"]["metadata"] = {
        "type": "object",
        "properties": {name: {} for name in METADATA},
        "additionalProperties": False,
    }
    formats = jsonschema.FormatChecker(formats=())
    formats.checks("date-time", raises=ValueError)(_is_moment)
    return jsonschema.Draft202012Validator(schema, format_checker=formats)


_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAMES = (("name", rf"{_LABEL}([.]{_LABEL})*", 253), ("namespace", _LABEL, 63))


def _names(metadata: Any) -> Iterator[Refusal]:
    """What no schema says: names are parts of addresses."""
    given = metadata if isinstance(metadata, Mapping) else {}
    if not given.get("name") and not given.get("generateName"):
        yield Refusal("metadata.name", "is missing: write it, such as support-answer")
    for field, form, most in _NAMES:
        name = given.get(field)
        if name and (not isinstance(name, str) or len(name) > most or not re.fullmatch(form, name)):
            says = f"{name!r} is no name: write at most {most} small letters, digits and -, such as support-answer"
            yield Refusal(f"metadata.{field}", says)


def _strict(schema: Schema) -> Schema:
    """The structural schema as JSON Schema that refuses unknown fields."""
    made = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes-")}
    if INT_OR_STRING in schema:
        made["type"] = ["integer", "string"]
    if "properties" in schema:
        made["properties"] = {name: _strict(inner) for name, inner in schema["properties"].items()}
        made["additionalProperties"] = PRESERVE in schema
    elif "additionalProperties" in schema:
        made["additionalProperties"] = _strict(schema["additionalProperties"])
    if "items" in schema:
        made["items"] = _strict(schema["items"])
    return made


def _is_moment(value: object) -> bool:
    if not isinstance(value, str):
        return True
    return datetime.fromisoformat(value).tzinfo is not None


def _structure(given: Mapping[str, Any], kind: str) -> Iterator[Refusal]:
    errors = sorted(_validator(kind).iter_errors(given), key=lambda error: [str(part) for part in error.absolute_path])
    for error in errors:
        path = _path(error.absolute_path)
        if error.validator == "additionalProperties":
            yield from _unknown(error, path)
        else:
            yield Refusal(path, _WORDS.get(str(error.validator), _otherwise)(error))


def _path(parts: Any) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")


def _unknown(error: Any, path: str) -> Iterator[Refusal]:
    known = list(error.schema["properties"])
    for name in sorted(set(error.instance) - set(known)):
        near = difflib.get_close_matches(name, known, n=1)
        meant = f", did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
        yield Refusal(f"{path}.{name}".lstrip("."), f'field "{name}": unknown{meant}')


def _missing(error: Any) -> str:
    name = next(name for name in error.validator_value if name not in error.instance)
    told = error.schema.get("properties", {}).get(name, {}).get("description", "")
    return f"{name} is required{f' ({told.rstrip(chr(46))})' if told else ''}: write it"


def _wrong_type(error: Any) -> str:
    wanted = error.validator_value
    wanted = " or ".join(wanted) if isinstance(wanted, list) else wanted
    hint = f' (in quotes: "{error.instance}")' if "string" in wanted and isinstance(error.instance, int | float) else ""
    return f"must be of type {wanted}{hint}, not {_type_name(error.instance)}"


def _type_name(value: Any) -> str:
    table = ((bool, "boolean"), (str, "string"), (int, "integer"), (float, "number"), (dict, "object"), (list, "array"))
    return next((name for kind, name in table if isinstance(value, kind)), "null")


def _otherwise(error: Any) -> str:
    return str(error.message)


_WORDS: dict[str, Any] = {
    "required": _missing,
    "type": _wrong_type,
    "enum": lambda error: (
        f"unsupported value {error.instance!r}: write one of {', '.join(map(str, error.validator_value))}"
    ),
    "minimum": lambda error: f"{error.instance} is too small: write at least {error.validator_value}",
    "maximum": lambda error: f"{error.instance} is too large: write at most {error.validator_value}",
    "maxLength": lambda error: f"is too long: write at most {error.validator_value} characters",
    "minLength": lambda error: f"is too short: write at least {error.validator_value} characters",
    "maxItems": lambda error: f"has too many items: write at most {error.validator_value}",
    "minItems": lambda error: f"has too few items: write at least {error.validator_value}",
    "maxProperties": lambda error: f"has too many entries: write at most {error.validator_value}",
    "format": lambda error: f"{error.instance!r} is not a moment: write one such as 2027-06-30T00:00:00Z",
}


# Rules


def _rules(value: Any, schema: Schema, path: str) -> Iterator[Refusal]:
    for rule in schema.get(RULES_KEY, []):
        if "oldSelf" not in rule["rule"] and not _holds(rule["rule"], value):
            yield Refusal(path, rule["message"])
    if isinstance(value, dict):
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                yield from _rules(value[name], inner, f"{path}.{name}".lstrip("."))
        if isinstance(schema.get("additionalProperties"), dict):
            for name, one in value.items():
                yield from _rules(one, schema["additionalProperties"], f"{path}.{name}")
    elif isinstance(value, list) and "items" in schema:
        for place, one in enumerate(value):
            yield from _rules(one, schema["items"], f"{path}[{place}]")


def _holds(rule: str, value: Any) -> bool:
    try:
        return bool(_program(rule).evaluate({"self": json_to_cel(value)}))
    except CELEvalError:
        return False  # as on the server: a rule that cannot be evaluated refuses


@functools.cache
def _program(rule: str) -> celpy.Runner:
    environment = celpy.Environment()
    try:
        return environment.program(environment.compile(rule))
    except CELParseError as error:
        raise ValueError(f"our own rule cannot be parsed: {rule}") from error


def _templates(spec: Mapping[str, Any]) -> list[Refusal]:
    """A release's templates: its messages, or its steps, each of which may read the outputs of those before it."""
    index = spec.get("indexRef")
    extra = {index["variable"]} if index else set()
    refused = _messages("spec.messages", spec.get("messages") or [], spec, extra)
    for place, step in enumerate(spec.get("steps") or []):
        refused += _messages(f"spec.steps[{place}].messages", step["messages"], spec, extra)
        extra.add(step["name"])
    for field, check in (("query", templates.check_text), ("filter", templates.check_filter)):
        says = check(index[field], spec.get("variables")) if index and field in index else []
        refused += [Refusal(f"spec.indexRef.{field}", one) for one in says]
    return refused


def _messages(path: str, messages: list[dict[str, str]], spec: Mapping[str, Any], extra: set[str]) -> list[Refusal]:
    return [Refusal(path, str(problem)) for problem in templates.check(messages, spec.get("variables"), extra)]
