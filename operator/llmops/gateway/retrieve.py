"""Passages for a question, from the index's own query servers (POST /search): the one with the fewest searches
pending, another one if it fails; never cached.

A search is tried again whatever went wrong, since it changes nothing. A pod that does not answer within PATIENCE is
left for another, where there is one: its node may be gone, which connections that stand already do not tell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from llmops.gateway.errors import BadRequest, UpstreamFailed
from llmops.gateway.snapshot import Endpoint, Retrieval, Snapshot
from llmops.gateway.tenants import Whose
from llmops.gateway.upstream import AVOID, least_pending
from llmops.telemetry import metrics

SECONDS = 10.0
PATIENCE = 4.0
PAUSE = 0.1
REFUSALS = {
    "tenant_missing": "prompt.tenant",
    "no_tenants": "prompt.tenant",
    "question_refused": "prompt.variables",
    "filter_refused": "prompt.variables",
}
"""Codes of what no other pod would answer either, and what the caller has to write otherwise."""
UNSUPPORTED = "filter_unsupported"
"""The code of what no other pod would answer either, whatever the caller writes: the release is wrong."""


@dataclass(frozen=True, slots=True)
class Sought:
    """What is searched for, on behalf of somebody in these groups, among this one's documents that pass the filter."""

    text: str
    groups: Sequence[str] = ()
    whose: Whose = field(default_factory=Whose)
    filter: str = ""


@dataclass(frozen=True, slots=True)
class Passage:
    """One passage, numbered as the prompt cites it."""

    n: int
    id: str
    text: str
    source: str
    score: float


class Retriever:
    """Asks the pods of an index until one answers or SECONDS have passed."""

    def __init__(self, session: aiohttp.ClientSession, current: Callable[[], Snapshot]) -> None:
        self._session, self._current = session, current
        self._loop, self._turn = asyncio.get_running_loop(), 0

    async def search(self, retrieval: Retrieval, sought: Sought, remember: bool = True) -> list[Passage]:
        """The best passages first; UpstreamFailed where the index does not answer, BadRequest where it refuses the
        question, whose, or the filter. `remember`: whether a user asks."""
        whose = sought.whose
        caller = {"groups": list(sought.groups), "tenant": whose.only}
        more = {
            "filter": sought.filter or None,
            "generation": retrieval.generation,
            "minScore": retrieval.min_score,
            "caller": {name: value for name, value in caller.items() if value} or None,  # who is nobody is not told of
            "tenant": whose.named or None,
            "remember": None if remember else False,
        }
        wanted = {name: value for name, value in more.items() if value is not None}
        body = orjson.dumps({"text": sought.text, "topK": retrieval.top_k, **wanted})
        problem = "it has no Ready query server"
        try:
            async with asyncio.timeout(SECONDS):
                while True:
                    tried = list[Endpoint]()
                    while left := [one for one in self._pods(retrieval.index) if one not in tried]:
                        self._turn += 1
                        endpoint = least_pending(left, self._loop.time(), self._turn)
                        tried.append(endpoint)
                        problem = "its query server has not answered yet"
                        found, problem = await self._ask(endpoint, body, PATIENCE if len(left) > 1 else SECONDS)
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

    def _pods(self, index: str) -> Sequence[Endpoint]:
        return self._current().indexes.get(index, ())

    async def _ask(self, endpoint: Endpoint, body: bytes, patience: float) -> tuple[dict[str, Any] | None, str]:
        endpoint.pending += 1
        try:
            async with asyncio.timeout(patience):
                found, problem = await self._asked(endpoint, body)
        except TimeoutError:
            found, problem = None, f"no answer within {patience:g} s"
        finally:
            endpoint.pending -= 1
        if found is None:
            endpoint.avoid_until = self._loop.time() + AVOID
        return found, problem

    async def _asked(self, endpoint: Endpoint, body: bytes) -> tuple[dict[str, Any] | None, str]:
        try:
            async with self._session.post(
                endpoint.url + "/search", data=body, headers={"content-type": "application/json"}
            ) as response:
                if response.status == 200:
                    return orjson.loads(await response.read()), ""
                said = await response.read()
                code = _code(said)
                if response.status in (400, 413) and code in REFUSALS:
                    raise BadRequest(_said(said), code=code, param=REFUSALS[code])
                if response.status == 400 and code == UNSUPPORTED:
                    raise UpstreamFailed(f"indexRef.{_said(said)}", code="retrieval_failed")
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
