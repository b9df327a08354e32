"""What a whole `llmops index` takes of memory, and how fast it is, as passages grow: JSON lines.

The engine is a real Milvus Lite, the texts are real (with a number before each, so that all differ), the Job is the
process that runs in a cluster. The vectors are not real: embedding a hundred thousand texts on this machine's CPU takes
an hour, so a process of this bench gives a vector derived from each text's hash. Neither memory nor the engine's work
depends on what the numbers mean; recall does, so it is not told here.

    python -m bench.index_memory            LLMOPS_BENCH_PASSAGES=10000,100000
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from aiohttp import web
from tests.e2e.test_index_engine import Index, answers, process, until
from tests.e2e.test_index_kills import real_texts, started
from tests.ports import free_port

from llmops.retrieval.outcome import loads
from llmops.retrieval.work import SourceWork

MANY = [int(one) for one in os.environ.get("LLMOPS_BENCH_PASSAGES", "10000,100000").split(",")]
WIDTH = 384
FILE = 10_000  # rows a file: what one file holds is in memory while it is read


def say(**figures: Any) -> None:
    told = {name: round(one, 2) if isinstance(one, float) else one for name, one in figures.items()}
    print(json.dumps(told), flush=True)


def derived(text: str) -> list[float]:
    """A unit vector, the same for the same text."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    vector = np.random.Generator(np.random.SFC64(seed)).standard_normal(WIDTH, dtype=np.float32)
    return [float(one) for one in np.round(vector / np.linalg.norm(vector), 5)]


async def serve(port: int) -> None:
    async def embeddings(request: web.Request) -> web.Response:
        texts = orjson.loads(await request.read())["input"]
        data = [{"index": at, "embedding": derived(text)} for at, text in enumerate(texts)]
        return web.Response(body=orjson.dumps({"data": data}), content_type="application/json")

    app = web.Application(client_max_size=64 << 20)
    app.router.add_post("/v1/embeddings", embeddings)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


def documents(index: Index, many: int) -> None:
    """As files of a claim."""
    folder, texts = index.folder / "mounted/sources/docs", real_texts(many)
    folder.mkdir(parents=True, exist_ok=True)
    rows = ({"id": f"d{at}", "text": f"{at} {texts[at % len(texts)]['answer']}"} for at in range(many))
    for at in range(0, many, FILE):
        lines = (orjson.dumps(row) + b"\n" for _, row in zip(range(min(FILE, many - at)), rows, strict=False))
        (folder / f"{at:07}.jsonl").write_bytes(b"".join(lines))
    source = SourceWork("docs", "Auto", "id", "text", kind="pvc", address="/")
    index.work = replace(
        index.work, sources=(source,), chunking={"strategy": "Document", "maxTokens": 200, "overlap": 0}, gates=(),
        copy_vectors=True,
    )  # fmt: skip


def mib(pid: int, what: str) -> int:
    text = Path(f"/proc/{pid}/status")
    lines = text.read_text().splitlines() if text.exists() else []
    return max([0, *(int(line.split()[1]) >> 10 for line in lines if line.startswith(what))])


def job(index: Index) -> dict[str, Any]:
    """Seconds, peak MiB, and by stage the most seen in it."""
    start, most, stages = time.monotonic(), 0, dict[str, int]()
    running = started(index)
    while running.poll() is None:
        most = max(most, mib(running.pid, "VmHWM"))
        told = index.folder / "out/progress.json"
        stage = json.loads(told.read_text())["stage"] if told.exists() else "Reading"
        stages[stage] = max(stages.get(stage, 0), mib(running.pid, "VmRSS"))
        time.sleep(0.1)
    assert running.returncode == 0, "the build failed"
    (index.folder / "out/progress.json").unlink()
    return {"seconds": time.monotonic() - start, "job_peak_mib": most, "by_stage_mib": stages}


def measured(folder: Path, milvus: Path, many: int, embedder: int) -> None:
    index = Index(folder, free_port(), embedder)
    index.questions = []
    documents(index, many)
    data, port = folder / "data", index.engine_port
    with process(str(milvus), "server", "--data-dir", str(data), "--host", "127.0.0.1", "--port", str(port)) as engine:
        until(answers(port))
        empty = mib(engine.pid, "VmRSS")
        first = job(index)
        rows = loads((folder / "out/outcome.json").read_text()).rows
        say(bench="index_memory", passages=rows, vectors="derived from hashes", passages_s=rows / first["seconds"],
            **first, engine_mib=mib(engine.pid, "VmRSS"), engine_empty_mib=empty)  # fmt: skip
        (folder / "out/outcome.json").unlink()
        with (folder / "mounted/sources/docs/0000000.jsonl").open("a") as file:
            file.write(json.dumps({"id": "new", "text": "Snow shoes are rented out for nine euros a day."}) + "\n")
        again = job(index)
        embedded = loads((folder / "out/outcome.json").read_text()).embedded
        say(bench="index_memory", passages=rows + 1, changed=1, embedded=embedded, **again)


def main() -> None:
    cache = Path(os.environ.get("CACHE", Path.home() / ".cache/llmops-operator"))
    milvus = next(cache.glob("venv-milvus-*/bin/milvus-lite"))
    port = free_port()
    with process(sys.executable, "-m", "bench.index_memory", "--embedder", str(port)):
        until(answers(port))
        for many in MANY:
            with tempfile.TemporaryDirectory() as folder:
                measured(Path(folder), milvus, many, port)


if __name__ == "__main__":
    if "--embedder" in sys.argv:
        asyncio.run(serve(int(sys.argv[-1])))
    else:
        main()
