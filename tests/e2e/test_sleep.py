"""A service that sleeps and is woken, and one that grows with its queue: operator, door and engine as shipped."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from demo import acts, install
from demo.stage import NAMESPACE, apply, condition, get, kubectl, until
from openai import AsyncOpenAI

from llmops.desk import keys
from llmops.serving.scaling import SENT

Object = dict[str, Any]


@pytest.fixture(scope="module")
def show(cluster: object) -> Iterator[acts.Show]:
    yield install.operator(fresh=True)
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def service(name: str, **spec: Any) -> Object:
    whole = {
        "model": {"uri": "file:///models/support-good.gguf"},
        "engine": {"type": "LlamaCpp", "image": "llmops/demo-models:dev", "contextLength": 512},
        "resources": {"requests": {"cpu": "50m", "memory": "96Mi"}},
        **spec,
    }
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "llmops.dev/v1alpha1", "kind": "LLMService", "metadata": metadata, "spec": whole}


def reason(name: str) -> str:
    return str(condition(get("llmservice", name), "Ready")["reason"])


def replicas(name: str) -> int:
    return int(get("deployment", f"{name}-llm")["spec"]["replicas"])


def pods(name: str) -> str:
    return kubectl("get", "pods", "-n", NAMESPACE, "-l", f"llmops.dev/owner-name={name}", "-o", "name").strip()


async def ask(show: acts.Show, model: str, key: str = "", **more: Any) -> str:
    said: Any = [{"role": "user", "content": "How do I reset my password?"}]
    async with AsyncOpenAI(base_url=show.door, api_key=key or show.key, max_retries=0, timeout=120) as client:
        reply = await client.chat.completions.create(model=model, messages=said, temperature=0, **more)
    return str(reply.choices[0].message.content)


@asynccontextmanager
async def load(show: acts.Show, model: str, users: int) -> AsyncIterator[None]:
    """Users who wait for long answers, one after the other: so many requests at once on a fast machine too."""
    stop = asyncio.Event()

    async def keep_asking() -> None:
        while not stop.is_set():
            await ask(show, model, max_tokens=400, extra_body={"ignore_eos": True})

    async with asyncio.TaskGroup() as crowd:
        for _ in range(users):
            crowd.create_task(keep_asking())
        try:
            yield
        finally:
            stop.set()


async def test_a_service_that_nobody_asks_sleeps_and_everybody_who_wakes_it_is_answered(show: acts.Show) -> None:
    other = keys.new_key(NAMESPACE, "other")
    apply(
        keys.manifest(other, "other", NAMESPACE, ["*"]),
        service("sleepy", autoscaling={"min": 0, "max": 2, "idleAfter": "5s", "metric": {"type": "Concurrency"}}),
    )
    await asyncio.to_thread(acts.until_true, "llmservice", "sleepy")
    await asyncio.to_thread(until, "asleep", lambda: reason("sleepy") == "Asleep", 120, lambda: reason("sleepy"))
    assert replicas("sleepy") == 0
    assert condition(get("llmservice", "sleepy"), "Available")["status"] == "True"

    # the pod that leaves would still answer, and nobody would have to be woken
    await asyncio.to_thread(until, "no pod", lambda: not pods("sleepy"), 180, lambda: pods("sleepy"))

    answers = await asyncio.gather(*(ask(show, "sleepy", key) for key in [show.key] * 10 + [other] * 2))
    assert len(answers) == 12
    assert len(set(answers)) == 1
    assert answers[0]

    def measured() -> Object:
        found: Object = get("llmservice", "sleepy")["status"]["scaling"]
        return found if len(found["starts"]) >= 2 else {}

    last = lambda: json.dumps(get("llmservice", "sleepy")["status"])  # noqa: E731
    scaling = await asyncio.to_thread(until, "two measured starts", measured, 60, last)
    assert int(scaling["coldStart"].removesuffix("s")) == max(scaling["starts"])
    await asyncio.to_thread(until, "asleep again", lambda: reason("sleepy") == "Asleep", 180, lambda: reason("sleepy"))


async def test_a_queue_grows_the_service_and_an_autoscaler_takes_the_count_over_as_it_is(show: acts.Show) -> None:
    scaling = {"min": 1, "max": 3, "metric": {"type": "QueueDepth", "target": 1}}
    apply(service("busy", autoscaling=scaling, limits={"timeout": "120s"}))
    await asyncio.to_thread(acts.until_true, "llmservice", "busy")
    async with load(show, "busy", 24):
        await asyncio.to_thread(until, "three pods", lambda: replicas("busy") == 3, 180, lambda: str(replicas("busy")))
    assert "requests run" in get("llmservice", "busy")["status"]["scaling"]["explanation"]

    apply(service("busy", autoscaling={**scaling, "by": "HPA"}, limits={"timeout": "120s"}))
    await asyncio.to_thread(until, "an autoscaler", lambda: "busy-llm" in kubectl("get", "hpa", "-n", NAMESPACE), 60)
    assert replicas("busy") == 3
    apply(service("busy", autoscaling=scaling, limits={"timeout": "120s"}))
    await asyncio.to_thread(until, "none", lambda: "busy-llm" not in kubectl("get", "hpa", "-n", NAMESPACE), 60)
    assert replicas("busy") == 3
    assert get("deployment", "busy-llm")["metadata"]["annotations"][SENT] == "3"
