"""How a change reaches users, for PromptReleases and for the revisions of an LLMService: gates, steps, evidence.

The fields say what is wanted; docs/evidence.md says how it is decided, and `llmops.rollout` decides it.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from llmops.api.common import (
    Confidence,
    Decimal,
    Duration,
    Fraction,
    Model,
    Name,
    Preserved,
    Ref,
    Rule,
    Scale,
    Text,
    matches,
)
from llmops.api.digest import digest

Percent = Annotated[int, Field(ge=1, le=100)]

Sticky = Annotated[
    str,
    Field(max_length=80),
    matches(
        "User|Key|Header:[A-Za-z0-9-]{1,64}", "write User, Key or Header:<name of a header>, such as Header:x-user-id"
    ),
]


class OfflineGate(Model):
    """An evaluation that the candidate must pass before any user sees it."""

    RULES = (
        Rule(
            "[has(self.min), has(self.max), has(self.maxDrop)].filter(x, x).size() == 1",
            'write exactly one of min (at least, such as "0.90"), max (at most, such as "0.40") and maxDrop (against '
            'stable, such as "0.02")',
        ),
    )
    eval_job_ref: Ref
    """The EvalJob without a target that says how to evaluate."""
    metric: Annotated[str, Field(min_length=1, max_length=63)]
    """Which of its metrics."""
    min: Fraction | None = None
    """The least it may be: the lower end of its confidence interval."""
    max: Decimal | None = None
    """The most it may be, of error rates, seconds and costs: the upper end of its confidence interval."""
    max_drop: Fraction | None = None
    """How much worse than stable it may be, on the same rows. A first release has no stable: it needs a gate
    with min or max."""
    adapter: Name | None = None
    """Of an LLMService: the adapter that is asked. One that stable has not is compared with stable without it."""
    confidence: Confidence = "0.95"
    """Of the interval that decides."""


class Shadow(Model):
    """A share of real requests that the candidate answers too; users get none of these answers, and wait for none."""

    percent: Percent
    """Of the users."""
    min_samples: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    """Of how many users a pair of answers must have been compared before the first user meets the candidate."""
    timeout: Duration = "24h"
    """How long to wait for them; then onInconclusive decides."""


class OnlineSignal(Model):
    """Something that each user's answers pass or fail; stable and candidate are compared by it."""

    RULES = (
        Rule(
            "(self.signal == 'Latency') == has(self.max)",
            "write max, such as max: 2s, if and only if signal is Latency",
        ),
        Rule(
            "[has(self.serviceRef), has(self.rubric), has(self.min)].all(one, one == (self.signal == 'Judge'))",
            "write serviceRef, rubric and min if and only if signal is Judge",
        ),
        Rule(
            "self.signal == 'Judge' || !(has(self.percent) || has(self.scale))",
            "percent and scale are the judge's: remove them, or write signal: Judge",
        ),
        Rule(
            "self.signal == 'Prometheus' ? has(self.failures) && has(self.total) : !has(self.failures) &&"
            " !has(self.total)",
            "write failures and total, two queries, if and only if signal is Prometheus",
        ),
    )
    signal: Literal["Errors", "Feedback", "Latency", "InvalidResponse", "Judge", "Prometheus"]
    """Errors: an answer that failed or timed out. Feedback: a thumb down. Latency: slower than max. InvalidResponse:
    an answer, even one that was asked for again, that did not fit its own version's response.schema. Judge: a model
    says so. Prometheus: two queries count it."""
    max: Duration | None = None
    """The slowest answer that passes: from the request's arrival to the whole answer, of a stream to its first byte."""
    service_ref: Ref | None = None
    """The LLMService that judges."""
    rubric: Annotated[str, Field(min_length=1, max_length=8192)] | None = None
    """What makes an answer good, as the judge is told."""
    min: Decimal | None = None
    """The least score that passes, such as "3"."""
    scale: Scale | None = None
    """The scores the judge may give; [1, 5] if absent."""
    percent: Percent | None = None
    """Of how many users of either version an answer is judged; all of them if absent."""
    failures: Text | None = None
    """A query for a number that only grows, of failed units; {{variant}} stands for stable or candidate."""
    total: Text | None = None
    """A query for a number that only grows, of all units; {{variant}} stands for stable or candidate."""
    counts_units: bool = False
    """Whether the queries count distinct users. Where they count requests the signal can hold, never roll back."""

    @property
    def identity(self) -> str:
        """Of what is asked: of a judge with another rubric, another number would mean something else."""
        return digest(self.wire())[:10]


