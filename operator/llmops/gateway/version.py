"""A Revision of a PromptRelease, made ready to answer: messages and schema compiled, parameters set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from llmops.api import Revision, names, templates
from llmops.api.promptrelease import IndexRef, Message, Parameters, Response, ServiceRef
from llmops.gateway import schema
from llmops.gateway.errors import BadRequest
from llmops.gateway.form import Form
from llmops.gateway.snapshot import Retrieval, Template, Version
from llmops.gateway.variables import compile_check


def compile_version(revision: Revision) -> Version:
    """Never raises for what a user wrote: a content that cannot be used is a Version with `broken` set."""
    namespace, spec = revision.metadata.namespace, revision.spec
    release = names.qualified(namespace, spec.of_name)
    try:
        return _compiled(release, namespace, revision)
    except (ValidationError, templates.Refused, ValueError, KeyError) as problem:
        first = str(problem).strip().split("\n", 1)[0]
        broken = f"PromptRelease {release} version {spec.version or spec.digest[:10]} cannot be used: {first}"
        return Version(spec.digest, spec.version or "", "", "", None, _anything, {}, None, broken)


def _compiled(release: str, namespace: str, revision: Revision) -> Version:
    spec, content = revision.spec, revision.spec.content
    if content.get("steps"):
        raise ValueError("chains (spec.steps) are not served by this version of the operator: write spec.messages")
    service = ServiceRef.model_validate(content["serviceRef"])
    index = IndexRef.model_validate(content["indexRef"]) if content.get("indexRef") else None
    return Version(
        digest=spec.digest,
        label=spec.version or "",
        service=names.qualified(namespace, service.name),
        adapter=service.adapter or "",
        template=_template([Message.model_validate(one) for one in content["messages"]]),
        check=_check(release, content.get("variables"), index),
        parameters=_parameters(content),
        retrieval=_retrieval(index, namespace) if index else None,
        broken=None,
        form=_form(release, content),
        revision=service.pin,
    )


def _template(messages: list[Message]) -> Template:
    return templates.compile([{"role": one.role, "content": one.content} for one in messages])


def _check(release: str, wanted: Mapping[str, Any] | None, index: IndexRef | None) -> Any:
    """The schema's check, and that nobody fills the passages in from outside."""
    fits = compile_check(release, wanted)
    if index is None:
        return fits

    def check(variables: Mapping[str, Any]) -> None:
        if index.variable in variables:
            raise BadRequest(
                f"PromptRelease {release}: variable {index.variable!r} is filled from the index {index.name}: "
                "remove it from prompt.variables",
                code="invalid_variables",
                param=f"prompt.variables.{index.variable}",
            )
        fits(variables)

    return check


def _parameters(content: Mapping[str, Any]) -> dict[str, Any]:
    given = Parameters.model_validate(content.get("parameters") or {}).openai()
    if content.get("response"):
        wanted = Response.model_validate(content["response"]).schema_
        given["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": wanted}}
    return given


def _form(release: str, content: Mapping[str, Any]) -> Form | None:
    if not content.get("response"):
        return None
    wanted = Response.model_validate(content["response"])
    compiled = schema.validator("spec.response.schema", wanted.schema_)
    return Form(release, compiled, again=wanted.on_invalid == "Retry")


def _retrieval(index: IndexRef, namespace: str) -> Retrieval:
    query = _template([Message(role="user", content=index.query)]) if index.query else None
    return Retrieval(
        index=names.qualified(namespace, index.name),
        top_k=index.top_k,
        min_score=float(index.min_score) if index.min_score is not None else None,
        variable=index.variable,
        query=query,
        filter=templates.Filter(index.filter) if index.filter else None,
        generation=index.generation,
    )


def _anything(variables: Mapping[str, Any]) -> None:
    """A broken version is refused before its variables are looked at."""
