"""The Job's process with rows that it reads itself, from a claim."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmops.evaluation import rows
from llmops.evaluation.results import Results, loads
from llmops.evaluation.rows import Fields
from llmops.evaluation.run import CONFIG_ERROR, Arm, Run, Typed, content_key
from llmops.evaluation.runner.data import read
from llmops.evaluation.runner.report import Folder
from llmops.evaluation.source import Source
from llmops.web import Wrong

from .conftest import question, start_runner, write_sourced

SOURCE = Source("pvc", "/qa.csv", claim="data")
TABLE = "id,question,answer,topic\r\n" + "".join(
    f'r{i},"What,\nis {i}?",It is {i}.,{"even" if i % 2 == 0 else "odd"}\r\n' for i in range(20)
)


def claim(tmp_path: Path, text: str = TABLE) -> str:
    (tmp_path / "dataset").mkdir(exist_ok=True)
    (tmp_path / "dataset/qa.csv").write_bytes(text.encode())
    return hashlib.sha256(text.encode()).hexdigest()


def run_to_end(tmp_path: Path, expected: int = 0) -> None:
    process = start_runner(tmp_path / "run", tmp_path / "logs", tmp_path / "report")
    out, err = process.communicate(timeout=120)
    assert process.returncode == expected, out + err


def told(tmp_path: Path) -> dict[str, Any]:
    return json.loads((tmp_path / "report/dataset.json").read_text())


def results(tmp_path: Path) -> Results:
    return loads((tmp_path / "report/results.json").read_text())


def answer(body, _):
    number = int(question(body).removeprefix("What,\nis ").removesuffix("?"))
    return 200, f"It is {number}." if number % 4 else "wrong"


def test_a_table_on_a_claim_is_asked_with_its_slices_and_told_by_digest_and_rows(serve, tmp_path):
    sha256 = claim(tmp_path)
    model = serve(answer)
    run = write_sourced(tmp_path / "run", SOURCE, Arm(model.url, "m", "1"), {}, form="CSV", slices=("topic",))
    run_to_end(tmp_path)
    assert told(tmp_path) == {"sha256": sha256, "rows": 20, "content": content_key(run, sha256)}
    assert results(tmp_path).metric("exact_match").target.value == 0.75
    worst = results(tmp_path).slices[0]
    assert (worst.field, worst.value, worst.n, worst.mean) == ("topic", "even", 10, 0.5)
    assert (tmp_path / "report/finished.txt").read_text().startswith("20")
    assert (tmp_path / "logs" / run.short / sha256[:10]).is_dir()


def test_a_drift_s_profile_is_handed_on_and_its_questions_are_embedded(serve, tmp_path):
    claim(tmp_path, "id,question,answer\r\n" + "".join(f"r{i},What is {i}?,It is {i}.\r\n" for i in range(60)))

    def embed(body, _):
        (text,) = body["input"]
        vector = [1.0, 0.1, 0.0] if "1" in text else [0.0, 0.1, 1.0]
        return 200, {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": vector}], "model": "e"}

    model = serve(lambda body, _: (200, question(body).replace("What", "It")))
    typed = (Typed("drift", "Drift", {}, Arm(serve(embed).url, "shop/minilm", "e")),)
    more: dict[str, Any] = {"form": "CSV", "metrics": ("drift",), "typed": typed}
    write_sourced(tmp_path / "run", SOURCE, Arm(model.url, "m", "1"), {}, **more)
    run_to_end(tmp_path)
    first = results(tmp_path)
    assert first.metric("drift").note.startswith("the first look")
    assert first.questions == 120
    topics = first.profiles["drift"]["parts"]["topics"]
    ones = sum("1" in str(i) for i in range(60))
    assert sorted(topics["counts"]) == sorted([ones, 60 - ones])

    claim(tmp_path, "id,question,answer\r\n" + "".join(f"r{i},What is 1{i}?,It is.\r\n" for i in range(60)))
    write_sourced(tmp_path / "run", SOURCE, Arm(model.url, "m", "1"), {}, first.profiles, turn="later", **more)
    run_to_end(tmp_path)
    second = results(tmp_path)
    assert "60 rows against the 60 of the first look" in second.metric("drift").note
    assert {one.metric: one.paired.delta or 0 for one in second.metric("drift").apart}["topics"] > 1
    assert second.profiles == first.profiles


def test_rows_that_were_measured_before_are_not_asked_again(serve, tmp_path):
    sha256 = claim(tmp_path)
    model = serve(answer)
    first = write_sourced(tmp_path / "run", SOURCE, Arm(model.url, "m", "1"), {}, form="CSV")
    run_to_end(tmp_path)
    asked, before = len(model.bodies), results(tmp_path)

    moved = replace(SOURCE, claim="archive")
    known = {sha256: {"name": "quality-eval-before", "results": before.dumps()}}
    second = write_sourced(tmp_path / "run", moved, Arm(model.url, "m", "1"), known, form="CSV")
    run_to_end(tmp_path)
    assert len(model.bodies) == asked
    assert second.key != first.key
    assert results(tmp_path) == replace(before, key=second.key)
    assert told(tmp_path)["sameAs"] == "quality-eval-before"

    claim(tmp_path, TABLE + "new,Why?,Because.,odd\r\n")  # other rows than those of before
    model.answer = lambda *_: (200, "Because.")
    run_to_end(tmp_path)
    assert len(model.bodies) == asked + 21
    assert "sameAs" not in told(tmp_path)


def test_a_broken_row_ends_the_run_before_the_first_call(serve, tmp_path):
    claim(tmp_path, TABLE + "x,What?\r\n")
    model = serve(answer)
    write_sourced(tmp_path / "run", SOURCE, Arm(model.url, "m", "1"), {}, form="CSV")
    run_to_end(tmp_path, expected=CONFIG_ERROR)
    assert model.bodies == []
    assert told(tmp_path) == {
        "problem": "/qa.csv on claim data: row 22: 2 cells, where the header has 4",
    }


def test_a_field_that_the_prompt_requires_and_another_encoding_are_told_before_the_first_call(serve, tmp_path):
    claim(tmp_path)
    model = serve(answer)
    write_sourced(tmp_path / "run", SOURCE, Arm(model.url, "m", "1"), {}, form="CSV", needs=("country",))
    run_to_end(tmp_path, expected=CONFIG_ERROR)
    assert "row 2: no field 'country', which the prompt's variables require" in told(tmp_path)["problem"]
    (tmp_path / "dataset/qa.csv").write_bytes("id,question,answer\r\na,Où?,Là.\r\n".encode("latin-1"))
    run_to_end(tmp_path, expected=CONFIG_ERROR)
    assert "is not UTF-8 (byte 24): save it as CSV in UTF-8" in told(tmp_path)["problem"]
    assert model.bodies == []


def test_rows_that_the_pod_has_no_room_for_are_refused_by_their_number(tmp_path, monkeypatch):
    claim(tmp_path)
    monkeypatch.setattr("llmops.evaluation.runner.data.MOST_ROWS", 19)
    places = tmp_path / "run", tmp_path, Folder(tmp_path / "report"), tmp_path / "dataset"
    write_sourced(tmp_path / "run", SOURCE, Arm("http://x/v1", "m", "1"), {}, form="CSV")
    with pytest.raises(Wrong, match=r"data has 20 rows: write a spec\.dataset\.limit of at most 19"):
        read(*places)
    write_sourced(tmp_path / "run", SOURCE, Arm("http://x/v1", "m", "1"), {}, form="CSV", limit=19)
    run, _ = read(*places)
    assert run.rows == 19


def test_rows_that_were_handed_over_with_windows_line_ends_are_those_of_the_run(tmp_path):
    text = '{"id": "a", "question": "Why?", "answer": "Because."}\r\n'
    fields = Fields("question", "answer", "id")
    run = Run("shop/quality", rows.sha256(text), 1, ("exact_match",), Arm("http://x/v1", "m", "1"), fields=fields)
    (tmp_path / "run.json").write_text(run.dumps())
    (tmp_path / "rows.jsonl").write_bytes(text.encode())
    _, found = read(tmp_path, tmp_path, Folder(tmp_path / "report"), tmp_path)
    assert [row.id for row in found.rows] == ["a"]
