"""Bytes -> documents: every format with the real library, and what is said of what cannot be read."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace

import pytest

from llmops.retrieval.ingest.parse import MOST_UNPACKED, Document, Unread, parse, tidy
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


def test_a_table_in_a_word_document_loses_no_text_and_says_none_twice() -> None:
    from docx import Document as Docx

    made, out = Docx(), io.BytesIO()
    table = made.add_table(rows=2, cols=3)
    table.cell(0, 0).merge(table.cell(0, 2)).text = "Gas"
    for column, text in enumerate(("100 g", "230 g")):
        table.cell(1, column).text = text
    inner = table.cell(1, 2).add_table(rows=1, cols=2)
    inner.cell(0, 0).text, inner.cell(0, 1).text = "450 g", "by order"
    made.save(out)
    assert one("gas.docx", out.getvalue()).text == "| Gas |\n| 100 g | 230 g | 450 g by order |"


def test_a_small_word_document_that_unpacks_to_gigabytes_is_named_and_not_unpacked() -> None:
    out = io.BytesIO(docx())
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as packed, packed.open("word/media/a.bmp", "w") as picture:
        for _ in range((MOST_UNPACKED >> 20) + 1):
            picture.write(bytes(1 << 20))
    (bomb,) = found("bomb.docx", out.getvalue())
    assert isinstance(bomb, Unread)
    assert "unpacked it has more than 256 MiB" in bomb.told


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


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [("", "utf-8"), ("utf-8", "utf-8"), ("iso-8859-1", "utf-8"), ("", "utf-8-sig"), ("iso-8859-1", "iso-8859-1"),
     ("windows-1251", "windows-1251"), ("shift_jis", "shift_jis"), ("iso-2022-jp", "iso-2022-jp"), ("", "utf-16")],
)  # fmt: skip
def test_a_page_is_read_in_its_encoding_whatever_it_says_of_it(declared: str, encoding: str) -> None:
    said = {"windows-1251": "Сапоги можно вернуть.", "shift_jis": "長靴は返品できます。"}
    said["iso-2022-jp"] = said["shift_jis"]
    text = said.get(encoding, "Größe und Straße stehen auf dem Etikett.")
    head = f'<head><meta charset="{declared}"></head>' if declared else ""
    assert one("a.html", f"<html>{head}<body><p>{text}</p></body></html>".encode(encoding)).text == text


def test_one_byte_that_is_wrong_makes_no_other_encoding_of_a_text() -> None:
    said = "Größe und Straße stehen auf dem Etikett.\n" * 20
    assert one("a.md", said.encode() + b"M\xfcller").text == said + "M\ufffdller"
    lines = [json.dumps({"id": n, "text": f"Größe {n} für draußen"}, ensure_ascii=False).encode() for n in range(9)]
    lines[4] = lines[4].replace("ö".encode(), b"\xf6")
    for name, data in {
        "a.jsonl": b"\n".join(lines),
        "a.csv": b"id,text\n" + b"\n".join(b"%d,Gr\xc3\xb6%b" % (n, b"\xf6" if n == 4 else b"") for n in range(9)),
    }.items():
        *right, bad = sorted(found(name, data), key=lambda one: isinstance(one, Unread))
        assert [one.id for one in right] == [f"faq/{n}" for n in range(9) if n != 4]
        assert isinstance(bad, Unread)
        assert "bytes that are no UTF-8" in bad.told


def test_half_a_letter_is_kept_as_the_sign_for_one_that_nobody_can_read() -> None:
    (cut,) = found("a.jsonl", rb'{"id": "a\ud83d", "text": "snow \ud83d", "of\ud83d": ["\ud83d"]}')
    assert cut == Document("faq/a\ufffd", "faq", "snow \ufffd", {"of\ufffd": ["\ufffd"]})


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
        (f'{{"id": "b", "text": "t", "x": {"[" * 40 + "]" * 40}}}', "lists or fields more than 32 deep", "faq/b"),
        (f'{{"id": "b", "text": "t", "x": {"[" * 4000 + "]" * 4000}}}', "too deep in one another", None),
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


@pytest.mark.parametrize(
    ("rows", "lines", "read"),
    [
        ('1,*,"For all\n2,staff,For staff\n3,*,Third\n', 3, []),
        ('1,*,"For all\n2,staff,"For staff"\n3,*,Third\n', 2, ["faq/3"]),
        ('1,*,"For all\n2,staff,For staff\n3,*,Third, said "all"\n4,*,Fourth', 3, ["faq/4"]),
        ('1,*,"half of', 1, []),  # as of a download that was cut off
        ('1,"a "b" c","several\nlines"\n3,*,Third', 1, ["faq/3"]),
    ],
)
def test_a_quote_that_is_never_closed_does_not_put_other_rows_texts_into_its_own(
    rows: str, lines: int, read: list[str]
) -> None:
    bad, *others = found("qa.csv", f"id,groups,text\n{rows}".encode())
    assert isinstance(bad, Unread)
    assert f"row 2: its quotes do not close, lines left out: {lines}; write a quote within quotes twice" in bad.told
    assert bad.id is None  # whose text it would have been nobody knows, so all of the source stays
    assert [one.id for one in others if isinstance(one, Document)] == read


@pytest.mark.parametrize(
    ("name", "row", "text"),
    [
        ("a.csv", '1,"Boots, warm" ', "Boots, warm"),
        ("a.csv", '1,"Boots "warm""', 'Boots warm""'),
        ("a.csv", '1,5" screen', '5" screen'),
        ("a.tsv", '1\t"Hello" he said', "Hello he said"),
        ("a.csv", '1,"Boots\nare ""warm"""', 'Boots\nare "warm"'),
    ],
)
def test_a_line_with_quotes_that_are_not_written_as_they_should_be_is_read(name: str, row: str, text: str) -> None:
    sign = "\t" if name == "a.tsv" else ","
    first, second = found(name, f'"id" {sign}"text"\n{row}\n\n2{sign}two'.encode(), id_field="id ")
    assert isinstance(first, Document)
    assert isinstance(second, Document)
    assert (first.text, second.text) == (text, "two")


def test_a_table_whose_first_row_is_broken_is_named() -> None:
    (bad,) = found("qa.csv", b'id,"text\n1,one\n2,two\n')
    assert isinstance(bad, Unread)
    assert "row 1: its quotes do not close, lines left out: 3;" in bad.told
