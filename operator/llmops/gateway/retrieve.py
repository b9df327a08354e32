"""Passages for a question, from the index's own query server (POST /search); retried on another pod, never cached."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from llmops.gateway.errors import BadRequest, UpstreamFailed
from llmops.gateway.snapshot import Endpoint, Retrieval, Snapshot
from llmops.gateway.tenants import Whose
from llmops.telemetry import metrics

SECONDS = 10.0
PAUSE = 0.1
REFUSALS = frozenset({"tenant_missing", "no_tenants"})
"""Codes of what no other pod would answer either."""


@dataclass(frozen=True, slots=True)
class Passage:
    """One passage, numbered as the prompt cites it."""

    n: int
    id: str
    text: str
    source: str
    score: float


class Retriever:
    """Asks the pods of an index in turn until one answers or SECONDS have passed."""

    def __init__(self, session: aiohttp.ClientSession, current: Callable[[], Snapshot]) -> None:
        self._session, self._current = session, current

    async def search(
        self, retrieval: Retrieval, text: str, groups: Sequence[str], whose: Whose, remember: bool = True
    ) -> list[Passage]:
        """The best passages first, of those that these groups may see, and of this one's; UpstreamFailed where the
        index does not answer, BadRequest where it refuses whose. `remember`: whether a user asks."""
        caller = {"groups": list(groups), "tenant": whose.only}
        more = {
            "generation": retrieval.generation,
            "minScore": retrieval.min_score,
            "caller": {name: value for name, value in caller.items() if value} or None,  # who is nobody is not told of
            "tenant": whose.named or None,
            "remember": None if remember else False,
        }
        wanted = {name: value for name, value in more.items() if value is not None}
        body = orjson.dumps({"text": text, "topK": retrieval.top_k, **wanted})
        problem = "it has no Ready query server"
        try:
            async with asyncio.timeout(SECONDS):
                while True:
                    for endpoint in self._current().indexes.get(retrieval.index, ()):
                        found, problem = await self._ask(endpoint, body)
                        if found is None:
                            continue
                        if not whose.named or found.get("tenant") == whose.named:
                            return _passages(found, retrieval)
                        problem = "it did not keep to the tenant that was named"  # of a version that knows none
                    metrics.GATEWAY_RETRIES.labels(retrieval.index).inc()
                    await asyncio.sleep(PAUSE)
        except TimeoutError:
            raise UpstreamFailed(
                f"VectorIndex {retrieval.index} did not answer within {SECONDS:g} s ({problem}): "
                "look at its conditions",
                code="retrieval_failed",
            ) from None

    async def _ask(self, endpoint: Endpoint, body: bytes) -> tuple[dict[str, Any] | None, str]:
        try:
            async with self._session.post(
                endpoint.url + "/search", data=body, headers={"content-type": "application/json"}
            ) as response:
                if response.status == 200:
                    return orjson.loads(await response.read()), ""
                said = await response.read()
                if response.status == 400 and (code := _code(said)) in REFUSALS:
                    raise BadRequest(_said(said), code=code, param="prompt.tenant")
                return None, f"status {response.status}: {_said(said)}"
        except (aiohttp.ClientError, ConnectionError) as problem:
            return None, type(problem).__name__


def _code(body: bytes) -> str:
    try:
        return str(orjson.loads(body)["error"]["code"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""


def _said(body: bytes) -> str:
    try:
        return str(orjson.loads(body)["error"]["message"])[:300]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "no word why"


def _passages(found: dict[str, Any], retrieval: Retrieval) -> list[Passage]:
    kept = [
        one
        for one in found.get("passages", ())
        if retrieval.min_score is None or float(one.get("score", 0.0)) >= retrieval.min_score
    ]
    return [
        Passage(
            n,
            str(one.get("id", "")),
            str(one.get("text", "")),
            str(one.get("source", "")),
            float(one.get("score", 0.0)),
        )
        for n, one in enumerate(kept[: retrieval.top_k], start=1)
    ]
