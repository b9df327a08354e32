"""What the operator costs a cluster: many LLMServices, against the same bare children made without it, in one run.

The API server, the scheduler and the controllers are real; the pods run on pretended nodes (KWOK), so what is measured
is the control plane alone. The operator is a process of its own, as shipped; its writes are those it counts itself.
One JSON line a figure. Seconds depend on the machine; ratios and counts hardly do.

    python3 -m bench controlplane
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import statistics
import sys
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.cluster import choose
from tests.cluster.access import Access

from llmops.api import LLMService, Settings
from llmops.kube.cache import Cache
from llmops.kube.client import Client
from llmops.kube.errors import NotFound
from llmops.kube.resources import DEPLOYMENT, LLM_SERVICE, NAMESPACE, Resource
from llmops.serving.observe import Seen
from llmops.serving.plan import plan
from llmops.serving.revision import content_digest

Object = dict[str, Any]
COUNT = int(os.environ.get("LLMOPS_BENCH_SERVICES", "200"))
EDITS = 50
IDLE_SECONDS = 30.0
AT_A_TIME = 16
PORT = 18091
INSTALLED = ("llmops-system", "llmops-operator")
WRITES = re.compile(r'llmops_api_calls_total\{resource="(\w+)",result="ok",verb="(create|apply|patch|delete)"\} (\S+)')
SECONDS = "process_cpu_seconds_total "
FAKE = {"spec": {"nodeSelector": {"type": "kwok"}, "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]}}


def service(namespace: str, number: int) -> Object:
    return {
        "apiVersion": LLM_SERVICE.api_version,
        "kind": LLM_SERVICE.kind,
        "metadata": {"name": f"s{number}", "namespace": namespace},
        "spec": {
            "model": {"uri": "file:///models/m.gguf"},
            "engine": {"type": "LlamaCpp"},
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
            "podTemplate": FAKE,
        },
    }


def bare(namespace: str, number: int) -> list[Object]:
    """The same children, by the same plan, without an owner."""
    raw = service(namespace, number)
    one = LLMService.model_validate(raw)
    made = plan(Seen(raw, one, Settings(), content_digest(one))).children
    return [
        {**child, "metadata": {**child["metadata"], "namespace": namespace}}
        for child in made
        if child["kind"] != "Revision"
    ]


def tell(what: str, value: float, unit: str, **more: Any) -> None:
    print(json.dumps({"what": what, "value": round(value, 2), "unit": unit, **more}), flush=True)


async def in_turn(works: list[Callable[[], Any]]) -> None:
    """AT_A_TIME of them at a time."""
    gate = asyncio.Semaphore(AT_A_TIME)

    async def one(work: Callable[[], Any]) -> None:
        async with gate:
            await work()

    await asyncio.gather(*(one(work) for work in works))


async def until(test: Callable[[], bool], seconds: float = 600) -> None:
    async with asyncio.timeout(seconds):
        while not test():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def space(client: Client, *followed: Resource) -> AsyncIterator[tuple[str, Cache]]:
    """A namespace, and what of it is followed."""
    name = f"bench-{uuid.uuid4().hex[:6]}"
    await client.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    cache = Cache(client)
    for resource in followed:
        cache.follow(resource, name)
    await cache.synced(30)
    try:
        yield name, cache
    finally:
        await cache.close()
        await client.delete(NAMESPACE, None, name)
        await gone(client, name)  # a thousand deletions would slow whatever is measured next


async def gone(client: Client, namespace: str) -> None:
    async with asyncio.timeout(900):
        while True:
            try:
                await client.get(NAMESPACE, None, namespace)
            except NotFound:
                return
            await asyncio.sleep(0.5)


@asynccontextmanager
async def alone(client: Client) -> AsyncIterator[None]:
    """An operator that is installed would do the same work beside ours: it rests meanwhile."""
    try:
        installed = await client.get(DEPLOYMENT, *INSTALLED)
    except NotFound:
        yield
        return
    await client.patch(DEPLOYMENT, *INSTALLED, {"spec": {"replicas": 0}})
    try:
        while (await client.get(DEPLOYMENT, *INSTALLED)).get("status", {}).get("replicas"):
            await asyncio.sleep(0.5)
        yield
    finally:
        await client.patch(DEPLOYMENT, *INSTALLED, {"spec": {"replicas": installed["spec"]["replicas"]}})


def server_seconds(access: Access) -> float:
    """CPU seconds of the API server since it began, by its own count."""
    lines = access.kubectl("get", "--raw", "/metrics").splitlines()
    return next(float(one.removeprefix(SECONDS)) for one in lines if one.startswith(SECONDS))


class Operator:
    """`llmops operator` for one namespace, as a process."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    async def __aenter__(self) -> Operator:
        # a system namespace without gateways: their reports are not what is measured
        environ = {**os.environ, "LLMOPS_SYSTEM_NAMESPACE": self.namespace, "LLMOPS_LOG_LEVEL": "error"}
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "llmops.cli", "operator", "--namespace", self.namespace, "--kinds", LLM_SERVICE.kind,
            "--no-leader-election", "--port", str(PORT), env=environ, stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        await until(lambda: _page("readyz") is not None, 60)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.process.terminate()
        await self.process.wait()

    def writes(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for resource, _, count in WRITES.findall(_page("metrics") or ""):
            found[resource] = found.get(resource, 0) + int(float(count))
        return found

    def turns(self) -> float:
        counts = re.findall(r'llmops_reconciles_total\{kind="LLMService",result="\w+"\} (\S+)', _page("metrics") or "")
        return sum(map(float, counts))

    def memory(self) -> float:
        """The most it ever had, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    def cpu(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _page(path: str) -> str | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/{path}", timeout=5) as reply:
            return str(reply.read().decode())
    except OSError:
        return None


def available(deployment: Object) -> bool:
    return bool((deployment.get("status") or {}).get("availableReplicas"))


def ready(one: Object) -> bool:
    listed = (one.get("status") or {}).get("conditions") or []
    now = one["metadata"]["generation"]
    return any(c["type"] == "Ready" and c["status"] == "True" and c["observedGeneration"] == now for c in listed)


async def floor(client: Client, access: Access) -> tuple[float, float]:
    """Seconds until as many bare children are available, and the API server's CPU seconds meanwhile."""
    async with space(client, DEPLOYMENT) as (namespace, cache):
        children = [child for number in range(COUNT) for child in bare(namespace, number)]
        spent, began = server_seconds(access), time.perf_counter()
        await in_turn([lambda one=one: client.create(Resource.of(one), one) for one in children])  # type: ignore[misc]
        await until(lambda: sum(map(available, cache.list(DEPLOYMENT))) == COUNT)
        took = time.perf_counter() - began
        return took, server_seconds(access) - spent


async def creation(client: Client, namespace: str, cache: Cache, operator: Operator) -> float:
    before, spent, began = operator.writes(), operator.cpu(), time.perf_counter()
    await in_turn([lambda n=n: client.create(LLM_SERVICE, service(namespace, n)) for n in range(COUNT)])  # type: ignore[misc]
    await until(lambda: sum(map(ready, cache.list(LLM_SERVICE))) == COUNT)
    took = time.perf_counter() - began
    tell("operator CPU a service, creation", 1000 * (operator.cpu() - spent) / COUNT, "ms")
    written = {key: count - before.get(key, 0) for key, count in operator.writes().items()}
    each = {resource: round(count / COUNT, 2) for resource, count in sorted(written.items()) if count}
    tell("writes a service, creation", sum(written.values()) / COUNT, "writes", target="children (5) + 3", of=each)
    return took


async def edits(client: Client, namespace: str, cache: Cache, operator: Operator) -> None:
    """One after the other: an edit of the spec until the child has it."""
    took = []
    for number in range(min(EDITS, COUNT)):
        wanted = f"s{number}-llm"
        began = time.perf_counter()
        await client.patch(LLM_SERVICE, namespace, f"s{number}", {"spec": {"replicas": 0}})
        await until(lambda at=wanted: (cache.get(DEPLOYMENT, namespace, at) or {})["spec"]["replicas"] == 0, 30)  # type: ignore[misc]
        took.append(1000 * (time.perf_counter() - began))
    tell("edit to child changed, p50", statistics.median(took), "ms", target=60)
    tell("edit to child changed, p99", sorted(took)[int(0.99 * len(took))], "ms", target=300, edits=len(took))
    await until(lambda: sum(map(ready, cache.list(LLM_SERVICE))) == COUNT)
    before = sum(operator.writes().values())
    for number in range(min(EDITS, COUNT)):
        await client.patch(LLM_SERVICE, namespace, f"s{number}", {"spec": {"limits": {"maxConcurrency": 9}}})
    await until(lambda: sum(map(ready, cache.list(LLM_SERVICE))) == COUNT)
    some = (sum(operator.writes().values()) - before) / min(EDITS, COUNT)
    tell("writes an edit that changes no child", some, "writes", target=1)


async def silence(operator: Operator) -> None:
    before, spent = sum(operator.writes().values()), operator.cpu()
    await asyncio.sleep(IDLE_SECONDS)
    tell("writes while idle", sum(operator.writes().values()) - before, "writes", target=0, seconds=IDLE_SECONDS)
    tell("operator CPU while idle", 1000 * (operator.cpu() - spent) / IDLE_SECONDS, "ms a second", services=COUNT)


async def restart(namespace: str) -> None:
    began = time.perf_counter()
    async with Operator(namespace) as operator:
        await until(lambda: operator.turns() >= COUNT)
        tell("restart until all were looked at", time.perf_counter() - began, "s", services=COUNT)
        tell("writes by a restart", sum(operator.writes().values()), "writes", target=0)


async def main() -> None:
    os.environ["KUBECONFIG"] = str(path := choose.up())
    access = Access(path, choose.choose())
    async with await Client.connect(60) as client, alone(client):
        bare_seconds, bare_cpu = await floor(client, access)
        tell("bare children available", bare_seconds, "s", services=COUNT, children=4)
        tell("API server CPU a service, bare", 1000 * bare_cpu / COUNT, "ms")
        async with space(client, LLM_SERVICE, DEPLOYMENT) as (namespace, cache):
            async with Operator(namespace) as operator:
                spent = server_seconds(access)
                took = await creation(client, namespace, cache, operator)
                tell("API server CPU a service", 1000 * (server_seconds(access) - spent) / COUNT, "ms")
                ratio = round(took / bare_seconds, 2)
                tell("LLMServices ready", took, "s", services=COUNT, ratio_to_bare=ratio, target_ratio=1.5)
                tell("operator memory, most", operator.memory(), "MiB", services=COUNT)
                await edits(client, namespace, cache, operator)
                await silence(operator)
            await restart(namespace)


if __name__ == "__main__":
    asyncio.run(main())
