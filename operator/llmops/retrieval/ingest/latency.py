"""How long questions take, so many at a time, by the way that they will take in the query server: the engine's work,
its client's and the reranker's, not the embedder's."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import cycle, islice
from typing import Any

from llmops.retrieval.ingest.ask import Query

Ask = Callable[[Query, int], Awaitable[object]]
"""What is asked, and for how many passages."""
TOP_K = 10
BEYOND = 10  # searches slower than the percentile: with fewer it is one search's luck
LEAST, MOST = 200, 2000


def enough(percentile: int) -> int:
    """How many searches a percentile takes to mean something: 200 up to p95, 1,000 for p99."""
    return min(MOST, max(LEAST, math.ceil(BEYOND * 100 / (100 - percentile)))) if percentile < 100 else MOST


async def latencies(ask: Ask, queries: Sequence[Query], gates: Sequence[Mapping[str, Any]]) -> dict[int, list[float]]:
    """Seconds, ascending, by the concurrency that Latency gates ask for; nothing where there is nothing to ask."""
    many: dict[int, int] = {}
    for gate in gates if queries else ():
        if gate["type"] == "Latency":
            at_a_time = gate.get("concurrency") or 1
            many[at_a_time] = max(many.get(at_a_time, 0), enough(gate.get("percentile", 95)))
    found = {}
    for at_a_time, searches in sorted(many.items()):
        await ask(queries[0], TOP_K)  # the first one connects
        found[at_a_time] = sorted(await _timed(ask, [*islice(cycle(queries), searches)], at_a_time))
    return found


async def _timed(ask: Ask, queue: list[Query], at_a_time: int) -> list[float]:
    took: list[float] = []

    async def one() -> None:
        while queue:
            query = queue.pop()
            started = time.perf_counter()
            await ask(query, TOP_K)
            took.append(time.perf_counter() - started)

    await asyncio.gather(*(one() for _ in range(at_a_time)))
    return took
