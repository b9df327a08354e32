"""What is said to the model: a release's messages with the variables filled in, its passages, then the caller's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llmops.api import templates
from llmops.gateway.choose import Choice
from llmops.gateway.errors import BadRequest, NotReady
from llmops.gateway.retrieve import Passage, Sought
from llmops.gateway.snapshot import Retrieval, Template

Search = Callable[[Retrieval, Sought], Awaitable[list[Passage]]]


@dataclass(frozen=True, slots=True)
class Rendered:
    """The body for the model, and what the answer gets besides."""

    body: dict[str, Any]
    citations: list[dict[str, Any]] | None
    echo: list[dict[str, Any]] | None
    question: str | None = None
    """What its index was searched for."""


async def render(choice: Choice, body: Mapping[str, Any], search: Search) -> Rendered:
    """The whole body: what the caller sent, without `prompt`, with the release's messages and parameters."""
    version, prompt = choice.version, body["prompt"]
    if version.broken is not None or version.template is None:
        raise NotReady(version.broken or "this version cannot be used", code="version_broken")
    variables = prompt.get("variables")
    if variables is None:
        variables = {}
    if not isinstance(variables, dict):
        raise BadRequest(
            "prompt.variables must be an object of names and values", code="invalid_variables", param="prompt.variables"
        )
    version.check(variables)
    passages: list[Passage] | None = None
    question: str | None = None
    retrieval = version.retrieval
    if retrieval is not None:
        question = _question(choice, retrieval, version.template, variables)
        sought = Sought(question, choice.groups, choice.whose, _filter(choice, retrieval, variables))
        passages = await search(retrieval, sought)
        variables = {**variables, retrieval.variable: _joined(passages)}
    messages = [*_filled(choice, version.template, variables), *(body.get("messages") or ())]
    sent = {name: value for name, value in body.items() if name != "prompt"}
    sent.update(version.parameters)
    sent["messages"] = messages
    citations = None if passages is None else _citations(passages)
    return Rendered(sent, citations, messages if prompt.get("echo") else None, question)


def _question(choice: Choice, retrieval: Retrieval, template: Template, variables: Mapping[str, Any]) -> str:
    """The index's own query template, else the last user message with no passages in it."""
    empty = {**variables, retrieval.variable: ""}
    filled = _filled(choice, retrieval.query or template, empty)
    asked = [one["content"] for one in filled if one["role"] == "user" or retrieval.query is not None]
    if not asked:
        raise BadRequest(
            f"PromptRelease {choice.release.name} has no user message to search its index with: "
            "write spec.indexRef.query",
            code="no_question",
        )
    if not asked[-1].strip():
        raise BadRequest(
            f"what VectorIndex {retrieval.index} is to be searched for is empty: fill in the variables that "
            f"PromptRelease {choice.release.name} makes it of",
            code="no_question",
            param="prompt.variables",
        )
    return asked[-1]


def _filter(choice: Choice, retrieval: Retrieval, variables: Mapping[str, Any]) -> str:
    if retrieval.filter is None:
        return ""
    try:
        return retrieval.filter.render(variables)
    except templates.Refused as refused:
        raise _unfit(choice, f"indexRef.filter: {refused}") from None


def _filled(choice: Choice, template: Template, variables: Mapping[str, Any]) -> list[dict[str, str]]:
    try:
        return template.render(variables)
    except templates.Refused as refused:
        raise _unfit(choice, str(refused)) from None


def _unfit(choice: Choice, why: str) -> BadRequest:
    return BadRequest(f"PromptRelease {choice.release.name}: {why}", code="invalid_variables", param="prompt.variables")


def _joined(passages: list[Passage]) -> str:
    return "\n".join(f"[{one.n}] {one.text}" for one in passages)


def _citations(passages: list[Passage]) -> list[dict[str, Any]]:
    return [{"n": one.n, "id": one.id, "source": one.source, "score": one.score} for one in passages]
