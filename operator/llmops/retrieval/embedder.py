"""Asks an embedding service for vectors, over OpenAI's /embeddings; the Job's and the query server's only way to it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import aiohttp
import orjson

from llmops.retrieval import door
from llmops.retrieval.door import Purpose
from llmops.retrieval.space import PROBES, Space

PAUSE = 0.5
LONGEST = 30.0
BUSY = 1800.0
"""Seconds that a service may say for: come later. A Job's tries together stay within its deadline (children.py)."""
GRACE = 30.0
"""Seconds in which the door may not know yet: of a new service, its access, a credential that was replaced."""
CHECK_EVERY = 10.0


class NotEmbedded(Exception):
    """The service gave no vectors; `final` where asking again cannot help (`unsure`: but may, in a moment),
    `everything` where no other text would fare better, `after` the seconds that it wants to be left alone for."""

    def __init__(
        self, sentence: str, final: bool = False, everything: bool = True, unsure: bool = False,
        after: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(sentence)
        self.final, self.everything, self.unsure, self.after = final, everything, unsure, after


class Embedder:
    """One service, by its address and its model's name; `provider` where it is somebody's API, asked at the door."""

    def __init__(self, session: aiohttp.ClientSession, url: str, model: str, provider: str = "") -> None:
        self._session, self._url, self.model = session, url.rstrip("/") + "/embeddings", model
        self._provider = provider

    @property
    def check_every(self) -> float:
        """Seconds between two looks at where it puts the probes."""
        return door.CHECK_EVERY if self._provider else CHECK_EVERY

    async def embed(
        self, texts: Sequence[str], patience: float = 0.0, purpose: Purpose = "document"
    ) -> list[list[float]]:
        """The texts' vectors, in order; asks again for `patience` seconds while the service is away, longer while it is
        busy."""
        clock, tries = asyncio.get_running_loop().time, 0
        begun = clock()
        while True:
            try:
                return await self._ask(texts, purpose)
            except NotEmbedded as problem:
                wait = pause(problem, clock() - begun, tries, patience)
                if wait is None:
                    raise
            tries += 1
            await asyncio.sleep(wait)

    async def space(self, prefix: str, patience: float = 0.0) -> Space:
        """Where the probes lie today."""
        vectors = await self.embed([prefix + probe for probe in PROBES], patience)
        return Space(tuple(tuple(vector) for vector in vectors))

    async def _ask(self, texts: Sequence[str], purpose: Purpose) -> list[list[float]]:
        asked = {"model": self.model, "input": list(texts), "encoding_format": "float"}
        body = orjson.dumps(asked | door.fields(self._provider, purpose))
        try:
            headers = {"content-type": "application/json"} | door.headers(self._provider)
            async with self._session.post(self._url, data=body, headers=headers) as reply:
                answer = await reply.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            raise NotEmbedded(f"{self.model} does not answer at {self._url}: {type(problem).__name__}") from problem
        if reply.status != 200:
            raise refusal(self.model, reply.status, answer, reply.headers, bool(self._provider))
        return _vectors(answer, len(texts), self.model)


def pause(problem: NotEmbedded, waited: float, tries: int, patience: float) -> float | None:
    """Seconds until it may be asked again; None where it is not."""
    if problem.after is not None and not problem.final:
        wait = max(problem.after, min(LONGEST, PAUSE * 2**tries)) * random.uniform(1.0, 1.2)
        return wait if patience and waited + wait <= BUSY else None
    limit = 0.0 if problem.final and not problem.unsure else min(patience, GRACE) if problem.final else patience
    return PAUSE if waited < limit else None


def refusal(model: str, status: int, answer: bytes, headers: Mapping[str, str], abroad: bool) -> NotEmbedded:
    """What an answer other than 200 means."""
    error = _error(answer)
    told = f"{model} answered {status}: {error.get('message') or answer[:300].decode(errors='replace')}"
    if status == 429 or (status == 503 and "retry-after" in headers):
        after = _seconds(headers.get("retry-after"))
        return NotEmbedded(told, final=after > BUSY, after=after)
    # the door's word for a credential, a model or an address that its admin has to mend
    mended = abroad and (status in (401, 403, 404) or error.get("code") == "provider_failed")
    final = mended or (400 <= status < 500 and status != 408)
    return NotEmbedded(told, final, everything=status not in (400, 413, 422), unsure=mended)


def _seconds(told: str | None) -> float:
    try:
        return max(0.0, float(told or 0))
    except ValueError:  # a date; nobody's clock is trusted
        return 0.0


def _error(answer: bytes) -> dict[str, Any]:
    try:
        error = orjson.loads(answer)["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return {}
    return error if isinstance(error, dict) else {}


def _vectors(answer: bytes, wanted: int, model: str) -> list[list[float]]:
    try:
        data: list[dict[str, Any]] = orjson.loads(answer)["data"]
        vectors = [one["embedding"] for one in sorted(data, key=lambda one: one["index"])]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise NotEmbedded(f"{model} answered without vectors: {answer[:200]!r}", final=True) from None
    if len(vectors) != wanted:
        raise NotEmbedded(f"{model} gave {len(vectors)} vectors for {wanted} texts", final=True)
    if not all(map(_is_vector, vectors)):
        raise NotEmbedded(f"{model} gave a vector that is none: null, or not of numbers", final=True, everything=False)
    return vectors


def _is_vector(given: Any) -> bool:
    try:
        return bool(given) and isfinite(sum(given))
    except TypeError:
        return False
