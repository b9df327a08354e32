"""Parquet files as rows: what each type becomes, and what is refused before anything is unpacked."""

from __future__ import annotations

import io
import json
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as arrow
import pytest
from pyarrow import parquet

from llmops.evaluation.runner import columns


def written(table: Any, **more: Any) -> bytes:
    file = io.BytesIO()
    parquet.write_table(arrow.table(table), file, **more)
    return file.getvalue()


def read(content: bytes, most: int = 100) -> list[Any]:
    return [json.loads(line) for line in columns.lines(content, most).split("\n")[:-1]]


def test_each_row_is_an_object_with_what_it_has() -> None:
    content = written({
        "id": [1, 2], "input": ["Größe?", "Two\nlines\u2028?"], "target": [["M", "Medium"], ["yes"]],
        "at": [datetime(2026, 1, 2, 3, 4), None], "day": [date(2026, 1, 2), None], "price": [Decimal("1.50"), None],
        "score": [float("nan"), 0.5], "more": [{"topic": "a"}, {"topic": None}],
    })  # fmt: skip
    assert read(content) == [
        {"id": 1, "input": "Größe?", "target": ["M", "Medium"], "at": "2026-01-02T03:04:00", "day": "2026-01-02",
         "price": "1.50", "score": None, "more": {"topic": "a"}},
        {"id": 2, "input": "Two\nlines\u2028?", "target": ["yes"], "score": 0.5, "more": {"topic": None}},
    ]  # fmt: skip


def test_no_more_rows_are_read_than_are_wanted() -> None:
    content = written({"input": [str(at) for at in range(5000)]}, row_group_size=700)
    for most in (1, 1024, 1025, 3000):
        assert [one["input"] for one in read(content, most)] == [str(at) for at in range(most)]
    assert len(read(content, 9000)) == 5000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"input,target", "no Parquet file that can be read"),
        (written({"input": ["a"] * 100})[:-20], "no Parquet file that can be read"),
        (written({"input": [b"a"]}), "column 'input' holds bytes: write texts"),
    ],
)
def test_what_cannot_be_read_says_why(content: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        columns.lines(content, 10)


def test_a_small_file_that_unpacks_to_very_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = written({"input": [f"{at % 7}" * 2000 for at in range(4000)]}, use_dictionary=False, compression="zstd")
    assert len(content) < 100_000
    monkeypatch.setattr(columns, "MOST_BYTES", 1 << 20)
    with pytest.raises(ValueError, match="it unpacks to more than 1 MiB"):
        columns.lines(content, 10)
