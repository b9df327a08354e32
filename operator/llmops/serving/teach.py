"""Adapters of pods that run: loaded into them and taken out again without a restart, where the engine can (Teaching).

The leader asks each Ready pod what it has, and tells it what is missing. Nothing is remembered but which pods, since
their last restart, were found to have just what is wanted; a new leader asks again. A changed adapter has another path,
and the old one goes before the new one comes: an engine may keep what it computed with the old under its name. A pod
that has not been taught yet says that it knows no such model, and the door asks another one, or waits (upstream.py); so
an adapter is never answered by the plain model.

Source: vLLM 0.33 vllm/entrypoints/serve/lora/api_router.py and entrypoints/openai/models/serving.py; SGLang 0.5.23
sglang/srt/entrypoints/http_server.py.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp

from llmops.kube.cluster import Cluster
from llmops.serving import podspec
from llmops.serving.engines import ENGINES
from llmops.serving.engines.container import Teaching
from llmops.serving.observe import Seen, Taught, leaders
from llmops.serving.plan import Plan
from llmops.serving.sources import source

Object = dict[str, Any]
Paths = Mapping[str, str]
"""Of adapters, by their names in the engine."""

SECONDS = 60.0  # loading one adapter: hundreds of megabytes, and a volume that may be slow
CONNECT_SECONDS = 3.0
WORDS = 400
KNOWN = 10_000  # pods remembered; beyond, all are forgotten and asked again
TIMEOUT = aiohttp.ClientTimeout(total=SECONDS, sock_connect=CONNECT_SECONDS)
_KNOWN: WeakKeyDictionary[Cluster, dict[str, frozenset[tuple[str, str]]]] = WeakKeyDictionary()


async def teach(seen: Seen, plan: Plan, cluster: Cluster) -> Seen:
    """With what came of it. Nothing where adapters are the pods' own from their start, or are still downloaded."""
    teaching = ENGINES[seen.engine.type].teaching if seen.offer is None and plan.problem is None else None
    if teaching is None or plan.resolved is None or not plan.resolved.slots or plan.downloading:
        return seen
    wanted = _wanted(seen, teaching)
    known = _KNOWN.setdefault(cluster, {})
    if len(known) > KNOWN:
        known.clear()
    pods = {_life(one): one for one in leaders(seen.pods) if _ready(one, podspec.part(seen))}
    new = [life for life in pods if known.get(life) != frozenset(wanted.items())]
    answers = await asyncio.gather(*(_lesson(seen, pods[life], teaching, wanted) for life in new))
    refused: dict[str, str] = {}
    for life, told in zip(new, answers, strict=True):
        refused |= told
        if not told:
            known[life] = frozenset(wanted.items())
    lacks = {one.name for one in seen.model.adapters if teaching.called(seen.service.qualified, one.name) in refused}
    names = [one.name for one in seen.model.adapters if one.name not in lacks]
    return replace(seen, taught=Taught(tuple(names), next(iter(refused.values()), "")))


def _wanted(seen: Seen, teaching: Teaching) -> dict[str, str]:
    paths = source(seen.model, podspec.claim_name(seen)).adapters
    return {teaching.called(seen.service.qualified, name): path for name, path in paths.items()}


def _life(pod: Object) -> str:
    """Of its engine: a container that is started again knows nothing any more."""
    stated = (pod.get("status") or {}).get("containerStatuses") or []
    return f"{pod['metadata'].get('uid')}/{sum(one.get('restartCount', 0) for one in stated)}"


def _ready(pod: Object, part: str) -> bool:
    status = pod.get("status") or {}
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions") or [])
    return ready and bool(status.get("podIP")) and (pod["metadata"].get("labels") or {}).get(podspec.PART) == part


async def _lesson(seen: Seen, pod: Object, teaching: Teaching, wanted: Paths) -> dict[str, str]:
    """The engine's words by the adapter that it does not take; by "" where it could not be asked at all."""
    name, ip, port = pod["metadata"]["name"], pod["status"]["podIP"], ENGINES[seen.engine.type].port
    door = f"http://[{ip}]:{port}" if ":" in ip else f"http://{ip}:{port}"
    try:
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
            return {
                one: f"pod {name}: {words}" for one, words in (await _told(session, door, teaching, wanted)).items()
            }
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError) as problem:
        return {"": f"pod {name} does not say which adapters it has: {problem or type(problem).__name__}"}


async def _told(session: aiohttp.ClientSession, door: str, teaching: Teaching, wanted: Paths) -> dict[str, str]:
    async with session.get(f"{door}/v1/models") as reply:
        listed = (await reply.json())["data"]
    has = {one["id"]: one.get("root") for one in listed if one.get("parent")}
    for name in has:
        if wanted.get(name) != has[name]:
            await _post(session, door + teaching.unload, {"lora_name": name})
    refused: dict[str, str] = {}
    for name, path in wanted.items():
        if has.get(name) != path:
            words = await _post(session, door + teaching.load, {"lora_name": name, "lora_path": path})
            refused |= {name: f"adapter {name} is not taken: {words}"} if words else {}
    return refused


async def _post(session: aiohttp.ClientSession, url: str, body: Object) -> str:
    """The engine's words where it refuses."""
    async with session.post(url, json=body) as reply:
        text = await reply.text()
    if reply.status < 300:
        return ""
    try:
        told = json.loads(text)
        words = (told.get("error") or {}).get("message") or told.get("error_message") or told.get("message") or text
    except (ValueError, AttributeError):
        words = text
    return f"{words}"[:WORDS] or f"status {reply.status}"


__all__ = ["teach"]
