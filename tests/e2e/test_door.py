"""The door in front of real pods on the real cluster, as a process of its own: kill, roll, revoke, drain, silence.

The API server is never stopped for this: the door reaches it through a relay of the test's, and the relay falls silent.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml
from openai.types.chat import ChatCompletionMessageParam
from tests.cluster.access import Access
from tests.e2e.operate import operating
from tests.ports import free_port

from llmops.desk.keys import manifest, new_key
from llmops.kube.client import Client
from llmops.serving.reconcile import CONTROLLER

ASK: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Can I return a tent?"}]


async def until(holds: Callable[[], Any], seconds: float = 90.0) -> Any:
    """What `holds` gave once it was true."""
    async with asyncio.timeout(seconds):
        while not (found := holds()):
            await asyncio.sleep(0.05)
    return found


class Relay:
    """TCP to the API server, until told to be silent: then connections hang, as with a server that was stopped."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._speaks = asyncio.Event()
        self._speaks.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    def silence(self, silent: bool) -> None:
        self._speaks.clear() if silent else self._speaks.set()

    async def stop(self) -> None:
        self._server.close()
        self._speaks.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection(self._host, self._port)
        for source, sink in ((reader, to_writer), (to_reader, writer)):
            task = asyncio.create_task(self._copy(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError):
                while data := await source.read(65536):
                    await self._speaks.wait()
                    sink.write(data)
                    await sink.drain()
        finally:
            sink.transport.abort()


class Door:
    """`llmops gateway` as a process, one key, and clients for it."""

    def __init__(self, cluster: Access, namespace: str, folder: Path) -> None:
        self.cluster, self.namespace, self._folder = cluster, namespace, folder
        self.key = new_key(namespace, "app")
        self.port, self._log = free_port(), folder / "door.log"

    async def __aenter__(self) -> Door:
        async with AsyncExitStack() as self._stack:
            await self._start()
            self._stack = self._stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        given = yaml.safe_load(self.cluster.kubeconfig.read_text())
        server = given["clusters"][0]["cluster"]["server"].removeprefix("https://")
        host, _, port = server.partition(":")
        self.relay = Relay(host, int(port or 443))
        given["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{await self.relay.start()}"
        self._stack.push_async_callback(self.relay.stop)
        config = self._folder / "kubeconfig"
        config.write_text(yaml.safe_dump(given))
        self.cluster.apply(manifest(self.key, "app", self.namespace, []))
        env = {
            **os.environ,
            "KUBECONFIG": str(config),
            "PYTHONPATH": "operator",
            "LLMOPS_DRAIN_GRACE_SECONDS": "5",
            "LLMOPS_DRAIN_SECONDS": "30",
            "LLMOPS_API_TIMEOUT_SECONDS": "3",
        }
        command = ["-m", "llmops.cli", "gateway", "--host", "127.0.0.1", "--port", str(self.port)]
        log = self._stack.enter_context(self._log.open("wb"))
        self.process = await asyncio.create_subprocess_exec(sys.executable, *command, env=env, stdout=log, stderr=log)
        self._stack.push_async_callback(self._end)
        await self.status("/readyz", 200)

    async def _end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    def client(self, key: str = "") -> openai.AsyncOpenAI:
        client = openai.AsyncOpenAI(
            base_url=f"http://127.0.0.1:{self.port}/v1", api_key=key or self.key, max_retries=0, timeout=60
        )
        self._stack.push_async_callback(client.close)
        return client

    async def ask(self, client: openai.AsyncOpenAI | None = None) -> str:
        reply = await (client or self.client()).chat.completions.create(
            model="support", messages=ASK, temperature=0, max_tokens=16
        )
        return reply.choices[0].message.content or ""

    async def status(self, path: str, wanted: int, seconds: float = 90.0) -> None:
        """Until this path has this status."""
        async with asyncio.timeout(seconds):
            while True:
                with suppress(OSError, asyncio.IncompleteReadError):
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.write(f"GET {path} HTTP/1.1\r\nhost: door\r\nconnection: close\r\n\r\n".encode())
                    line = await reader.readline()
                    writer.close()
                    if line.split()[1:2] == [str(wanted).encode()]:
                        return
                assert self.process.returncode is None, self._log.read_text()
                await asyncio.sleep(0.05)


@pytest.fixture
async def door(cluster: Access, namespace: str, tmp_path: Path) -> AsyncIterator[Door]:
    """A door, and a service of two real pods that the serving room's own reconcile made."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.sleep, 0.5)  # TLS says goodbye; nothing tells when it has
        client = await stack.enter_async_context(await Client.connect())
        await stack.enter_async_context(operating(client, namespace, CONTROLLER))
        cluster.apply(service(namespace))
        async with Door(cluster, namespace, tmp_path) as door:
            await asyncio.wait_for(door.ask(), 90)
            await until(lambda: ready(cluster, namespace) == 2)
            yield door


def service(namespace: str, **spec: Any) -> dict[str, Any]:
    """The demo's model, on two pods."""
    return {
        "apiVersion": "llmops.dev/v1alpha1", "kind": "LLMService",
        "metadata": {"name": "support", "namespace": namespace},
        "spec": {
            "model": {"uri": "file:///models/support-good.gguf"}, "replicas": 2,
            "engine": {"type": "LlamaCpp", "image": "llmops/demo-models:dev", "contextLength": 1024},
            "resources": {"requests": {"cpu": "50m", "memory": "96Mi"}}, **spec}}  # fmt: skip


def ready(cluster: Access, namespace: str) -> int:
    """Ready pods of the service."""
    deployment = cluster.get("deployment", "support-llm", namespace)
    status = deployment.get("status", {})
    fresh = status.get("observedGeneration") == deployment["metadata"]["generation"]
    return int(status.get("readyReplicas", 0)) if fresh and status.get("updatedReplicas") == 2 else 0


def ready_pods(door: Door) -> set[str]:
    """By name; the Deployment's count may still be that of before."""
    ours = ("-l", "llmops.dev/owner-name=support", "-o", "json")
    found = json.loads(door.cluster.kubectl("get", "pods", "-n", door.namespace, *ours))["items"]
    return {
        one["metadata"]["name"] for one in found
        if not one["metadata"].get("deletionTimestamp") and any(
            (each["type"], each["status"]) == ("Ready", "True") for each in one["status"].get("conditions", ()))
    }  # fmt: skip


class Crowd:
    """A few who ask one thing after the other until told to stop; whatever is not an answer is kept."""

    def __init__(self, door: Door, people: int = 4) -> None:
        self._door, self._people = door, people
        self.answers, self.errors = 0, list[str]()
        self._stop = False

    async def __aenter__(self) -> Crowd:
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(self._people)]
        await until(lambda: self.answers >= 5 or self.errors)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop = True
        await asyncio.gather(*self._tasks)

    async def _ask(self) -> None:
        client = self._door.client()
        while not self._stop:
            try:
                assert await self._door.ask(client)
                self.answers += 1
            except (openai.APIError, AssertionError) as problem:
                self.errors.append(repr(problem))
                await asyncio.sleep(0.2)


async def test_pods_killed_under_load_cost_no_caller_an_error(door: Door) -> None:
    async with Crowd(door) as crowd:
        for pod in ready_pods(door):
            door.cluster.kubectl("delete", "pod", pod, "-n", door.namespace, "--force", "--grace-period=0")
            before = crowd.answers
            await until(lambda before=before: crowd.answers > before + 10 or crowd.errors)  # type: ignore[misc]
            await until(lambda pod=pod: len(there := ready_pods(door)) == 2 and pod not in there)  # type: ignore[misc]
            before = crowd.answers  # the door hears of the pod a moment after the API server
            await until(lambda before=before: crowd.answers > before + 10 or crowd.errors)  # type: ignore[misc]
    assert crowd.errors == []


async def test_rolling_the_pods_cuts_no_answer(door: Door) -> None:
    async with Crowd(door) as crowd:
        door.cluster.apply(service(door.namespace, podTemplate={"metadata": {"annotations": {"rolled": "yes"}}}))
        await until(
            lambda: (
                "rolled" in door.cluster.kubectl("get", "deployment", "support-llm", "-n", door.namespace, "-o", "yaml")
            )
        )
        await until(lambda: ready(door.cluster, door.namespace) == 2)
        before = crowd.answers
        await until(lambda: crowd.answers > before + 10 or crowd.errors)
    assert crowd.errors == []


async def test_a_key_opens_and_closes_in_seconds(door: Door) -> None:
    """One is promised; three, by when they asked, leave room for a machine that is the cluster and the users too."""
    key = new_key(door.namespace, "visitor")
    client = door.client(key)
    with pytest.raises(openai.AuthenticationError):
        await door.ask(client)
    door.cluster.apply(manifest(key, "visitor", door.namespace, []))
    assert await seconds_until(True, client) < 3
    door.cluster.kubectl("delete", "gatewaykey", "visitor", "-n", door.namespace)
    assert await seconds_until(False, client) < 3


async def seconds_until(known: bool, client: openai.AsyncOpenAI) -> float:
    """From now until the first one asked who was answered, or refused."""
    began = time.monotonic()
    async with asyncio.timeout(30):
        while True:
            asked, answered = time.monotonic(), False
            with suppress(openai.AuthenticationError):
                answered = bool(await client.models.list())
            if answered is known:
                return asked - began
            await asyncio.sleep(0.02)


async def test_a_stopped_api_server_is_not_noticed_by_callers(door: Door) -> None:
    door.relay.silence(True)
    started = time.monotonic()
    async with Crowd(door, people=2) as crowd:
        await until(lambda: time.monotonic() - started > 30)
    assert crowd.errors == []
    door.relay.silence(False)
    key = new_key(door.namespace, "late")
    door.cluster.apply(manifest(key, "late", door.namespace, []))
    async with asyncio.timeout(60):
        while True:
            with suppress(openai.AuthenticationError):
                await door.client(key).models.list()
                break
            await asyncio.sleep(0.1)


async def test_a_door_that_is_replaced_finishes_its_streams(door: Door) -> None:
    client = door.client()
    stream = await client.chat.completions.create(
        model="support", messages=ASK, temperature=0, max_tokens=200, stream=True, extra_body={"ignore_eos": True}
    )
    chunks = aiter(stream)
    await anext(chunks)
    door.process.send_signal(signal.SIGTERM)
    await door.status("/readyz", 503)
    assert await door.ask(client)  # who has not heard of it yet is answered still
    rest = [chunk async for chunk in chunks]
    assert rest[-1].choices[0].finish_reason in ("length", "stop")
    assert await asyncio.wait_for(door.process.wait(), 40) == 0


async def test_a_service_accounts_token_of_the_cluster_is_verified(door: Door) -> None:
    token = door.cluster.kubectl("create", "token", "default", "-n", door.namespace, "--audience=llmops").strip()
    assert await door.ask(door.client(token))
    other = door.cluster.kubectl("create", "token", "default", "-n", door.namespace).strip()
    with pytest.raises(openai.AuthenticationError, match="another audience"):
        await door.ask(door.client(other))
