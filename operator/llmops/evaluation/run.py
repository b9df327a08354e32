"""What one evaluation Job has to do, as a value that travels in a ConfigMap; its key says whether it was done already.

The key is a digest of everything that could change the result: what the target and the baseline are made of at this
moment (digests of Revisions, never names that move), the rows, how they are read, and the metrics with all that they
are made of: rubric, scale, pattern, schema, what the judge is made of, prices where cost is measured. Concurrency,
timeouts and thresholds are not in it: they change when an answer comes and how it is judged, not what it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from llmops.api import digest
from llmops.evaluation import measures
from llmops.evaluation.measures import About
from llmops.evaluation.rows import JSONL, Fields
from llmops.evaluation.source import Source
from llmops.geval import LESS_IS_BETTER

CONFIG_ERROR = 64
"""The runner's exit status when no retry can help (the Job's podFailurePolicy fails the Job at once)."""

TOKEN_FILE = Path("/var/run/llmops/token")
"""The pod's own service-account token, for our gateways."""

RUN_FILE, ROWS_FILE, KNOWN_FILE, PROFILES_FILE = "run.json", "rows.jsonl", "known.json", "profiles.json"
PROGRESS, RESULTS, FAILURE = "progress.json", "results.json", "failure.txt"
DATASET, FINISHED, WORST = "dataset.json", "finished.txt", "worst.json"
"""The data keys of a run's ConfigMaps: what the operator hands over, and what the runner hands back."""


@dataclass(frozen=True)
class Arm:
    """One way to get answers: where to ask, for what, and what that is made of.

    With `prompt`, the row's `variables` are sent and the release's own messages are used; without, the row's input is
    sent as the user's message. `identity` is the digest of what answers. `token`: send the pod's own service-account
    token, which only our gateway may see.
    """

    url: str
    model: str
    identity: str
    prompt: Mapping[str, Any] | None = None
    variables: tuple[str, ...] = ()
    input_variable: str | None = None
    token: bool = False
    price: Price | None = None
    unpriced: str = ""  # why there is no price


@dataclass(frozen=True)
class Price:
    """What an arm's tokens cost."""

    input: float  # a million tokens
    output: float
    currency: str

    def of(self, tokens: Sequence[int]) -> float:
        """What so many tokens in and out cost."""
        return (tokens[0] * self.input + tokens[1] * self.output) / 1e6


@dataclass(frozen=True)
class Typed:
    """A metric that is more than its name: what the spec says of it, and the model that judges or embeds."""

    name: str
    type: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    arm: Arm | None = None


@dataclass(frozen=True)
class Benchmark:
    """Tasks of lm-evaluation-harness, instead of rows and metrics. `claim` has datasets and tasks."""

    tasks: tuple[str, ...]
    claim: str = ""
    shots: int | None = None
    limit: int | None = None
    chat: bool = False


