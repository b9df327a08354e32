"""An index of more than ten thousand passages of real text on the real cluster: built, asked, changed, spoilt, mended.

The operator comes from the chart; documents lie in ConfigMaps; the embedder is a real sentence model in llama.cpp. The
peer is the same engine and embedder driven by hand with their own clients, by the same machine in the same run.

    python3 -m bench knowledge
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from typing import Any

import aiohttp
from demo import install, shop
from demo.stage import NAMESPACE, apply, condition, get, kubectl, load, until, until_true
from pymilvus import AsyncMilvusClient

from bench.index import CLIENTS, asked, say, told
from bench.texts import paragraphs

MANY = int(os.environ.get("LLMOPS_BENCH_PASSAGES", "12000"))
SHARDS = 8  # ConfigMaps: one holds at most a MiB
QUESTIONS = 400
Object = dict[str, Any]


def shard(number: int, rows: list[dict[str, str]], *more: dict[str, str]) -> Object:
    text = "".join(json.dumps(row) + "\n" for row in [*rows[number::SHARDS], *more])
    return {
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"rows.jsonl": text},
        "metadata": {"name": f"library-{number}", "namespace": NAMESPACE, "labels": {"llmops.dev/watch": "true"}},
    }  # fmt: skip


def library(parameters: dict[str, int]) -> Object:
    return {
        "apiVersion": "llmops.dev/v1alpha1", "kind": "VectorIndex",
        "metadata": {"name": "library", "namespace": NAMESPACE},
        "spec": {
            "engine": {"storage": {"size": "2Gi"}},
            "embedding": {"serviceRef": {"name": "minilm"}},
            "sources": [{"name": f"s{n}", "configMapRef": {"name": f"library-{n}"}} for n in range(SHARDS)],
            "chunking": {"strategy": "Document"},
            "index": {"parameters": parameters, "search": {"ef": 64}},
            "rollout": {"gates": [{"type": "AnnRecall", "atK": 10, "min": "0.95"}]},
        },
    }  # fmt: skip


GOOD, BAD = {"M": 16, "efConstruction": 200}, {"M": 2, "efConstruction": 4}


def status(name: str = "library") -> Object:
    found: Object = get("vectorindex", name).get("status") or {}
    return found


def said(kind: str, name: str = "library") -> str:
    return str(condition(get("vectorindex", name), kind)["message"])


def address(service: str, port: int) -> str:
    ip = kubectl("get", "service", service, "-n", NAMESPACE, "-o", "jsonpath={.spec.clusterIP}")
    return f"http://{ip}:{port}"


async def queries(questions: list[str]) -> None:
    """Both sides in turn, so that both meet the same machine."""
    ours_at, embed_at = address("library-index", 8080), address("minilm-llm", 80)
    collection = status()["generation"]["name"]
    direct = AsyncMilvusClient(uri=address("library-index-engine", 19530))
    async with aiohttp.ClientSession() as session:

        async def ours(question: str) -> None:
            async with session.post(f"{ours_at}/search", json={"text": question, "topK": 10}) as reply:
                assert (await reply.json())["passages"], "an empty answer"

        async def hand(question: str) -> None:
            body = {"model": "minilm", "input": [question]}
            async with session.post(f"{embed_at}/v1/embeddings", json=body) as reply:
                vector = (await reply.json())["data"][0]["embedding"]
            found = await direct.search(collection, [vector], limit=10, output_fields=["text"],
                                        search_params={"params": {"ef": 64}})  # fmt: skip
            assert found[0]

        for clients in CLIENTS:
            await asked(clients, ours, questions[:40])  # warm
            mine, theirs = list[float](), list[float]()
            for half in (questions[::2], questions[1::2]):
                mine += await asked(clients, ours, half)
                theirs += await asked(clients, hand, half)
            ratio = statistics.median(mine) / statistics.median(theirs)
            say(bench="knowledge", clients=clients, ours=told(mine), by_hand=told(theirs), ratio=ratio)
    await direct.close()


class Load:
    """Four clients that never stop asking; every answer that was no answer is kept."""

    def __init__(self, questions: list[str], index: str = "library") -> None:
        self._index, self._questions, self.answered, self.bad = index, questions, 0, list[str]()
        self.generations: set[int] = set()

    async def __aenter__(self) -> Load:
        self._url, self._session = address(f"{self._index}-index", 8080) + "/search", aiohttp.ClientSession()
        self._tasks = [asyncio.create_task(self._client(n)) for n in range(4)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for one in self._tasks:
            one.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    async def ask(self, text: str) -> Object:
        async with self._session.post(self._url, json={"text": text, "topK": 4}) as reply:
            body: Object = await reply.json()
            return body if reply.status == 200 else {"passages": [], "status": reply.status, **body}

    async def _client(self, number: int) -> None:
        for at in range(number, 1_000_000, 4):
            try:
                found = await self.ask(self._questions[at % len(self._questions)])
            except (aiohttp.ClientError, TimeoutError) as problem:
                self.bad.append(repr(problem))
                continue
            self.answered += 1
            if not found["passages"]:
                self.bad.append(json.dumps(found)[:300])
            else:
                self.generations.add(found["generation"])
            await asyncio.sleep(0.05)


async def changed(rows: list[dict[str, str]], questions: list[str]) -> None:
    """A document more, while people ask."""
    async with Load(questions) as load:
        await asyncio.sleep(2)
        new = {"id": "snow", "text": "Snow shoes are rented out for nine euros a day at the shop by the lake."}
        started = time.monotonic()
        await asyncio.to_thread(apply, shard(0, rows, new))
        while (await load.ask("Where can I rent snow shoes?"))["passages"][0]["id"] != "s0/snow#0":
            await asyncio.sleep(0.2)
            assert time.monotonic() - started < 300, said("Ready")
        seconds = time.monotonic() - started
        await asyncio.to_thread(until_true, "vectorindex", "library", "Ready", 120)
        await asyncio.sleep(2)
    say(bench="knowledge", what="a document more, seen by queries", seconds=seconds, asked=load.answered,
        failed_or_empty=len(load.bad), generations=len(load.generations), built=said("Built"))  # fmt: skip
    assert not load.bad, load.bad[:5]


def gated() -> None:
    """A bad index is refused while the good one serves; taken back it costs nothing."""
    served = status()["generation"]["active"]
    apply(library(BAD))
    until("the bad index is refused", lambda: status().get("phase") == "Rejected", 300, lambda: said("Ready"))
    say(bench="knowledge", what="an index with M 2, efConstruction 4", gates=said("GatesPassed"),
        serves_still=status()["generation"]["active"] == served)  # fmt: skip
    started = time.monotonic()
    apply(library(GOOD))
    until_true("vectorindex", "library", "Ready", 120)
    say(bench="knowledge", what="taken back", seconds=time.monotonic() - started)


def labelled(embedder: str) -> list[Object]:
    """The shop's answers, without their questions, and what answers which: real work for a model."""
    documents = [{"id": f"faq-{at:03}", "text": answer} for at, (_, answer) in enumerate(shop.questions())]
    of_faq = library(GOOD) | {"metadata": {"name": "faq", "namespace": NAMESPACE}}
    gate = {"type": "Retrieval", "atK": 4, "min": "0.80", "evalJobRef": {"name": "faq-questions"}}
    of_faq["spec"] |= {
        "embedding": {"serviceRef": {"name": embedder}}, "rollout": {"gates": [gate]},
        "sources": [{"name": "faq", "configMapRef": {"name": "library-faq"}}],
    }  # fmt: skip
    texts = {**shard(0, []), "data": {"rows.jsonl": "".join(json.dumps(row) + "\n" for row in documents)}}
    texts["metadata"] = {**texts["metadata"], "name": "library-faq"}
    asked = [one for one in shop.config_maps() if one["metadata"]["name"] == "faq-questions"]
    template = [one for one in load("index.yaml") if one["kind"] == "EvalJob"]
    return [texts, *asked, *template, of_faq]


