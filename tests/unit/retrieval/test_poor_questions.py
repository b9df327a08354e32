"""Questions that found nothing good: which are kept, as what, and which go when there is no room."""

from __future__ import annotations

from typing import Any

import pytest

from llmops.retrieval.server.poor import DAY, LONGEST, MOST, Poor, merged


class Time:
    """A clock that is set."""

    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


def questions(poor: Poor) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = poor.told("shop/faq")["questions"]
    return found


def test_without_a_threshold_only_what_found_nothing_is_kept(time: Time) -> None:
    poor = Poor(time)
    assert poor.searched("Do you sell boats?", [], 0) == "empty"
    assert poor.searched("Do you sell tents?", [0.01], 1) is None
    assert [one["text"] for one in questions(poor)] == ["Do you sell boats?"]


def test_what_min_score_left_nothing_of_is_kept_with_the_best_there_was(time: Time) -> None:
    poor = Poor(time)
    assert poor.searched("boats", [0.2, 0.31], 0) == "empty"
    assert questions(poor)[0]["bestScore"] == 0.31


def test_below_the_threshold_is_low_and_at_it_is_good_enough(time: Time) -> None:
    poor = Poor(time, below=0.3)
    assert poor.searched("boats", [0.29, 0.1], 2) == "low"
    assert poor.searched("tents", [0.3], 1) is None
    assert poor.told("shop/faq")["below"] == 0.3


def test_the_same_question_in_other_letters_is_one(time: Time) -> None:
    poor = Poor(time)
    for text in ("Do you sell boats?", "do you  sell BOATS", "Do you sell boats?!", "Do you sell boats"):  # a wide B
        poor.searched(text, [0.1 if "BOATS" in text else 0.2], 0)
    time.now += 60
    poor.disliked("do you sell boats")
    (one,) = questions(poor)
    assert (one["text"], one["count"], one["disliked"], one["bestScore"]) == ("Do you sell boats?", 5, 1, 0.2)
    assert one["lastAt"] == "2023-11-14T22:14:20Z"


def test_what_tells_who_somebody_is_is_gone_before_it_is_kept_even_where_the_text_is_cut(time: Time) -> None:
    poor = Poor(time)
    poor.searched("Write to jane@example.org about the boat", [], 0)
    poor.searched("x" * (LONGEST - 8) + " sk-" + "a1" * 20, [], 0)
    first, second = sorted((one["text"] for one in questions(poor)), key=len)
    assert first == "Write to [email] about the boat"
    assert "a1" not in second
    assert len(second) <= LONGEST


def test_there_is_an_end_to_it_and_what_is_asked_often_and_lately_stays(time: Time) -> None:
    poor = Poor(time)
    for _ in range(3):
        poor.searched("often", [], 0)
    for n in range(3 * MOST):
        time.now += 1
        poor.searched(f"once {n}", [], 0)
    kept = [one["text"] for one in questions(poor)]
    assert len(kept) == MOST
    assert kept[0] == "often"
    assert f"once {3 * MOST - 1}" in kept
    assert "once 0" not in kept


def test_a_newcomer_outlives_what_nobody_has_asked_for_a_week(time: Time) -> None:
    poor = Poor(time)
    for n in range(MOST):
        for _ in range(4):
            poor.searched(f"old {n}", [], 0)
    time.now += 7 * DAY
    for n in range(10):
        poor.searched(f"new {n}", [], 0)
    assert sum(one["text"].startswith("new") for one in questions(poor)) == 10


def test_the_lists_of_several_query_servers_are_one_as_if_one_had_been_asked(time: Time) -> None:
    alone, first = Poor(time), Poor(time)
    time.now += 60
    second, asked = Poor(time), [("Do you sell boats?", 0.2), ("do you sell BOATS", 0.3), ("Any snow?", 0.1)]
    for server, (text, score) in zip((first, second, second), asked, strict=True):
        time.now += 1
        for one in (server, alone):
            one.searched(text, [score], 0)
    for one in (first, alone):
        one.disliked("do you sell boats")
    told = merged({"a": first.told("shop/faq"), "b": second.told("shop/faq")})
    assert told["questions"] == questions(alone)
    assert (told["index"], told["since"]) == ("shop/faq", second.told("shop/faq")["since"])
    assert told["servers"] == {"a": first.told("")["since"], "b": second.told("")["since"]}


def test_the_list_of_one_query_server_stays_as_it_is(time: Time) -> None:
    poor = Poor(time, below=0.3)
    poor.searched("boats", [], 0)
    assert merged({"a": poor.told("shop/faq")}) == {**poor.told("shop/faq"), "servers": {"a": "2023-11-14T22:13:20Z"}}
