"""The Job's process against a server that speaks OpenAI's protocol, faults included; requests are counted."""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path

import pytest

from llmops.evaluation.results import Results, loads
from llmops.evaluation.run import CONFIG_ERROR, Arm
from llmops.evaluation.runner.stop import STOPPED

from .conftest import question, start_runner, value, write_run

ROWS = [
    {"id": f"r{i}", "question": f"What is {i}?", "answer": f"It is {i}.", "topic": "even" if i % 2 == 0 else "odd"}
    for i in range(40)
]
ANSWERS = {row["question"]: row["answer"] for row in ROWS}


def run_to_end(folder: Path, logs: Path, report: Path, expected: int = 0) -> str:
    process = start_runner(folder, logs, report)
    out, err = process.communicate(timeout=120)
    assert process.returncode == expected, out + err
    return err


def results(report: Path) -> Results:
    return loads((report / "results.json").read_text())


def places(tmp_path: Path) -> tuple[Path, Path, Path]:
    return tmp_path / "run", tmp_path / "logs", tmp_path / "report"


def test_a_run_asks_each_row_once_and_leaves_a_summary(serve, tmp_path):
    model = serve(lambda body, _: (200, ANSWERS[question(body)] if question(body) != "What is 7?" else "It is 8."))
    run = write_run(
        tmp_path / "run",
        ROWS,
        Arm(model.url, "shop/support", "1"),
        slices=("topic",),
        metrics=("exact_match", "includes", "f1", "rouge_l", "bleu"),
    )
    run_to_end(*places(tmp_path))

    found = results(tmp_path / "report")
    assert set(model.asked.values()) == {1}
    assert len(model.asked) == 40
    assert {(body["model"], body["temperature"]) for body in model.bodies} == {("shop/support", 0)}
    assert model.authorizations == {"Bearer none"}
    assert found.key == run.key
    assert found.metric("exact_match").target.n == 40
    assert found.metric("exact_match").target.value == pytest.approx(39 / 40)
    assert found.metric("f1").target.value == pytest.approx((39 + 2 / 3) / 40, abs=1e-5)
    assert found.metric("rouge_l").target.value == pytest.approx((39 + 2 / 3) / 40, abs=1e-5)
    assert 0.9 < value(found, "bleu") < 1
    assert found.slices[0].value == "odd"
    assert found.arms["target"].errors == 0
    assert found.tokens == 40 * 7
    [bad] = json.loads((tmp_path / "report" / "worst.json").read_text())
    assert (bad["id"], bad["targets"], bad["target"]["answer"]) == ("r7", ["It is 7."], "It is 8.")


def test_busy_and_broken_answers_are_tried_again(serve, tmp_path):
    def answer(body, before):
        if before == 0 and question(body) in ("What is 3?", "What is 4?"):
            return (429, "slow down") if question(body) == "What is 3?" else (500, "oh")
        return 200, ANSWERS[question(body)]

    model = serve(answer)
    write_run(tmp_path / "run", ROWS, Arm(model.url, "m", "1"))
    run_to_end(*places(tmp_path))

    assert Counter(model.asked.values()) == {1: 38, 2: 2}
    assert results(tmp_path / "report").metric("exact_match").target.value == 1.0


def test_a_refusal_is_an_error_and_neither_a_wrong_answer_nor_tried_again(serve, tmp_path):
    model = serve(
        lambda body, _: (400, "too long") if question(body) == "What is 5?" else (200, ANSWERS[question(body)])
    )
    write_run(tmp_path / "run", ROWS, Arm(model.url, "m", "1"))
    run_to_end(*places(tmp_path))

    found = results(tmp_path / "report")
    assert set(model.asked.values()) == {1}
    assert (found.arms["target"].errors, found.metric("exact_match").target.n) == (1, 39)
    assert "too long" in (found.arms["target"].first_error or "")


