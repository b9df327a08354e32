"""Asks a reranking service how well passages answer a question, over POST /v1/rerank {model, query, documents, top_n}
as llama.cpp, vLLM, Cohere and Jina speak it (SGLang answers with the list alone, and calls the figure `score`)."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from llmops.retrieval.work import RerankWork
from llmops.telemetry import metrics


class NotReranked(Exception):
    """The service gave no figures, or not in time."""


@dataclass(frozen=True)
class Reranker:
    """One service, and what may be asked of it."""

    session: aiohttp.ClientSession
    work: RerankWork

    async def relevance(self, question: str, texts: Sequence[str]) -> list[float]:
        """Of each text, in their order; higher is better, and figures of different models cannot be compared."""
        wanted = {"model": self.work.model, "query": question, "documents": list(texts), "top_n": len(texts)}
        started, url = time.perf_counter(), self.work.url.rstrip("/") + "/rerank"
        headers = {"content-type": "application/json"}
        try:
            async with (
                asyncio.timeout(self.work.seconds),
                self.session.post(url, data=orjson.dumps(wanted), headers=headers) as reply,
            ):
                answer = await reply.read()
        except TimeoutError:
            raise NotReranked(
                f"{self.work.model} did not read {len(texts)} passages within {self.work.seconds:g} s: lower "
                "spec.query.rerank.candidates, or raise its timeout"
            ) from None
        except (aiohttp.ClientError, OSError) as problem:
            raise NotReranked(f"{self.work.model} does not answer at {url}: {type(problem).__name__}") from problem
        if reply.status != 200:
            told = answer[:300].decode(errors="replace")
            raise NotReranked(f"{self.work.model} answered {reply.status}: {told}")
        metrics.RETRIEVAL_SECONDS.labels("rerank").observe(time.perf_counter() - started)
        return _figures(answer, len(texts), self.work.model)


def _figures(answer: bytes, wanted: int, model: str) -> list[float]:
    try:
        told: Any = orjson.loads(answer)
        results = told if isinstance(told, list) else told["results"]
        found = {int(one["index"]): float(one.get("relevance_score", one.get("score"))) for one in results}
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        raise NotReranked(f"{model} answered without relevance scores: {answer[:200]!r}") from None
    if found.keys() != set(range(wanted)) or not all(map(math.isfinite, found.values())):
        raise NotReranked(f"{model} gave {len(found)} relevance scores for {wanted} passages")
    return [found[at] for at in range(wanted)]
