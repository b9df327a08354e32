"""Counterfactual pairs: rows that differ in one thing that should not matter, and how far their marks lie apart.

A pair is all rows that share the value of `pairs.id`; `pairs.field` tells its members apart (their group). For every
metric between 0 and 1 and every two groups the difference is taken within pairs, with a paired interval: Tango's where
rows pass or fail, a bootstrap over pairs else. The metric's value is the greatest distance, and its interval covers all
of them at once (results.Apart).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from llmops.evaluation.intervals import Pairs
from llmops.evaluation.results import Apart, Measured, MetricResult, Paired
from llmops.evaluation.rows import Row
from llmops.evaluation.run import Run
from llmops.evaluation.runner import draws
from llmops.evaluation.runner.answers import Answers

MOST_GROUPS = 5
MOST_COMPARED = 60

Marks = Mapping[str, Mapping[str, list[float]]]
"""By pair and group: the marks of one metric."""


def measured(name: str, run: Run, rows: Sequence[Row], answers: Answers) -> MetricResult:
    """The result of the Counterfactual of that name."""
    settings = next(one.settings for one in run.typed if one.name == name)["pairs"]
    field, shared = str(settings["field"]), str(settings.get("id", "pair"))
    kept = [row for row in rows if row.values.get(field) is not None and row.values.get(shared) is not None]
    groups = sorted({str(row.values[field]) for row in kept})
    metrics = [
        one for one in run.metrics if run.about(one).unit == "" and run.about(one).form in ("proportion", "mean")
    ]
    metrics = [one for one in metrics if one not in {other.name for other in run.of_type("Pairwise")}]
    told = _refused(field, shared, groups, metrics)
    if told:
        return MetricResult(name, "groups", Measured(0, None), less_is_better=True, why=told)
    apart: list[Apart] = []
    for metric in metrics:
        marks = _marks(metric, kept, answers, field, shared)
        for first, second in combinations(groups, 2):
            paired = _paired(marks, first, second, run.key)
            if paired is not None:
                apart.append(Apart(metric, first[:100], second[:100], paired))
    if not apart:
        why = f"no two answered rows share {shared!r} and differ in {field!r}"
        return MetricResult(name, "groups", Measured(0, None), less_is_better=True, why=why)
    most = max(apart, key=lambda one: abs(one.paired.delta or 0.0))
    note = f"the greatest of {len(apart)}: {most.metric}, {most.first} less {most.second} is {most.paired.delta:+.4f}"
    if len(kept) < len(rows):
        note += f"; {len(rows) - len(kept)} rows without {field!r} or {shared!r} belong to no pair"
    value = Measured(max(one.paired.n for one in apart), draws.short(abs(most.paired.delta or 0.0)))
    return MetricResult(name, "groups", value, less_is_better=True, note=note, apart=tuple(apart))


def _refused(field: str, shared: str, groups: Sequence[str], metrics: Sequence[str]) -> str:
    if len(groups) < 2:
        return f"the rows' field {field!r} has {len(groups)} values beside {shared!r}, where two groups are needed"
    if len(groups) > MOST_GROUPS:
        return f"the rows' field {field!r} has {len(groups)} values: compare at most {MOST_GROUPS} groups"
    if not metrics:
        return "there is no metric between 0 and 1 to compare groups by: add one, such as exact_match"
    compared = len(metrics) * len(groups) * (len(groups) - 1) // 2
    if compared > MOST_COMPARED:
        return f"{compared} comparisons are too many to say anything of: at most {MOST_COMPARED}"
    return ""


def _marks(metric: str, rows: Sequence[Row], answers: Answers, field: str, shared: str) -> Marks:
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        answer = answers.by_id.get(row.id)
        if answer is not None and metric in answer.marks:
            found[str(row.values[shared])][str(row.values[field])].append(answer.marks[metric])
    return found


def _paired(marks: Marks, first: str, second: str, key: str) -> Paired | None:
    """Within the pairs that have both groups; a group with several rows in a pair counts with their mean."""
    both = [(one[first], one[second]) for one in marks.values() if one.get(first) and one.get(second)]
    if not both:
        return None
    if all(len(part) == 1 and part[0] in (0.0, 1.0) for pair in both for part in pair):
        counts: dict[tuple[float, float], int] = defaultdict(int)
        for one, other in both:
            counts[one[0], other[0]] += 1
        pairs = Pairs(counts[1.0, 1.0], counts[1.0, 0.0], counts[0.0, 1.0], counts[0.0, 0.0])
        return Paired(len(both), pairs, pairs.delta)
    sides = [np.array([[sum(pair[at]) / len(pair[at]), 1.0] for pair in both]) for at in (0, 1)]
    return draws.paired(sides[0], sides[1], draws.mean, key, bounded=True)
