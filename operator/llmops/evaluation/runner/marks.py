"""One answer against its acceptable targets -> a mark between 0 and 1 for each metric. Pure; any script, no downloads.

exact_match   1 if the answer is a target, after Unicode NFC and with runs of white space as one space; case and
              punctuation count
includes      1 if a target occurs in the answer, both in SQuAD's plain form
f1            SQuAD's token F1: plain form is NFKC, case folded, without punctuation and the articles a, an, the
rouge_l       F-measure of the longest common subsequence of tokens (package rouge-score, with our tokenizer: its own
              drops every letter outside ASCII)
bleu          of this row alone, for readers of the log; the summary has the corpus's

With several targets the best counts. Scripts written without spaces are cut into single characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

_ARTICLES = re.compile(r"\b(a|an|the)\b")
# Thai, Lao, Khmer, Myanmar, kana, CJK ideographs: a character is a token
_UNSPACED = re.compile(r"([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff])")


def marks(answer: str, targets: Sequence[str], metrics: Iterable[str]) -> dict[str, float]:
    """The answer's mark for each of `metrics`."""
    return {name: MARKS[name](answer, targets) for name in metrics}


def exact_match(answer: str, targets: Sequence[str]) -> float:
    """1 if the answer is one of the targets."""
    said = _spaced(unicodedata.normalize("NFC", answer))
    return float(any(said == _spaced(unicodedata.normalize("NFC", target)) for target in targets))


def includes(answer: str, targets: Sequence[str]) -> float:
    """1 if a target's tokens occur, in their order and together, in the answer."""
    said = f" {' '.join(tokens(answer))} "
    return float(any(f" {' '.join(tokens(target))} " in said for target in targets if tokens(target)))


def f1(answer: str, targets: Sequence[str]) -> float:
    """SQuAD's F1: the harmonic mean of precision and recall of the tokens, as bags."""
    said = tokens(answer)
    return max(_overlap(said, tokens(target)) for target in targets)


def rouge_l(answer: str, targets: Sequence[str]) -> float:
    """ROUGE-L's F-measure."""
    return float(_rouge().score_multi(list(targets), answer)["rougeL"].fmeasure)


def bleu(answer: str, targets: Sequence[str]) -> float:
    """BLEU of this answer alone, over 100."""
    return float(sentence_bleu(answer, targets).score) / 100


def sentence_bleu(answer: str, targets: Sequence[str]) -> Any:
    """Sacrebleu's score of one answer; its n-gram counts add up to the corpus's."""
    return _bleu().sentence_score(answer, list(targets))


MARKS: dict[str, Callable[[str, Sequence[str]], float]] = {
    "exact_match": exact_match,
    "includes": includes,
    "f1": f1,
    "rouge_l": rouge_l,
    "bleu": bleu,
}


def tokens(text: str) -> list[str]:
    """The words of SQuAD's plain form."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    plain = "".join(letter for letter in plain if not unicodedata.category(letter).startswith("P"))
    return _UNSPACED.sub(r" \1 ", _ARTICLES.sub(" ", plain)).split()


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _overlap(said: Sequence[str], wanted: Sequence[str]) -> float:
    if not said or not wanted:
        return float(said == wanted)
    common = sum((Counter(said) & Counter(wanted)).values())
    return 2 * common / (len(said) + len(wanted))


class _Tokens:
    """What rouge-score takes for a tokenizer."""

    def tokenize(self, text: str) -> list[str]:
        """Our tokens."""
        return tokens(text)


@cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # 1.5 s with its nltk: only when asked for

    return RougeScorer(["rougeL"], tokenizer=_Tokens())


@cache
def _bleu() -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(effective_order=True)
