"""A text as words that every engine's plain tokenizer cuts alike: lower case, without accents, parted by spaces. Pure.

Engines differ in what they take for a word (Milvus Lite knows no Chinese, Milvus does; one keeps `_`, the other parts
there), so passages and questions are cut here, and BM25 finds the same in all of them. Where a script puts no spaces
between words, every two neighbouring characters are one. Words keep their endings: `boots` is not `boot`; that is what
the vectors are for.
"""

from __future__ import annotations

import re
import unicodedata

from llmops.retrieval.passage import kept_text

_WORD = re.compile(r"[^\W_]+")
_ACCENTS = re.compile("[\u0300-\u036f]")
_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+)"
)
"""Thai, Lao, Burmese, Khmer, Kana, Han."""


def words(text: str) -> str:
    """Empty where there is none. As much of it as every engine keeps."""
    plain = _ACCENTS.sub("", unicodedata.normalize("NFKD", text.casefold()))
    found = _WORD.findall(unicodedata.normalize("NFC", plain))
    return kept_text(" ".join(part for word in found for run in _UNSPACED.split(word) for part in _parts(run)))


def _parts(run: str) -> list[str]:
    if len(run) > 2 and _UNSPACED.match(run):
        return [run[at : at + 2] for at in range(len(run) - 1)]
    return [run] if run else []
