"""What is asked for, checked: the body of POST /search, or a sentence that says what to write."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any

import orjson

from llmops.api import filters, grammar
from llmops.retrieval.rank import MODES
from llmops.retrieval.server import permissions, tenants
from llmops.retrieval.server.tenants import Named

MAX_TOP_K = 100


QUESTION_REFUSED = "question_refused"
"""The code of what no other query server would find passages for either."""
FILTER_REFUSED = "filter_refused"
"""The code of a filter that nobody could read."""
FILTER_UNSUPPORTED = "filter_unsupported"
"""The code of a filter that can be read, but not by this index's engine."""


class Refused(Exception):
    """An answer that is not passages."""

    def __init__(self, status: int, sentence: str, code: str = "") -> None:
        super().__init__(sentence)
        self.status, self.code = status, code


@dataclass(frozen=True)
class Query:
    """A checked request."""

    text: str
    top_k: int = 4
    filter: str = ""
    min_score: float | None = None
    generation: int | None = None
    """The one to search; None: the active one."""
    remember: bool = True
    """Whether it is a user's: where it finds nothing good, it is kept for people to read."""
    mode: str | None = None
    """By what to find passages; None: as the index is set."""
    groups: frozenset[str] = frozenset()
    """Those of who asks."""
    tenant: Named = field(default_factory=Named)
    """Whose passages."""


def parse(body: bytes) -> Query:
    """The request, or Refused with what to write."""
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refused(400, 'the body is not JSON: send {"text": "…", "topK": 4}') from None
    if not isinstance(given, dict) or not isinstance(given.get("text"), str) or not given["text"].strip():
        raise Refused(400, 'text is missing: send {"text": "…", "topK": 4}', QUESTION_REFUSED)
    top_k, filter_, generation = given.get("topK", 4), given.get("filter") or "", given.get("generation")
    if not _whole(top_k) or not 1 <= top_k <= MAX_TOP_K:
        raise Refused(400, f"topK must be a whole number from 1 to {MAX_TOP_K}")
    if generation is not None and (not _whole(generation) or generation < 1):
        raise Refused(400, "generation must be a whole number from 1, or absent for the active one")
    if not isinstance(filter_, str) or len(filter_) > filters.LONGEST:
        sentence = f"filter must be a text of at most {filters.LONGEST} characters, such as source == 'faq'"
        raise Refused(400, sentence, FILTER_REFUSED)
    filter_ = filter_.strip()
    _readable(filter_)
    remember, mode = given.get("remember", True), given.get("mode")
    if not isinstance(remember, bool):
        raise Refused(400, "remember must be true or false")
    if mode is not None and mode not in MODES:
        raise Refused(400, f"mode must be {', '.join(MODES[:-1])} or {MODES[-1]}, or absent for the index's own")
    try:
        who = permissions.groups(given), tenants.named(given)
    except ValueError as problem:
        raise Refused(400, str(problem)) from None
    return Query(given["text"], top_k, filter_, _least(given.get("minScore")), generation, remember, mode, *who)


def _readable(filter_: str) -> None:
    """Looked at before the question costs anything; what its engine cannot say of it is told later."""
    try:
        if filter_:
            grammar.parse(filter_)
    except filters.FilterWrong as problem:
        raise Refused(400, f"filter: {problem}", FILTER_REFUSED) from None


def _whole(given: object) -> bool:
    return isinstance(given, int) and not isinstance(given, bool)


def _least(given: Any) -> float | None:
    if given is None:
        return None
    with contextlib.suppress(TypeError, ValueError):
        return float(given)
    raise Refused(400, "minScore must be a number")
