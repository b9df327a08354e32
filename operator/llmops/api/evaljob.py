"""EvalJob: a dataset, a target, metrics with intervals, and thresholds that the intervals decide."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from llmops.api.common import (
    MOST_GROUPS,
    NAME_FORM,
    Amount,
    Column,
    Cron,
    Currency,
    Duration,
    Group,
    KubernetesObject,
    Model,
    Name,
    Rule,
    Status,
    Url,
    Word,
)
from llmops.api.dataset import Dataset
from llmops.api.metric import UNTARGETED, Metric, Threshold
from llmops.api.tenants import OneTenant


class PromptRef(Model):
    """A version of a PromptRelease."""

    name: Annotated[str, Field(min_length=1, max_length=63)]
    """The PromptRelease."""
    version: Annotated[str, Field(min_length=1, max_length=64)] = "stable"
    """stable, candidate, a version label or a digest."""


class ServiceTarget(Model):
    """An LLMService, or one revision of it."""

    name: Word
    """Its name."""
    revision: Annotated[str, Field(min_length=8, max_length=64)] | None = None
    """At least 8 characters of the digest of a revision that is stable or on its way; without it the service as users
    meet it."""
    adapter: Name | None = None
    """The adapter that is asked."""


class Target(Model):
    """What answers the questions."""

    RULES = (
        Rule(
            "[has(self.serviceRef), has(self.promptRef), has(self.url)].filter(x, x).size() == 1",
            "write exactly one of serviceRef, promptRef and url; leave target away altogether for a template",
        ),
        Rule("has(self.url) == has(self.model)", "url and model belong together: write both or neither"),
    )
    service_ref: ServiceTarget | None = None
    """An LLMService."""
    prompt_ref: PromptRef | None = None
    """A version of a PromptRelease."""
    url: Url | None = None
    """Any OpenAI-compatible address, such as https://host/v1."""
    model: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """The model's name there."""


class Benchmark(Model):
    """A public benchmark, instead of a dataset."""

    suite: Literal["lm-eval"] = "lm-eval"
    """Which suite: EleutherAI's lm-evaluation-harness."""
    tasks: Annotated[list[Annotated[str, Field(min_length=1, max_length=128)]], Field(min_length=1, max_length=64)]
    """Which of its tasks and groups, such as mmlu, openllm (the first Open LLM leaderboard) and leaderboard (the
    second), or of your own."""
    claim: Word | None = None
    """A PersistentVolumeClaim, mounted read-only: in datasets/<organisation>/<name> copies of the hub's dataset
    repositories, in tasks/ task files of your own. Without it the datasets come from the hub (LLMOPS_HUB_URL)."""
    shots: Annotated[int, Field(ge=0, le=100)] | None = None
    """Solved examples before each question; without it as many as the task says."""
    limit: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """At most so many rows a task."""
    chat: bool = False
    """Ask for texts by chat completions, as instructed models want it; published figures are of completions.
    Log-probabilities are asked for by completions all the same."""


class RunBudget(Model):
    """Money that one run may spend."""

    amount: Amount
    """How much, for target, baseline and judges together."""
    currency: Currency = "USD"
    """In which currency; the services' prices must be in the same."""


class Keep(Model):
    """How long results are kept."""

    samples: Duration = "7d"
    """The log with every question and answer."""


_TRAFFIC = "has(self.dataset) && has(self.dataset.traffic)"


def _names(several: Iterable[str]) -> str:
    """A list in CEL."""
    return "[" + ", ".join(f"'{name}'" for name in several) + "]"


