"""What users of a prompt asked and were answered (spec.capture): remembered for evaluations of real traffic.

Of a share of requests, in this process's memory only, redacted before it is kept, the newest so many of a release and
none longer than the release says; gone when the process ends. Who asks for a version by name is no user, a longer
conversation cannot be asked again, and an answer of a fallback is none of the release's: they are left out.

Only an evaluation of the release's own namespace may read it (`may_read`); nobody's key opens it.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from llmops.gateway import marks
from llmops.gateway.auth import Caller
from llmops.gateway.choose import EVAL_SUFFIX, Choice
from llmops.gateway.errors import BadRequest, NotAllowed
from llmops.gateway.snapshot import Capture, Snapshot
from llmops.redact import redact_all
from llmops.telemetry import metrics

PATH = "/internal/traffic"
ROWS = 1000
"""Of a release, the newest."""
MOST = 8000
"""Bytes of one request with its answer: redacting takes 0.3 us each, on the loop that everybody's requests are on."""
TOTAL = 64 << 20
"""Bytes of all releases together: beyond them the fullest forgets its oldest."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that is kept if it is answered."""

    release: str
    id: str
    version: str
    digest: str
    variant: str
    variables: Mapping[str, Any]
    question: str | None


@dataclass(frozen=True, slots=True)
class _Kept:
    at: float
    size: int
    row: bytes


class Captures:
    """Those of this process, by release."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._rows: dict[str, deque[_Kept]] = {}
        self._ratings: dict[str, OrderedDict[str, str]] = {}
        self._wanted: Mapping[str, Capture] = {}
        self._size = 0

    def follow(self, snapshot: Snapshot) -> None:
        """What is captured from here on; of a release that stopped it, or is gone, everything is forgotten."""
        self._wanted = {name: one.capture for name, one in snapshot.releases.items() if one.capture is not None}
        for name in [name for name in (*self._rows, *self._ratings) if name not in self._wanted]:
            self._size -= sum(one.size for one in self._rows.pop(name, ()))
            self._ratings.pop(name, None)

    def wanted(self, choice: Choice, id_: str, body: Mapping[str, Any]) -> Asked | None:
        """Whether this request is one of the share."""
        capture, version = choice.release.capture, choice.version
        if capture is None or choice.unit_source == "pinned" or random.random() * 100 >= capture.percent:
            return None
        own = body.get("messages") or ()
        if len(own) > 1 or any(not isinstance(one.get("content"), str) for one in own):
            self._count(choice.release.name, "conversation")
            return None
        variables = body["prompt"].get("variables") or {}
        question = str(own[0]["content"]) if own else None
        return Asked(choice.release.name, id_, version.label, version.digest, choice.variant, variables, question)

    def keep(self, asked: Asked, messages: Sequence[Mapping[str, Any]], answer: str) -> None:
        """It was answered. What the model was given stands beside it as far as there is room."""
        row: dict[str, Any] = {
            "id": asked.id, "at": datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "version": asked.version, "digest": asked.digest, "variant": asked.variant,
            "variables": dict(asked.variables), "question": asked.question, "answer": answer,
        }  # fmt: skip
        given = {"given": list(messages)}
        if not answer.strip():  # it called a tool, or said nothing: which of the two, a stream does not tell
            return self._count(asked.release, "empty")
        size = len(orjson.dumps(row))
        if size > MOST:
            return self._count(asked.release, "long")
        if size + len(orjson.dumps(given)) <= MOST:
            row |= given
        id_, data = row.pop("id"), orjson.dumps(redact_all(row))
        data = orjson.dumps({"id": id_, **orjson.loads(data)})
        if asked.release in self._wanted:  # it may have stopped while this was answered
            self._append(asked.release, _Kept(self._clock(), len(data), data))
        return self._count(asked.release, "kept")

    def rated(self, id_: str, rating: str) -> None:
        """What a user thought of an answer, which another gateway may have given."""
        mark = marks.read(id_)
        if mark is None or mark.subject not in self._wanted:
            return
        ratings = self._ratings.setdefault(mark.subject, OrderedDict())
        ratings[id_] = rating
        ratings.move_to_end(id_)
        while len(ratings) > ROWS:
            ratings.popitem(last=False)

    def told(self, release: str) -> bytes:
        """What is kept of a release, as JSON: rows, oldest first, and ratings by answer."""
        rows = self._fresh(release)
        ratings = orjson.dumps(self._ratings.get(release, {}))
        return b'{"rows":[%s],"ratings":%s}' % (b",".join(one.row for one in rows), ratings)

    def _append(self, release: str, one: _Kept) -> None:
        rows = self._rows.setdefault(release, deque())
        rows.append(one)
        self._size += one.size
        if len(self._fresh(release)) > ROWS:
            self._size -= rows.popleft().size
        while self._size > TOTAL:
            self._size -= max(self._rows.values(), key=len).popleft().size

    def _fresh(self, release: str) -> deque[_Kept]:
        """Without those that are older than the release keeps them."""
        rows, capture = self._rows.get(release, deque[_Kept]()), self._wanted.get(release)
        while rows and capture is not None and rows[0].at < self._clock() - capture.seconds:
            self._size -= rows.popleft().size
        return rows

    def _count(self, release: str, result: str) -> None:
        metrics.GATEWAY_CAPTURED.labels(release, result).inc()


def may_read(body: Mapping[str, Any], caller: Caller) -> str:
    """The release whose traffic this caller may read."""
    release = body.get("prompt")
    if not isinstance(release, str):
        raise BadRequest("write the PromptRelease as prompt: namespace/name", code="prompt_missing", param="prompt")
    namespace, name = release.partition("/")[0], caller.name
    if caller.holder is not None or caller.namespace != namespace or not name.endswith(EVAL_SUFFIX):
        raise NotAllowed(
            f"what users asked PromptRelease {release} is for evaluations of namespace {namespace} only: name it as "
            "spec.dataset.traffic of an EvalJob there",
            code="traffic_private",
        )
    return release
