"""A dataset's text -> rows, or the problems with the numbers of the rows that have them. Pure; both sides use it.

A dataset is JSON Lines (an object a line, blank lines between them allowed) or CSV (table.py). `fields` says which
field is the input, which the target (one text, or a list of acceptable ones) and which the id; other fields are kept,
for slices and for a prompt's variables. Everything wrong is found before the first call is made, as a run with bad rows
costs the same as a good one and tells less.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit

from llmops.evaluation import table

SHOWN = 5  # problems told at once; the rest are counted
JSONL, CSV, PARQUET = "JSONL", "CSV", "Parquet"


@dataclass(frozen=True)
class Fields:
    """The names of the fields that have a meaning."""

    input: str = "input"
    target: str = "target"
    id: str = "id"
    without_target: Literal["no", "empty", "absent"] = "no"
    """Whether a row may have no right answer, by the metrics asked for: only as an empty one, or by leaving it away."""


@dataclass(frozen=True)
class Row:
    """One question with its acceptable answers, and every field as it was written."""

    id: str
    input: str
    targets: tuple[str, ...]
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Rows:
    """What a dataset's text holds. Use `rows` only when `problems` is empty."""

    sha256: str
    rows: tuple[Row, ...] = ()
    problems: tuple[str, ...] = field(default=())

    @property
    def told(self) -> str:
        """The first few problems as one sentence."""
        rest = len(self.problems) - SHOWN
        return "; ".join(self.problems[:SHOWN]) + (f"; and {rest} more" if rest > 0 else "")


class _Wrong(ValueError):
    """What is wrong with one row."""


def form_of(name: str, given: str | None = None) -> str:
    """How a file's rows are written: as the spec says, else by the file's name or address."""
    ending = PurePosixPath(urlsplit(name).path).suffix.lower()
    return given or {".csv": CSV, ".parquet": PARQUET}.get(ending, JSONL)


def parse(text: str, fields: Fields, limit: int | None = None, needs: Sequence[str] = (), form: str = JSONL) -> Rows:
    """Read `text`; rows beyond `limit` are neither read nor judged. `needs` are fields that every row must have."""
    rows: list[Row] = []
    problems: list[str] = []
    seen: dict[str, int] = {}
    for number, line in table.rows(text, fields.target) if form == CSV else _numbered(text):
        if limit is not None and len(rows) + len(problems) >= limit:
            break
        try:
            row = _row(number, _values(line, form), fields, needs)
            if row.id in seen:
                raise _Wrong(f"its id {row.id!r} is already that of row {seen[row.id]}")
        except _Wrong as wrong:
            problems.append(f"row {number}: {wrong}")
        else:
            seen[row.id] = number
            rows.append(row)
    if not rows and not problems:
        problems.append("the dataset has no rows")
    return Rows(sha256(text), tuple(rows), tuple(problems))


def sha256(text: str) -> str:
    """The dataset's identity: that of its bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


def _numbered(text: str) -> Iterable[tuple[int, str]]:
    # split("\n") and not splitlines(): a U+2028 inside a JSON string is legal and does not end the row
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if line.strip():
            yield number, line


def _values(line: str | Mapping[str, str], form: str) -> Mapping[str, Any]:
    if not isinstance(line, str):
        return line
    if form == CSV:
        raise _Wrong(line)
    try:
        values = json.loads(line)
    except ValueError as error:
        raise _Wrong(f"not JSON ({error})") from None
    if not isinstance(values, dict):
        raise _Wrong(f"a JSON object is expected, not {type(values).__name__}")
    return values


def _row(number: int, values: Mapping[str, Any], fields: Fields, needs: Sequence[str]) -> Row:
    asked = _value(values, fields.input, "input")
    if not isinstance(asked, str) or not asked.strip():
        raise _Wrong(f"field {fields.input!r} must be a text that is not empty")
    for name in needs:
        if values.get(name) is None:
            raise _Wrong(f"no field {name!r}, which the prompt's variables require")
    identity = values.get(fields.id, number)
    if isinstance(identity, bool) or not isinstance(identity, str | int):
        raise _Wrong(f"field {fields.id!r} must be a text or a whole number")
    return Row(str(identity), asked, _right(values, fields), values)


def _right(values: Mapping[str, Any], fields: Fields) -> tuple[str, ...]:
    """The acceptable answers; none where the metrics know what that means."""
    name = fields.target
    absent, empty = values.get(name) is None, values.get(name) in ("", [], [""])
    if (absent and fields.without_target == "absent") or (empty and fields.without_target != "no"):
        return ()
    return _targets(_value(values, name, "target"), name)


def _value(values: Mapping[str, Any], name: str, role: str) -> Any:
    value = values.get(name)
    if value is None:
        has = ", ".join(sorted(values)) or "none"
        raise _Wrong(f"no field {name!r}, the {role} by spec.dataset.fields.{role} (its fields: {has})")
    return value


def _targets(value: Any, name: str) -> tuple[str, ...]:
    several = value if isinstance(value, list) else [value]
    texts = tuple(_text(one) for one in several)
    if not texts or not all(text.strip() for text in texts):
        raise _Wrong(f"field {name!r} must be a text, a number, or a list of them, and not empty")
    return texts


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return ""
