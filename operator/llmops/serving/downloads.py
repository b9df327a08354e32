"""What the operator asks a pod that downloads: how far it is, in words (progress.py answers)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from llmops.serving.devices import GIB
from llmops.serving.progress import PORT
from llmops.serving.sources import FETCHER

Object = dict[str, Any]

SECONDS = 10.0  # between two looks at a download, each of which is a write of the status
ANSWER_SECONDS = 1.0


async def progress(pods: Sequence[Object]) -> dict[str, str]:
    """By pod; who does not answer (it has just begun, or an older operator made it) is not in it."""
    running = {one["metadata"]["name"]: one["status"]["podIP"] for one in pods if downloads(one)}
    if not running:
        return {}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS)) as session:
        answers = await asyncio.gather(*(_ask(session, ip) for ip in running.values()))
    return {name: words for name, answer in zip(running, answers, strict=True) if answer and (words := said(answer))}


def downloads(pod: Object) -> bool:
    """Whether its fetcher runs now."""
    told = pod.get("status") or {}
    every = [*(told.get("initContainerStatuses") or []), *(told.get("containerStatuses") or [])]
    running = any(one["name"] == FETCHER and (one.get("state") or {}).get("running") for one in every)
    return bool(told.get("podIP")) and running


def said(told: Mapping[str, Any]) -> str:
    """3.1 of 15.0 GiB, about 4 min left."""
    done, total, left = told.get("done") or 0, told.get("total") or 0, told.get("left")
    if not total:
        return ""
    unit, name = (GIB, "GiB") if total >= GIB else (2**20, "MiB")
    far = f"{done / unit:.1f} of {total / unit:.1f} {name}"
    return far if left is None else f"{far}, about {_duration(left)} left"


def _duration(seconds: int) -> str:
    if seconds < 90:
        return f"{max(seconds, 1)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


async def _ask(session: aiohttp.ClientSession, ip: str) -> Mapping[str, Any] | None:
    host = f"[{ip}]" if ":" in ip else ip
    try:
        async with session.get(f"http://{host}:{PORT}/") as reply:
            found = await reply.json(content_type=None) if reply.status == 200 else None
            return found if isinstance(found, dict) else None
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return None
