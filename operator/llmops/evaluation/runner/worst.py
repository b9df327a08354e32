"""The rows that went worst, for the page about a run: question, right answers, and both arms' answers side by side.

Few, and cut short: they stand in the run's ConfigMap, which more people may read than the log on its volume.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from llmops.evaluation.rows import Row
from llmops.evaluation.run import Run
from llmops.evaluation.runner.answers import Answer, Answers

LONGEST = 400  # characters of each text


def worst(run: Run, rows: Sequence[Row], answers: Mapping[str, Answers]) -> str:
    """As JSON, the worst first: by the mean of the marks that have no unit, then by how much better the baseline was.

    A row whose marks are all the best there are is not among them, nor one that has no mark.
    """
    names = [name for name in run.metrics if run.about(name).unit == ""]
    target, baseline = answers["target"].by_id, answers["baseline"].by_id if "baseline" in answers else {}
    found = []
    for row in rows:
        here = _goodness(run, names, target.get(row.id))
        there = _goodness(run, names, baseline.get(row.id))
        if here is not None and here < 1:
            found.append((here, here - there if there is not None else 0.0, row))
    found.sort(key=lambda one: one[:2])  # stable: equals stay in the dataset's order
    return json.dumps([_told(row, target, baseline) for *_, row in found[: run.worst_rows]], ensure_ascii=False)


def _goodness(run: Run, names: Sequence[str], answer: Answer | None) -> float | None:
    marks = answer.marks if answer else {}
    good = [1 - marks[name] if run.about(name).less_is_better else marks[name] for name in names if name in marks]
    return sum(good) / len(good) if good else None


def _told(row: Row, target: Mapping[str, Answer], baseline: Mapping[str, Answer]) -> Mapping[str, object]:
    sides = {"target": target.get(row.id), "baseline": baseline.get(row.id)}
    return {
        "id": _cut(row.id),
        "input": _cut(row.input),
        "targets": [_cut(one) for one in row.targets[:3]],
        **{
            side: {
                "answer": _cut(one.text),
                "marks": {name: mark for name, mark in one.marks.items() if name != "answered"},
            }
            for side, one in sides.items()
            if one is not None
        },
    }


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
