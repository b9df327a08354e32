"""How a new generation of an index reaches queries: what it must measure, and who must approve."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from llmops.api.common import Amount, Model, Ref, Rule, matches

_NUMBER_OR_FRACTION = Annotated[
    int | Annotated[str, Field(max_length=26)],
    Rule(
        "type(self) == int || string(self).matches('^[0-9]{1,12}([.][0-9]{1,12})?$')",
        'write a number, or a decimal in quotes such as "0.95"',
    ),
]


class IndexGate(Model):
    """A measurement that a new generation must pass before queries see it."""

    RULES = (
        Rule(
            "self.type in ['Latency', 'ScoreDrift'] ? has(self.max) && !has(self.min)"
            " : has(self.min) && !has(self.max)",
            'Latency needs max, such as 50ms, and ScoreDrift too, such as "0.2"; every other gate needs min',
        ),
        Rule(
            "self.type != 'Latency' || !has(self.max) || self.max.matches('[a-z]$')",
            "Latency is a time: write max with its unit, such as 50ms",
        ),
        Rule(
            "self.type != 'ScoreDrift' || !has(self.max) || self.max.matches('[0-9]$')",
            'ScoreDrift is a number: write max as a decimal in quotes, such as "0.2"',
        ),
        Rule("!has(self.concurrency) || self.type == 'Latency'", "concurrency belongs to Latency: remove it"),
        Rule(
            "self.type in ['RowCount', 'Latency', 'ScoreDrift'] || !has(self.min) || type(self.min) == string &&"
            " double(string(self.min)) <= 1.0",
            'recall is between 0 and 1: write min as a decimal in quotes, such as "0.95"',
        ),
        Rule(
            "self.type != 'RowCount' || !has(self.min) || type(self.min) == int",
            "RowCount counts: write min as a whole number",
        ),
        Rule("(self.type == 'Retrieval') == has(self.evalJobRef)", "write evalJobRef if and only if type is Retrieval"),
    )
    type: Literal["AnnRecall", "Retrieval", "Latency", "RowCount", "ScoreDrift"]
    """AnnRecall: this index against exact search. Retrieval: recall on labelled questions. Latency: of a search.
    RowCount: passages. ScoreDrift: how far the best scores lie from those of the served generation."""
    min: _NUMBER_OR_FRACTION | None = None
    """The least it may be."""
    max: (
        Annotated[
            str,
            Field(max_length=26),
            matches(
                "([0-9]{1,6}(ms|s|m|h|d))+|[0-9]{1,12}([.][0-9]{1,12})?",
                'write a duration such as 50ms for Latency, a decimal in quotes such as "0.2" for ScoreDrift',
            ),
        ]
        | None
    ) = None
    """The most it may be: a time for Latency, a population stability index for ScoreDrift."""
    at_k: Annotated[int, Field(ge=1, le=1000)] = 10
    """Recall among the first so many."""
    percentile: Annotated[int, Field(ge=1, le=100)] = 95
    """Which percentile, for Latency."""
    concurrency: Annotated[int, Field(ge=1, le=64)] | None = None
    """Searches at a time, for Latency; one if absent."""
    eval_job_ref: Ref | None = None
    """An EvalJob whose dataset has the questions and the passages that answer them."""


class ApproveAbove(Model):
    """More than this is not embedded before a person has approved it."""

    RULES = (Rule("has(self.passages) || has(self.cost)", 'write passages, such as 50000, or cost, such as "5.00"'),)
    passages: Annotated[int, Field(ge=0)] | None = None
    """Passages that need a new vector."""
    cost: Amount | None = None
    """What their tokens cost, by the embedding service's spec.pricing and in its currency."""


class IndexRollout(Model):
    """How a new generation reaches queries."""

    RULES = (
        Rule(
            "!has(self.gates) || self.gates.all(a, !has(a.evalJobRef) || self.gates.all(b, !has(b.evalJobRef)"
            " || a.evalJobRef.name == b.evalJobRef.name))",
            "Retrieval gates of several EvalJobs are not available yet: let all refer to one",
        ),
    )
    gates: Annotated[list[IndexGate], Field(max_length=8)] = []
    """All must pass."""
    auto_tune_search: bool = False
    """Raise search.ef or search.nprobe until the recall gate passes, or say that it cannot."""
    approve_above: ApproveAbove | None = None
    """Wait for the annotation llmops.dev/approve before more than this is embedded anew."""
    keep_generations: Annotated[int, Field(ge=1, le=10)] = 2
    """Generations kept, the active one included; the one before is there for instant rollback."""
