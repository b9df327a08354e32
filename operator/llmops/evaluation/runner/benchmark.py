"""A public benchmark through its own suite (harness.py), and what came of it -> results.Results.

A task's metric is called `<task>_<metric>`, with the name of its filter behind where it has one: mmlu_acc,
gsm8k_exact_match_strict_match. Of a group with a score of its own (mmlu) that is told, and its tasks are the slices; of
one without (openllm, leaderboard) each member is told. Rows that pass or fail are counted, so that intervals and paired
tests are those of every other evaluation; a score that is no mean of its rows keeps the suite's own standard error.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from llmops.evaluation import run as runs
from llmops.evaluation.intervals import Pairs
from llmops.evaluation.measures import Form
from llmops.evaluation.results import LEVELS, ArmResult, Measured, MetricResult, Paired, Results, SliceResult
from llmops.evaluation.run import Arm, Run
from llmops.evaluation.runner import draws
from llmops.evaluation.runner.progress import Progress, Ticker
from llmops.evaluation.runner.report import Report
from llmops.web import Wrong

WORST = 20
MOST_METRICS = 64
SAME = 1e-6

Key = tuple[str, Any]
"""A task and its document's number."""
Told = Mapping[str, Any]
"""What the suite returns."""


@dataclass(frozen=True)
class Score:
    """One metric of one arm: the suite's value, and the rows' marks behind it."""

    value: float
    error: float | None
    rows: Mapping[Key, float]
    documents: int
    less_is_better: bool = False
    generated: bool = False
    """Whether the model was only asked to write, and for no log-probability."""

    @property
    def is_mean(self) -> bool:
        """Whether the rows' mean is the value; rows that failed are no part of it, and are left out of the mean."""
        return bool(self.rows) and abs(sum(self.rows.values()) / len(self.rows) - self.value) < SAME

    @property
    def is_proportion(self) -> bool:
        """Whether rows pass or fail."""
        return self.is_mean and set(self.rows.values()) <= {0.0, 1.0}


def measure(run: Run, report: Report, logs: Path, mount: Path) -> Results:
    """Ask every arm, one after the other, and add it up."""
    started, progress = time.monotonic(), Progress(0)
    with Ticker(progress, lambda text: report.write(runs.PROGRESS, text)):
        told = {role: _asked(arm, run, progress, mount) for role, arm in run.arms.items()}
    found = {role: one for role, (one, _, _) in told.items()}
    arms = {role: ArmResult(*_rows(one), error) for role, (one, error, _) in told.items()}
    if run.keep_seconds is not None:
        keep(logs / run.short, found)
    note = next((note for _, _, note in told.values() if note), "")
    report.write(runs.DATASET, json.dumps(identity(found["target"])))
    return replace(
        added_up(run, found, arms, note), seconds=round(time.monotonic() - started, 1), questions=progress.total
    )


def _asked(arm: Arm, run: Run, progress: Progress, mount: Path) -> tuple[Told, str | None, str]:
    """What the suite found, the first error, and a note."""
    benchmark = run.benchmark
    assert benchmark is not None
    if benchmark.claim:
        os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    os.environ.setdefault("HF_HOME", "/tmp/hf")
    os.environ["DISABLE_MULTIPROC"] = "1"  # the suite's pool ends its processes by a signal that has our handler
    # heavy, and it reads the environment
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    from llmops.evaluation.runner import harness

    own = mount / "tasks"
    manager = TaskManager(include_path=str(own) if own.is_dir() else None)
    unknown = [name for name in benchmark.tasks if name not in manager.all_tasks]
    if unknown:
        where = f"the files of {own} on claim {benchmark.claim} or " if benchmark.claim else ""
        raise Wrong(f"lm-eval knows no task {', '.join(unknown)}: name one of {where}those that the suite brings")
    lacking, model = harness.on_volume(mount / "datasets"), harness.Model(arm, run, progress)
    try:
        told = simple_evaluate(
            model, tasks=list(benchmark.tasks), num_fewshot=benchmark.shots, limit=benchmark.limit,
            bootstrap_iters=0 if benchmark.limit == 1 else 1000, task_manager=manager,
        )  # fmt: skip
    except Wrong:
        raise
    except Exception as problem:
        if not lacking:
            raise
        at = f"datasets/{lacking[-1]} on claim {benchmark.claim}"
        raise Wrong(
            f"dataset {lacking[-1]} cannot be read ({problem}): put a copy of its repository into {at}"
        ) from None
    return told, model.first_error, model.note


