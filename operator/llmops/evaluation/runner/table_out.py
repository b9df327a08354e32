"""Every row with its answers and marks, beside the log: rows.jsonl for people, rows.parquet for notebooks.

    id, input, targets, answer, <metric>…, and of a baseline baseline_answer, baseline_<metric>…

A row that erred has no answer; a mark that could not be had is null. Written whole or not at all: a reader never meets
half of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmops.evaluation.rows import Row
from llmops.evaluation.runner.answers import Answers

TEXTS = ("id", "input", "answer", "baseline_answer")
PREFIXES = {"target": "", "baseline": "baseline_"}


def keep(folder: Path, rows: Sequence[Row], answers: Mapping[str, Answers]) -> None:
    """Both files, in the folder of the run's log: they go with it when spec.keep is over."""
    table = list(records(rows, answers))
    lines = "".join(json.dumps(one, ensure_ascii=False, allow_nan=False) + "\n" for one in table)
    _whole(folder / "rows.jsonl", lambda path: path.write_text(lines, encoding="utf-8"))
    _whole(folder / "rows.parquet", lambda path: _parquet(path, table))


def records(rows: Sequence[Row], answers: Mapping[str, Answers]) -> Iterator[dict[str, Any]]:
    """A record a row, all with the same fields."""
    marks = {role: {name for one in each.by_id.values() for name in one.marks} for role, each in answers.items()}
    names = {role: sorted(each - {"answered"}) for role, each in marks.items()}
    for row in rows:
        told: dict[str, Any] = {"id": row.id, "input": row.input, "targets": list(row.targets)}
        for role, each in answers.items():
            found, prefix = each.by_id.get(row.id), PREFIXES[role]
            told[f"{prefix}answer"] = found.text if found else None
            told |= {f"{prefix}{name}": found.marks.get(name) if found else None for name in names[role]}
        yield told


def _parquet(path: Path, table: Sequence[Mapping[str, Any]]) -> None:
    import pyarrow as arrow
    from pyarrow import parquet

    kinds = {**dict.fromkeys(TEXTS, arrow.string()), "targets": arrow.list_(arrow.string())}
    fields = [arrow.field(name, kinds.get(name, arrow.float64())) for name in table[0]]
    parquet.write_table(arrow.Table.from_pylist(list(table), schema=arrow.schema(fields)), path)


def _whole(path: Path, write: Callable[[Path], object]) -> None:
    half = path.with_suffix(path.suffix + ".part")
    write(half)
    os.replace(half, path)