@dataclass(frozen=True)
class Run:
    """One run. `key` is set by `with_key`.

    With `source` the Job reads the rows itself, and their digest and number are not known beforehand. `turn` is the
    time of the schedule that it is for.
    """

    job: str  # namespace/name, for people who read the log
    dataset_sha256: str
    rows: int
    metrics: tuple[str, ...]  # the names of all of them, in the spec's order
    target: Arm
    baseline: Arm | None = None
    fields: Fields = field(default_factory=Fields)
    limit: int | None = None
    slices: tuple[str, ...] = ()
    concurrency: int = 8
    timeout_seconds: float = 1800.0
    keep_seconds: float | None = None
    key: str = field(default="")
    typed: tuple[Typed, ...] = ()
    form: str = JSONL
    source: Source | None = None
    needs: tuple[str, ...] = ()  # fields that the prompts' variables require; only the Job checks those of a source
    turn: str = ""
    worst_rows: int = 10
    benchmark: Benchmark | None = None
    budget: float | None = None  # money, in the currency of the arms' prices
    currency: str = ""

    @property
    def short(self) -> str:
        """The key's first ten characters, as in the names of the run's children."""
        return self.key[:10]

    @property
    def log_name(self) -> str:
        """Of the folder of its logs: with a larger budget it is another run, which goes on with the same."""
        return self.short if self.budget is None else run_key(replace(self, budget=None))[:10]

    @property
    def panel(self) -> tuple[Arm, ...]:
        """Who judges or embeds."""
        return tuple(one.arm for one in self.typed if one.arm is not None)

    @property
    def arms(self) -> dict[str, Arm]:
        """The arms by role, target first."""
        return {"target": self.target, **({"baseline": self.baseline} if self.baseline else {})}

    @property
    def questions(self) -> int:
        """Requests that are answered when all goes well: rows to the arms, and answers to the panel."""
        arms = len(self.arms)
        each = {"Judge": arms, "Similarity": arms, "Pairwise": 1 if self.baseline else 0}
        each["Drift"] = 1
        panel = sum(each.get(one.type, 0) for one in self.typed if one.arm is not None)
        likelihood = arms if self.reading("likelihood") else 0
        return self.rows * (arms + panel + likelihood)

    def about(self, name: str) -> About:
        """What the metric of that name is."""
        typed = next((one for one in self.typed if one.name == name), None)
        if typed is None:
            return measures.about(name)
        about = measures.about(name, typed.type)
        less = typed.type == "Judge" and "rubric" not in typed.settings and name in LESS_IS_BETTER
        return replace(about, less_is_better=True) if less else about

    def reading(self, source: measures.Source) -> tuple[str, ...]:
        """The names of the metrics whose marks are made of `source`."""
        return tuple(name for name in self.metrics if self.about(name).source == source)

    def of_type(self, kind: str) -> tuple[Typed, ...]:
        """The metrics of one type."""
        return tuple(one for one in self.typed if one.type == kind)

    def dumps(self) -> str:
        """As JSON, the same text for the same run."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True, indent=1)


def run_key(run: Run) -> str:
    """The digest of everything that could change the result."""
    arms = run.arms.values()
    return digest(
        {
            "kind": "evaluation",
            "target": run.target.identity,
            "baseline": run.baseline.identity if run.baseline else None,
            "dataset": run.dataset_sha256,
            "source": asdict(run.source) if run.source else None,
            "form": run.form if run.form != JSONL else None,
            "turn": run.turn,
            "fields": {name: getattr(run.fields, name) for name in ("input", "target", "id")},
            "limit": run.limit,
            "slices": list(run.slices),
            "metrics": sorted(run.metrics),
            **({"budget": run.budget} if run.budget is not None else {}),
            **({"benchmark": asdict(run.benchmark)} if run.benchmark else {}),
            **({"typed": [_typed_key(one) for one in run.typed]} if run.typed else {}),
            **({"prices": [arm.price and asdict(arm.price) for arm in arms]} if "cost" in run.metrics else {}),
        }
    )


def _typed_key(one: Typed) -> Mapping[str, Any]:
    """A judge's rubric and scale, a pattern, a schema, and what judges or embeds."""
    return {
        "name": one.name,
        "type": one.type,
        # as text: a digest leaves empty values out, and {const: ""} is another schema than {}
        "settings": json.dumps(one.settings, sort_keys=True),
        "identity": one.arm.identity if one.arm else None,
    }


def content_key(run: Run, sha256: str) -> str:
    """The key of the same run over the same rows, wherever they come from and whenever: what is not paid for twice."""
    return run_key(replace(run, dataset_sha256=sha256, source=None, turn=""))


def progress(data: Mapping[str, str]) -> Mapping[str, Any] | None:
    """How far the run is by its ConfigMap's data; None before the first word of it."""
    try:
        told: Mapping[str, Any] = json.loads(data[PROGRESS])
    except (KeyError, ValueError):
        return None
    return told


def dataset(data: Mapping[str, str]) -> Mapping[str, Any]:
    """What a run's ConfigMap says of its rows: sha256, rows, content (key) and sameAs, or its problem."""
    try:
        told: Mapping[str, Any] = json.loads(data[DATASET])
    except (KeyError, ValueError):
        return {}
    return told


def loads(text: str) -> Run:
    """What `Run.dumps` wrote; ValueError says what does not fit."""
    try:
        raw: dict[str, Any] = json.loads(text)
        raw["target"] = _arm(raw["target"])
        raw["baseline"] = _arm(raw["baseline"]) if raw["baseline"] else None
        raw["fields"] = Fields(**raw["fields"])
        raw["metrics"], raw["slices"] = tuple(raw["metrics"]), tuple(raw["slices"])
        raw["typed"] = tuple(
            Typed(**{**one, "arm": _arm(one["arm"]) if one["arm"] else None}) for one in raw.get("typed", ())
        )
        raw["source"] = Source(**raw["source"]) if raw.get("source") else None
        raw["needs"] = tuple(raw.get("needs", ()))
        if raw.get("benchmark"):
            raw["benchmark"] = Benchmark(**{**raw["benchmark"], "tasks": tuple(raw["benchmark"]["tasks"])})
        return Run(**raw)
    except (KeyError, TypeError) as error:
        raise ValueError(f"a run that cannot be read: {error!r}") from None


def _arm(raw: Mapping[str, Any]) -> Arm:
    price = Price(**raw["price"]) if raw.get("price") else None
    return Arm(**{**raw, "variables": tuple(raw["variables"]), "price": price})