def leaves(told: Told, name: str) -> list[str]:
    """A group's tasks, whatever groups are between."""
    inner = told.get("group_subtasks", {}).get(name) or []
    return [leaf for one in inner for leaf in leaves(told, one)] if inner else [name]


def scored(told: Told, name: str) -> list[str]:
    """The task or group itself if it has a score, else its members that have one."""
    if _numbers(told["results"].get(name, {})):
        return [name]
    return [one for inner in told.get("group_subtasks", {}).get(name) or [] for one in scored(told, inner)]


def _numbers(result: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in result.items()
        if "," in name and "_stderr," not in name and isinstance(value, int | float) and not isinstance(value, bool)
    }


def scores(told: Told, tasks: Iterable[str]) -> dict[str, Score]:
    """By the metric's name; of the tasks that were asked for."""
    found: dict[str, Score] = {}
    for task in dict.fromkeys(one for name in tasks for one in scored(told, name)):
        result, higher = told["results"][task], told.get("higher_is_better", {}).get(task) or {}
        inner = leaves(told, task)
        for name, value in _numbers(result).items():
            metric, _, kept = name.partition(",")
            error = result.get(f"{metric}_stderr,{kept}")
            rows = _marks(told, inner, metric, kept)
            if any(failed(one) for leaf in inner for one in told["samples"].get(leaf, ())) and rows:
                value = sum(rows.values()) / len(rows)
            called = named(task, metric, "" if kept == "none" else kept)
            found[called] = Score(
                value,
                float(error) if isinstance(error, int | float) else None,
                rows,
                len({(leaf, one["doc_id"]) for leaf in inner for one in told["samples"].get(leaf, ())}),
                higher.get(metric) is False,
                all(told["configs"].get(leaf, {}).get("output_type") == "generate_until" for leaf in inner),
            )
    return found


def named(*parts: str) -> str:
    """A metric's name: small letters, digits and _, 63 at most, with a hash where it is cut."""
    name = re.sub("[^a-z0-9]+", "_", "_".join(filter(None, parts)).lower()).strip("_")
    return name if len(name) <= 63 else f"{name[:54]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _marks(told: Told, tasks: Iterable[str], metric: str, kept: str) -> dict[Key, float]:
    return {
        (task, one["doc_id"]): float(one[metric])
        for task in tasks
        for one in told["samples"].get(task, ())
        if one.get("filter", "none") == kept and isinstance(one.get(metric), int | float) and not failed(one)
    }


def failed(sample: Told) -> bool:
    """Whether one of the row's requests failed for good."""
    return any(_failed(each) for resp in sample["resps"] for each in (resp if isinstance(resp, list) else [resp]))


def _failed(response: Any) -> bool:
    if isinstance(response, list | tuple):
        return any(_failed(one) for one in response)
    if isinstance(response, str):
        return response.startswith("\0")
    return isinstance(response, float) and math.isnan(response)


def _rows(told: Told) -> tuple[int, int]:
    """Rows, and those of them that failed; a row with several filters is one row."""
    rows: dict[Key, bool] = {}
    for task, samples in told["samples"].items():
        rows |= {(task, one["doc_id"]): failed(one) for one in samples}
    return len(rows), sum(rows.values())