class EvalJobSpec(Model):
    """What is asked, of whom, and what is good enough."""

    RULES = (
        Rule(
            "has(self.benchmark) ? !has(self.dataset) && !(has(self.metrics) && self.metrics.size() > 0) :"
            " has(self.dataset)",
            "write dataset and metrics, or benchmark, not both",
        ),
        Rule(
            "!has(self.benchmark) || [has(self.target) && has(self.target.promptRef), has(self.baseline) &&"
            " has(self.baseline.promptRef)].filter(x, x).size() == 0",
            "a benchmark brings its own prompts: write serviceRef, or url and model, as its target and baseline",
        ),
        Rule(
            "!(has(self.budget) && has(self.benchmark))",
            "a benchmark's requests are not counted in money: remove budget, and write benchmark.limit",
        ),
        Rule(
            "has(self.benchmark) || has(self.metrics) && self.metrics.size() > 0",
            "spec.metrics is empty: write at least one, such as metrics: [{name: exact_match}]",
        ),
        Rule(
            "!has(self.metrics) || self.metrics.all(a, self.metrics.exists_one(b, b.name == a.name))",
            "two metrics have the same name: give each its own",
        ),
        Rule(
            "has(self.benchmark) || !has(self.thresholds)"
            " || self.thresholds.all(t, has(self.metrics) && self.metrics.exists(m, m.name == t.metric))",
            "a threshold speaks of a metric that is not in spec.metrics: add it there, or correct its name",
        ),
        Rule(
            "!has(self.thresholds) || has(self.baseline) || !has(self.target) || !self.thresholds.exists(t,"
            " has(t.maxDrop))",
            "maxDrop compares with a baseline: write spec.baseline, such as {promptRef: {name: ..., version: stable}}",
        ),
        Rule(
            "!has(self.baseline) || has(self.target)",
            "a baseline needs a target: write spec.target, or remove baseline",
        ),
        Rule(
            f"!({_TRAFFIC}) || has(self.dataset.traffic.promptRef) || !has(self.target) || has(self.target.promptRef)",
            "traffic is that of a PromptRelease, and the target is none: write dataset.traffic.promptRef: {name: ...}",
        ),
        Rule(
            f"!({_TRAFFIC}) || !has(self.metrics) || self.metrics.all(m, has(m.type) ? m.type != 'Similarity' :"
            f" m.name in {_names(UNTARGETED)})",
            "what users asked has no right answers to compare with: use metrics of type Judge, Pairwise, Regex and"
            f" JSONSchema, and {', '.join(UNTARGETED)}",
        ),
        Rule(
            f"({_TRAFFIC}) || !has(self.metrics) || !self.metrics.exists(m, has(m.type) && m.type == 'Drift')",
            "type Drift compares what users ask now and asked before: write dataset: {traffic: {sample: ...}}",
        ),
        Rule(
            f"!({_TRAFFIC} && has(self.dataset.traffic.answers) && self.dataset.traffic.answers == 'Recorded') ||"
            " has(self.target) && has(self.target.promptRef) && !has(self.baseline) && (!has(self.metrics) ||"
            f" self.metrics.all(m, has(m.type) || m.name == '{UNTARGETED[0]}'))",
            "with answers: Recorded nobody is asked: it needs target.promptRef, and has no baseline and no metrics"
            f" {', '.join(UNTARGETED[1:])}; write answers: Again for them",
        ),
        Rule(
            "!has(self.schedule) || has(self.target)",
            "a template never runs by itself: write spec.target, or remove schedule",
        ),
    )
    target: Target | None = None
    """What answers; without it this is a template that rollouts fill in."""
    schedule: Cron | None = None
    """When to run again, in UTC, though nothing changed. Changed inputs are measured at once, with it or without."""
    baseline: Target | None = None
    """What to compare with, on the same rows."""
    groups: Annotated[list[Group], Field(max_length=MOST_GROUPS)] = []
    """As a member of these groups prompts find documents of an index with query.permissions; without them, only what
    is everybody's. Whoever reads the results reads what was found."""
    tenant: OneTenant | None = None
    """In an index with query.tenants prompts find this one's documents. Whoever reads the results reads them."""
    dataset: Dataset | None = None
    """The questions."""
    metrics: Annotated[list[Metric], Field(max_length=32)] = []
    """What is measured."""
    thresholds: Annotated[list[Threshold], Field(max_length=32)] = []
    """What is good enough; judged from stored results, so changing them costs no new run."""
    benchmark: Benchmark | None = None
    """A public benchmark, instead of dataset and metrics."""
    concurrency: Annotated[int, Field(ge=1, le=1024)] = 8
    """Questions at a time."""
    timeout: Duration = "30m"
    """The longest a run may take."""
    budget: RunBudget | None = None
    """What a run may cost: when it is spent, nothing more is asked, and the verdict is Inconclusive. Services must have
    prices."""
    keep: Keep | None = None
    """Keep the log on a volume, where a run whose pod was lost resumes; without, the log ends with its pod."""
    worst_rows: Annotated[int, Field(ge=0, le=20)] = 10
    """So many of the worst rows are told in the results with question and answers, cut at 400 characters, for `llmops
    report`; 0 where whoever may read ConfigMaps is not to read them. Counts from the next run on."""
    suspend: bool = False
    """Start nothing new."""


class Progress(Model):
    """How far a run is."""

    done: int = 0
    """Rows answered."""
    total: int = 0
    """Rows in all."""
    errors: int = 0
    """Rows that ended in an error."""
    eta_seconds: int | None = None
    """How long it still takes, at the present rate."""
    cost: Annotated[str, Field(max_length=32)] | None = None
    """What the answers cost so far, by their targets' prices."""
    concurrency: int | None = None
    """Requests at a time, where a target asked for fewer (429) than spec.concurrency."""


class MetricValue(Model):
    """What was measured, with its confidence interval."""

    name: Annotated[str, Field(max_length=63)]
    """The metric."""
    value: Annotated[str, Field(max_length=32)] | None = None
    """The value; absent where nothing could be measured."""
    low: Annotated[str, Field(max_length=32)] | None = None
    """The interval's lower end."""
    high: Annotated[str, Field(max_length=32)] | None = None
    """The interval's upper end."""
    n: int | None = None
    """Rows it was measured on."""
    p50: Annotated[str, Field(max_length=32)] | None = None
    """The median row, of what is measured in seconds or money."""
    p95: Annotated[str, Field(max_length=32)] | None = None
    """What 95 of 100 rows do not exceed."""
    less_is_better: bool | None = None
    """Written where it is so."""
    note: Annotated[str, Field(max_length=512)] | None = None
    """What else is to be known: why it is absent, what a judge did not answer, how far people agree with it."""


