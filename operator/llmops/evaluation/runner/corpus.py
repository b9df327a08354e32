"""Scores of a whole text, through sacrebleu: what of one row adds up, and the score of such a sum. Pure.

BLEU    tokenizer 13a, effective order for one row alone, the corpus's own for the sum
chrF    chrF2: six character orders, no words, spaces left out
TER     edits with shifts over the reference's length, case folded; an error rate, and above 1 where most is wrong

The numbers of rows are added before they are scored, so a draw of the bootstrap costs one sum. With several targets
sacrebleu takes for each row the closest (BLEU: clipped over all of them).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
NAMES = ("bleu", "chrf", "ter")


def numbers(name: str, answer: str, targets: Sequence[str]) -> list[float]:
    """What of one row adds up."""
    if name == "bleu":
        score = _metric(name).sentence_score(answer, list(targets))
        return [score.sys_len, score.ref_len, *score.counts, *score.totals]
    # the library's own way to a corpus score; its sentence_score hides these numbers
    (found,) = _metric(name)._extract_corpus_statistics([answer], [[target] for target in targets])
    return [float(number) for number in found]


def score(name: str, sums: Sequence[float]) -> float:
    """The score of added rows, over 100."""
    if name == "bleu":
        return _bleu(sums)
    if name == "chrf":  # counts of n-grams
        sums = [round(number) for number in sums]
    return float(_metric(name)._compute_score_from_stats(list(sums)).score) / 100


def scores(name: str, sums: Array) -> Array:
    """The score of each line of sums."""
    return np.array([score(name, [float(number) for number in line]) for line in sums])


def sentence_bleu(answer: str, targets: Sequence[str]) -> float:
    """BLEU of one row alone: orders that a short answer cannot have are left out."""
    return float(_metric("bleu").sentence_score(answer, list(targets)).score) / 100


def _bleu(sums: Sequence[float]) -> float:
    from sacrebleu.metrics.bleu import BLEU

    found = BLEU.compute_bleu(
        correct=[int(count) for count in sums[2:6]],
        total=[int(count) for count in sums[6:10]],
        sys_len=int(sums[0]),
        ref_len=int(sums[1]),
        smooth_method="exp",
    )
    return float(found.score) / 100


@cache
def _metric(name: str) -> Any:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.metrics.ter import TER

    return BLEU(effective_order=True) if name == "bleu" else {"chrf": CHRF, "ter": TER}[name]()
