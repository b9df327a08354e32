"""A dataset's text: what is accepted, and what is said of rows that are not."""

from __future__ import annotations

import json

import pytest

from llmops.evaluation.rows import Fields, parse

QA = Fields("question", "answer", "id")
GOOD = '{"id": "a", "question": "Why?", "answer": "Because."}'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"question": "Why?"', "row 2: not JSON"),
        ('["Why?"]', "row 2: a JSON object is expected, not list"),
        (
            '{"id": "b", "question": "Why?"}',
            "row 2: no field 'answer', the target by spec.dataset.fields.target (its fields: id, question)",
        ),
        ('{"id": "b", "question": "Why?", "answer": null}', "row 2: no field 'answer'"),
        (
            '{"id": "b", "question": "Why?", "answer": "  "}',
            "row 2: field 'answer' must be a text, a number, or a list",
        ),
        ('{"id": "b", "question": "Why?", "answer": []}', "row 2: field 'answer' must be"),
        ('{"id": "b", "question": "Why?", "answer": {"x": 1}}', "row 2: field 'answer' must be"),
        ('{"id": "b", "question": " ", "answer": "x"}', "row 2: field 'question' must be a text that is not empty"),
        ('{"id": "b", "question": 7, "answer": "x"}', "row 2: field 'question' must be a text"),
        ('{"id": "a", "question": "How?", "answer": "x"}', "row 2: its id 'a' is already that of row 1"),
        ('{"id": [1], "question": "How?", "answer": "x"}', "row 2: field 'id' must be a text or a whole number"),
    ],
)
def test_a_broken_row_is_told_by_its_number_and_what_to_write(line, said):
    assert parse(f"{GOOD}\n{line}\n", QA).told.startswith(said)


def test_every_script_and_separator_survives():
    text = json.dumps({"id": "ü", "question": "営業時間は？\u2028 Ça va?", "answer": "十時から"}, ensure_ascii=False)
    (row,) = parse("\ufeff" + text + "\r\n\n", QA).rows
    assert (row.id, row.input, row.targets) == ("ü", "営業時間は？\u2028 Ça va?", ("十時から",))


def test_rows_without_ids_are_called_by_their_line():
    found = parse('{"input": "a", "target": "b"}\n\n{"input": "c", "target": ["d", 7, true]}', Fields())
    assert [row.id for row in found.rows] == ["1", "3"]
    assert found.rows[1].targets == ("d", "7", "true")


def test_rows_beyond_the_limit_are_not_judged():
    assert len(parse(f"{GOOD}\nbroken", QA, limit=1).rows) == 1
    assert parse(f"{GOOD}\nbroken", QA, limit=1).problems == ()


def test_a_field_that_the_prompt_requires_is_missed_before_any_call():
    assert parse(GOOD, QA, needs=("country",)).told == (
        "row 1: no field 'country', which the prompt's variables require"
    )


def test_an_empty_dataset_says_so_and_many_problems_are_counted():
    assert parse("\n \n", QA).told == "the dataset has no rows"
    assert parse("x\n" * 30, QA).told.endswith("; and 25 more")


@pytest.mark.parametrize(
    ("may", "answer", "targets"),
    [
        ("empty", '"answer": ""', ()),
        ("empty", '"answer": []', ()),
        ("empty", '"answer": "x"', ("x",)),
        ("empty", '"other": 1', None),  # SQuAD v2 says that there is no answer; a forgotten field says nothing
        ("absent", '"other": 1', ()),
        ("absent", '"answer": ""', ()),
        ("no", '"answer": ""', None),
        ("empty", '"answer": "  "', None),
    ],
)
def test_a_row_has_no_right_answer_only_where_the_metrics_know_what_that_means(may, answer, targets):
    found = parse(f'{{"question": "Why?", {answer}}}', Fields("question", "answer", "id", may))
    assert ([row.targets for row in found.rows] or [None]) == [targets]
    assert bool(found.problems) is (targets is None)
