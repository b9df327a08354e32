"""An index of real text, ten thousand passages or all that there is, beside the same engine by hand.

Both sides have the same Milvus Lite and the same embedding server (processes on this machine), the same texts and
batches. By hand: embed a batch, insert it, next; flush, release, load; then search with the engine's own client. Ours
is the whole `llmops index` (reading, cutting, checking each row, measuring recall, moving the alias), and `llmops
retrieve`.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from pymilvus import AsyncMilvusClient, DataType, MilvusClient
from tests.e2e.test_index_engine import Index, embedder, engine
from tests.e2e.test_index_kills import real_texts, started
from tests.ports import free_port
from tests.unit.retrieval.databases import milvus_lite_program

from llmops.retrieval.outcome import loads

MANY = int(os.environ.get("LLMOPS_BENCH_PASSAGES", "10000"))
QUESTIONS = 400
CLIENTS = (1, 8, 32)
MODEL = "shop/minilm"


def say(**figures: Any) -> None:
    print(json.dumps({name: round(one, 3) if isinstance(one, float) else one for name, one in figures.items()}))


async def embedded(session: aiohttp.ClientSession, url: str, texts: list[str]) -> list[list[float]]:
    async with session.post(f"{url}/embeddings", json={"model": MODEL, "input": texts}) as reply:
        return [one["embedding"] for one in (await reply.json())["data"]]


async def by_hand(uri: str, url: str, texts: list[str]) -> float:
    """Seconds."""
    start = time.monotonic()
    client = MilvusClient(uri=uri)
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=384)
    schema.add_field("text", DataType.VARCHAR, max_length=65_535)
    params = client.prepare_index_params()
    params.add_index("vector", index_type="HNSW", metric_type="COSINE", params={"M": 16, "efConstruction": 200})
    client.create_collection("by_hand", schema=schema, index_params=params)
    async with aiohttp.ClientSession() as session:
        for at in range(0, len(texts), 32):
            some = texts[at : at + 32]
            vectors = await embedded(session, url, some)
            client.insert("by_hand", [{"id": at + n, "vector": one, "text": some[n]} for n, one in enumerate(vectors)])
    client.flush("by_hand")
    client.release_collection("by_hand")
    client.load_collection("by_hand")
    client.close()
    return time.monotonic() - start


async def asked(clients: int, ask: Callable[[str], Awaitable[None]], questions: list[str]) -> list[float]:
    """Milliseconds of each question, so many at a time."""
    queue, took = list(questions), list[float]()

    async def one() -> None:
        while queue:
            question, start = queue.pop(), time.perf_counter()
            await ask(question)
            took.append((time.perf_counter() - start) * 1000)

    await asyncio.gather(*(one() for _ in range(clients)))
    return took


def told(took: list[float]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(took, [50, 95, 99])
    return {"p50_ms": round(p50, 1), "p95_ms": round(p95, 1), "p99_ms": round(p99, 1)}


async def queries(index: Index, uri: str, url: str, questions: list[str]) -> None:
    direct = AsyncMilvusClient(uri=uri)
    async with aiohttp.ClientSession() as session:

        async def ours(question: str) -> None:
            body = {"text": question, "topK": 10}
            async with session.post(f"http://127.0.0.1:{index.port}/search", json=body) as reply:
                assert (await reply.json())["passages"], "an empty answer"

        async def hand(question: str) -> None:
            (vector,) = await embedded(session, url, [question])
            found = await direct.search("by_hand", [vector], limit=10, output_fields=["text"],
                                        search_params={"params": {"ef": 64}})  # fmt: skip
            assert found[0]

        for clients in CLIENTS:
            await asked(clients, ours, questions[:40])  # warm
            mine, theirs = list[float](), list[float]()
            for half in (questions[::2], questions[1::2]):  # alternately, so that both meet the same machine
                mine += await asked(clients, ours, half)
                theirs += await asked(clients, hand, half)
            ratio = statistics.median(mine) / statistics.median(theirs)
            say(bench="index", clients=clients, ours=told(mine), by_hand=told(theirs), ratio=ratio)
    await direct.close()


def memory(index: Index) -> tuple[float, int]:
    """Seconds and peak MiB of a whole `llmops index`."""
    start, most = time.monotonic(), 0
    job = started(index)
    while job.poll() is None:
        status = Path(f"/proc/{job.pid}/status")
        text = status.read_text() if status.exists() else ""
        most = max([most, *(int(line.split()[1]) >> 10 for line in text.splitlines() if line.startswith("VmHWM"))])
        time.sleep(0.1)
    assert job.returncode == 0, "the build failed"
    return time.monotonic() - start, most


def main() -> None:
    milvus = milvus_lite_program()
    rows = [{**row, "answer": " ".join(row["answer"].split()[:16])} for row in real_texts(MANY)]
    texts = [row["answer"] for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        index = Index(Path(folder), free_port(), free_port())
        index.questions = []
        index.documents(rows)
        index.work = replace(index.work, chunking={"strategy": "Document", "maxTokens": 200, "overlap": 0})
        uri, url = f"http://127.0.0.1:{index.engine_port}", f"http://127.0.0.1:{index.embedder_port}/v1"
        with engine(milvus, Path(folder, "data"), index.engine_port), embedder(index.embedder_port):
            hand = asyncio.run(by_hand(uri, url, texts))
            seconds, peak = memory(index)
            outcome = loads((Path(folder) / "out/outcome.json").read_text())
            say(bench="index", passages=len(texts), by_hand_s=hand, ours_s=seconds, ratio=seconds / hand,
                passages_s=len(texts) / seconds, job_peak_mib=peak, recall=dict(outcome.measured))  # fmt: skip
            (Path(folder) / "out/outcome.json").unlink()
            index.documents([*rows[1:], {"id": "new", "answer": "Snow shoes are rented out for nine euros a day."}])
            index.work = replace(index.work, copy_vectors=True)
            seconds, peak = memory(index)
            again = loads((Path(folder) / "out/outcome.json").read_text())
            say(bench="index", one_document_changed_s=seconds, embedded=again.embedded, job_peak_mib=peak)
            with index.serving():
                end = time.monotonic() + 30
                while index.search("anything")[0] != 200:
                    assert time.monotonic() < end, "nothing is served"
                    time.sleep(0.2)
                asyncio.run(queries(index, uri, url, [f"What about {text}?" for text in texts[:QUESTIONS]]))


if __name__ == "__main__":
    main()
