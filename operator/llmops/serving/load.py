"""What a scaled service has to do: the gateways' word for it, and the gauges of its pods where the metric needs them.

The operator reads the pods itself, so nothing has to be installed for it. A pod that does not answer within a second
is taken for one like the others; if none answers, nothing is known, and nothing is scaled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp

from llmops.api.llmservice import LLMService
from llmops.api.quantities import seconds
from llmops.control import Clock, Key, prometheus
from llmops.kube.cluster import Cluster
from llmops.serving.autoscale import Kept, Load
from llmops.serving.engines import ENGINES

Object = dict[str, Any]

SECONDS = 5.0  # between two looks at a service that runs
FROM_PODS = ("QueueDepth", "KVCache")
ANSWER_SECONDS = 1.0
_KEPT: WeakKeyDictionary[Cluster, dict[Key, Kept]] = WeakKeyDictionary()


def scales(service: LLMService) -> bool:
    """Whether the count is this operator's to follow the load with."""
    asked = service.spec.autoscaling
    return asked is not None and asked.by == "Operator"


def kept(key: Key, cluster: Cluster) -> Kept:
    """What the last decision left."""
    return _KEPT.get(cluster, {}).get(key, Kept())


def keep(key: Key, cluster: Cluster, left: Kept | None) -> None:
    """For the next decision; None forgets the service."""
    if left is not None:
        _KEPT.setdefault(cluster, {})[key] = left
    else:
        _KEPT.get(cluster, {}).pop(key, None)


async def read(key: Key, service: LLMService, pods: Sequence[Object], cluster: Cluster, clock: Clock) -> Load:
    """Now."""
    assert service.spec.autoscaling is not None
    assert service.spec.engine is not None
    since = ready_since(pods)
    demand = cluster.reports.demand(f"{key.namespace}/{key.name}") if cluster.reports else None
    query = service.spec.autoscaling.metric.query
    metric, engine = service.spec.autoscaling.metric.type, ENGINES[service.spec.engine.type]
    running, waiting, cache = demand.running if demand else None, None, None
    if metric in FROM_PODS and since:
        told = await _ask([f"http://{_host(ip)}:{engine.port}/metrics" for ip in since], engine.metrics)
        running, waiting = _all(told, "Concurrency", len(since)), _all(told, "QueueDepth", len(since))
        cache = _all(told, "KVCache", 100 * len(since))
    queried = await prometheus.number(cluster.settings.prometheus_url, query) if query else None
    idle = demand.idle if demand else None
    if idle is not None and since:  # a pod that just came must not go for having been asked nothing
        idle = min(idle, (clock.now() - max(since.values())).total_seconds())
    return Load(
        ready=len(since), held=demand.held if demand else 0, running=running, waiting=waiting, cache=cache,
        queried=queried, tokens=demand.tokens if demand else None, idle=idle, start=_start(service),
        at=clock.monotonic(),
    )  # fmt: skip


def _start(service: LLMService) -> float | None:
    told = service.status.scaling if service.status else None
    return seconds(told.cold_start) if told and told.cold_start else None


def ready_since(pods: Sequence[Object]) -> dict[str, datetime]:
    """Address -> since when the pod is Ready."""
    found = {}
    for pod in pods:
        told = pod.get("status") or {}
        for one in told.get("conditions") or []:
            if one["type"] == "Ready" and one["status"] == "True" and told.get("podIP"):
                found[told["podIP"]] = datetime.fromisoformat(one["lastTransitionTime"])
    return found


def value(text: str, gauge: str) -> float | None:
    """The sum of a gauge's series in Prometheus' text format; None if it has none."""
    lines = [one for one in text.splitlines() if one.startswith((f"{gauge} ", f"{gauge}{{"))]
    return sum(float(one.rpartition("}")[2].split()[0 if "}" in one else 1]) for one in lines) if lines else None


async def _ask(urls: Sequence[str], gauges: Mapping[str, str]) -> list[dict[str, float]]:
    """Metric type -> value, of every pod that answered."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS)) as session:
        texts = await asyncio.gather(*(_get(url, session) for url in urls))
    return [
        {metric: found for metric, gauge in gauges.items() if (found := value(text, gauge)) is not None}
        for text in texts
        if text is not None
    ]


async def _get(url: str, session: aiohttp.ClientSession) -> str | None:
    try:
        async with session.get(url) as reply:
            return await reply.text() if reply.status == 200 else None
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None


def _all(told: Sequence[Mapping[str, float]], metric: str, many: int) -> int | None:
    found = [one[metric] for one in told if metric in one]
    return round(many * sum(found) / len(found)) if found else None


def _host(ip: str) -> str:
    return f"[{ip}]" if ":" in ip else ip
