"""One number from Prometheus, by the query that a user wrote.

GET <url>/api/v1/query?query=…: https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries
"""

from __future__ import annotations

import logging
import math

import aiohttp

log = logging.getLogger(__name__)
ANSWER_SECONDS = 2.0


async def number(url: str, query: str) -> float | None:
    """What the query gives; None if there is no answer, no number, or more than one."""
    try:
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{url.rstrip('/')}/api/v1/query", params={"query": query}) as reply,
        ):
            found = read(await reply.json())
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as problem:
        log.warning("Prometheus at %s: %s", url, problem or type(problem).__name__)
        return None
    return found


def read(reply: object) -> float | None:
    """Of an instant vector with one series, or a scalar."""
    match reply:
        case {"data": {"resultType": "vector", "result": [{"value": [_, str(text)]}]}}:
            pass
        case {"data": {"resultType": "scalar", "result": [_, str(text)]}}:
            pass
        case _:
            return None
    value = float(text)
    return value if math.isfinite(value) else None
