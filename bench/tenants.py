"""A search within one of many tenants, where the engine keeps each one's passages together and where their name stands
in the metadata only (as in a generation of before): time and recall against exact search, as the query server asks.

The engines are real and alone on this machine; the vectors are random, which is the worst that a tenant can be: its
passages lie nowhere near one another.

    python -m bench.tenants            LLMOPS_BENCH_PASSAGES=20000 LLMOPS_BENCH_TENANTS=1000
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

from llmops.retrieval import widen
from llmops.retrieval.passage import Passage
from llmops.retrieval.stores import open_reader, open_store
from llmops.retrieval.stores.base import Asked, Generation, Index
from llmops.retrieval.stores.tenants import TENANT, Tenant, mark

MANY = int(os.environ.get("LLMOPS_BENCH_PASSAGES", "20000"))
TENANTS = int(os.environ.get("LLMOPS_BENCH_TENANTS", "1000"))
ENGINES = {"Milvus Lite": databases.milvus_lite, "Milvus": databases.milvus, "PgVector": databases.postgres,
           "Qdrant's engine": databases.qdrant}  # fmt: skip
WIDTH, TOP, QUESTIONS, WARM = 384, 4, 60, 5
CHANCE = np.random.default_rng(1)
VECTORS = CHANCE.normal(size=(MANY, WIDTH)).astype(np.float32)
FIELD = "customer"


def built(database: Database, prefix: str, told: dict[str, Any]) -> tuple[Generation, float]:
    """A generation, and the seconds it took."""
    began = time.monotonic()
    with closing(open_store(database.where, "bench", prefix, 120)) as store:
        index = Index("HNSW", "Cosine", {"M": 16, "efConstruction": 200})
        made = store.create(f"{prefix}1_x", WIDTH, index, {"generation": 1, **told})
        for at in range(0, MANY, 1000):
            some = range(at, min(MANY, at + 1000))
            passages = [Passage(f"s/{n}#0", f"s/{n}", "s", "x" * 800, {FIELD: f"customer {n % TENANTS}"}) for n in some]
            store.insert(made.collection, passages, VECTORS[at : at + 1000].tolist())
        store.settle(made.collection)
    return made, time.monotonic() - began


async def asked(database: Database, collection: str, column: bool) -> tuple[list[float], float]:
    """Seconds of each search, ascending; and recall."""
    took, shares, reader = list[float](), list[float](), open_reader(database.where)
    await reader.load(collection)
    for question in range(QUESTIONS):
        whose = question * 37 % TENANTS
        vector = VECTORS[question * 101 % MANY] + 0.5 * CHANCE.normal(size=WIDTH).astype(np.float32)
        tenant = Tenant(FIELD, f"customer {whose}", mark(f"customer {whose}") if column else "")
        wanted = Asked(vector.tolist(), TOP, search={"ef": 64}, tenant=tenant)
        began = time.perf_counter()
        found = await widen.search(reader, MANY, collection, wanted)
        took.append(time.perf_counter() - began)
        mine = np.arange(whose, MANY, TENANTS)
        near = VECTORS[mine] @ vector / np.linalg.norm(VECTORS[mine], axis=1)
        best = {f"s/{mine[at]}#0" for at in np.argsort(-near)[:TOP]}
        shares.append(len(best & {one.id for one in found}) / len(best))
    await reader.close()
    return sorted(took[WARM:]), sum(shares) / len(shares)


def main() -> None:
    for engine, start in ENGINES.items():
        for told in ({TENANT: FIELD}, {}):
            with tempfile.TemporaryDirectory() as folder, databases.running(start(Path(folder))) as database:
                made, seconds = built(database, "bench__g", told)
                took, recall = asyncio.run(asked(database, made.collection, bool(told)))
            figures = {
                "bench": "tenants", "engine": engine, "together": bool(told), "passages": MANY, "tenants": TENANTS,
                "p50_ms": round(took[len(took) // 2] * 1000, 1), "p95_ms": round(took[len(took) * 95 // 100] * 1000, 1),
                "recall": round(recall, 3), "built_s": round(seconds),
            }  # fmt: skip
            print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
