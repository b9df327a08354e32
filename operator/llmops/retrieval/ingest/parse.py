"""A file's bytes -> its documents, each with its text as Markdown where it has headings; what cannot be read is named.

HTML goes through trafilatura, which leaves menus, footers and scripts out; PDF through pypdf, docx through python-docx.
(Unstructured would do all of it; with what it needs by now it is 613 MB, spaCy and numba included.)
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmops.retrieval.passage import HALVES, UNSEEN, storable
from llmops.retrieval.work import SourceWork

if TYPE_CHECKING:
    from docx.table import Table, _Cell


@dataclass(frozen=True)
class Document:
    """One document; `id` begins with its source's name."""

    id: str
    source: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Unread:
    """What cannot be read, and why. `id`: the document that it would have been, where that is known; what the index
    has of it stays."""

    told: str
    id: str | None = None


FORMATS = {
    ".md": "Markdown", ".markdown": "Markdown", ".html": "HTML", ".htm": "HTML", ".pdf": "PDF", ".docx": "Docx",
    ".jsonl": "Jsonl", ".ndjson": "Jsonl", ".csv": "Csv", ".tsv": "Csv",
}  # fmt: skip
MOST_HTML = 4 << 20  # what takes a page apart properly takes minutes of more
MOST_UNPACKED = 256 << 20  # of a docx, which is a zip file: a small one can hold gigabytes of nothing


def parse(source: SourceWork, name: str, data: bytes) -> Iterator[Document | Unread]:
    """One document a file, or one a row of jsonl and csv."""
    ending = re.search(r"\.[a-z]+$", name.lower())
    format_ = source.format if source.format != "Auto" else FORMATS.get(ending.group() if ending else "", "Text")
    where, whole = storable(f"{source.name}/{name}"), f"source {source.name}, {name}"
    if format_ in ("Jsonl", "Csv"):
        yield from _rows(source, whole, format_, data, "\t" if name.lower().endswith(".tsv") else None)
        return
    try:
        text, metadata = _WHOLE[format_](data)
    except Exception as problem:  # noqa: BLE001 - whatever a parser makes of a broken file
        yield Unread(f"{whole}: no {format_} that can be read ({_told(problem)})", where)
        return
    if text := tidy(text):
        yield Document(where, source.name, text, storable(metadata))
    elif format_ == "PDF" and data.strip():
        yield Unread(f"{whole}: it has pictures of text and no text: let it be recognised (OCR) first", where)


def _told(problem: Exception) -> str:
    return f"{type(problem).__name__}: {problem}"[:200]