async def swapped() -> None:
    """Other embedders while people ask: a worse one is refused, one that is alike takes over; nobody meets an error."""
    (minilm,) = [one for one in load("services.yaml") if one["metadata"]["name"] == "minilm"]
    for name, args in (("worse", ["--pooling", "cls"]), ("alike", ["--pooling", "mean"])):
        apply({**minilm, "metadata": {**minilm["metadata"], "name": name},
               "spec": {**minilm["spec"], "engine": {**minilm["spec"]["engine"], "args": args}}})  # fmt: skip
        until_true("llmservice", name, timeout=240)
    apply(*labelled("minilm"))
    until_true("vectorindex", "faq", timeout=300)
    say(bench="knowledge", what="embedder before", **status("faq")["measured"])
    async with Load([question for question, _ in shop.questions()], "faq") as load_:
        await asyncio.to_thread(apply, *labelled("worse"))
        refused = lambda: status("faq").get("phase") == "Rejected"  # noqa: E731
        await asyncio.to_thread(until, "the refusal", refused, 300, lambda: said("Ready", "faq"))
        say(bench="knowledge", what="a worse embedder", gates=said("GatesPassed", "faq"))
        await asyncio.to_thread(apply, *labelled("alike"))
        await asyncio.to_thread(until_true, "vectorindex", "faq", "Ready", 300)
        say(bench="knowledge", what="one that is alike", **status("faq")["measured"])
        await asyncio.sleep(3)
    say(bench="knowledge", what="while embedders were swapped", asked=load_.answered, failed_or_empty=len(load_.bad),
        generations=sorted(load_.generations))  # fmt: skip
    assert not load_.bad, load_.bad[:5]


def main() -> None:
    rows = paragraphs(MANY)
    install.operator(fresh=True)
    apply(*[one for one in load("services.yaml") if one["metadata"]["name"] == "minilm"])
    until_true("llmservice", "minilm", timeout=240)
    apply(*(shard(number, rows) for number in range(SHARDS)))
    started = time.monotonic()
    apply(library(GOOD))
    until_true("vectorindex", "library", "Ready", 1800)
    seconds = time.monotonic() - started
    say(bench="knowledge", passages=status()["rows"], built_s=seconds, passages_s=status()["rows"] / seconds,
        measured=status()["measured"])  # fmt: skip
    questions = [" ".join(row["text"].split()[:12]) for row in rows[:: max(1, len(rows) // QUESTIONS)]][:QUESTIONS]
    asyncio.run(queries(questions))
    asyncio.run(changed(rows, questions))
    gated()
    asyncio.run(swapped())
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


if __name__ == "__main__":
    main()
