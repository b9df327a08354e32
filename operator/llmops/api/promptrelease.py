"""PromptRelease: prompt, model, parameters and index, pinned together, moved together, rolled back together."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from llmops.api import filters
from llmops.api.common import (
    Access,
    Column,
    Duration,
    KubernetesObject,
    Model,
    Name,
    Preserved,
    Ref,
    Rule,
    Similarity,
    Status,
    matches,
)
from llmops.api.rollout import CandidateStatus, HistoryEntry, LastHandled, Phase, RejectedStatus, Rollout, StableStatus

VariableName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matches("[A-Za-z_][A-Za-z0-9_]*", "write a variable's name in letters, digits and _, beginning with a letter"),
]


_REVISION = matches(
    "([a-z0-9.-]+-llm-)?[0-9a-f]{10,64}",
    "write the name of a Revision of the service, such as support-llm-6f2c9d01ab (`llmops revision FILE` tells it), or "
    "at least the first ten characters of its digest",
)


def pin(revision: str) -> str:
    """How a revision's digest begins, by its name or as much of the digest as was written."""
    return revision.rpartition("-")[2]


class ServiceRef(Model):
    """The LLMService that answers."""

    name: Annotated[str, Field(min_length=1, max_length=63)]
    """Its name."""
    revision: Annotated[str, Field(max_length=64), _REVISION] | None = None
    """A revision of it, moved with this release; without it the release follows the service's stable one."""
    adapter: Name | None = None
    """One of its adapters, which answers in its place."""

    @property
    def pin(self) -> str:
        """How the digest of the revision begins; empty without one."""
        return pin(self.revision or "")


class IndexRef(Model):
    """The VectorIndex that passages come from."""

    name: Annotated[str, Field(min_length=1, max_length=63)]
    """Its name."""
    top_k: Annotated[int, Field(ge=1, le=100)] = 4
    """How many passages."""
    min_score: Similarity | None = None
    """Passages less near than this are left out."""
    variable: VariableName = "context"
    """The variable of the messages that gets them."""
    query: Annotated[str, Field(min_length=1, max_length=8192)] | None = None
    """A template for the question put to the index; the last user message if absent."""
    filter: Annotated[str, Field(min_length=1, max_length=filters.LONGEST)] | None = None
    """A template of the filter of the search: `metadata["product"] == {{ product }}`. What it writes of a variable is a
    literal (a text in its quotes, a number, a list), so no value changes what is filtered; who may see what is the
    index's `query.permissions`."""
    generation: Annotated[int, Field(ge=1)] | None = None
    """A generation of it that passed its gates, moved with this release; without it the release follows the active
    one."""


class Message(Model):
    """One message of the conversation."""

    role: Literal["system", "user", "assistant"]
    """Who says it."""
    content: Annotated[str, Field(min_length=1, max_length=65_536)]
    """A Jinja2 template of what is said; it reads the variables, and its cost is bounded."""


class StepFallback(Model):
    """What to do when a step fails."""

    RULES = (Rule("has(self.serviceRef) != has(self.text)", "write exactly one of serviceRef and text as fallback"),)
    service_ref: Ref | None = None
    """Ask this LLMService instead."""
    text: Annotated[str, Field(max_length=8192)] | None = None
    """Go on with this text."""


class ChainStep(Model):
    """One call of a chain; its output is a variable of the steps after it."""

    name: VariableName
    """Its name, the variable that gets its output."""
    service_ref: ServiceRef | None = None
    """The LLMService that answers; that of the release if absent."""
    messages: Annotated[list[Message], Field(min_length=1, max_length=32)]
    """What is sent."""
    parse: Literal["Text", "JSON"] = "Text"
    """How the answer is read."""
    timeout: Duration = "60s"
    """The longest it may take."""
    fallback: StepFallback | None = None
    """What to do when it fails."""


_RANGE = "type(self) == int ? double(int(self)) >= {low} && double(int(self)) <= {high}"
_RANGE += " : string(self).matches('^-?[0-9]{{1,3}}([.][0-9]{{1,6}})?$')"
_RANGE += " && double(string(self)) >= {low} && double(string(self)) <= {high}"


def _between(low: str, high: str, says: str) -> Rule:
    return Rule(_RANGE.format(low=low, high=high), says)


_Number = int | Annotated[str, Field(max_length=16)]


class Parameters(Model):
    """How the model generates."""

    temperature: (
        Annotated[_Number, _between("0.0", "2.0", 'write a temperature from 0 to 2, in quotes such as "0.7"')] | None
    ) = None
    """0 always takes the likeliest token."""
    top_p: Annotated[_Number, _between("0.0", "1.0", 'write topP from 0 to 1, in quotes such as "0.9"')] | None = None
    """Only the likeliest tokens that together have this probability."""
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """The longest answer, in tokens."""
    stop: Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=4)] | None = None
    """Texts that end the answer."""
    seed: Annotated[int, Field(ge=0, le=9_007_199_254_740_991)] | None = None
    """For answers that can be repeated, where the engine can."""
    presence_penalty: (
        Annotated[_Number, _between("-2.0", "2.0", 'write presencePenalty from -2 to 2, in quotes such as "0.5"')]
        | None
    ) = None
    """Against words that occurred."""
    frequency_penalty: (
        Annotated[_Number, _between("-2.0", "2.0", 'write frequencyPenalty from -2 to 2, in quotes such as "0.5"')]
        | None
    ) = None
    """Against words that occurred often."""

    def openai(self) -> dict[str, Any]:
        """As the body of a request has them: snake_case, numbers as numbers."""
        given = self.model_dump(exclude_none=True)
        return {name: float(value) if isinstance(value, str) else value for name, value in given.items()}


