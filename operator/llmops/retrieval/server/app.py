"""POST /search {text, topK?, filter?, minScore?, generation?, remember?, mode?, tenant?, caller?: {groups, tenant}}
-> {generation, index, passages: [{id, text, score, source, metadata, ranks?, relevance?}], reranked?, tenant?};
GET /passages (passages.py)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import replace
from functools import partial
from typing import Any

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from llmops.api.filters import FilterWrong
from llmops.retrieval import widen
from llmops.retrieval.embedder import NotEmbedded
from llmops.retrieval.rank import DENSE, Answer, Placed, Way, answer
from llmops.retrieval.server import passages, permissions, tenants
from llmops.retrieval.server.live import Live
from llmops.retrieval.server.permissions import Permissions
from llmops.retrieval.server.poor import Poor
from llmops.retrieval.server.query import FILTER_UNSUPPORTED, QUESTION_REFUSED, Query, Refused, parse
from llmops.retrieval.server.served import Served
from llmops.retrieval.stores.base import Asked, Away, Reader, StoreError
from llmops.retrieval.stores.tenants import Tenant
from llmops.telemetry import metrics

log = logging.getLogger(__name__)

MAX_BODY = 256 * 1024
SECONDS = 10.0

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class App:
    """The ASGI application of one index."""

    def __init__(
        self, index: str, reader: Reader, live: Live, poor: Poor, rule: Permissions | None = None, tenants: str = ""
    ) -> None:
        self._index, self._reader, self._live, self._poor = index, reader, live, poor
        self._rule, self._tenants = rule, tenants
        self.draining = False  # then every answer closes its connection

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = (scope["method"], scope["path"])
        if route == ("POST", "/search"):
            status, body = await self._search(receive)
            metrics.RETRIEVAL_SEARCHES.labels(str(status)).inc()
            return await self._reply(send, status, body)
        if route == ("GET", "/metrics"):
            return await self._reply(send, 200, generate_latest(), CONTENT_TYPE_LATEST)
        if route == ("GET", "/healthz"):
            return await self._reply(send, 200, b'{"ok":true}')
        if route == ("GET", "/readyz"):
            why_not = self._live.why_not
            served = self._live.served
            told = {"ready": why_not is None, "problem": why_not, "generation": served.generation if served else None}
            return await self._reply(send, 503 if why_not else 200, orjson.dumps(told))
        if route == ("GET", "/passages"):
            return await self._reply(send, *await self._page(scope["query_string"]))
        if route == ("GET", "/poor"):
            return await self._reply(send, 200, orjson.dumps(self._poor.told(self._index)))
        if route == ("POST", "/poor"):
            status, body = await self._disliked(receive)
            return await self._reply(send, status, body)
        return await self._reply(send, 404, _error(f"no {scope['method']} {scope['path']} here: POST /search"))

    async def _reply(self, send: Send, status: int, body: bytes, content: str = "application/json") -> None:
        headers = [(b"content-type", content.encode()), (b"content-length", str(len(body)).encode())]
        headers += [(b"connection", b"close")] if self.draining else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _disliked(self, receive: Receive) -> tuple[int, bytes]:
        """{text}: what was found for it did not help a user."""
        try:
            self._poor.disliked(parse(await _body(receive)).text)
        except Refused as refused:
            return refused.status, _error(str(refused))
        metrics.RETRIEVAL_POOR.labels("disliked").inc()
        return 200, b'{"ok":true}'

    async def _page(self, query: bytes) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(SECONDS):
                served = await self._searched(Query(""))
                found = await passages.page(self._reader, served, self._index, query, self._tenants, self._rule)
                return 200, orjson.dumps(found)
        except Refused as refused:
            return refused.status, _error(str(refused))
        except passages.WindowWrong as wrong:
            return 400, _error(str(wrong))
        except (StoreError, TimeoutError) as problem:
            return 503, _error(f"the engine did not answer: {problem or type(problem).__name__}")

    async def _search(self, receive: Receive) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(SECONDS):
                query = parse(await _body(receive))
                served = await self._searched(query)
                return 200, orjson.dumps(await self._answer(served, query, self._within(served, query)))
        except Refused as refused:
            return refused.status, _error(str(refused), refused.code)
        except NotEmbedded as problem:
            its_fault, told = problem.final and not problem.everything, f"the question was not embedded: {problem}"
            return (400, _error(told, QUESTION_REFUSED)) if its_fault else (503, _error(told))
        except TimeoutError:
            self._live.look_now()
            return 503, _error(f"VectorIndex {self._index} did not answer within {SECONDS:g} s")

    async def _searched(self, query: Query) -> Served:
        """One look: collection and embedder of the same generation."""
        served, why_not = self._live.served, self._live.why_not
        if served is None or query.generation in (None, served.generation):
            if served is None or why_not:
                raise Refused(503, f"VectorIndex {self._index} cannot be searched: {why_not}")
            return served
        assert query.generation is not None
        pinned = await self._live.pinned(query.generation, served)
        if isinstance(pinned, str):
            raise Refused(503, f"generation {query.generation} of VectorIndex {self._index}: {pinned}")
        return pinned

    def _within(self, served: Served, query: Query) -> Tenant | None:
        """Before the question costs anything."""
        try:
            return tenants.within(self._tenants, query.tenant, served.told, self._index)
        except tenants.NoTenant as refused:
            raise Refused(400, str(refused), refused.code) from None

    async def _answer(self, served: Served, query: Query, tenant: Tenant | None) -> dict[str, Any]:
        started = time.perf_counter()
        (vector,) = await served.embedder.embed([served.query_prefix + query.text], purpose="query")
        embedded = time.perf_counter()
        metrics.RETRIEVAL_SECONDS.labels("embed").observe(embedded - started)
        if len(vector) != served.space.dimensions:
            told = f"{served.embedder.model} gives {len(vector)} numbers where the passages have "
            told += str(served.space.dimensions)
            self._live.mismatch = told if served is self._live.served else self._live.mismatch
            raise Refused(503, told)
        answered = await self._passages(served, query, vector, tenant)
        found = [_shown(one) for one in answered.passages]
        metrics.RETRIEVAL_SECONDS.labels("search").observe(time.perf_counter() - embedded)
        passages = [one for one in found if query.min_score is None or one["score"] >= query.min_score]
        if query.remember:
            self._count(query, [one["score"] for one in found], len(passages))
        more: dict[str, Any] = {"groups": sorted(query.groups)} if self._rule else {}
        more |= {"tenant": tenant.name} if tenant else {}
        more |= {} if answered.reranked is None else {"reranked": answered.reranked}
        return {"generation": served.generation, "index": self._index, **more, "passages": passages}

    def _count(self, query: Query, scores: list[float], passed: int) -> None:
        """A user's search: how good it was."""
        if scores:
            metrics.RETRIEVAL_BEST_SCORE.observe(max(scores))
        if why := self._poor.searched(query.text, scores, passed):
            metrics.RETRIEVAL_POOR.labels(why).inc()

    async def _passages(self, served: Served, query: Query, vector: list[float], tenant: Tenant | None) -> Answer:
        told = served.told
        only = self._rule.of(query.groups, told) if self._rule else None
        metric = str(told.get("metric", "Cosine"))
        asked = Asked(vector, query.top_k, query.filter, told.get("search") or {}, metric, SECONDS)
        asked = replace(asked, only=only, tenant=tenant)
        way = replace(served.way, mode=query.mode or served.way.mode)
        if (mode := way.mode) != DENSE and not told.get("keyword"):
            raise Refused(
                400, f"generation {served.generation} of VectorIndex {self._index} is not indexed by words, which mode "
                f"{mode} needs: write spec.query.mode {mode}, or ask with mode {DENSE}",
            )  # fmt: skip
        try:
            found = await self._found(served, way, asked, query.text)
        except FilterWrong as problem:
            raise Refused(400, f"filter: {problem}", FILTER_UNSUPPORTED) from None
        except StoreError as problem:
            self._live.look_now()
            raise Refused(503, f"the engine did not answer: {problem}") from None
        if found.reranked is not None:
            metrics.RETRIEVAL_RERANKS.labels("reranked" if found.reranked else "failed").inc()
        if found.problem:
            log.warning("not reranked: %s", found.problem)
        return replace(found, passages=permissions.seen(found.passages, only, tenant))

    async def _found(self, served: Served, way: Way, asked: Asked, text: str) -> Answer:
        search = partial(widen.search, self._reader, int(served.told["rows"]))
        try:
            return await answer(search, way, served.collection, asked, text)
        except Away:
            # out of the engine's memory: it was restarted, or another query server let go of what it was not asked for
            await self._reader.load(served.collection)
            return await answer(search, way, served.collection, asked, text)


def _shown(placed: Placed) -> dict[str, Any]:
    one = placed.found
    passage: dict[str, Any] = {
        "id": one.id,
        "text": one.text,
        "score": one.score,
        "source": one.document,
        "metadata": one.metadata,
    }
    if placed.ranks:
        passage["ranks"] = placed.ranks
    if placed.relevance is not None:
        passage["relevance"] = placed.relevance
    return passage


async def _body(receive: Receive) -> bytes:
    whole: bytes = b""
    while True:
        message = await receive()
        whole += message.get("body", b"")
        if len(whole) > MAX_BODY:
            raise Refused(413, f"the question is too long: the body has more than {MAX_BODY} bytes", QUESTION_REFUSED)
        if not message.get("more_body"):
            return whole


def _error(sentence: str, code: str = "") -> bytes:
    return orjson.dumps({"error": {"message": sentence, **({"code": code} if code else {})}})