def added_up(run: Run, found: Mapping[str, Told], arms: Mapping[str, ArmResult], note: str = "") -> Results:
    """The results of all arms. `note`: what is to be told of scores that rest on log-probabilities."""
    assert run.benchmark is not None
    target = scores(found["target"], run.benchmark.tasks)
    baseline = scores(found["baseline"], run.benchmark.tasks) if "baseline" in found else {}
    names = list(target)[:MOST_METRICS]
    return Results(
        key=run.key,
        arms=arms,
        metrics=tuple(_metric(name, run, target[name], baseline.get(name), note) for name in names),
        slices=_slices(found["target"], run.benchmark.tasks),
    )


def _metric(name: str, run: Run, target: Score, baseline: Score | None, note: str) -> MetricResult:
    kind: Form = "proportion" if target.is_proportion else "mean"
    paired = _paired(run, target, baseline) if baseline else None
    of_target, of_baseline = _measured(run, target), _measured(run, baseline) if baseline else None
    told = "" if target.generated else note
    lacks = f"the suite says {target.value:.6g}, with neither rows that add up to it nor a standard error"
    why = lacks if of_target.value is None else ""
    return MetricResult(name, kind, of_target, of_baseline, paired, target.less_is_better, why=why, note=told)


def _measured(run: Run, score: Score) -> Measured:
    n = len(score.rows)
    if score.is_proportion:
        return Measured(n, score.value)
    if score.is_mean:
        numbers = np.array([[mark, 1.0] for mark in score.rows.values()])
        bounded = all(0 <= mark <= 1 for mark in score.rows.values())
        return draws.measured(numbers, draws.mean, run.key, bounded)
    if score.error is None or not math.isfinite(score.value):
        return Measured(0, None)
    spread = [draws.short(score.value + NormalDist().inv_cdf(level) * score.error) for level in LEVELS]
    return Measured(score.documents, draws.short(score.value), tuple(spread))


def _paired(run: Run, target: Score, baseline: Score) -> Paired | None:
    both = [key for key in target.rows if key in baseline.rows]
    if not both or not (target.is_mean and baseline.is_mean):
        return None
    if target.is_proportion and baseline.is_proportion:
        sides = [(bool(target.rows[key]), bool(baseline.rows[key])) for key in both]
        pairs = Pairs(*(sides.count(one) for one in ((True, True), (True, False), (False, True), (False, False))))
        return Paired(len(both), pairs, pairs.delta)
    arms = [np.array([[score.rows[key], 1.0] for key in both]) for score in (target, baseline)]
    bounded = all(0 <= mark <= 1 for arm in arms for mark in arm[:, 0])
    return draws.paired(arms[0], arms[1], draws.mean, run.key, bounded)


def _slices(told: Told, tasks: Iterable[str]) -> tuple[SliceResult, ...]:
    """A group's tasks, the worst first, where they are more than one."""
    found: list[SliceResult] = []
    for task in dict.fromkeys(one for name in tasks for one in scored(told, name)):
        inner = leaves(told, task)
        for leaf in inner if len(inner) > 1 else ():
            for name, score in scores(told, [leaf]).items():
                if score.is_mean and not score.less_is_better:
                    metric = name.removeprefix(f"{named(leaf)}_")
                    mean = draws.short(score.value)
                    found.append(SliceResult("task", leaf[:100], named(task, metric), len(score.rows), mean))
    return tuple(sorted(found, key=lambda one: (one.mean, one.value, one.metric))[:WORST])


def identity(told: Told) -> Mapping[str, Any]:
    """Which documents were asked."""
    hashes = sorted({(task, str(one["doc_hash"])) for task, samples in told["samples"].items() for one in samples})
    return {"sha256": hashlib.sha256(json.dumps(hashes).encode()).hexdigest(), "rows": _rows(told)[0]}


def keep(folder: Path, found: Mapping[str, Told]) -> None:
    """Every row as the suite logged it, a file a task and arm, beside the logs of other runs."""
    for role, told in found.items():
        for task, samples in told["samples"].items():
            (folder / role).mkdir(parents=True, exist_ok=True)
            text = "".join(json.dumps(one, ensure_ascii=False, default=str) + "\n" for one in samples)
            (folder / role / f"{named(task)}.jsonl").write_text(text)
