"""What an EvalJob measures of its answers, and what is good enough."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from llmops.api.common import Confidence, Decimal, Fraction, Model, Preserved, Ref, Rule, Scale, Word, matches

BUILT_IN = (
    "exact_match",
    "squad_em",
    "includes",
    "f1",
    "rouge_1",
    "rouge_2",
    "rouge_l",
    "bleu",
    "chrf",
    "ter",
    "refusal",
    "latency",
    "ttft",
    "cost",
    "perplexity",
    "next_token_accuracy",
)
"""The metrics that need no type."""

UNTARGETED = ("refusal", "latency", "ttft", "cost")
"""Those of them that need no right answer; the first reads the answer, the others the request."""

JUDGES = ("context_relevance", "groundedness", "answer_relevance", "toxicity")
"""Judges that bring their own rubric: what was retrieved, what was made of it, and what nobody should be told."""

MetricName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matches("[a-z][a-z0-9_]*", "write a metric's name in small letters, digits and _, such as exact_match"),
]


class Pairs(Model):
    """Rows that differ in one thing that should not matter."""

    field: Annotated[str, Field(min_length=1, max_length=63)]
    """The field that tells the members of a pair apart: their group."""
    id: Annotated[str, Field(min_length=1, max_length=63)] = "pair"
    """The field whose value the members of a pair share."""


class Labels(Model):
    """What people said of the same answers."""

    field: Annotated[str, Field(min_length=1, max_length=63)]
    """The field with a person's score of the row's answer, a whole number on the judge's scale."""


class ScorerFile(Model):
    """A data key of a ConfigMap."""

    name: Word
    """Its name; with the label llmops.dev/watch: "true" its changes are seen at once, else within a minute."""
    key: Annotated[str, Field(min_length=1, max_length=253)] = "scorer.py"
    """The data key: a Python file with def score(row, answer), which returns a bool or a number from 0 to 1. `row` is
    the dataset's row as a dict, `answer` a text. What raises or takes longer than 10 seconds is no score."""


class Scorer(Model):
    """Python of yours that scores answers."""

    config_map_ref: ScorerFile
    """Where it stands."""


class Metric(Model):
    """Something that is measured."""

    RULES = (
        Rule(
            "has(self.type) || self.name in [" + ", ".join(f"'{name}'" for name in BUILT_IN) + "]",
            f"no such metric: write one of {', '.join(BUILT_IN)}, or give it a type",
        ),
        Rule(
            "has(self.type) && self.type == 'Drift' ||"
            " (has(self.type) && self.type in ['Judge', 'Pairwise', 'Similarity']) == has(self.serviceRef)",
            "write serviceRef if and only if type is Judge, Pairwise or Similarity; for Drift it is your choice",
        ),
        Rule(
            "has(self.type) && self.type in ['Judge', 'Pairwise'] ? has(self.rubric) || self.type == 'Judge'"
            " && self.name in [" + ", ".join(f"'{name}'" for name in JUDGES) + "] : !has(self.rubric)",
            "write serviceRef and rubric if and only if type is Judge or Pairwise; the judges "
            + ", ".join(JUDGES)
            + " have a rubric of their own",
        ),
        Rule(
            "has(self.type) && self.type == 'Judge' || !has(self.scale) && !has(self.labels)"
            " && (!has(self.repeat) || self.repeat == 1)",
            "scale, repeat and labels belong to type Judge: remove them, or set type: Judge",
        ),
        Rule(
            "(has(self.type) && self.type == 'Counterfactual') == has(self.pairs)",
            "write pairs: {field: ...} if and only if type is Counterfactual",
        ),
        Rule(
            "(has(self.type) && self.type == 'Custom') == has(self.scorer)",
            "write scorer: {configMapRef: {name: ...}} if and only if type is Custom",
        ),
        Rule(
            "(has(self.type) && self.type == 'Regex') == has(self.pattern)",
            "write pattern if and only if type is Regex",
        ),
        Rule(
            "(has(self.type) && self.type == 'JSONSchema') == has(self.schema)",
            "write schema if and only if type is JSONSchema",
        ),
    )
    name: MetricName
    """Its name; a built-in one needs no type."""
    type: (
        Literal["Judge", "Pairwise", "Counterfactual", "Drift", "Custom", "Similarity", "Regex", "JSONSchema"] | None
    ) = None
    """Judge: a model scores each answer. Pairwise: a model says which of target's and baseline's answers is better.
    Counterfactual: how far the other metrics of paired rows lie apart. Drift: how far what users ask and are told lies
    from what it was when this version was first looked at (population stability index). Similarity: of the answer's and
    the best target's embeddings. Custom: Python of yours scores each answer, where the admin allows it. Regex,
    JSONSchema: whether the answer fits."""
    service_ref: Ref | None = None
    """The LLMService that judges; for a Similarity or a Drift, the one that embeds."""
    rubric: Annotated[str, Field(min_length=1, max_length=8192)] | None = None
    """What the judge is asked."""
    scale: Scale | None = None
    """The lowest and the highest score; 1 and 5 without."""
    repeat: Annotated[int, Field(ge=1, le=20)] = 1
    """How often each answer is judged: above 1 the judge's own spread is told."""
    labels: Labels | None = None
    """What people said of the same answers: how far the judge agrees with them is told."""
    pairs: Pairs | None = None
    """Which rows belong together."""
    scorer: Scorer | None = None
    """The Python that scores."""
    pattern: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """A regular expression (RE2) that is to be found in the answer; ^ and $ hold it to the whole of it."""
    schema_: Annotated[Preserved | None, Field(alias="schema")] = None
    """A JSON Schema that the answer, which must be JSON and nothing else, has to fit."""


class Threshold(Model):
    """What a metric must reach."""

    RULES = (
        Rule(
            "[has(self.min), has(self.max), has(self.maxDrop)].filter(x, x).size() == 1",
            'write exactly one of min (at least, such as "0.90"), max (at most, such as "0.40") and maxDrop (against'
            ' the baseline, such as "0.02")',
        ),
        Rule(
            "has(self.maxDrop) == has(self.against)",
            "maxDrop needs against: Baseline, and min and max take no against",
        ),
    )
    metric: MetricName
    """Which metric."""
    min: Fraction | None = None
    """The least its interval may reach down to."""
    max: Decimal | None = None
    """The most its interval may reach up to: of error rates, seconds and costs."""
    max_drop: Fraction | None = None
    """How much worse than the baseline it may be: lower, or higher where less is better."""
    against: Literal["Baseline"] | None = None
    """What maxDrop is measured against."""
    confidence: Confidence = "0.95"
    """Of the interval that decides."""
