"""The rows beside the log: what a notebook reads is what was answered and marked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyarrow import parquet
from tests.unit.evaluation.conftest import question, start_runner, write_run

from llmops.evaluation.rows import Row
from llmops.evaluation.run import Arm
from llmops.evaluation.runner import table_out
from llmops.evaluation.runner.answers import Answer, Answers

ROWS = [Row("a", "Größe?", ("M", "Medium"), {}), Row("b", "Two\nlines\u2028?", (), {})]
TARGET = Answers({"a": Answer("M", {"answered": 1.0, "f1": 0.5}), "b": Answer("", {"answered": 1.0})}, 0)
BASELINE = Answers({"a": Answer("L", {"answered": 1.0, "f1": 0.0})}, 1)


def test_each_row_has_the_same_fields_and_what_is_not_known_is_null(tmp_path: Path) -> None:
    table_out.keep(tmp_path, ROWS, {"target": TARGET, "baseline": BASELINE})
    wanted = [
        {"id": "a", "input": "Größe?", "targets": ["M", "Medium"], "answer": "M", "f1": 0.5, "baseline_answer": "L",
         "baseline_f1": 0.0},
        {"id": "b", "input": "Two\nlines\u2028?", "targets": [], "answer": "", "f1": None, "baseline_answer": None,
         "baseline_f1": None},
    ]  # fmt: skip
    assert parquet.read_table(tmp_path / "rows.parquet").to_pylist() == wanted
    lines = (tmp_path / "rows.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    assert [json.loads(line) for line in lines] == wanted
    assert sorted(one.name for one in tmp_path.iterdir()) == ["rows.jsonl", "rows.parquet"]


def test_a_run_that_keeps_its_samples_leaves_them_and_another_does_not(
    serve: Callable[..., Any], tmp_path: Path
) -> None:
    model = serve(lambda body, _: (200, f"It is {question(body)}"))
    rows = [{"id": f"r{at}", "question": f"{at}", "answer": f"It is {at}"} for at in range(4)]
    for name, keep in (("kept", 3600.0), ("gone", None)):
        run = write_run(tmp_path / "run", rows, Arm(model.url, "m", "id"), keep_seconds=keep)
        runner = start_runner(tmp_path / "run", tmp_path / name, tmp_path / f"report-{name}")
        told = runner.communicate(timeout=120)
        assert runner.returncode == 0, told
        there = list((tmp_path / name / run.short).glob("rows.*"))
        assert len(there) == (2 if keep else 0)
    found = parquet.read_table(tmp_path / "kept" / run.short / "rows.parquet").to_pylist()
    assert [(one["id"], one["answer"], one["exact_match"]) for one in found] == [
        (f"r{at}", f"It is {at}", 1.0) for at in range(4)
    ]
