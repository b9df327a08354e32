"""Documents one after the other, the spool that keeps them off the memory, and batches that adapt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.retrieval.conftest import seen, work_of

from llmops.retrieval.embedder import NotEmbedded
from llmops.retrieval.ingest.embed import embed
from llmops.retrieval.ingest.places.listing import File, Listing
from llmops.retrieval.ingest.read import MOST_NAME, Reading, documents
from llmops.retrieval.ingest.spool import Spool
from llmops.retrieval.passage import Passage
from llmops.web import Passing


def files(**texts: str | Exception) -> dict[str, Listing]:
    """A listing of the source faq."""

    def reader(text: str | Exception) -> Any:
        def read() -> bytes:
            if isinstance(text, Exception):
                raise text
            return text.encode()

        return read

    return {"faq": Listing("v1", lambda: [File(f"{name}.md", reader(text)) for name, text in texts.items()])}


def test_a_file_that_does_not_come_stops_nothing_and_nothing_of_its_source_is_taken_away() -> None:
    reading = Reading()
    found = [*documents(work_of(seen()), files(a="one", b=Passing("cut off"), c="three"), reading)]
    assert [one.id for one in found] == ["faq/a.md", "faq/c.md"]
    assert reading.problems == ["source faq, b.md: cut off"]
    assert reading.again == {"faq": {"b.md"}}  # looked at again, though no version says that it changed
    assert reading.stays("faq/gone.md", "faq", never_delete=False)
    assert not reading.stays("other/gone.md", "other", never_delete=False)


def test_what_cannot_be_read_is_counted_and_the_first_twenty_are_told() -> None:
    reading = Reading()
    rows = "\n".join("{" for _ in range(50))
    listing = {"faq": Listing("v1", lambda: [File("rows.jsonl", rows.encode)])}
    assert not [*documents(work_of(seen()), listing, reading)]
    assert (reading.skipped, len(reading.problems)) == (50, 20)
    assert not reading.again  # the same bytes would fail in the same way


def test_a_name_that_comes_twice_is_indexed_once_and_told() -> None:
    reading = Reading()
    rows = '{"id": "a", "text": "one"}\n{"id": "a", "text": "two"}'
    listing = {"faq": Listing("v1", lambda: [File("rows.jsonl", rows.encode)])}
    assert [one.text for one in documents(work_of(seen()), listing, reading)] == ["one"]
    assert "a second document is called 'faq/a'" in reading.problems[0]


def test_a_name_that_no_engine_takes_is_told_and_the_others_are_read() -> None:
    reading = Reading()
    names = ["é" * (MOST_NAME // 2), "b"]
    rows = "\n".join(json.dumps({"id": one, "text": "one"}) for one in names)
    listing = {"faq": Listing("v1", lambda: [File("rows.jsonl", rows.encode)])}
    assert [one.id for one in documents(work_of(seen()), listing, reading)] == ["faq/b"]
    assert "name has more than 1000 bytes, give it a shorter id: faq/éé" in reading.problems[0]
    assert reading.stays(f"faq/{names[0]}", "faq", never_delete=False)  # where an engine of before has it


def test_personal_data_is_marked_where_that_is_asked_for() -> None:
    listing = files(a="Write to anna@example.org about it.")
    (one,) = documents(work_of(seen({"cleaning": {"redact": True}})), listing, Reading())
    assert "anna@example.org" not in one.text
    (one,) = documents(work_of(seen()), listing, Reading())
    assert "anna@example.org" in one.text


def test_a_sources_metadata_is_that_of_all_its_documents_whatever_they_say_of_themselves() -> None:
    rows = '{"id": "a", "text": "one", "groups": "*", "page": 1}\n{"id": "b", "text": "two"}'
    listing = {"faq": Listing("v1", lambda: [File("rows.jsonl", rows.encode)])}
    work = work_of(seen({"cleaning": {"redact": True}}))
    source = replace(work.sources[0], metadata={"groups": ["a@b.org"]})  # what the spec says is nobody's to redact
    found = [*documents(replace(work, sources=(source,)), listing, Reading())]
    assert [one.metadata for one in found] == [{"groups": ["a@b.org"], "page": 1}, {"groups": ["a@b.org"]}]


def passage(number: int, text: str = "") -> Passage:
    return Passage(f"faq/d{number}#0", f"faq/d{number}", "faq", text or f"text {number}", {"n": number})


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def test_what_the_engine_has_is_not_handed_out_again(spool: Spool) -> None:
    spool.add(passage(n) for n in range(1300))
    assert len(spool) == 1300
    assert spool.stored((one.id, one.hash) for one in map(passage, range(600))) == 0
    left = [one for batch in spool.missing() for one in batch]
    assert [one.id for one in left] == [f"faq/d{n}#0" for n in range(600, 1300)]
    assert left[0] == passage(600)


def test_rows_that_are_strange_or_there_twice_are_counted(spool: Spool) -> None:
    spool.add([passage(1), passage(2)])
    first, other = passage(1), passage(2, "another text")
    rows = [(first.id, first.hash), (first.id, first.hash), (other.id, other.hash), ("faq/x#0", "h")]
    assert spool.stored(rows) == 3
    assert spool.count_stored() == 1


def test_an_equal_text_is_left_out_where_that_is_asked_for(spool: Spool) -> None:
    assert spool.add([passage(1, "same"), passage(2, "same"), passage(3)], deduplicate=True) == 1
    assert len(spool) == 2
    assert spool.saw_document("faq/d1")
    assert spool.saw_document("faq/d2")
    assert not spool.saw_document("faq/d4")


def test_vectors_are_known_by_their_text(spool: Spool) -> None:
    spool.remember({passage(1).hash: [0.5, 0.25]})
    assert spool.known([passage(1).hash, passage(2).hash]) == {passage(1).hash: [0.5, 0.25]}


class Service:
    """An embedding service that takes so many texts at once, and refuses one of them."""

    model = "shop/minilm"

    def __init__(self, most: int, refuses: str = "", status: int = 400) -> None:
        self.most, self.refuses, self.status, self.asked = most, refuses, status, list[int]()

    async def embed(self, texts: Sequence[str], _: float, __: str) -> list[list[float]]:
        self.asked.append(len(texts))
        if len(texts) > self.most or self.refuses in texts:
            raise NotEmbedded("too long", final=True, everything=self.status not in (400, 413))
        return [[float(len(text))] for text in texts]


async def test_a_batch_that_is_too_large_is_halved() -> None:
    service: Any = Service(most=5)
    texts = [f"{n}" for n in range(40)]
    assert await embed(service, texts, 16) == [[float(len(one))] for one in texts]
    assert max(service.asked) == 16


async def test_a_text_that_is_refused_is_found_and_the_others_are_embedded() -> None:
    service: Any = Service(most=100, refuses="3")
    found = await embed(service, ["1", "2", "3", "4"], 4)
    assert found == [[1.0], [1.0], "too long", [1.0]]


async def test_a_key_that_is_wrong_is_not_tried_text_by_text() -> None:
    service: Any = Service(most=100, refuses="3", status=401)
    with pytest.raises(NotEmbedded):
        await embed(service, ["1", "2", "3", "4"], 4)
    assert service.asked == [4]
