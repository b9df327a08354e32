"""`llmops questions INDEX --service NAME`: labelled questions for the gate Retrieval, as a draft for people to correct.

Passages are drawn by their hashes, a model makes a question of each, and what is certainly none is left out (draft.py).
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from llmops.desk import draft
from llmops.desk.draft import Drafted
from llmops.desk.model import Model, Refused
from llmops.desk.objects import Unknown
from llmops.desk.reach import Index
from llmops.kube.errors import ApiError
from llmops.kube.resources import Object
from llmops.retrieval.server.poor import normal

AT_ONCE = 4
TRIES = 2
"""Passages that are tried, for each question that is wanted."""
DEEP = 20
"""Passages that --check looks among."""
AWAY = (Unknown, ApiError)
"""What ends the asking, and loses nothing that was answered before."""


@dataclass
class Made:
    """What came of it so far."""

    drafts: list[Drafted] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    tried: int = 0
    refused: str = ""
    stopped: str = ""
    """Why no more was asked, of the model or of the index."""
    known: set[str] = field(default_factory=set)

    def take(self, passage: Object, answer: str | Refused) -> None:
        """One passage's answer."""
        self.tried += 1
        if isinstance(answer, Refused):
            self.dropped["refused by the model"] += 1
            self.refused = str(answer)
            return
        question = draft.read(answer)
        why = draft.why_not(question, passage["text"], self.known)
        if why is not None:
            self.dropped[why] += 1
            return
        self.known.add(normal(question))
        self.drafts.append(Drafted(passage, question))

    def stop(self, problem: Exception) -> None:
        """What there is was paid for: it is kept."""
        self.stopped += f"{'; ' if self.stopped else ''}{problem}"


def questions(index: Index, model: Model, count: int, seed: int, check: bool, out: str | None) -> int:
    """0 where there are questions, 1 where none was left."""
    if out is not None and Path(out).exists():  # hours of somebody's corrections may be in it
        raise Unknown(f"{out} is there already: write another name after --out, or remove it")
    if out is not None and not Path(out).parent.is_dir():  # before a model is asked for what could not be kept
        raise Unknown(f"{Path(out).parent} is no folder: create it, or write another name after --out")
    made = asyncio.run(_make(index, model, count, seed, check))
    text = "".join(one.row() + "\n" for one in made.drafts)
    if out is not None:
        Path(out).write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    print(told(made, check), file=sys.stderr)
    return 0 if made.drafts else 1


async def _make(index: Index, model: Model, count: int, seed: int, check: bool) -> Made:
    made = Made()
    async with model:
        try:
            await _ask(index, model, count, seed, made)
        except AWAY as problem:  # such as a key's limit
            if not made.drafts:
                raise
            made.stop(problem)
    if check:
        try:
            await _look(index, made)
        except AWAY as problem:  # such as an index that is away for a moment
            made.stop(problem)
        made.drafts = draft.ordered(made.drafts)
    return made


async def _look(index: Index, made: Made) -> None:
    for few in _few(len(made.drafts)):
        before = made.drafts[few]
        found = await asyncio.gather(*(_ranked(index, one) for one in before), return_exceptions=True)
        made.drafts[few] = [new if isinstance(new, Drafted) else one for one, new in zip(before, found, strict=True)]
        _raise_first(found)


async def _ask(index: Index, model: Model, count: int, seed: int, made: Made) -> None:
    async for passages in _drawn(index, count, seed):
        answers = await asyncio.gather(*(_asked(model, one) for one in passages), return_exceptions=True)
        for passage, answer in zip(passages, answers, strict=True):
            if isinstance(answer, str | Refused) and len(made.drafts) < count:
                made.take(passage, answer)
        if len(made.drafts) >= count:
            return
        _raise_first(answers)


def _raise_first(answers: Sequence[object]) -> None:
    """Only now: what the others were answered meanwhile was paid for."""
    for one in answers:
        if isinstance(one, BaseException) and not isinstance(one, Refused):
            raise one


def _few(number: int) -> Iterator[slice]:
    return (slice(at, at + AT_ONCE) for at in range(0, number, AT_ONCE))


async def _drawn(index: Index, count: int, seed: int) -> AsyncIterator[Sequence[Object]]:
    """Different texts, a few at a time; at most TRIES for each question that is wanted."""
    rows = (await index.get("/passages", limit=1))["rows"]
    left, seen = TRIES * count, set[str]()
    for low, high in draft.windows(rows, seed):
        page = (await index.get("/passages", **{"from": low}, **({"to": high} if high else {})))["passages"]
        new = {one["hash"]: one for one in page if one["hash"] not in seen}
        seen.update(new)
        drawn = draft.shuffled(list(new.values()), seed)[:left]
        left -= len(drawn)
        for few in _few(len(drawn)):
            yield drawn[few]
        if left <= 0:
            return


async def _asked(model: Model, passage: Object) -> str | Refused:
    try:
        return await model.ask(draft.asked(passage, model.whole))
    except Refused as refused:
        return refused


async def _ranked(index: Index, one: Drafted) -> Drafted:
    caller = draft.caller(one.passage)
    if caller is None:
        return one
    asked = {"text": one.question, "topK": DEEP, "remember": False, **draft.tenant(one.passage), **caller}
    found = await index.post("/search", asked)
    places = (place for place, each in enumerate(found["passages"], 1) if each["id"] == one.passage["id"])
    return replace(one, looked=True, rank=next(places, None))


def told(made: Made, check: bool) -> str:
    """For the person who goes on with it."""
    dropped = ", ".join(f"{number} {why}" for why, number in made.dropped.most_common())
    lines = [f"{len(made.drafts)} questions of {made.tried} passages" + (f"; left out: {dropped}" if dropped else "")]
    if made.refused:
        lines.append(f"the model said: {made.refused}")
    if made.stopped:
        lines.append(f"stopped early: {made.stopped}")
    if check and made.drafts:
        lost = sum(one.looked and one.rank is None for one in made.drafts)
        lines.append(f"{lost} do not find their own passage among the first {DEEP}: they come first")
        if unlooked := sum(not one.looked for one in made.drafts):
            nobodys = sum(draft.caller(one.passage) is None for one in made.drafts)
            why = f"; {nobodys} are of passages that no group may find (spec.query.permissions)" if nobodys else ""
            lines.append(f"{unlooked} were not looked for, and come last without a rank{why}")
    if made.drafts:
        lines.append('a draft: read each, correct it or delete it, and take "draft" away')
    return "\n".join(lines)
