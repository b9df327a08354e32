"""A real HTTP server that speaks OpenAI's protocol, and a runner started as the process that it is in a Job."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from llmops.evaluation.results import Results
from llmops.evaluation.rows import Fields, sha256
from llmops.evaluation.run import Arm, Run, run_key
from llmops.evaluation.source import Source

Answer = Callable[[dict[str, Any], int], tuple[int, "str | dict[str, Any]"]]
"""(request body, how often this question was asked before) -> (HTTP status, the answer's text, or the reply whole)."""


def value(found: Results, metric: str) -> float:
    """What a metric was over the target, where it must be there."""
    one = found.metric(metric)
    assert one is not None
    assert one.target.value is not None
    return one.target.value


@dataclass
class Model:
    """What the server was asked, and how it answers: so many `at_first`, and the rest when it `goes_on`."""

    answer: Answer
    url: str = ""
    asked: Counter[str] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    authorizations: set[str] = field(default_factory=set)
    changed: threading.Condition = field(default_factory=threading.Condition)
    at_first: float = math.inf
    goes_on: threading.Event = field(default_factory=threading.Event)

    def take(self, body: dict[str, Any], authorization: str) -> tuple[int, str | dict[str, Any]]:
        """One request."""
        with self.changed:
            asked = json.dumps(body.get("prompt") or body.get("messages") or body.get("input"))
            before = self.asked[asked]
            self.asked[asked] += 1
            self.bodies.append(body)
            self.authorizations.add(authorization)
            self.changed.notify_all()
            number = len(self.bodies)  # its own: by the time that it is answered others may have come
        if number > self.at_first:
            self.goes_on.wait(60)
        return self.answer(body, before)

    def wait_until_asked(self, times: int, seconds: float = 60) -> None:
        """Return when so many requests have come."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.bodies) >= times, seconds), f"only {len(self.bodies)} came"


def question(body: Mapping[str, Any]) -> str:
    """The question in a request, either way of asking."""
    if "prompt" in body:
        return str(body["prompt"]["variables"]["question"])
    return str(body["messages"][-1]["content"])


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], Model]]:
    """Start a server for as long as the test runs."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> Model:
        model = Model(answer)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status, text = model.take(body, self.headers.get("authorization", ""))
                kind = "application/json"
                if status != 200:
                    payload = json.dumps({"error": {"message": text, "code": text}}).encode()
                elif isinstance(text, dict):
                    payload = json.dumps(text).encode()
                elif body.get("stream"):
                    payload, kind = events(body, text), "text/event-stream"
                else:
                    payload = json.dumps(completion(body, text)).encode()
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def handle(self) -> None:
                with suppress(ConnectionResetError, BrokenPipeError):  # a client killed in mid-request is the test
                    super().handle()

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        model.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        return model

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def events(body: Mapping[str, Any], text: str) -> bytes:
    """The same as a stream: the role first, then two pieces of text, then the usage."""
    whole = completion(body, text)
    half = len(text) // 2
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, {"content": text[:half]}]
    deltas.append({"content": text[half:]})
    chunks = [
        {**whole, "object": "chat.completion.chunk", "usage": None, "choices": [{"index": 0, "delta": delta}]}
        for delta in deltas
    ]
    chunks.append({**whole, "object": "chat.completion.chunk", "choices": []})
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"


def completion(body: Mapping[str, Any], text: str) -> dict[str, Any]:
    """A chat completion as OpenAI's API words it."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }


def jsonl(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as JSON Lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_run(folder: Path, rows: Sequence[Mapping[str, Any]], target: Arm, **changes: Any) -> Run:
    """The folder that a Job finds mounted."""
    text = jsonl(rows)
    run = replace(
        Run(
            "shop/quality", sha256(text), len(rows), ("exact_match",), target, fields=Fields("question", "answer", "id")
        ),
        **changes,
    )
    run = replace(run, key=run_key(run))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(run.dumps())
    (folder / "rows.jsonl").write_text(text)
    return run


def write_sourced(
    folder: Path,
    source: Source,
    target: Arm,
    known: Mapping[str, Any],
    profiles: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Run:
    """The folder of a run whose rows the Job reads itself."""
    run = Run("shop/quality", "", 0, ("exact_match",), target, fields=Fields("question", "answer", "id"), source=source)
    run = replace(run, **changes)
    run = replace(run, key=run_key(run))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(run.dumps())
    (folder / "known.json").write_text(json.dumps(known))
    (folder / "profiles.json").write_text(json.dumps(profiles or {}))
    return run


def start_runner(folder: Path, logs: Path, report: Path) -> subprocess.Popen[str]:
    """The Job's process; what is on its claim is beside its folder."""
    source = str(Path(__file__).parents[3] / "operator")
    environment = {
        **os.environ,
        "HOME": str(logs.parent),
        "PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")]),
    }
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "llmops.evaluation.runner.main",
            "--run",
            str(folder),
            "--logs",
            str(logs),
            "--report",
            str(report),
            "--dataset",
            str(folder.parent / "dataset"),
        ],
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
