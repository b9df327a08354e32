"""CSV with a header -> a row's fields by its number, or what is wrong with it. Pure.

Rows are numbered as a spreadsheet shows them: the header is row 1, and a cell with line breaks does not count twice. An
empty cell is a field that the row does not have, but for the target, which is then an empty one. All cells are texts.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping


def rows(text: str, target: str) -> Iterable[tuple[int, Mapping[str, str] | str]]:
    """(the row's number, its fields, or the sentence that says why it has none)."""
    read = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    header: list[str] | None = None
    number = 0
    while True:
        number += 1
        try:
            cells = next(read, None)
        except csv.Error as error:  # what follows cannot be told apart any more
            yield number, f"not CSV ({error})"
            return
        if cells is None:
            return
        if not any(cells):
            continue
        if header is None:
            header = [cell.strip() for cell in cells]
            if wrong := _header(header):
                yield number, wrong
                return
        elif len(cells) != len(header):
            yield number, f"{len(cells)} cells, where the header has {len(header)}"
        else:
            yield number, {name: cell for name, cell in zip(header, cells, strict=True) if cell or name == target}


def _header(names: list[str]) -> str | None:
    twice = [name for name, times in Counter(names).items() if times > 1]
    if "" in names:
        return f"the header's cell {names.index('') + 1} is empty: name every column"
    return f"the header names {twice[0]!r} twice" if twice else None
