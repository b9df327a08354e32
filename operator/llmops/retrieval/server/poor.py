"""Questions that found nothing good, for the people who write the documents: what should be in them, and is not. Pure.

Kept in this process's memory only, redacted before they are kept, those that say the same together, at most MOST. Where
there is no room, what is worth least goes: asked seldom, and long ago.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from llmops.redact import redact

MOST = 200
LONGEST = 300
READ = 4000
"""Characters that are redacted, before LONGEST of them are kept: so no secret is cut before it is recognized."""
DAY = 86_400.0

Why = Literal["empty", "low", "disliked"]


@dataclass
class Question:
    """Asked so often, the last time `at`; of those so often its answer was disliked."""

    text: str
    count: int = 0
    disliked: int = 0
    best: float | None = None
    at: float = 0.0

    def worth(self, now: float) -> float:
        """Once a moment ago is as much as twice yesterday."""
        return self.count / (1 + (now - self.at) / DAY)


class Poor:
    """Those of one query server."""

    def __init__(self, clock: Callable[[], float], below: float | None = None) -> None:
        self._clock, self.below = clock, below
        self._since = clock()
        self._kept: dict[str, Question] = {}

    def searched(self, text: str, scores: Sequence[float], passed: int) -> Why | None:
        """A search: the scores of all that was near, and how many passed minScore; why it is kept, if it is."""
        best = max(scores, default=None)
        why: Why | None = "empty" if not passed else None
        if best is not None and self.below is not None and best < self.below:
            why = why or "low"
        if why is not None:
            self._keep(text, best)
        return why

    def disliked(self, text: str) -> None:
        """A user did not like what was answered from what was found."""
        self._keep(text, None).disliked += 1

    def told(self, index: str) -> dict[str, Any]:
        """The most asked first."""
        sorted_ = sorted(self._kept.values(), key=lambda one: (-one.count, -one.at))
        questions = [
            {
                "text": one.text,
                "count": one.count,
                "disliked": one.disliked,
                "bestScore": one.best,
                "lastAt": _at(one.at),
            }
            for one in sorted_
        ]
        return {"index": index, "since": _at(self._since), "below": self.below, "questions": questions}

    def _keep(self, text: str, best: float | None) -> Question:
        shown = " ".join(redact(text[:READ]).split())[:LONGEST]
        key = normal(shown)
        question = self._kept.pop(key, None)
        if question is None:
            self._make_room()
            question = Question(shown)
        self._kept[key] = question
        question.count, question.at = question.count + 1, self._clock()
        question.best = max((one for one in (question.best, best) if one is not None), default=None)
        return question

    def _make_room(self) -> None:
        if len(self._kept) >= MOST:
            now = self._clock()
            del self._kept[min(self._kept, key=lambda key: self._kept[key].worth(now))]


def merged(lists: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What several query servers of one index told, by their names, as one list: of everything that was asked since the
    youngest of them began, and of some that was asked before."""
    youngest = max(lists.values(), key=lambda one: str(one["since"]))
    questions: dict[str, dict[str, Any]] = {}
    for one in (each for told in lists.values() for each in told["questions"]):
        key = normal(one["text"])
        questions[key] = _both(questions[key], one) if key in questions else one
    servers = {name: told["since"] for name, told in lists.items()}
    most_asked = sorted(questions.values(), key=lambda one: (one["count"], one["lastAt"]), reverse=True)
    return {**youngest, "servers": servers, "questions": most_asked}


def _both(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    best = [each["bestScore"] for each in (one, other) if each["bestScore"] is not None]
    return {
        "text": one["text"],
        "count": one["count"] + other["count"],
        "disliked": one["disliked"] + other["disliked"],
        "bestScore": max(best, default=None),
        "lastAt": max(one["lastAt"], other["lastAt"]),
    }


def normal(text: str) -> str:
    """The same for questions that differ in case, spaces, forms of letters and the sign at the end."""
    return re.sub(r"[\s?!.…。？！]+$", "", " ".join(unicodedata.normalize("NFKC", text).casefold().split()))


def _at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
