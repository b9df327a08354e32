"""A dataset's text: what is accepted, and what is said of rows that are not."""

from __future__ import annotations

import json

import pytest

from llmops.evaluation.rows import CSV, JSONL, PARQUET, Fields, form_of, parse

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
    rows: list[tuple[str, ...] | None] = [row.targets for row in found.rows]
    assert (rows or [None]) == [targets]
    assert bool(found.problems) is (targets is None)


TABLE = "id,question,answer,topic\r\na,Why?,Because.,x\r\n"


def test_a_table_has_line_breaks_and_quotes_in_its_cells_and_a_mark_before_its_header():
    text = "\ufeff" + TABLE + '"b","Two\nlines, with ""quotes""?",Yes.,"x"\r\n\r\nc,Née Müller?,"10,5",\r\n'
    found = parse(text, QA, form=CSV)
    assert found.problems == ()
    assert [row.id for row in found.rows] == ["a", "b", "c"]
    assert found.rows[1].input == 'Two\nlines, with "quotes"?'
    assert found.rows[2].targets == ("10,5",)
    assert dict(found.rows[1].values)["topic"] == "x"
    assert "topic" not in found.rows[2].values


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("b,How?\r\n", "row 3: 2 cells, where the header has 4"),
        ("b,How?,So.,x,more\r\n", "row 3: 5 cells, where the header has 4"),
        ('b,"a\nb","c\nd",x\r\nc,How?\r\n', "row 4: 2 cells"),  # as a spreadsheet counts, not as an editor does
        ('b,"How?,So.,x\r\n', "row 3: not CSV ("),
        ('b,"How"?,So.,x\r\n', "row 3: not CSV ("),
        (
            "b,,So.,x\r\n",
            "row 3: no field 'question', the input by spec.dataset.fields.input (its fields: answer, id, topic)",
        ),
        ("b,How?,,x\r\n", "row 3: field 'answer' must be a text, a number, or a list of them, and not empty"),
        ("a,How?,So.,x\r\n", "row 3: its id 'a' is already that of row 2"),
    ],
)
def test_a_broken_row_of_a_table_is_told_as_a_spreadsheet_numbers_it(more, said):
    assert parse(TABLE + more, QA, form=CSV).told.startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,question,question\na,b,c\n", "row 1: the header names 'question' twice"),
        ("id,,answer\na,b,c\n", "row 1: the header's cell 2 is empty: name every column"),
        ("id;question;answer\na;b;c\n", "row 2: no field 'question', the input by spec.dataset.fields.input "
         "(its fields: id;question;answer)"),
        ("id,question,answer\n", "the dataset has no rows"),
        ("", "the dataset has no rows"),
    ],
)  # fmt: skip
def test_a_table_without_a_proper_header_is_refused(text, said):
    assert parse(text, QA, form=CSV).told == said


@pytest.mark.parametrize(
    ("name", "given", "form"),
    [
        ("qa.jsonl", None, JSONL),
        ("data", None, JSONL),
        ("/a.csv/qa", None, JSONL),
        ("/folder/QA.CSV", None, CSV),
        ("https://example.org/qa.csv?version=3#top", None, CSV),
        ("s3://bucket/qa.parquet", None, PARQUET),
        ("qa.txt", CSV, CSV),
        ("qa.csv", JSONL, JSONL),
    ],
)
def test_the_format_is_the_given_one_or_that_of_the_name(name, given, form):
    assert form_of(name, given) == form
