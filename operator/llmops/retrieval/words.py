"""A text as words that every engine's plain tokenizer cuts alike: lower case, without accents, parted by spaces. Pure.

Engines differ in what they take for a word (Milvus Lite knows no Chinese, Milvus does; one keeps `_`, the other parts
there), so passages and questions are cut here, and BM25 finds the same in all of them. Where a script puts no spaces
between words, every two neighbouring characters are one. Words keep their endings: `boots` is not `boot`; that is what
the vectors are for.

Marks that make another word (the vowels of Hindi, the tones of Thai) belong to the letter before them. Tokenizers do
not agree on them, so each is spelled: हि is हx93f.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from unicodedata import category

from llmops.retrieval.passage import UNSEEN, kept_text

CUT = 2
"""Of what is cut here; another number is another index of words."""


def _marks(*blocks: tuple[int, int]) -> str:
    return "".join(chr(one) for first, last in blocks for one in range(first, last) if category(chr(one))[0] == "M")


_ACCENTS = re.compile(f"[{_marks((0x300, 0x370), (0x591, 0x5C8), (0x610, 0x6ED))}]")
"""And the vowels of Hebrew and Arabic, which hardly anybody writes."""
_MARK = f"[{_marks((0x6ED, 0x2000), (0x302A, 0x309B), (0xA66F, 0xAC00), (0x10A00, 0x12000))}]"
_WORD = re.compile(rf"[^\W_](?:[^\W_]|{_MARK})*")
_LETTER = re.compile(rf".{_MARK}*")
_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+)"
)
"""Thai, Lao, Burmese, Khmer, Kana, Han."""


def words(text: str, cut: int = CUT) -> str:
    """Empty where there is none. As much of it as every engine keeps. `cut`: as a generation's passages were cut."""
    if cut == 1:
        return _first_cut(text)
    plain = _ACCENTS.sub("", unicodedata.normalize("NFKD", UNSEEN.sub("", text).casefold()))
    found = _WORD.findall(unicodedata.normalize("NFC", plain))
    parts = (part for word in found for run in _UNSPACED.split(word) for part in _parts(run, _LETTER.findall(run)))
    return kept_text(re.sub(_MARK, lambda mark: f"x{ord(mark[0]):x}", " ".join(parts)))


def _first_cut(text: str) -> str:
    """Marks part words here. Until no generation of that time is kept any more."""
    plain = re.sub("[\u0300-\u036f]", "", unicodedata.normalize("NFKD", text.casefold()))
    found = re.findall(r"[^\W_]+", unicodedata.normalize("NFC", plain))
    return kept_text(" ".join(part for word in found for run in _UNSPACED.split(word) for part in _parts(run, run)))


def _parts(run: str, letters: Sequence[str]) -> list[str]:
    if len(letters) > 2 and _UNSPACED.match(run):
        return [one + other for one, other in pairwise(letters)]
    return [run] if run else []
