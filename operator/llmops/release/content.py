"""What a release is made of, and what is wrong with it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from llmops.api import PromptRelease, Reason, digest, templates
from llmops.rollout.world import Problem

FIELDS = {"messages", "variables", "parameters", "response", "service_ref", "index_ref", "steps"}
"""What is released; everything else in the spec says how, and makes no new version."""
WIRED = ("Errors", "Feedback", "Latency", "InvalidResponse", "Judge", "Prometheus")


def content(release: PromptRelease) -> dict[str, Any]:
    """What a Revision freezes."""
    return release.spec.model_dump(include=FIELDS, by_alias=True, exclude_none=True, mode="json")


def content_digest(release: PromptRelease) -> str:
    """The identity of the content; defaults are left out, so a new default makes no new version."""
    return digest(
        release.spec.model_dump(include=FIELDS, by_alias=True, exclude_none=True, exclude_defaults=True, mode="json")
    )


def problem(release: PromptRelease, prometheus: bool = True) -> Problem | None:
    """The first thing that is wrong with the spec by itself; `prometheus`: the operator knows where it is."""
    missing = _unsupported(release)
    if not missing and not prometheus and any(one.signal == "Prometheus" for one in release.spec.rollout.online):
        missing = "rollout.online asks Prometheus, and the operator does not know where it is: its admin sets "
        missing += "LLMOPS_PROMETHEUS_URL"
    if missing:
        return Problem(Reason.UNSUPPORTED, f"PromptRelease {release.qualified}: {missing}")
    said = _wrong_schema(release) or _wrong_templates(release)
    if said:
        return Problem(Reason.TEMPLATE_INVALID, f"PromptRelease {release.qualified}: {said}", final=True)
    return None


def _unsupported(release: PromptRelease) -> str | None:
    """What the API knows and this version cannot do yet: said, never ignored."""
    spec = release.spec
    if spec.steps:
        return "spec.steps (a chain) is not available in this version: write spec.messages"
    unknown = [one.signal for one in spec.rollout.online if one.signal not in WIRED]
    if unknown:
        return f"the online signal {unknown[0]} is not available in this version: write {_or(WIRED)}"
    if any(gate.adapter for gate in spec.rollout.offline):
        return "an offline gate's adapter is for an LLMService: write spec.serviceRef.adapter"
    return None


def _or(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _wrong_schema(release: PromptRelease) -> str | None:
    schemas = {"variables": release.spec.variables}
    if release.spec.response is not None:
        schemas["response.schema"] = release.spec.response.schema_
    for field, schema in schemas.items():
        try:
            Draft202012Validator.check_schema(schema or {})
        except SchemaError as error:
            where = "".join(f".{one}" for one in error.path)
            return f"spec.{field}{where} is no JSON Schema: {error.message}"
    return None


def _wrong_templates(release: PromptRelease) -> str | None:
    spec = release.spec
    extra = frozenset({spec.index_ref.variable} if spec.index_ref else set())
    messages = [{"role": one.role, "content": one.content} for one in spec.messages or []]
    said = [f"message {one.place} {one.says}" for one in templates.check(messages, spec.variables, extra)]
    if (index := spec.index_ref) is not None:
        for field, text, check in (
            ("query", index.query, templates.check_text), ("filter", index.filter, templates.check_filter),
        ):  # fmt: skip
            said += [f"indexRef.{field} {one}" for one in check(text, spec.variables)] if text else []
    return "; ".join(said[:3]) or None
