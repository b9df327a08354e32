"""Bytes -> documents: every format with the real library, and what is said of what cannot be read."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest

from llmops.retrieval.ingest.parse import Document, Unread, parse, tidy
from llmops.retrieval.work import SourceWork

SOURCE = SourceWork("faq", "Auto", "id", "text")
PAGE = """<html><head><title>Larch  Help</title><script>track()</script></head><body>
<nav><a href="/">Home</a> <a href="/shop">Shop</a></nav>
<main><h1>Returning boots</h1><p>Boots may be returned within thirty days if they were not worn outside.</p>
<h2>Costs</h2><p>The label is free within the country, and costs nine euros elsewhere.</p>
<table><tr><th>Size</th><th>Price</th></tr><tr><td>42</td><td>99</td></tr></table></main>
<footer>Imprint and other things that every page has</footer></body></html>"""


def found(name: str, data: bytes, **source: object) -> list[Document | Unread]:
    return list(parse(replace(SOURCE, **source), name, data))  # type: ignore[arg-type]


def one(name: str, data: bytes, **source: object) -> Document:
    (document,) = found(name, data, **source)
    assert isinstance(document, Document), document
    return document


def docx() -> bytes:
    from docx import Document as Docx

    made, out = Docx(), io.BytesIO()
    made.core_properties.title = "Manual"
    made.add_heading("Stoves", level=2)
    made.add_paragraph("The stove burns gas.")
    table = made.add_table(rows=1, cols=2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "Gas", "230 g"
    made.add_paragraph("Never indoors.")
    made.save(out)
    return out.getvalue()


def pdf(text: str) -> bytes:
    """The smallest PDF with one line of text."""
    stream = f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 400 200] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]  # fmt: skip
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table)
    return out + b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, start)


def test_a_page_keeps_its_text_headings_and_tables_and_loses_its_menus() -> None:
    page = one("help.html", PAGE.encode())
    assert page.id == "faq/help.html"
    assert page.metadata == {"title": "Larch Help"}
    assert "# Returning boots" in page.text
    assert "## Costs" in page.text
    assert "| 42 | 99 |" in page.text
    assert not any(word in page.text for word in ("Home", "Imprint", "track"))


def test_a_short_page_is_read_too() -> None:
    assert one("a.html", b"<html><body><nav>Menu</nav><p>Closed on Mondays.</p></body></html>").text == (
        "Closed on Mondays."
    )


def test_a_word_document_keeps_the_order_of_its_paragraphs_and_tables() -> None:
    manual = one("manual.docx", docx())
    assert manual.text == "## Stoves\n\nThe stove burns gas.\n\n| Gas | 230 g |\n\nNever indoors."
    assert manual.metadata == {"title": "Manual"}


def test_a_pdf_gives_its_text_and_one_of_pictures_says_what_it_needs() -> None:
    assert one("tent.pdf", pdf("The tent has two poles.")).text == "The tent has two poles."
    (scanned,) = found("scan.pdf", pdf(""))
    assert isinstance(scanned, Unread)
    assert (scanned.id, "OCR" in scanned.told) == ("faq/scan.pdf", True)


@pytest.mark.parametrize("name", ["a.pdf", "a.docx"])
def test_a_broken_file_is_named_and_what_the_index_has_of_it_is_known(name: str) -> None:
    (broken,) = found(name, b"neither the one nor the other")
    assert isinstance(broken, Unread)
    assert broken.told.startswith(f"source faq, {name}: no ")
    assert broken.id == f"faq/{name}"


def test_bytes_that_are_no_text_are_not_taken_for_text() -> None:
    (broken,) = found("a.txt", b"\x00\x01\x02\xff\xfe" * 100)
    assert isinstance(broken, Unread)
    assert "it is no text" in broken.told


def test_text_of_another_encoding_is_read() -> None:
    said = "Im Winter schließen wir um fünf Uhr, im Sommer um sieben. Für größere Gruppen öffnen wir früher."
    assert one("a.txt", said.encode("latin-1")).text == said
    assert one("b.txt", said.encode("utf-8-sig")).text == said


def test_what_nobody_sees_is_taken_away() -> None:
    assert tidy("a\u0308\u200b  \r\n\r\n\r\n\r\nb\u00ad") == "ä\n\nb"


def test_rows_become_documents_with_their_other_fields_as_metadata() -> None:
    rows = '{"id": "a", "text": "one", "topic": "x"}\n\n{"id": 2, "text": "two"}\n'
    first, second = found("qa.jsonl", rows.encode())
    assert (first.id, second.id) == ("faq/a", "faq/2")
    assert isinstance(first, Document)
    assert first.metadata == {"topic": "x"}
    table = 'id;text;topic\na;"one; and\nmore";x\nb;two;y\n'
    first, second = found("qa.csv", table.encode())
    assert isinstance(first, Document)
    assert (first.id, first.text, first.metadata) == ("faq/a", "one; and\nmore", {"topic": "x"})


@pytest.mark.parametrize(
    ("row", "said", "id_"),
    [
        ("{oops", "source faq, qa.jsonl row 2: not JSON", None),
        ('["a"]', "row 2: a JSON object is expected", None),
        ('{"text": "no id"}', "field 'id' must be", None),
        ('{"id": "b", "text": " "}', "field 'text' must be", "faq/b"),
        ('{"id": "b", "text": "t", "x": NaN}', "row 2: NaN is no number that can be kept", None),
        ('{"id": "b", "text": "t", "x": [-1e999]}', "row 2: -1e999 is no number that can be kept", None),
        ('{"id": "b", "text": "t", "x": 1%s}' % ("0" * 400), "a whole number that is too large to be kept", "faq/b"),
    ],
)
def test_a_broken_row_is_named_by_its_number_and_the_others_are_read(row: str, said: str, id_: str | None) -> None:
    good, bad, other = found(
        "qa.jsonl", f'{{"id": "a", "text": "one"}}\n{row}\n{{"id": "c", "text": "three"}}'.encode()
    )
    assert isinstance(bad, Unread)
    assert said in bad.told
    assert bad.id == id_
    assert [one.id for one in (good, other)] == ["faq/a", "faq/c"]


def test_numbers_are_those_that_every_engine_holds() -> None:
    row = {"id": 2**64 - 1, "text": "one", "x": [2**63, {"y": -(2**63) - 1}], "z": 2**63 - 1, "flag": True}
    read = one("rows.jsonl", json.dumps(row).encode())
    assert read.id == f"faq/{2**64 - 1}"
    assert read.metadata == {"x": [2.0**63, {"y": -(2.0**63)}], "z": 2**63 - 1, "flag": True}
    assert isinstance(read.metadata["x"][0], float)


def test_a_row_of_csv_with_too_many_columns_is_named() -> None:
    _, bad = found("qa.csv", b"id,text\na,one\nb,two,three\n")
    assert isinstance(bad, Unread)
    assert "qa.csv row 3: it has not the 2 columns" in bad.told


def test_a_format_that_is_named_counts_more_than_the_ending() -> None:
    assert one("rows.txt", json.dumps({"id": 1, "text": "one"}).encode(), format="Jsonl").id == "faq/1"
