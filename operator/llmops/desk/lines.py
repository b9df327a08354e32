"""Text in the cells of a terminal: how wide it is, where to cut it, and nothing that a terminal would obey. Pure."""

from __future__ import annotations

import re
import unicodedata

MORE = "…"
SHORTEST_WORD = 4


def plain(text: str) -> str:
    """On one line, without control characters: a document's text must not move the cursor of who reads it."""
    kept = "".join(
        " " if unicodedata.category(one) in ("Cc", "Cf", "Zl", "Zp") and one != "\u200d" else one for one in text
    )
    return " ".join(kept.split())


def width(text: str) -> int:
    """Cells: East Asian wide characters and emoji take two, combining marks none."""
    return sum(_cells(one) for one in text)


def _cells(one: str) -> int:
    if unicodedata.combining(one) or unicodedata.category(one) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(one) in "WF" else 1


def cut(text: str, cells: int) -> str:
    """As much as fits, with a sign where something is left out."""
    if width(text) <= cells:
        return text
    room, taken = cells - 1, []
    for one in text:
        room -= _cells(one)
        if room < 0:
            break
        taken.append(one)
    return "".join(taken).rstrip() + MORE


def padded(text: str, cells: int) -> str:
    """With spaces up to so many cells."""
    return text + " " * (cells - width(text))


def snippet(text: str, question: str, cells: int) -> str:
    """The beginning, or where the question's first words are said, if that is too far on to be seen."""
    text = plain(text)
    if width(text) <= cells:
        return text
    words = [re.escape(word) for word in re.findall(r"\w+", question) if len(word) >= SHORTEST_WORD]
    said = re.search(rf"\b(?:{'|'.join(words)})", text, re.IGNORECASE) if words else None
    if said is None or width(text[: said.end()]) < cells:
        return cut(text, cells)
    start = text.rfind(" ", 0, max(0, said.start() - cells // 4)) + 1
    return cut(MORE + text[start:], cells)
