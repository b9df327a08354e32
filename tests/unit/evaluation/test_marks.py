"""An answer's marks, by hand-counted examples in several scripts."""

from __future__ import annotations

import pytest

from llmops.evaluation.runner.marks import MARKS, exact_match, f1, includes, tokens


@pytest.mark.parametrize(
    ("answer", "targets", "mark"),
    [
        ("It is 7.", ["It is 7."], 1),
        ("  It  is\n7. ", ["It is 7."], 1),
        ("it is 7.", ["It is 7."], 0),
        ("It is 7", ["It is 7."], 0),
        ("Cafe\u0301", ["Caf\u00e9"], 1),
        ("b", ["a", "b"], 1),
        ("", ["a"], 0),
    ],
)
def test_exact_match_forgives_white_space_and_unicode_forms_only(answer, targets, mark):
    assert exact_match(answer, targets) == mark


@pytest.mark.parametrize(
    ("answer", "target", "mark"),
    [
        ("The cat sat", "cat sat", 1),  # articles do not count
        ("a cat sat down", "the cat sat!", 4 / 5),  # 2 common of 3 and 2
        ("no", "yes", 0),
        ("", "yes", 0),
        ("Straße", "STRASSE", 1),
        ("十時から", "十時まで", 1 / 2),  # 2 of 4 characters
        ("yes yes yes", "yes", 1 / 2),  # bags: one yes in common
    ],
)
def test_f1_counts_common_words_as_squad_does(answer, target, mark):
    assert f1(answer, [target]) == pytest.approx(mark)


def test_includes_wants_whole_words_in_order():
    assert includes("We ship to Japan, too.", ["ship to japan"]) == 1
    assert includes("We shipped to Japan", ["ship"]) == 0


def test_rouge_l_sees_letters_outside_ascii():
    assert MARKS["rouge_l"]("Привет, мир", ["привет мир"]) == 1
    assert MARKS["rouge_l"]("ひらがな", ["カタカナ"]) == 0
    assert MARKS["rouge_l"]("police kill the gunman now", ["police killed the gunman now"]) == pytest.approx(4 / 5)


def test_bleu_is_a_share_and_tokens_cut_unspaced_scripts():
    assert MARKS["bleu"]("It is over there now.", ["It is over there now."]) == pytest.approx(1)
    assert tokens("Hello, 世界!") == ["hello", "世", "界"]
