"""What a filter costs a search, as the query server asks: by a column, a key of metadata, a list, a key within a key;
and a caller's permissions, read from the metadata or from a column of their own.

The engines are real and alone on this machine; every filter keeps a third of the passages.

    python -m bench.filters            LLMOPS_BENCH_PASSAGES=6000
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from tests.unit.retrieval import databases
from tests.unit.retrieval.databases import Database

from bench.tenants import ENGINES
from llmops.retrieval import widen
from llmops.retrieval.passage import Passage
from llmops.retrieval.stores import open_reader, open_store
from llmops.retrieval.stores.base import SEEN_BY, Asked, Index, Restriction

MANY = int(os.environ.get("LLMOPS_BENCH_PASSAGES", "6000"))
WIDTH, TOP, QUESTIONS = 384, 4, 30
VECTORS = np.random.default_rng(1).normal(size=(MANY, WIDTH)).astype(np.float32)
FILTERS = {
    "none": "",
    "a column": 'document like "s0%"',
    "a key": 'metadata["language"] == "de"',
    "a key, one of": 'metadata["language"] in ["de", "nl"]',
    "a key, at least": 'metadata["year"] >= 2026',
    "a key of several kinds": 'metadata["mixed"] == "de"',
    "a list": 'json_contains(metadata["tags"], "de")',
    "a key in a key": 'metadata["of"]["language"] == "de"',
}
COLUMN = "groups in a column"
ASKED: dict[str, dict[str, Any]] = {
    **{name: {"filter": written} for name, written in FILTERS.items()},
    "groups": {"only": Restriction("tags", frozenset({"de"}))},
    COLUMN: {"only": Restriction("tags", frozenset({"de"}), column=True)},
}


def built(database: Database) -> str:
    with closing(open_store(database.where, "bench", "bench__g", 120)) as store:
        index = Index("HNSW", "Cosine", {"M": 16, "efConstruction": 200})
        made = store.create("bench__g1_x", WIDTH, index, {"generation": 1, SEEN_BY: "tags"})
        for at in range(0, MANY, 1000):
            passages = [_passage(n) for n in range(at, min(MANY, at + 1000))]
            store.insert(made.collection, passages, VECTORS[at : at + 1000].tolist())
        store.settle(made.collection)
    return made.collection


def _passage(n: int) -> Passage:
    language = ("de", "en", "fr")[n % 3]
    of = {"language": language, "year": 2026 - n % 3, "tags": [language, "x"], "of": {"language": language},
          "mixed": n if n % 3 else language}  # fmt: skip
    return Passage(f"s{n % 3}/{n}#0", f"s{n % 3}/{n}", f"s{n % 3}", "x" * 800, of)


async def asked(database: Database, collection: str) -> dict[str, float]:
    """The median milliseconds of a search, by what it is filtered by."""
    reader, found = open_reader(database.where), {}
    await reader.load(collection)
    for name, restricted in ASKED.items():
        if name == COLUMN and database.name not in ("milvus-lite", "qdrant"):
            continue  # others read the metadata as fast, and a real Milvus knows no such pattern
        took = []
        for n in range(QUESTIONS):
            wanted = Asked(VECTORS[n * 101 % MANY].tolist(), TOP, search={"ef": 64}, **restricted)
            began = time.perf_counter()
            passages = await widen.search(reader, MANY, collection, wanted)
            took.append(time.perf_counter() - began)
            assert len(passages) == TOP
        found[name] = round(float(np.median(took)) * 1000, 1)
    await reader.close()
    return found


def main() -> None:
    for engine, start in ENGINES.items():
        with tempfile.TemporaryDirectory() as folder, databases.running(start(Path(folder))) as database:
            took = asyncio.run(asked(database, built(database)))
        print(json.dumps({"bench": "filters", "engine": engine, "passages": MANY, "p50_ms": took}), flush=True)


if __name__ == "__main__":
    main()