class Comparison(Model):
    """Target less baseline, paired."""

    metric: Annotated[str, Field(max_length=63)]
    """The metric."""
    delta: Annotated[str, Field(max_length=32)] | None = None
    """The difference."""
    low: Annotated[str, Field(max_length=32)] | None = None
    """The interval's lower end."""
    high: Annotated[str, Field(max_length=32)] | None = None
    """The interval's upper end."""
    p: Annotated[str, Field(max_length=32)] | None = None
    """The probability of such a difference between equals."""
    n: int | None = None
    """Rows that both answered."""


class Slice(Model):
    """A part of the rows."""

    field: Annotated[str, Field(max_length=63)]
    """The field."""
    value: Annotated[str, Field(max_length=253)]
    """Its value."""
    metric: Annotated[str, Field(max_length=63)]
    """The metric."""
    measured: Annotated[str, Field(max_length=32)] | None = None
    """What was measured."""
    n: int | None = None
    """Rows."""


class DatasetStatus(Model):
    """The rows that were asked."""

    sha256: Annotated[str, Field(max_length=64)]
    """Of the bytes of the file."""
    rows: int
    """How many, spec.dataset.limit taken into account."""


class TrendValue(Model):
    """A metric that has a threshold."""

    name: Annotated[str, Field(max_length=63)]
    """The metric."""
    value: Annotated[str, Field(max_length=32)] | None = None
    """What was measured."""


class TrendPoint(Model):
    """One run of the schedule."""

    finished_at: Annotated[str, Field(max_length=40)]
    """When it ended."""
    verdict: Literal["Pass", "Fail", "Inconclusive", "Error"]
    """By today's thresholds."""
    metrics: Annotated[list[TrendValue], Field(max_length=32)] = []
    """What the thresholds speak of."""


class EvalJobStatus(Status):
    """What the run found."""

    phase: Literal["Pending", "Running", "Succeeded", "Failed"] | None = None
    """Of the run. Succeeded: it was measured, whatever the verdict."""
    verdict: Literal["Pass", "Fail", "Inconclusive", "Error"] | None = None
    """Of the thresholds."""
    progress: Progress | None = None
    """How far it is."""
    run_key: Annotated[str, Field(max_length=64)] | None = None
    """The identity of target, dataset and metrics: the same is never run twice."""
    attempt: int | None = None
    """How often this run was started."""
    started_at: Annotated[str, Field(max_length=40)] | None = None
    """When the run began."""
    finished_at: Annotated[str, Field(max_length=40)] | None = None
    """When it ended."""
    last_schedule_time: Annotated[str, Field(max_length=40)] | None = None
    """The time of the schedule that the present run belongs to."""
    next_run: Annotated[str, Field(max_length=40)] | None = None
    """When the schedule runs it next."""
    dataset: DatasetStatus | None = None
    """The rows that were asked."""
    trend: Annotated[list[TrendPoint], Field(max_length=10)] = []
    """The last runs of the schedule whose results are kept, oldest first."""
    metrics: Annotated[list[MetricValue], Field(max_length=64)] = []
    """What was measured."""
    comparisons: Annotated[list[Comparison], Field(max_length=64)] = []
    """Against the baseline."""
    slices: Annotated[list[Slice], Field(max_length=20)] = []
    """The worst parts."""
    results: Annotated[str, Field(max_length=253)] | None = None
    """The ConfigMap with all results."""


class EvalJob(KubernetesObject):
    """An evaluation: a dataset through a target, metrics with intervals, a verdict. Without a target, a template."""

    KIND: ClassVar[str] = "EvalJob"
    PLURAL: ClassVar[str] = "evaljobs"
    SHORT: ClassVar[str] = "ej"
    NAME_RULES: ClassVar[tuple[Rule, ...]] = (
        # longer than the other kinds' names: releases make <release>-eval-<digest>-<attempt> of them
        Rule("self.metadata.name.size() <= 63", "metadata.name is too long: write at most 63 characters"),
        NAME_FORM,
    )
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("Phase", ".status.phase"),
        Column("Verdict", ".status.verdict"),
        Column("Done", ".status.progress.done", "integer"),
        Column("Total", ".status.progress.total", "integer"),
        Column("Metric", ".status.metrics[0].name"),
        Column("Value", ".status.metrics[0].value"),
        Column("Reason", '.status.conditions[?(@.type=="Ready")].reason', wide=True),
        Column("Age", ".metadata.creationTimestamp", "date"),
    )
    spec: EvalJobSpec
    """What is wanted."""
    status: EvalJobStatus | None = None
    """What is so."""