def test_an_answer_without_its_promised_form_is_a_wrong_answer_and_asked_for_once(serve, tmp_path):
    model = serve(
        lambda body, _: (502, "response_invalid") if question(body) == "What is 5?" else (200, ANSWERS[question(body)])
    )
    write_run(tmp_path / "run", ROWS, Arm(model.url, "m", "1"))
    run_to_end(*places(tmp_path))

    found = results(tmp_path / "report")
    assert set(model.asked.values()) == {1}
    assert (found.arms["target"].errors, found.metric("exact_match").target.n) == (0, 40)
    assert found.metric("exact_match").target.value == 39 / 40


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_continues_where_its_log_ends(serve, tmp_path, kill):
    model = serve(lambda body, _: (200, ANSWERS[question(body)]))
    write_run(tmp_path / "run", ROWS, Arm(model.url, "m", "1"), concurrency=2)
    model.at_first = 20
    first = start_runner(*places(tmp_path))
    model.wait_until_asked(22)
    first.send_signal(kill)
    first.communicate(timeout=60)
    assert first.returncode == (STOPPED if kill == signal.SIGTERM else -signal.SIGKILL)
    before = len(model.bodies)
    model.goes_on.set()
    run_to_end(*places(tmp_path))

    again = len(model.bodies) - before
    assert again <= 26, f"{again} of 40 rows were asked again, where 20 were answered before the kill"
    assert results(tmp_path / "report").metric("exact_match").target.n == 40
    assert results(tmp_path / "report").resumed == 40 - again


def test_target_and_baseline_are_asked_the_same_rows_and_paired(serve, tmp_path):
    def answer(body, _):
        version, number = body["prompt"]["version"], int(question(body).removeprefix("What is ").removesuffix("?"))
        return 200, "wrong" if (version == "old" and number < 4) or (version == "new" and number == 0) else (
            ANSWERS[question(body)]
        )

    model = serve(answer)
    arms = {
        version: Arm(
            model.url, "shop/a", version, prompt={"id": "shop/a", "version": version}, variables=("question", "topic")
        )
        for version in ("new", "old")
    }
    write_run(tmp_path / "run", ROWS, arms["new"], baseline=arms["old"], metrics=("exact_match", "f1"))
    run_to_end(*places(tmp_path))

    paired = results(tmp_path / "report").metric("exact_match").paired
    assert (paired.counts.both, paired.counts.only_target, paired.counts.only_baseline, paired.counts.neither) == (
        36,
        3,
        0,
        1,
    )
    assert paired.interval(0.95).low < 0.075 < paired.interval(0.95).high
    f1 = results(tmp_path / "report").metric("f1").paired
    assert f1.delta == pytest.approx(0.075)
    assert f1.interval(0.95).low < 0.075 < f1.interval(0.95).high
    sent = next(body for body in model.bodies if body["prompt"]["variables"]["question"] == "What is 2?")
    assert sent["prompt"] == {
        "id": "shop/a",
        "version": "new",
        "variables": {"question": "What is 2?", "topic": "even"},
    }
    assert "temperature" not in sent


def test_rows_that_are_not_the_run_s_end_it_at_once_without_a_call(serve, tmp_path):
    model = serve(lambda body, _: (200, "x"))
    write_run(tmp_path / "run", ROWS, Arm(model.url, "m", "1"))
    (tmp_path / "run" / "rows.jsonl").write_text('{"question": "other", "answer": "y", "id": "1"}\n')
    run_to_end(*places(tmp_path), expected=CONFIG_ERROR)

    assert model.bodies == []
    assert "not those of the run" in (tmp_path / "report" / "failure.txt").read_text()


def test_a_dead_target_ends_as_errors_within_a_minute_or_so(serve, tmp_path):
    model = serve(lambda body, _: (503, "nobody home"))
    write_run(tmp_path / "run", ROWS, Arm(model.url, "m", "1"), concurrency=20)
    run_to_end(*places(tmp_path))

    found = results(tmp_path / "report")
    assert found.arms["target"].errors == 40
    assert found.metric("exact_match").target.value is None
    assert "nobody home" in (found.arms["target"].first_error or "")
    assert len(model.bodies) < 40 * 7, "the patience of the first requests is not spent again on the rest"