def tidy(text: str) -> str:
    """One form of each letter (NFC), no marks that nobody sees, no runs of empty lines."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = UNSEEN.sub("", HALVES.sub("\ufffd", text))
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t\u00a0]+\n", "\n", text)).strip()


def _text(data: bytes) -> tuple[str, dict[str, Any]]:
    return decoded(data), {}


def decoded(data: bytes) -> str:
    """UTF-8, else what its bytes look most like; ValueError for what is no text. A few bytes that are wrong do not make
    another encoding of a text in UTF-8: each stands as BROKEN."""
    text = data.decode("utf-8-sig", "surrogateescape")
    broken = len(BROKEN.findall(text))
    if broken and len(text) - len(text.encode("ascii", "ignore")) <= 3 * broken:  # few of the others are right
        from charset_normalizer import from_bytes

        best = None if b"\0" in data[:4096] and data[:2] not in (b"\xff\xfe", b"\xfe\xff") else from_bytes(data).best()
        if best is None:
            raise ValueError("it is no text")
        text = str(best)
    if "\0" in text:
        raise ValueError("it is no text")
    return text


BROKEN = re.compile("[\udc80-\udcff]")


BOILERPLATE = "//script|//style|//noscript|//template|//nav|/html/body/header|/html/body/footer"


def _html(data: bytes) -> tuple[str, dict[str, Any]]:
    from trafilatura import extract

    tree = _tree(data)
    title = " ".join((tree.findtext(".//title") or "").split())
    for one in tree.xpath(BOILERPLATE):
        one.drop_tree()
    plain = str(tree.text_content())
    proper = len(data) < MOST_HTML
    found = extract(tree, output_format="markdown", include_comments=False, favor_recall=True) if proper else None
    return found or re.sub(r"\n\s*\n+", "\n\n", plain), {"title": title} if title else {}


def _tree(data: bytes) -> Any:
    """What is UTF-8 is no other encoding, whatever is said, or not said, in its head."""
    import lxml.html

    try:
        text = None if b"\x1b" in data else data.decode("utf-8-sig")  # that begins the seven-bit Japanese ones
    except UnicodeDecodeError:
        text = None if re.search(rb"charset|encoding", data[:4096]) else decoded(data)
    if text is None:
        return lxml.html.fromstring(data)
    written = HALVES.sub("\ufffd", text).encode()
    return lxml.html.fromstring(written, parser=lxml.html.HTMLParser(encoding="utf-8"))


def _pdf(data: bytes) -> tuple[str, dict[str, Any]]:
    from pypdf import PdfReader

    reader = PdfReader(io.BytesIO(data))
    title = str((reader.metadata and reader.metadata.title) or "").strip()
    return "\n\n".join(page.extract_text() for page in reader.pages), {"title": title} if title else {}


def _docx(data: bytes) -> tuple[str, dict[str, Any]]:
    from docx import Document as Docx
    from docx.table import Table

    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        if sum(one.file_size for one in packed.infolist()) > MOST_UNPACKED:
            raise ValueError(f"unpacked it has more than {MOST_UNPACKED >> 20} MiB")
    opened = Docx(io.BytesIO(data))
    parts = []
    for one in opened.iter_inner_content():
        if isinstance(one, Table):
            parts.append("\n".join(f"| {' | '.join(cells)} |" for cells in _cells(one)))
            continue
        level = re.match(r"(?:Heading (\d)|Title)$", (one.style and one.style.name) or "")
        parts.append(("#" * int(level.group(1) or 1) + " " if level else "") + one.text)
    title = (opened.core_properties.title or "").strip()
    return "\n\n".join(parts), {"title": title} if title else {}


def _cells(table: Table) -> Iterator[list[str]]:
    """Row by row; a cell that reaches over several columns once."""
    for row in table.rows:
        yield [_cell(cell) for cell in {id(cell._tc): cell for cell in row.cells}.values()]


def _cell(cell: _Cell) -> str:
    """Its text, that of tables within it too."""
    from docx.table import Table

    inner = list[str]()
    for one in cell.iter_inner_content():
        inner += [text for row in _cells(one) for text in row] if isinstance(one, Table) else [one.text]
    return " ".join(" ".join(inner).split())


_WHOLE: dict[str, Callable[[bytes], tuple[str, dict[str, Any]]]] = {
    "Text": _text, "Markdown": _text, "HTML": _html, "PDF": _pdf, "Docx": _docx,
}  # fmt: skip


def _rows(
    source: SourceWork, where: str, format_: str, data: bytes, delimiter: str | None
) -> Iterator[Document | Unread]:
    try:
        text = decoded(data)
    except ValueError as problem:
        yield Unread(f"{where}: {problem}")
        return
    rows = _csv(text, delimiter) if format_ == "Csv" else _jsonl(text)
    for number, row in rows:
        yield _row(source, row, f"{where} row {number}")


def _jsonl(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if BROKEN.search(line):
            yield number, NO_UTF8
        elif line.strip():
            try:
                yield number, json.loads(line, parse_float=_finite, parse_constant=_finite)
            except ValueError as problem:
                yield number, problem
            except RecursionError:
                yield number, ValueError("it has lists or fields too deep in one another")


NO_UTF8 = ValueError("it has bytes that are no UTF-8")


def _finite(written: str) -> float:
    value = float(written)
    if not math.isfinite(value):
        raise ValueError(f"{written} is no number that can be kept")
    return value


def _csv(text: str, delimiter: str | None) -> Iterator[tuple[int, Any]]:
    csv.field_size_limit(1 << 30)
    sign, lines, number, columns = delimiter or _delimiter(text), list[str](), 0, list[str]()
    reader = csv.reader(_noted(io.StringIO(text, newline=""), lines), delimiter=sign, strict=True)
    while (row := _cells_of(reader, lines, sign)) is not None:
        if row == []:
            continue
        number += 1
        if isinstance(row, ValueError):
            yield number, row
        elif not columns:
            columns = row
        elif len(row) != len(columns):
            yield number, ValueError(f"it has not the {len(columns)} columns of the first row")
        elif BROKEN.search("".join(row)):
            yield number, NO_UTF8
        else:
            yield number, dict(zip(columns, row, strict=True))
        if not columns:
            return


def _cells_of(reader: Iterator[list[str]], lines: list[str], sign: str) -> list[str] | ValueError | None:
    """Strict where a quote goes on over several lines: one that is never closed would make one text of all the rows
    that follow. What stands in one line is read as far as one can tell what is meant."""
    lines.clear()
    try:
        return next(reader, None)
    except csv.Error:
        again = csv.reader([lines[0], ""], delimiter=sign)
        row = next(again)
        if again.line_num == 1 and lines[0].count('"') % 2 == 0:  # else it goes on in the next line, or was cut off
            return row
        told = f"its quotes do not close, lines left out: {len(lines)}; write a quote within quotes twice"
        return ValueError(told)


def _noted(lines: Iterable[str], seen: list[str]) -> Iterator[str]:
    for one in lines:
        seen.append(one)
        yield one


def _delimiter(text: str) -> str:
    first = text.partition("\n")[0]
    return max(",;\t", key=first.count)


def _row(source: SourceWork, row: Any, where: str) -> Document | Unread:
    if isinstance(row, ValueError):
        return Unread(f"{where}: not JSON ({row})" if isinstance(row, json.JSONDecodeError) else f"{where}: {row}")
    if not isinstance(row, dict):
        return Unread(f"{where}: a JSON object is expected, not {type(row).__name__}")
    identity, text = row.pop(source.id_field, None), row.pop(source.text_field, None)
    if isinstance(identity, bool) or not isinstance(identity, str | int) or identity == "":
        return Unread(f"{where}: field {source.id_field!r} must be a text or a whole number (sources[].fields.id)")
    whole = storable(f"{source.name}/{identity}")
    if not isinstance(text, str) or not text.strip():
        told = f"{where}: field {source.text_field!r} must be a text that is not empty (sources[].fields.text)"
        return Unread(told, whole)
    try:
        return Document(whole, source.name, tidy(text), storable(row))
    except ValueError as problem:
        return Unread(f"{where}: {problem}", whole)
