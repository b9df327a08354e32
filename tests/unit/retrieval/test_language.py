"""Documents in the languages that are wanted, and what becomes of the others."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from tests.unit.retrieval.conftest import finished, outcome_of, seen, work_of
from tests.unit.retrieval.test_approval import Counting, Memory, making
from tests.unit.retrieval.test_index_plan import condition, message

from llmops.api.index_sources import Language
from llmops.retrieval.ingest import language
from llmops.retrieval.ingest.language import language_of
from llmops.retrieval.ingest.parse import Document
from llmops.retrieval.ingest.places.listing import File, Listing
from llmops.retrieval.ingest.read import Reading, documents
from llmops.retrieval.outcome import loads
from llmops.retrieval.plan import plan
from llmops.retrieval.status import status
from llmops.retrieval.stores.base import Generation
from llmops.retrieval.work import OUTCOME, Work
from llmops.web import Wrong

SAID = {
    "en": "Snow shoes are rented out for nine euros a day, and a deposit is asked for.",
    "de": "Schneeschuhe werden für neun Euro am Tag verliehen, und es wird ein Pfand verlangt.",
    "fr": "Les raquettes à neige se louent neuf euros par jour, et une caution est demandée.",
    "nl": "Sneeuwschoenen worden verhuurd voor negen euro per dag en er wordt een borg gevraagd.",
    "it": "Le ciaspole si noleggiano per nove euro al giorno e si chiede una cauzione.",
    "ru": "Снегоступы выдаются напрокат за девять евро в день, требуется залог.",
    "ja": "スノーシューは一日九ユーロで借りられ、保証金が必要です。",
    "zh": "雪鞋每天租金九欧元，需要押金。",
    "el": "Τα χιονοπέδιλα νοικιάζονται προς εννέα ευρώ την ημέρα.",
    "he": "נעלי שלג מושכרות בתשעה יורו ליום ונדרש פיקדון.",
    "no": "Sjekk at du ikke har lånt truger av noen andre, og lever dem tilbake før klokka fem.",
}


def rows(*given: dict[str, Any]) -> dict[str, Listing]:
    """The source faq, a row of jsonl a document; each is called by its place if it has no id."""
    lines = [json.dumps({"id": str(at), **row}, ensure_ascii=False) for at, row in enumerate(given)]
    return {"faq": Listing("v1", lambda: [File("rows.jsonl", "\n".join(lines).encode)])}


def work(*languages: str) -> Work:
    return work_of(seen({"cleaning": {"languages": list(languages)}}))


def read(listing: dict[str, Listing], *languages: str) -> tuple[list[Document], Reading]:
    reading = Reading()
    return [*documents(work(*languages), listing, reading)], reading


@pytest.mark.parametrize("code", SAID)
def test_a_sentence_is_enough_to_tell_its_language(code: str) -> None:
    assert language_of(SAID[code]) == code


@pytest.mark.parametrize(
    "text", ["", " \n", "ok", "AX-200", "1234 5678", "🎿🎿🎿", "\x00\x01", "\ud800", "https://example.org/a/b"]
)
def test_of_what_is_too_short_nobody_says_a_language(text: str) -> None:
    assert language_of(text) is None


def test_a_language_may_be_asked_for_if_its_letters_are_known() -> None:
    known = {one for one in language._identifier().labels if len(one) == 2}
    assert set(get_args(Language)) == {*known, language.ALL}


def test_a_document_in_two_languages_is_in_none_and_one_with_a_quotation_in_its_own() -> None:
    english, french = (" ".join([SAID[code]] * 20) for code in ("en", "fr"))
    assert language_of(f"{english}\n\n{french}") is None
    assert language_of(f"{english}\n\n{SAID['fr']}\n\n{english}") == "en"


def test_the_same_text_is_in_the_same_language_each_time() -> None:
    texts = [text[: len(text) // part] for text in SAID.values() for part in (1, 2, 3, 5, 8)]
    assert [*map(language_of, texts)] == [*map(language_of, texts)]


def test_documents_in_other_languages_are_left_out_and_counted_by_language() -> None:
    listing = rows(*({"text": SAID[code]} for code in ("en", "fr", "de", "nl", "fr")))
    found, reading = read(listing, "de", "en")
    assert [(one.id, one.metadata) for one in found] == [
        ("faq/0", {"language": "en"}), ("faq/2", {"language": "de"}),
    ]  # fmt: skip
    assert reading.left_out_told() == ["2 in fr (such as faq/1)", "1 in nl (such as faq/3)"]
    assert (reading.skipped, reading.problems) == (0, [])  # asked for, so nothing is wrong with them


def test_of_many_languages_the_first_ten_are_named() -> None:
    reading = Reading(left_out={f"faq/{n}": f"l{n % 13}" for n in range(1000)})
    told = reading.left_out_told()
    assert (len(told), told[0], told[-1]) == (11, "77 in l0 (such as faq/0)", "230 in other languages")


def test_what_is_too_short_or_too_mixed_to_tell_is_taken_and_says_no_language() -> None:
    mixed = " ".join([*[SAID["fr"]] * 10, *[SAID["nl"]] * 10])
    found, reading = read(rows({"text": "AX-200"}, {"text": mixed}), "en")
    assert [one.metadata for one in found] == [{}, {}]
    assert reading.left_out_told() == []


def test_languages_that_are_taken_for_one_another_are_taken_together() -> None:
    found, _ = read(rows({"text": SAID["no"], "language": "nn"}, {"text": SAID["no"]}), "no")
    assert len(found) == 2


@pytest.mark.parametrize(
    ("said", "taken"),
    [("fr", False), ("fr-CA", False), ("FR_fr", False), (["de", "fr"], True), ("en-GB", True), ("Englisch", True),
     ("", True), (None, True), (7, True), ("f", True)],
)  # fmt: skip
def test_what_a_document_says_of_its_language_itself_holds(said: Any, taken: bool) -> None:
    found, _ = read(rows({"text": SAID["en"], "language": said}), "de", "en")
    assert len(found) == taken
    for one in found:
        assert one.metadata == {"language": said or "en"}


def test_with_a_star_all_are_taken_and_told() -> None:
    found, reading = read(rows(*({"text": text} for text in SAID.values())), "*")
    assert [one.metadata["language"] for one in found] == [*SAID]
    assert not reading.left_out


def test_nobody_looks_where_nobody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmops.retrieval.ingest.language._identifier", lambda: pytest.fail("a model was loaded"))
    (one,), _ = read(rows({"text": SAID["fr"]}))
    assert one.metadata == {}


def test_a_document_that_was_left_out_is_not_one_that_was_not_seen() -> None:
    _, reading = read(rows({"text": SAID["fr"]}), "en")
    reading.partly.add("faq")
    assert not reading.stays("faq/0", "faq", never_delete=True)
    assert reading.stays("faq/1", "faq", never_delete=False)


class Index:
    """Documents that are built anew each time, one after the other, into one engine."""

    def __init__(self, folder: Path) -> None:
        self.store, self.folder = Memory(), str(folder)

    async def build(self, *codes: str, languages: tuple[str, ...] = ("en",), most: int = 30) -> Generation:
        texts = [f"{SAID[code]} {code}" for code in codes]
        wanted = {"languages": languages, "max_delete_percent": most}
        self.made = making(self.store, Counting(), texts, self.folder, **wanted)
        built = await self.made.build()
        for one in [name for name in self.store.made if name != built.collection]:
            del self.store.made[one]
        return built


async def test_what_was_left_out_is_told_of_a_generation_that_is_there_too(tmp_path: Path) -> None:
    index = Index(tmp_path)
    built = await index.build("en", "fr", "fr")
    assert index.made.left_out == ["2 in fr (such as faq/1.md)"]
    assert [one.metadata for one in index.store.rows[built.collection].values()] == [{"language": "en"}]
    again = replace(index.made, active=built)
    assert again.there() is not None
    assert (again.left_out, again.reading.left_out) == (["2 in fr (such as faq/1.md)"], {})


async def test_what_a_person_leaves_out_needs_no_leave_to_go_and_what_changes_its_language_by_itself_does(
    tmp_path: Path,
) -> None:
    index = Index(tmp_path)
    await index.build("en", "fr", "nl", "nl", languages=())
    await index.build("en", "fr", "nl", "nl", languages=("en", "fr"))
    assert (index.made.removed, index.made.left_out) == (0, ["2 in nl (such as faq/2.md)"])
    with pytest.raises(Wrong, match=r"1 of 2 documents are gone or in another language than before \(such as faq/1"):
        await index.build("en", "nl", "nl", "nl", languages=("en", "fr"))
    await index.build("en", "nl", "nl", "nl", languages=("en", "fr"), most=50)


async def test_sources_without_a_document_in_the_languages_say_which_they_have(tmp_path: Path) -> None:
    with pytest.raises(Wrong, match=r"but in other languages than spec.cleaning.languages: 2 in fr .*, 1 in nl"):
        await Index(tmp_path).build("fr", "nl", "fr")


def test_how_many_of_which_language_are_left_out_stands_where_the_sources_are_read_and_is_no_fault() -> None:
    index = seen({"cleaning": {"languages": ["en"]}})
    told = replace(outcome_of(index), left_out=("2 in fr (such as faq/b)", "1 in nl (such as faq/c)"))
    run = finished(index)
    run = replace(run, results={**(run.results or {}), "data": {OUTCOME: told.dumps()}})
    assert loads(told.dumps()) == told
    index = replace(index, runs=(run,))
    given = status(index, plan(index), datetime(2026, 1, 1, tzinfo=UTC))
    assert condition(given, "SourcesRead") == "True"
    assert message(given, "SourcesRead") == (
        "100 passages of 1 sources; spec.cleaning.languages leaves out 2 in fr (such as faq/b), 1 in nl (such as faq/c)"
    )
    assert given["unread"] == []
