"""CPU a request at the door, beside LiteLLM's proxy, Portkey's gateway and a bare proxy: same engine, same run.

    python -m bench.dataplane [--only llmops] [--requests 4000]

A figure is CPU seconds of the gateway's process (user and system, /proc/PID/stat) over the requests it answered, the
best of several rounds in which all take turns, since a busy machine can only add to it; `floor` is a proxy of the
same libraries that only passes bytes on (some 110 us on an idle 2-core machine), so `prompt_times_floor` tells what
the door itself adds. Our case `prompt` has everything on: key, split, variables' schema, render, limits, metering,
evidence. (Traces are not there yet.) Peers are measured where they were installed before, in an environment of their
own under ~/.cache/llmops-operator: `pip install 'litellm[proxy]'`, `npm install @portkey-ai/gateway`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.ports import free_port

from bench.load import post, send
from llmops.api import digest, names

CACHE = Path.home() / ".cache" / "llmops-operator"
PORTKEY = CACHE / "bench-portkey/node_modules/@portkey-ai/gateway/build/start-server.js"
LITELLM = CACHE / "bench-litellm/bin/litellm"
PATH = os.pathsep.join(["operator", os.environ.get("PYTHONPATH", "")])
KEY = "llmops_shop.bench.0123456789abcdef"
CHUNKS = 200
ROUNDS = 8
TARGETS = {"prompt": 180.0, "chunk": 12.0, "memory": 96.0}
MESSAGES = [
    {"role": "system", "content": "You answer for Larch, an outdoor shop. Be brief."},
    {"role": "user", "content": "Can I return a tent that I have used once?"},
]
PROMPT = {"id": "support-answer", "variables": {"question": "Can I return a tent that I have used once?"}}


@dataclass(frozen=True)
class Case:
    """What is asked, and how many times as often as the slowest can bear."""

    name: str
    body: dict[str, Any]
    headers: dict[str, str]


@dataclass(frozen=True)
class System:
    """A gateway: how it is started, on which port, and with what its cases are asked."""

    name: str
    port: int
    command: list[str]
    headers: dict[str, str]
    model: str
    requests: int
    env: dict[str, str]
    prompt: bool = False

    def cases(self) -> list[Case]:
        """One request by model, streams of 1 and of CHUNKS pieces, and ours by prompt."""
        plain = {"model": self.model, "messages": MESSAGES}
        found = [
            Case("model", plain, self.headers),
            Case("stream1", {**plain, "stream": True, "seed": 1}, self.headers),
            Case("streamN", {**plain, "stream": True, "seed": CHUNKS}, self.headers),
        ]
        if self.prompt:
            asked = {"model": "-", "messages": [], "prompt": PROMPT, "user": "user-17"}
            found.insert(0, Case("prompt", asked, self.headers))
        return found


def objects(engine: int) -> list[dict[str, Any]]:
    """A service with one pod, a release in the middle of its canary, a key with limits."""
    content = {
        "messages": [
            {"role": "system", "content": MESSAGES[0]["content"]},
            {"role": "user", "content": "{% if question %}{{ question }}{% endif %}"},
        ],
        "variables": {
            "type": "object",
            "required": ["question"],
            "properties": {"question": {"type": "string", "maxLength": 4000}},
        },
        "parameters": {"temperature": 0, "maxTokens": 64},
        "serviceRef": {"name": "support"},
    }
    newer = {**content, "parameters": {"temperature": 0, "maxTokens": 32}}
    stable, candidate = digest(content), digest(newer)
    release = {"serviceRef": {"name": "support"}, "version": "2.0.0", "messages": content["messages"]}
    status = {
        "phase": "Canary",
        "stable": {"digest": stable, "version": "1.0.0"},
        "candidate": {"digest": candidate, "version": "2.0.0", "attempt": 1, "weight": 25},
    }
    labels = {names.OWNER_KIND: "LLMService", names.OWNER_NAME: "support", "kubernetes.io/service-name": "support-llm"}
    limits = {"requestsPerMinute": 100_000_000, "tokensPerMinute": 100_000_000_000, "concurrency": 1000}
    return [
        _object(
            "LLMService",
            "support",
            {
                "model": {"uri": "file:///m.gguf"},
                "engine": {"type": "LlamaCpp"},
                "pricing": {"inputPerMillionTokens": "0.20"},
            },
        ),
        {
            **_object("EndpointSlice", "support", {}, labels),
            "ports": [{"name": "http", "port": engine}],
            "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
        },
        _object("Revision", "one", _revision(content, stable, "1.0.0")),
        _object("Revision", "two", _revision(newer, candidate, "2.0.0")),
        {**_object("PromptRelease", "support-answer", release), "status": status},
        _object(
            "GatewayKey",
            "bench",
            {
                "keys": [{"sha256": hashlib.sha256(KEY.encode()).hexdigest()}],
                "limits": limits,
                "budget": {"amount": "1000000"},
            },
        ),
    ]


def _revision(content: Mapping[str, Any], identity: str, version: str) -> dict[str, Any]:
    return {
        "ofKind": "PromptRelease",
        "ofName": "support-answer",
        "digest": identity,
        "version": version,
        "content": content,
    }


def _object(kind: str, name: str, spec: Mapping[str, Any], labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "labels": dict(labels or {})}
    return {"apiVersion": names.API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def systems(engine: int, requests: int, folder: Path) -> Iterator[System]:
    """Ours, the floor, and those peers that are installed."""
    yield _ours(engine, requests, folder)
    port = free_port()
    yield System(
        "floor",
        port,
        [sys.executable, "-m", "bench.thin_proxy", str(port), str(engine)],
        {},
        "support",
        requests,
        {"PYTHONPATH": PATH},
    )
    if PORTKEY.exists():
        yield _portkey(engine, requests // 2)
    if LITELLM.exists():
        yield _litellm(engine, max(ROUNDS * 20, requests // 20), folder)


def _ours(engine: int, requests: int, folder: Path) -> System:
    port, given = free_port(), folder / "objects.yaml"
    given.write_text(yaml.safe_dump_all(objects(engine)))
    command = [
        sys.executable,
        "-m",
        "llmops.cli",
        "gateway",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--objects",
        str(given),
    ]
    return System(
        "llmops",
        port,
        command,
        {"authorization": f"Bearer {KEY}"},
        "support",
        requests,
        {"PYTHONPATH": PATH},
        prompt=True,
    )


def _portkey(engine: int, requests: int) -> System:
    port = free_port()
    headers = {
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{engine}/v1",
        "authorization": "Bearer none",
    }
    return System(
        "portkey",
        port,
        ["node", str(PORTKEY), f"--port={port}"],
        headers,
        "shop/support",
        requests,
        {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1"},
    )


def _litellm(engine: int, requests: int, folder: Path) -> System:
    port, settings = free_port(), folder / "litellm.yaml"
    parameters = {"model": "openai/support", "api_base": f"http://127.0.0.1:{engine}/v1", "api_key": "none"}
    settings.write_text(yaml.safe_dump({"model_list": [{"model_name": "support", "litellm_params": parameters}]}))
    command = [str(LITELLM), "--config", str(settings), "--port", str(port), "--num_workers", "1"]
    key = "sk-bench-0123456789abcdef"  # it starts without one no more
    return System(
        "litellm",
        port,
        command,
        {"authorization": f"Bearer {key}"},
        "support",
        requests,
        {"LITELLM_MASTER_KEY": key, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"},
    )


@contextlib.contextmanager
def running(command: list[str], port: int, env: Mapping[str, str], seconds: float = 120.0) -> Iterator[int]:
    """The process's id, once its port answers; it is ended, with its children, by its own process group."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env={**os.environ, **env}, stdout=log, stderr=log, start_new_session=True)
        try:
            until = time.monotonic() + seconds
            while not _open(port):
                if process.poll() is not None or time.monotonic() > until:
                    log.seek(0)
                    raise RuntimeError(f"{command[0]} did not start: {log.read()[-500:]!r}")
                time.sleep(0.1)
            yield process.pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its descendants."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0.0
    for one in _family(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rsplit(") ", 1)[1].split()
        total += (int(fields[11]) + int(fields[12])) / ticks
    return total


def memory(pid: int) -> float:
    """Resident MiB of a process and its descendants."""
    page = os.sysconf("SC_PAGE_SIZE")
    return sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) * page for one in _family(pid)) / 2**20


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(inner for child in children for inner in _family(int(child)))]


