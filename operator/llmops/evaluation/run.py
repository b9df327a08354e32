"""What one evaluation Job has to do, as a value that travels in a ConfigMap; its key says whether it was done already.

The key is a digest of everything that could change the result: what the target and the baseline are made of at this
moment (digests of Revisions, never names that move), the rows, how they are read, and the metrics. Concurrency,
timeouts and thresholds are not in it: they change when an answer comes and how it is judged, not what it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from llmops.api import digest
from llmops.evaluation.rows import Fields

METRICS: tuple[str, ...] = ("exact_match", "includes", "f1", "rouge_l", "bleu")
PROPORTIONS: frozenset[str] = frozenset({"exact_match", "includes"})

CONFIG_ERROR = 64
"""The runner's exit status when no retry can help (the Job's podFailurePolicy fails the Job at once)."""

RUN_FILE, ROWS_FILE = "run.json", "rows.jsonl"
PROGRESS, RESULTS, FAILURE = "progress.json", "results.json", "failure.txt"
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
    prompt: Mapping[str, str] | None = None
    variables: tuple[str, ...] = ()
    input_variable: str | None = None
    token: bool = False


@dataclass(frozen=True)
class Run:
    """One run. `key` is set by `with_key`."""

    job: str  # namespace/name, for people who read the log
    dataset_sha256: str
    rows: int
    metrics: tuple[str, ...]
    target: Arm
    baseline: Arm | None = None
    fields: Fields = field(default_factory=Fields)
    limit: int | None = None
    slices: tuple[str, ...] = ()
    concurrency: int = 8
    timeout_seconds: float = 1800.0
    keep_seconds: float | None = None
    key: str = field(default="")

    @property
    def short(self) -> str:
        """The key's first ten characters, as in the names of the run's children."""
        return self.key[:10]

    @property
    def arms(self) -> dict[str, Arm]:
        """The arms by role, target first."""
        return {"target": self.target, **({"baseline": self.baseline} if self.baseline else {})}

    def dumps(self) -> str:
        """As JSON, the same text for the same run."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True, indent=1)


def run_key(run: Run) -> str:
    """The digest of everything that could change the result."""
    return digest(
        {
            "kind": "evaluation",
            "target": run.target.identity,
            "baseline": run.baseline.identity if run.baseline else None,
            "dataset": run.dataset_sha256,
            "fields": asdict(run.fields),
            "limit": run.limit,
            "slices": list(run.slices),
            "metrics": sorted(run.metrics),
        }
    )


def progress(data: Mapping[str, str]) -> Mapping[str, Any] | None:
    """How far the run is by its ConfigMap's data; None before the first word of it."""
    try:
        told: Mapping[str, Any] = json.loads(data[PROGRESS])
    except (KeyError, ValueError):
        return None
    return told


def loads(text: str) -> Run:
    """What `Run.dumps` wrote; ValueError says what does not fit."""
    try:
        raw: dict[str, Any] = json.loads(text)
        raw["target"] = _arm(raw["target"])
        raw["baseline"] = _arm(raw["baseline"]) if raw["baseline"] else None
        raw["fields"] = Fields(**raw["fields"])
        raw["metrics"], raw["slices"] = tuple(raw["metrics"]), tuple(raw["slices"])
        return Run(**raw)
    except (KeyError, TypeError) as error:
        raise ValueError(f"a run that cannot be read: {error!r}") from None


def _arm(raw: Mapping[str, Any]) -> Arm:
    return Arm(**{**raw, "variables": tuple(raw["variables"])})
