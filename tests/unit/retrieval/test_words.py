"""How texts are cut into words, in the scripts that people write."""

from __future__ import annotations

import pytest

from llmops.retrieval.passage import TEXT_BYTES
from llmops.retrieval.words import words


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("Error ERR_TIMEOUT, see AX-200/B.", "error err timeout see ax 200 b"),
        ("E4711 e4711", "e4711 e4711"),
        ("Die Straße in Zürich", "die strasse in zurich"),
        ("naïve CAFÉ", "naive cafe"),
        ("Zu\u0308rich ﬁne ①", "zurich fine 1"),  # a composed letter, a ligature, a sign
        ("雪鞋", "雪鞋"),
        ("租赁雪鞋 AX-200吗", "租赁 赁雪 雪鞋 ax 200 吗"),
        ("東京タワー", "東京 京タ タワ ワー"),
        ("한국어 검색", "한국어 검색"),
        ("Поиск Ёлки", "поиск елки"),
        ("שָׁלוֹם", "שלום"),
        ("كِتَابٌ", "كتاب"),
        ("???", ""),
        ("", ""),
    ],
)
def test_words_are_cut_alike_in_passages_and_questions(text: str, cut: str) -> None:
    assert words(text) == cut
    assert words(words(text)) == cut


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("हिन्दी भाषा में", "हx93fनx94dदx940 भx93eषx93e मx947x902"),
        ("தமிழ் மொழி", "தமxbbfழxbcd மxbcaழxbbf"),
        ("বাংলা", "বx9bex982লx9be"),
        ("น้ำ ดื่มน้ำ", "นxe49xe4dา ดxe37xe48ม มนxe49xe4d นxe49xe4dา"),
    ],
)
def test_marks_that_make_another_word_stay_with_their_letter(text: str, cut: str) -> None:
    assert words(text) == cut
    assert all(part.isalnum() for part in cut.split())  # so that no engine's tokenizer parts them


@pytest.mark.parametrize(
    ("question", "passage"), [("ශ්\u200dරී", "ශ්රී"), ("می\u200cخواهم", "میخواهم"), ("snow\u00adshoe", "snowshoe")]
)
def test_marks_that_nobody_sees_do_not_tell_a_question_from_a_passage(question: str, passage: str) -> None:
    assert words(question) == words(passage)


def test_what_was_cut_before_is_asked_as_it_was_cut() -> None:
    assert words("हिन्दी AX-200 雪鞋子", 1) == "ह न द ax 200 雪鞋 鞋子"


def test_no_more_is_kept_than_an_engine_takes() -> None:
    assert len(words("租" * TEXT_BYTES).encode()) <= TEXT_BYTES
