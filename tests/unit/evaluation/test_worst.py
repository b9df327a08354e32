"""The rows that went worst: which, in what order, and how much of them is told."""

from __future__ import annotations

import json
from typing import Any

from llmops.evaluation.rows import Row
from llmops.evaluation.run import Arm, Run
from llmops.evaluation.runner.answers import Answer, Answers
from llmops.evaluation.runner.worst import LONGEST, worst


def told(
    metrics: tuple[str, ...], target: dict[str, Any], baseline: dict[str, Any] | None = None, most: int = 10
) -> Any:
    rows = [Row(name, f"question {name}", (f"right {name}",), {}) for name in target]
    run = Run("shop/q", "s", len(rows), metrics, Arm("u", "m", "i"), worst_rows=most, key="ab" * 32)
    arms = {"target": target, **({"baseline": baseline} if baseline is not None else {})}
    answers = {
        role: Answers({name: Answer(f"{role} {name}", marks) for name, marks in each.items() if marks is not None}, 0)
        for role, each in arms.items()
    }
    return json.loads(worst(run, rows, answers))


def test_the_worst_comes_first_and_what_is_perfect_or_unmarked_does_not_come() -> None:
    marks = {"a": {"f1": 0.5}, "b": {"f1": 1.0}, "c": {"f1": 0.1}, "d": {"answered": 1.0}, "e": None, "f": {"f1": 0.5}}
    assert [one["id"] for one in told(("f1",), marks)] == ["c", "a", "f"]
    assert [one["id"] for one in told(("f1",), marks, most=1)] == ["c"]


def test_a_refusal_is_bad_and_seconds_are_on_no_common_scale() -> None:
    marks = {"a": {"refusal": 1.0, "latency": 0.1}, "b": {"refusal": 0.0, "latency": 99.0}}
    assert [one["id"] for one in told(("refusal", "latency"), marks)] == ["a"]


def test_of_rows_that_are_equally_bad_those_come_first_that_the_baseline_answered_better() -> None:
    found = told(("f1",), {"a": {"f1": 0.0}, "b": {"f1": 0.0}}, {"a": {"f1": 0.0}, "b": {"f1": 1.0}})
    assert [one["id"] for one in found] == ["b", "a"]
    assert found[0]["target"] == {"answer": "target b", "marks": {"f1": 0.0}}
    assert found[0]["baseline"] == {"answer": "baseline b", "marks": {"f1": 1.0}}
    assert (found[0]["input"], found[0]["targets"]) == ("question b", ["right b"])


def test_long_texts_are_cut_and_say_so() -> None:
    rows = [Row("a", "ö" * 5000, ("x" * LONGEST, "y", "z", "fourth"), {})]
    run = Run("shop/q", "s", 1, ("f1",), Arm("u", "m", "i"), key="ab" * 32)
    [one] = json.loads(worst(run, rows, {"target": Answers({"a": Answer("", {"f1": 0.0})}, 0)}))
    assert one["input"] == "ö" * LONGEST + "…"
    assert one["targets"] == ["x" * LONGEST, "y", "z"]