class Response(Model):
    """The form an answer must have."""

    schema_: Annotated[Preserved, Field(alias="schema")]
    """A JSON Schema that the text of an answer, read as JSON, must fit."""
    on_invalid: Literal["Retry", "Fail"] = "Retry"
    """Retry: ask once more, then answer with an error. Fail: answer with an error at once. A stream that turns out not
    to fit ends with the error, whichever is written."""


class Capture(Model):
    """What users ask and are answered, remembered by the gateways for evaluations of real traffic."""

    percent: Annotated[int, Field(ge=1, le=100)]
    """Of how many of a hundred requests."""
    keep: Duration = "24h"
    """The longest that they are remembered; a gateway that is replaced forgets them sooner."""


class PromptReleaseSpec(Model):
    """The content of the release, and how it reaches users."""

    RULES = (
        Rule(
            "(has(self.messages) && self.messages.size() > 0) != (has(self.steps) && self.steps.size() > 0)",
            "write exactly one of spec.messages (one call) and spec.steps (a chain)",
        ),
        Rule(
            "!has(self.steps) || self.steps.all(a, self.steps.exists_one(b, b.name == a.name))",
            "two steps have the same name: give each its own",
        ),
        Rule(
            "!has(self.rollout) || !has(self.rollout.online)"
            " || self.rollout.online.all(o, o.signal != 'InvalidResponse') || has(self.response)",
            "the signal InvalidResponse needs spec.response.schema: write it, or remove the signal",
        ),
    )
    service_ref: ServiceRef
    """The LLMService that answers."""
    index_ref: IndexRef | None = None
    """The VectorIndex that passages come from."""
    version: Annotated[
        str,
        Field(min_length=1, max_length=63),
        matches(
            "[A-Za-z0-9]([-A-Za-z0-9_.+]*[A-Za-z0-9])?", "write a version such as 2.1.0: letters, digits, . _ + and -"
        ),
        Rule(
            "!(self in ['stable', 'candidate'])",
            "stable and candidate have a meaning of their own: write another version, such as 2.1.0",
        ),
    ]
    """A label for people; the identity is the digest of the content."""
    messages: Annotated[list[Message], Field(max_length=32)] | None = None
    """What is sent, as templates."""
    variables: Preserved | None = None
    """A JSON Schema of the variables; a missing or wrong one is a 400 that names it."""
    parameters: Parameters = Parameters()
    """How the model generates."""
    response: Response | None = None
    """The form an answer must have."""
    steps: Annotated[list[ChainStep], Field(max_length=16)] | None = None
    """A chain of calls, instead of messages."""
    access: Access = Access()
    """Who may use it."""
    rollout: Rollout = Rollout()
    """How it reaches users."""
    capture: Capture | None = None
    """Remember requests with their answers, redacted, in the gateways' memory: EvalJobs of this namespace can have them
    as their dataset. Without it nothing is remembered."""
    history_limit: Annotated[int, Field(ge=1, le=100)] = 10
    """How many old versions are kept."""
    suspend: bool = False
    """Stop advancing; never a rollback."""


class PromptReleaseStatus(Status):
    """Where the release stands."""

    phase: Phase | None = None
    """Where it stands."""
    held_from: Annotated[str, Field(max_length=32)] | None = None
    """The phase that Holding goes back to."""
    stable: StableStatus | None = None
    """What users are served."""
    candidate: CandidateStatus | None = None
    """What is on its way to them."""
    rejected: Annotated[list[RejectedStatus], Field(max_length=50)] = []
    """Contents that are not tried again by themselves."""
    history: Annotated[list[HistoryEntry], Field(max_length=100)] = []
    """What happened, newest first."""
    last_handled: LastHandled | None = None
    """The annotations already acted upon."""
    memory: Preserved | None = None
    """What the operator must remember across a restart, in its own words."""


class PromptRelease(KubernetesObject):
    """Prompt, model, parameters and index, released together: evaluated, shown to a few users, promoted or
    rolled back."""

    KIND: ClassVar[str] = "PromptRelease"
    PLURAL: ClassVar[str] = "promptreleases"
    SHORT: ClassVar[str] = "prel"
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("Phase", ".status.phase"),
        Column("Stable", ".status.stable.version"),
        Column("Candidate", ".status.candidate.version"),
        Column("Weight", ".status.candidate.weight", "integer"),
        Column("Score", ".status.candidate.score"),
        Column("Reason", '.status.conditions[?(@.type=="Ready")].reason', wide=True),
        Column("Age", ".metadata.creationTimestamp", "date"),
    )
    spec: PromptReleaseSpec
    """What is wanted."""
    status: PromptReleaseStatus | None = None
    """What is so."""
