"""From zero: how long the door and the operator take of a request's wait, apart from the pod's own start.

The whole as installed on the test cluster. Of each waking: from the request until the Deployment is told to have a pod,
and from the pod's address being Ready until the answer, less what the same request takes of a pod that runs.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from typing import Any

from demo import acts, install
from demo.stage import NAMESPACE, apply, condition, get, until
from openai import AsyncOpenAI

from llmops.kube.cache import Cache
from llmops.kube.client import Client
from llmops.kube.resources import DEPLOYMENT, ENDPOINT_SLICE, Object, Resource

ROUNDS = 7
TARGET_MS = 300
NAME = "wake"
SERVICE = {
    "apiVersion": "llmops.dev/v1alpha1",
    "kind": "LLMService",
    "metadata": {"name": NAME, "namespace": NAMESPACE},
    "spec": {
        "model": {"uri": "file:///models/support-good.gguf"},
        "engine": {"type": "LlamaCpp", "image": "llmops/demo-models:dev", "contextLength": 512},
        "resources": {"requests": {"cpu": "50m", "memory": "96Mi"}},
        "autoscaling": {"min": 0, "max": 1, "idleAfter": "3s", "metric": {"type": "Concurrency"}},
    },
}


class Watch:
    """When the Deployment was first told to have a pod, and when an address was first Ready."""

    def __init__(self) -> None:
        self.told = self.ready = 0.0

    def note(self, resource: Resource, obj: Object, deleted: bool) -> None:
        if resource == DEPLOYMENT and obj["metadata"]["name"] == f"{NAME}-llm" and obj["spec"]["replicas"]:
            self.told = self.told or time.monotonic()
        if resource == ENDPOINT_SLICE and any(
            (one.get("conditions") or {}).get("ready") for one in obj.get("endpoints") or ()
        ):
            self.ready = self.ready or time.monotonic()


async def main() -> None:
    show = install.operator(fresh=True)
    apply(SERVICE)
    await asyncio.to_thread(acts.until_true, "llmservice", NAME)
    warm = statistics.median([await _ask(show) for _ in range(20)])
    watch, rounds = Watch(), []
    async with await Client.connect() as client:
        cache = Cache(client)
        for resource in (DEPLOYMENT, ENDPOINT_SLICE):
            cache.follow(resource, NAMESPACE, f"llmops.dev/owner-name={NAME}")
        await cache.synced()
        cache.subscribe(watch.note)
        for _ in range(ROUNDS):
            await asyncio.to_thread(until, "asleep", _asleep, 60)
            watch.told = watch.ready = 0.0
            began = time.monotonic()
            await _ask(show)
            ended = time.monotonic()
            rounds.append((watch.told - began, ended - watch.ready - warm, ended - began))
        await cache.close()
    _tell(rounds)


def _asleep() -> bool:
    service, deployment = get("llmservice", NAME), get("deployment", f"{NAME}-llm")
    return condition(service, "Ready")["reason"] == "Asleep" and not deployment["status"].get("replicas")


async def _ask(show: acts.Show) -> float:
    began = time.monotonic()
    said: Any = [{"role": "user", "content": "How do I reset my password?"}]
    async with AsyncOpenAI(base_url=show.door, api_key=show.key, max_retries=0, timeout=120) as client:
        await client.chat.completions.create(model=NAME, messages=said, temperature=0)
    return time.monotonic() - began


def _tell(rounds: list[tuple[float, float, float]]) -> None:
    shares = [1000 * (before + after) for before, after, _ in rounds]
    for what, values, more in (
        ("share of door and operator in waking", shares, {"target": TARGET_MS}),
        ("from the request to the Deployment's count", [1000 * one[0] for one in rounds], {}),
        ("from the Ready address to the answer", [1000 * one[1] for one in rounds], {}),
        ("the whole wait", [1000 * one[2] for one in rounds], {}),
    ):
        figure = {"what": what, "p50": round(statistics.median(values)), "max": round(max(values)), "unit": "ms"}
        print(json.dumps({"bench": "wake", **figure, **more, "wakings": len(rounds)}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
