"""Asks an embedding service for vectors, over OpenAI's /embeddings; the Job's and the query server's only way to it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import aiohttp
import orjson

from llmops.retrieval.space import PROBES, Space

PAUSE = 0.5


class NotEmbedded(Exception):
    """The service gave no vectors; `final` where asking again cannot help, `everything` where no other text would fare
    better."""

    def __init__(self, sentence: str, final: bool = False, everything: bool = True) -> None:
        super().__init__(sentence)
        self.final, self.everything = final, everything


class Embedder:
    """One service, by its address and its model's name."""

    def __init__(self, session: aiohttp.ClientSession, url: str, model: str) -> None:
        self._session, self._url, self.model = session, url.rstrip("/") + "/embeddings", model

    async def embed(self, texts: Sequence[str], patience: float = 0.0) -> list[list[float]]:
        """The texts' vectors, in order; asks again for `patience` seconds while the service is away or busy."""
        end = asyncio.get_running_loop().time() + patience
        while True:
            try:
                return await self._ask(texts)
            except NotEmbedded as problem:
                if problem.final or asyncio.get_running_loop().time() >= end:
                    raise
            await asyncio.sleep(PAUSE)

    async def space(self, prefix: str, patience: float = 0.0) -> Space:
        """Where the probes lie today."""
        vectors = await self.embed([prefix + probe for probe in PROBES], patience)
        return Space(tuple(tuple(vector) for vector in vectors))

    async def _ask(self, texts: Sequence[str]) -> list[list[float]]:
        body = orjson.dumps({"model": self.model, "input": list(texts), "encoding_format": "float"})
        try:
            async with self._session.post(self._url, data=body, headers={"content-type": "application/json"}) as reply:
                answer = await reply.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            raise NotEmbedded(f"{self.model} does not answer at {self._url}: {type(problem).__name__}") from problem
        if reply.status != 200:
            final = 400 <= reply.status < 500 and reply.status not in (408, 429)
            told = answer[:300].decode(errors="replace")
            of_texts = reply.status in (400, 413, 422)
            raise NotEmbedded(f"{self.model} answered {reply.status}: {told}", final, everything=not of_texts)
        return _vectors(answer, len(texts), self.model)


def _vectors(answer: bytes, wanted: int, model: str) -> list[list[float]]:
    try:
        data: list[dict[str, Any]] = orjson.loads(answer)["data"]
        vectors = [one["embedding"] for one in sorted(data, key=lambda one: one["index"])]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise NotEmbedded(f"{model} answered without vectors: {answer[:200]!r}", final=True) from None
    if len(vectors) != wanted:
        raise NotEmbedded(f"{model} gave {len(vectors)} vectors for {wanted} texts", final=True)
    return vectors