class Step(Model):
    """A share of users, and what must have been seen before the next."""

    RULES = (
        Rule(
            "!has(self.minDuration) || !has(self.maxDuration) || self.minDuration != self.maxDuration",
            "minDuration and maxDuration are the same: leave room between them for the evidence",
        ),
    )
    weight: Annotated[int, Field(ge=1, le=99)]
    """Percent of users that meet the candidate."""
    min_units: Annotated[int, Field(ge=1, le=100_000_000)] = 100
    """Users that must have met the candidate in this step."""
    min_duration: Duration = "0s"
    """Time with evidence that must have passed in this step."""
    max_duration: Duration = "24h"
    """Time with evidence after which onInconclusive decides."""
    pause: Literal["Approval"] | None = None
    """Approval: wait at the end of this step for the annotation llmops.dev/approve."""


class Margin(Model):
    """How much worse a candidate may be and still be called no worse; either suffices."""

    ratio: Annotated[
        str,
        Field(max_length=16),
        Rule(
            "self.matches('^[0-9]{1,3}([.][0-9]{1,6})?$') && double(self) > 1.0 && double(self) <= 100.0",
            'write a ratio above 1 in quotes, such as "1.5"',
        ),
    ] = "1.5"
    """Times stable's failure rate."""
    points: Annotated[
        str,
        Field(max_length=16),
        Rule(
            "self.matches('^[0-9]{1,3}([.][0-9]{1,6})?$') && double(self) > 0.0 && double(self) <= 100.0",
            'write percentage points above 0 in quotes, such as "1"',
        ),
    ] = "1"
    """Percentage points above stable's failure rate."""


_RATE = Annotated[
    str,
    Field(max_length=16),
    Rule(
        "self.matches('^0?[.][0-9]{1,9}$') && double(self) > 0.0 && double(self) <= 0.5",
        'write a probability above 0 and at most 0.5 in quotes, such as "0.05"',
    ),
]


class Rollout(Model):
    """How a new version reaches users."""

    RULES = (
        Rule(
            "!has(self.shadow) || !has(self.online)"
            " || self.online.exists(one, one.signal in ['Errors', 'Latency', 'InvalidResponse'])",
            "unseen answers can be compared by Errors, Latency and InvalidResponse only: write one of these in online,"
            " or remove shadow",
        ),
    )
    offline: Annotated[list[OfflineGate], Field(max_length=16)] = []
    """Evaluations before any user sees it; all must pass."""
    shadow: Shadow | None = None
    """Real requests answered by the candidate too, after the evaluations and before the first user."""
    online: Annotated[
        list[OnlineSignal],
        Field(max_length=8),
        Rule(
            "self.filter(one, one.signal == 'Latency').size() <= 1",
            "the signal Latency is listed twice: write it once, with the one max that counts",
        ),
        Rule(
            "self.filter(one, one.signal == 'Prometheus').size() <= 1",
            "the signal Prometheus is listed twice: write it once, and add up what counts in its queries",
        ),
        Rule(
            "self.filter(one, one.signal == 'Judge').size() <= 1",
            "the signal Judge is listed twice: write it once, with all that counts in its rubric",
        ),
    ] = [OnlineSignal(signal="Errors")]
    """What is watched while users meet it."""
    steps: Annotated[
        list[Step],
        Field(max_length=10),
        Rule(
            "[1, 2, 3, 4, 5, 6, 7, 8, 9].all(i, i >= self.size() || self[i - 1].weight < self[i].weight)",
            "weights must rise from step to step, such as 10, 25, 50; 100 comes by itself after the last",
        ),
    ] = [
        Step(weight=10, min_units=100, min_duration="2m"),
        Step(weight=25, min_units=200),
        Step(weight=50, min_units=200),
    ]
    """Shares of users on the way to all of them."""
    bake: Duration = "10m"
    """How long it is still watched at 100 percent, with the old version ready to come back."""
    margin: Margin = Margin()
    """How much worse is still acceptable."""
    false_positive_rate: _RATE = "0.05"
    """Sound releases that are rolled back, at most."""
    false_advance_rate: _RATE = "0.05"
    """Bad releases that advance, at most."""
    on_inconclusive: Literal["Hold", "Rollback", "Promote"] = "Hold"
    """What to do at maxDuration when neither was shown. Promote takes one step, and only if nothing speaks
    against it."""
    sticky_by: Annotated[list[Sticky], Field(min_length=1, max_length=8)] = ["Header:x-user-id", "User", "Key"]
    """What identifies a user, the first that a request has: so the same user keeps the same version."""