async def measure(system: System, pid: int, found: dict[str, float]) -> None:
    """One round over the cases; `found` keeps the best of all rounds: a busy machine can only add to a figure."""
    for case in system.cases():
        request = post("/v1/chat/completions", case.body, case.headers)
        times = max(20, system.requests // (ROUNDS * (40 if case.name.startswith("stream") else 1)))
        cpu, clock = cpu_seconds(pid), time.perf_counter()
        await send(system.port, request, times, 4)
        spent, rate = (cpu_seconds(pid) - cpu) / times * 1e6, times / (time.perf_counter() - clock)
        found[case.name] = min(spent, found.get(case.name, spent))
        found[f"{case.name}_rps"] = max(rate, found.get(f"{case.name}_rps", rate))
    found["chunk"] = (found["streamN"] - found["stream1"]) / (CHUNKS - 1)
    found["memory"] = memory(pid)


async def warm(system: System) -> None:
    """Until it answers, and what is done once is done."""
    for case in system.cases():
        request = post("/v1/chat/completions", case.body, case.headers)
        await _ready(system.port, request)
        await send(system.port, request, 20, 4)


def answers(system: System) -> bool:
    """Whether it can be measured; a peer that never answers is told of and left out."""
    try:
        asyncio.run(warm(system))
    except RuntimeError as problem:
        print(f"{system.name} is not measured: {problem}", file=sys.stderr)
        return False
    return True


async def _ready(port: int, request: bytes) -> None:
    """Some listen before they can answer."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await send(port, request, 1, 1)
            except (RuntimeError, OSError, asyncio.IncompleteReadError) as problem:
                last = problem
            try:
                await asyncio.sleep(0.5)
            except asyncio.CancelledError:
                raise RuntimeError(f"never answered: {last}") from None


def told(system: str, found: Mapping[str, float], ours: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    """The lines: figures, targets where there are, and how many times ours a peer costs."""
    units = {
        "prompt": "cpu_us_per_request",
        "model": "cpu_us_per_request",
        "chunk": "cpu_us_per_chunk",
        "memory": "rss_mib",
        "prompt_rps": "requests_per_second",
        "model_rps": "requests_per_second",
    }
    for what, unit in units.items():
        if what not in found:
            continue
        line: dict[str, Any] = {"bench": "dataplane", "system": system, "case": what, unit: round(found[what], 1)}
        if system == "llmops" and what in TARGETS:
            line["target"] = TARGETS[what]
        elif system != "llmops" and what in ours:
            line["times_ours"] = round(found[what] / ours[what], 2)
        if what == "model" and system == "floor" and ours:
            line["prompt_times_floor"] = round(ours["prompt"] / found[what], 2)
        yield line


def main() -> int:
    """One line of JSON a figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", help="one system: llmops, portkey or litellm")
    parser.add_argument("--requests", type=int, default=4000)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    engine = free_port()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(running([sys.executable, "-m", "bench.fake_engine", str(engine)], engine, {}))
        chosen = [one for one in systems(engine, given.requests, folder) if given.only in (None, one.name)]
        pids = {one.name: stack.enter_context(running(one.command, one.port, one.env)) for one in chosen}
        found: dict[str, dict[str, float]] = {one.name: {} for one in chosen}
        chosen = [one for one in chosen if answers(one)]
        for _ in range(ROUNDS):
            for one in chosen:
                asyncio.run(measure(one, pids[one.name], found[one.name]))
        for one in chosen:
            for line in told(one.name, found[one.name], found.get("llmops", {})):
                print(json.dumps(line), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
