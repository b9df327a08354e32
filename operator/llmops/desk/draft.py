"""Questions that a model makes of passages: what it is asked, what of its answers is left out, and the rows. Pure.

Whether a question is one that users would ask, no rule tells: every row is a draft until a person has read it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from llmops.api.common import MOST_GROUPS
from llmops.kube.resources import Object
from llmops.retrieval.server.poor import normal
from llmops.retrieval.stores.base import EVERYBODY

PAGE = 25
"""Passages that a window of hashes has on average."""
LONGEST = 4000
"""Characters of a passage that the model reads."""
TOKENS = 512
"""For a model that thinks before it writes the question."""
SPACE = 2**64

ASK = """\
Write one question that a user could ask and that the text below answers. The user has not seen the text, so the \
question must be understood without it and must not mention it. Use the language of the text. Write only the question.

Text:
"""
_SOURCE = r"(?:passage|text|document|excerpt|article|paragraph|context)"
NAMES_IT = re.compile(
    rf"\b(?:this|above|following|given|provided) {_SOURCE}\b|\b{_SOURCE} (?:above|below)\b"
    rf"|\b(?:according to|(?:mentioned|described|stated|said) in|in) the {_SOURCE}\b|\bthe (?:passage|excerpt)\b",
    re.IGNORECASE,
)
BEFORE = re.compile(r"^(?:[-*#>\s]|\d+[.)]\s|(?:the )?question\s*\d*:)+", re.IGNORECASE)
AROUND = "\"'“”„«»`* "


@dataclass(frozen=True)
class Drafted:
    """A passage with the question made of it, and, where somebody looked, where the index puts it for that (None: not
    among the first)."""

    passage: Object
    question: str
    rank: int | None = None
    looked: bool = False

    def row(self) -> str:
        """As an EvalJob's dataset and the gate Retrieval take it; `passage` is for who corrects it."""
        one = self.passage
        row = {"id": f"q-{one['hash'][:12]}", "input": self.question, "relevant": [one["id"]], **tenant(one)}
        rank = {"rank": self.rank} if self.looked else {}  # null says that it was not found
        return json.dumps({**row, "passage": one["text"], "draft": True, **rank}, ensure_ascii=False)


def tenant(passage: Object) -> Object:
    """Whose it is, where the index keeps tenants apart."""
    return {"tenant": passage["tenant"]} if "tenant" in passage else {}


def caller(passage: Object) -> Object | None:
    """Who finds it, where the index has permissions: as a member of all of its groups. None where nobody does."""
    groups = passage.get("groups")
    if groups is None:
        return {}
    members = [one for one in groups if one != EVERYBODY][:MOST_GROUPS]
    return {"caller": {"groups": members}} if groups else None


def windows(rows: int, seed: int) -> Iterator[tuple[str, str]]:
    """All hashes once, in windows of about PAGE passages, from where `seed` says."""
    number = max(1, rows // PAGE)
    first = int(hashlib.sha256(str(seed).encode()).hexdigest(), 16) % number
    for at in range(number):
        place = (first + at) % number
        low, high = place * SPACE // number, (place + 1) * SPACE // number
        yield f"{low:016x}", "" if high == SPACE else f"{high:016x}"


def shuffled(passages: Sequence[Object], seed: int) -> list[Object]:
    """By the hashes and the seed: neighbours in the engine are not neighbours here."""
    return sorted(passages, key=lambda one: hashlib.sha256(f"{seed} {one['hash']}".encode()).digest())


def asked(passage: Object, model: str) -> Object:
    """What the model is sent."""
    content = ASK + str(passage["text"])[:LONGEST]
    return {
        "model": model, "messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": TOKENS,
    }  # fmt: skip


def read(answer: str) -> str:
    """The question in it: its first line with words, without what models put around it."""
    said = answer.rpartition("</think>")[2].partition("<think>")[0]  # some do not come to the end of thinking
    lines = (BEFORE.sub("", line.strip(AROUND)).strip(AROUND) for line in said.splitlines())
    return next((line for line in lines if re.search(r"\w", line)), "")


def why_not(question: str, passage: str, known: Collection[str]) -> str | None:
    """Why it is not kept; `known` are those that are, as `normal` writes them."""
    if not question:
        return "empty"
    if normal(question) in normal(passage):
        return "copied from the passage"
    if NAMES_IT.search(question):
        return "speaking of “the text”"
    return "asked already" if normal(question) in known else None


def ordered(drafts: Sequence[Drafted]) -> list[Drafted]:
    """What people should look at first: questions whose own passage is far down, or not found at all."""
    return sorted(drafts, key=lambda one: (not one.looked, -one.rank if one.rank is not None else float("-inf")))