class ServiceRollout(Rollout):
    """How a new revision of a model reaches users."""

    capacity: Literal["Wait", "Recreate"] = "Wait"
    """Wait: the new pods start beside the old ones once there is room. Recreate: stable lends one replica's place to
    the evaluations (offline), and what passes replaces the old pods where they stand; nobody meets it by steps."""


class StableStatus(Model):
    """What users are served."""

    version: Annotated[str, Field(max_length=63)] | None = None
    """Its label for people."""
    digest: Annotated[str, Field(max_length=64)] | None = None
    """Its identity."""
    revision: Annotated[str, Field(max_length=63)] | None = None
    """The Revision that holds it."""
    service: Annotated[str, Field(max_length=63)] | None = None
    """Of a model: the Service of the pods that answer for it."""
    adapters: Annotated[list[Name], Field(max_length=16)] = []
    """Of a model: the adapters it answers as."""
    since: Annotated[str, Field(max_length=40)] | None = None
    """Since when."""


class WeightEvidence(Model):
    """What was counted at one weight; every number can be recomputed from these."""

    weight: int
    """Percent of users that met the candidate."""
    failures: int = 0
    """Units that failed, both variants (n)."""
    candidate_failures: int = 0
    """Units that failed, candidate (x)."""
    units: int = 0
    """Units, both variants (N)."""
    candidate_units: int = 0
    """Units, candidate (c)."""


class Evidence(Model):
    """What one signal says so far."""

    signal: Annotated[str, Field(max_length=63)]
    """Which."""
    stable: Annotated[str, Field(max_length=40)] | None = None
    """Failed units of all units, stable, such as 3/1204."""
    candidate: Annotated[str, Field(max_length=40)] | None = None
    """Failed units of all units, candidate."""
    e_value: Annotated[str, Field(max_length=40)] | None = None
    """How strongly the counts speak for harm."""
    rollback_at: Annotated[str, Field(max_length=40)] | None = None
    """The value of eValue at which it is rolled back."""
    not_worse: Annotated[str, Field(max_length=40)] | None = None
    """How strongly the counts speak for being no worse than the margin."""
    advance_at: Annotated[str, Field(max_length=40)] | None = None
    """The value of notWorse from which it may advance."""
    pairs: Annotated[str, Field(max_length=40)] | None = None
    """Of the pairs of which only one failed, those in which it was the candidate's, such as 9/10."""
    weights: Annotated[list[WeightEvidence], Field(max_length=12)] = []
    """The counts, by weight."""


