"""`llmops search INDEX "question"`: what the index finds, for a person; with --poor what it was asked in vain."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass

from llmops.desk.lines import cut, padded, plain, snippet, width
from llmops.desk.reach import Index
from llmops.kube.resources import Object
from llmops.retrieval.server.poor import merged

NARROWEST = 24
"""Cells; where less is left beside the names, texts go on lines of their own."""


@dataclass(frozen=True)
class Wanted:
    """One search, as it was typed."""

    question: str
    top: int
    filter: str | None = None
    generation: int | None = None
    min_score: float | None = None
    groups: tuple[str, ...] = ()
    mode: str | None = None

    def body(self) -> Object:
        """What the query server is sent; `remember` false, since who tries an index out is no user of it."""
        caller = {"groups": list(self.groups)} if self.groups else None
        given = {
            "filter": self.filter, "generation": self.generation, "minScore": self.min_score, "caller": caller,
            "mode": self.mode,
        }  # fmt: skip
        kept = {name: value for name, value in given.items() if value is not None}
        return {"text": self.question, "topK": self.top, "remember": False, **kept}


async def search(index: Index, wanted: Wanted, as_json: bool) -> int:
    """0 where something was found, 1 where nothing was."""
    found = await index.post("/search", wanted.body())
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        print("\n".join(told(found, wanted, shutil.get_terminal_size().columns)))
    return 0 if found["passages"] else 1


def told(found: Object, wanted: Wanted, cells: int) -> list[str]:
    """A line a passage, no wider than the terminal."""
    where = f"{found['index']}, generation {found['generation']}{_as(found)}"
    if not found["passages"]:
        return [f"{where}: nothing was found{_narrowed(wanted)}"]
    names = [plain(one["id"]) for one in found["passages"]]
    heads = [f"{rank:>3}  {one['score']:.3f}  " for rank, one in enumerate(found["passages"], 1)]
    widest = max(map(width, names))
    room = cells - width(heads[0]) - widest - 2
    lines = [where]
    for head, name, one in zip(heads, names, found["passages"], strict=True):
        if room >= NARROWEST:
            lines.append(f"{head}{padded(name, widest)}  {snippet(one['text'], wanted.question, room)}")
        else:  # a name is never cut: it is there to be copied
            lines += [head + name, "     " + snippet(one["text"], wanted.question, max(cells - 5, NARROWEST))]
    return lines


def _as(found: Object) -> str:
    """In whose name it was asked, where the index has permissions."""
    groups = found.get("groups")
    return "" if groups is None else f", as {' and '.join(groups) or 'nobody (--as-group NAME)'}"


def _narrowed(wanted: Wanted) -> str:
    asked = {"--min-score": wanted.min_score, "--filter": wanted.filter}
    given = [option for option, value in asked.items() if value is not None]
    return f"; ask again without {' or '.join(given)}" if given else ""


async def poor(index: Index, as_json: bool) -> int:
    """The questions that found nothing good, the most asked first; 1 where there are none."""
    each = await index.each("/poor")
    found = merged(each.answers)
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        print("\n".join(listed(found, shutil.get_terminal_size().columns)))
        if found["questions"]:
            print(remembered(found), file=sys.stderr)
    if each.lacking:
        print(each.lacking, file=sys.stderr)
    return 0 if found["questions"] else 1


def remembered(found: Object) -> str:
    """Since when, and until when."""
    many = len(found["servers"])
    if many == 1:
        return f"since {found['since']}, when this query server started; it forgets them when it ends"
    return f"of {many} query servers, the youngest since {found['since']}; each forgets its own when it ends"


def listed(found: Object, cells: int) -> list[str]:
    """A line a question."""
    below = found.get("below")
    if not found["questions"]:
        good = "something" if below is None else f"something as near as {below}"
        return [f"{found['index']}: every question since {found['since']} found {good}"]
    lines = [f"{'ASKED':>5}  {'DOWN':>4}  {'BEST':>6}  {'LAST':20}  QUESTION"]
    for one in found["questions"]:
        best = "-" if one["bestScore"] is None else f"{one['bestScore']:.3f}"
        head = f"{one['count']:>5}  {one['disliked']:>4}  {best:>6}  {one['lastAt']:20}  "
        lines.append(head + cut(plain(one["text"]), max(cells - width(head), NARROWEST)))
    return lines
