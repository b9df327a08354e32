"""Passages in the order of a model that has read them, and what is answered without it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.unit.retrieval.conftest import SPEC, merged

from llmops.api import Settings, VectorIndex
from llmops.kube.resources import LLM_SERVICE
from llmops.retrieval.rank import Way, answer
from llmops.retrieval.reconcile import CONTROLLER
from llmops.retrieval.referred import Missing
from llmops.retrieval.reranker import NotReranked, Reranker
from llmops.retrieval.services import reranker_of
from llmops.retrieval.stores.base import Asked, Found
from llmops.retrieval.work import RerankWork

TEXTS = ["a tent", "a red tent", "red"]


class Service:
    """Answers /v1/rerank as it is told to; what it was asked."""

    def __init__(self) -> None:
        self.says: Any = None
        self.status = 200
        self.asked: list[dict[str, Any]] = []
        self.wait = asyncio.Event()
        self.wait.set()

    async def rerank(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        await self.wait.wait()
        return web.Response(text=self.says if isinstance(self.says, str) else json.dumps(self.says), status=self.status)


@pytest.fixture
async def service() -> AsyncIterator[tuple[Service, Reranker]]:
    one, app = Service(), web.Application()
    app.router.add_post("/v1/rerank", one.rerank)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        yield one, Reranker(session, RerankWork(str(server.make_url("/v1")), "shop/r", "r1", candidates=3, seconds=0.5))
        one.wait.set()


def results(*figures: float, key: str = "relevance_score") -> list[dict[str, float]]:
    """Best first, as services give them."""
    told = [{"index": at, key: figure} for at, figure in enumerate(figures)]
    return sorted(told, key=lambda one: -one[key])


@pytest.mark.parametrize(
    "said",
    [
        {
            "object": "list",
            "model": "r",
            "results": results(-3.5, 9.0, 0.25),
            "usage": {"total_tokens": 9},
        },  # llama.cpp
        {"id": "x", "results": [{**one, "document": {"text": "…"}} for one in results(-3.5, 9.0, 0.25)]},  # vLLM, Jina
        results(-3.5, 9.0, 0.25, key="score"),  # SGLang
    ],
)
async def test_figures_come_in_the_order_of_the_texts_whoever_gives_them(
    service: tuple[Service, Reranker], said: Any
) -> None:
    one, reranker = service
    one.says = said
    assert await reranker.relevance("red tent?", TEXTS) == [-3.5, 9.0, 0.25]
    assert one.asked == [{"model": "shop/r", "query": "red tent?", "documents": TEXTS, "top_n": 3}]


@pytest.mark.parametrize(
    ("said", "status", "sentence"),
    [
        ({"error": {"message": "input is too large"}}, 500, "shop/r answered 500: .*input is too large"),
        ("<html>", 200, "without relevance scores"),
        ({"results": results(1.0, 2.0)}, 200, "gave 2 relevance scores for 3 passages"),
        ({"results": [*results(1.0, 2.0), {"index": 7, "relevance_score": 1}]}, 200, "3 relevance scores for 3"),
        ('{"results": [{"index": 0, "relevance_score": null}]}', 200, "without relevance scores"),
    ],
)
async def test_an_answer_that_is_no_order_is_refused(
    service: tuple[Service, Reranker], said: Any, status: int, sentence: str
) -> None:
    one, reranker = service
    one.says, one.status = said, status
    with pytest.raises(NotReranked, match=sentence):
        await reranker.relevance("red tent?", TEXTS)


class Shelf:
    """The passages of TEXTS, the first the nearest."""

    async def search(self, collection: str, asked: Asked) -> list[Found]:
        found = [Found(f"d#{at}", text, "d", 1 - at / 10, {}) for at, text in enumerate(TEXTS)]
        return found[: asked.top_k]


async def test_the_model_orders_more_passages_than_are_asked_for_and_nearness_stays_the_score(
    service: tuple[Service, Reranker],
) -> None:
    one, reranker = service
    one.says = {"results": results(-3.5, 9.0, 0.25)}
    found = await answer(Shelf().search, Way(reranker=reranker), "c", Asked((), 2), "red tent?")
    assert found.reranked is True
    assert [(one.found.id, one.found.score, one.relevance) for one in found.passages] == [
        ("d#1", 0.9, 9.0), ("d#2", 0.8, 0.25),
    ]  # fmt: skip


async def test_without_the_model_or_past_its_time_the_order_of_before_is_answered(
    service: tuple[Service, Reranker],
) -> None:
    one, reranker = service
    one.wait.clear()
    for problem in ("did not read 3 passages within 0.5 s: lower spec.query.rerank.candidates", "answered 503"):
        found = await answer(Shelf().search, Way(reranker=reranker), "c", Asked((), 2), "red tent?")
        assert ([each.found.id for each in found.passages], found.reranked) == (["d#0", "d#1"], False)
        assert problem in found.problem
        one.wait.set()
        one.says, one.status = "busy", 503


class Objects:
    """The cluster, of one LLMService."""

    settings = Settings()

    def __init__(self, raw: dict[str, Any] | None) -> None:
        self.raw = raw

    def get(self, *_: object) -> dict[str, Any] | None:
        return self.raw


LOADING = {"conditions": [{"type": "Ready", "status": "False", "message": "the pod loads the model"}]}
SERVING = {"stable": {"digest": "r7"}, "conditions": [{"type": "Available", "status": "True"}]}


@pytest.mark.parametrize(
    ("spec", "status", "said"),
    [
        (None, {}, "LLMService shop/reranker does not exist: create it, with spec.model.task Rerank"),
        (
            {"model": {"uri": "file:///m", "task": "Embed"}},
            SERVING,
            "has the task Embed: refer in spec.query.rerank to",
        ),
        ({"model": {"uri": "file:///m", "task": "Rerank"}}, {}, "does not serve yet"),
        ({"model": {"uri": "file:///m", "task": "Rerank"}}, LOADING, "does not serve yet: the pod loads the model"),
        ({"model": {"uri": "file:///m", "task": "Rerank"}}, SERVING, ""),
    ],
)
def test_who_reranks_is_known_by_its_revision_or_said_to_be_missing(
    spec: dict[str, Any] | None, status: dict[str, Any], said: str
) -> None:
    metadata = {"name": "faq", "namespace": "shop"}
    rerank = {"serviceRef": {"name": "reranker"}, "candidates": 20, "timeout": "500ms"}
    index = VectorIndex.model_validate({"metadata": metadata, "spec": merged(SPEC, {"query": {"rerank": rerank}})})
    raw = {"metadata": {"name": "reranker", "namespace": "shop"}, "spec": {"engine": {"type": "LlamaCpp"}, **spec},
           "status": status} if spec else None  # fmt: skip
    found = reranker_of(index, Objects(raw))  # type: ignore[arg-type]
    if said:
        assert isinstance(found, Missing)
        assert said in found.sentence
    else:
        url = "http://reranker-llm.shop.svc.cluster.local/v1"
        assert found == RerankWork(url, "shop/reranker", "r7", candidates=20, seconds=0.5)


def test_a_change_of_either_service_is_the_indexes_work() -> None:
    def one(name: str, query: dict[str, Any] | None = None) -> dict[str, Any]:
        return {"metadata": {"name": name, "namespace": "shop"}, "spec": merged(SPEC, {"query": query or {}})}

    class Indexes:
        def list(self, *_: object) -> list[dict[str, Any]]:
            return [one("plain"), one("reranked", {"rerank": {"serviceRef": {"name": "reranker"}}})]

    (asked,) = [each.keys for each in CONTROLLER.refers if each.resource == LLM_SERVICE]
    for service, woken in (("minilm", ["plain", "reranked"]), ("reranker", ["reranked"]), ("other", [])):
        changed = {"metadata": {"name": service, "namespace": "shop"}}
        assert [key.name for key in asked(changed, Indexes())] == woken  # type: ignore[arg-type]