class CandidateStatus(Model):
    """What is on its way to users."""

    version: Annotated[str, Field(max_length=63)] | None = None
    """Its label for people."""
    digest: Annotated[str, Field(max_length=64)] | None = None
    """Its identity."""
    revision: Annotated[str, Field(max_length=63)] | None = None
    """The Revision that holds it."""
    service: Annotated[str, Field(max_length=63)] | None = None
    """Of a model: the Service of the pods that answer for it."""
    adapters: Annotated[list[Name], Field(max_length=16)] = []
    """Of a model: the adapters it answers as."""
    attempt: int | None = None
    """How often this content was tried, counting from 1."""
    weight: int | None = None
    """Percent of users that meet it; the gateways read this."""
    step: int | None = None
    """Which of rollout.steps, counting from 1."""
    units: int | None = None
    """Users that met it so far."""
    score: Annotated[str, Field(max_length=63)] | None = None
    """What its evaluation measured, such as exact_match 0.912."""
    since: Annotated[str, Field(max_length=40)] | None = None
    """Since when this phase."""
    latency: Annotated[str, Field(max_length=20)] | None = None
    """The slowest answer that passes the signal Latency, in this attempt; the gateways read this."""
    judge: Annotated[str, Field(max_length=64)] | None = None
    """The identity of what the signal Judge asks in this attempt; while the spec asks otherwise, nobody is judged."""
    shadow: int | None = None
    """Percent of users whose requests it answers too, unseen; the gateways read this."""
    pairs: int | None = None
    """Users of whom an answer of it and one of stable were compared so far."""
    eta: Annotated[str, Field(max_length=63)] | None = None
    """When the next step is to be expected, at the present rate."""
    evidence: Annotated[list[Evidence], Field(max_length=8)] = []
    """What each signal says."""
    sample_ratio: Annotated[str, Field(max_length=40)] | None = None
    """How strongly the counts speak against the published share; at 1000 the rollout holds."""
    memory: Preserved | None = None
    """What the rollout must remember across a restart, in its own words: clocks, frozen rates and margins."""


class RejectedStatus(Model):
    """A content that is not tried again by itself."""

    digest: Annotated[str, Field(max_length=64)]
    """Its identity."""
    version: Annotated[str, Field(max_length=63)] | None = None
    """Its label for people."""
    attempt: int | None = None
    """The attempt that was rejected."""
    reason: Annotated[str, Field(max_length=63)] | None = None
    """One word."""
    message: Annotated[str, Field(max_length=2048)] | None = None
    """The evidence in a sentence."""
    at: Annotated[str, Field(max_length=40)] | None = None
    """When."""


class HistoryEntry(Model):
    """Something that happened to a version."""

    digest: Annotated[str, Field(max_length=64)] | None = None
    """Its identity."""
    version: Annotated[str, Field(max_length=63)] | None = None
    """Its label for people."""
    attempt: int | None = None
    """Which attempt."""
    outcome: Annotated[str, Field(max_length=63)] | None = None
    """Released, Rejected, Superseded or Withdrawn."""
    message: Annotated[str, Field(max_length=2048)] | None = None
    """Why, in a sentence."""
    at: Annotated[str, Field(max_length=40)] | None = None
    """When."""


class LastHandled(Model):
    """The annotations that were already acted upon."""

    approve: Annotated[str, Field(max_length=128)] | None = None
    """Of llmops.dev/approve."""
    retry: Annotated[str, Field(max_length=128)] | None = None
    """Of llmops.dev/retry."""
    abort: Annotated[str, Field(max_length=128)] | None = None
    """Of llmops.dev/abort."""
    rollback: Annotated[str, Field(max_length=128)] | None = None
    """Of llmops.dev/rollback, with (passed over) behind one that counted for nothing; of a PromptRelease only."""


Phase = Literal[
    "Pending",
    "Validating",
    "Evaluating",
    "Shadow",
    "Canary",
    "Holding",
    "Baking",
    "Released",
    "RollingBack",
    "Rejected",
]
PHASES: tuple[Phase, ...] = get_args(Phase)

__all__ = [
    "PHASES",
    "CandidateStatus",
    "Decimal",
    "Evidence",
    "HistoryEntry",
    "LastHandled",
    "Margin",
    "OfflineGate",
    "OnlineSignal",
    "Phase",
    "RejectedStatus",
    "Rollout",
    "ServiceRollout",
    "Shadow",
    "StableStatus",
    "Step",
    "WeightEvidence",
]
