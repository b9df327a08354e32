"""`llmops score`: a container that runs scorers which people brought along, and has nothing else.

It has no token, no key and no volume but theirs: it hears rows and answers over a socket in a folder that it shares
with the run's container, and says a score or why there is none. Each scorer is a process of its own, which is killed
and begun anew when it takes too long. What it prints goes to the container's log.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

SECONDS = 10.0
"""For one answer; the first may take as long again to import what it needs."""
MOST = 1 << 16
"""Bytes of a reply: nobody's score is longer."""
ENDING = ".py"

CHILD = """
import json, math, os, sys
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
def why(problem):
    return f"{type(problem).__name__}: {problem}"[:300]
space, broken = {"__name__": "scorer"}, ""
try:
    with open(sys.argv[1], encoding="utf-8") as file:
        exec(compile(file.read(), "scorer.py", "exec"), space)
    if not callable(space.get("score")):
        broken = "it defines no function score(row, answer)"
except BaseException as problem:
    broken = why(problem)
for line in sys.stdin:
    asked = json.loads(line)
    told = {"why": f"the scorer cannot be used: {broken}"}
    if not broken:
        try:
            found = space["score"](asked["row"], asked["answer"])
            found = found.item() if hasattr(found, "item") else found
            if not isinstance(found, (bool, int, float)) or not 0 <= found <= 1:
                told = {"why": f"the scorer returned {found!r:.100}, where a bool or a number from 0 to 1 is expected"}
            else:
                told = {"score": float(found)}
        except BaseException as problem:
            told = {"why": f"the scorer raised {why(problem)}"}
    print(json.dumps(told), file=out, flush=True)
"""


class Scorer:
    """One file's process."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, row: Any, answer: str, seconds: float = SECONDS) -> dict[str, Any]:
        """{"score": ...} or {"why": ...}."""
        end = time.monotonic() + (seconds * 2 if self._process is None else seconds)
        process = self._process = self._process or self._begin()
        asked = json.dumps({"row": row, "answer": answer}).encode() + b"\n"
        try:
            told: dict[str, Any] = json.loads(_exchanged(process, asked, end))
        except TimeoutError:
            self.end()
            return {"why": f"the scorer took longer than {seconds:g} s"}
        except (OSError, ValueError):  # it ended itself, or wrote where replies are read
            self.end()
            return {"why": "the scorer's process ended, or said something that is no score"}
        return told

    def _begin(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-I", "-c", CHILD, str(self._file)]
        environment = {"HOME": "/tmp", "PATH": os.environ.get("PATH", "")}
        process = subprocess.Popen(
            command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
        )
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        return process

    def end(self) -> None:
        """Kill it with all that it began; the next answer begins another. Whoever got away may keep the pipes open, so
        nobody waits for their end."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        process.wait()


def _exchanged(process: subprocess.Popen[bytes], asked: bytes, end: float) -> bytes:
    """A line for a line, before `end`: who does not read is as late as who does not answer."""
    assert process.stdin is not None
    assert process.stdout is not None
    there, back, data = process.stdin.fileno(), process.stdout.fileno(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(there, selectors.EVENT_WRITE)
        selector.register(back, selectors.EVENT_READ)
        while not data.endswith(b"\n"):
            ready = selector.select(max(0.0, end - time.monotonic()))
            if not ready or time.monotonic() > end:
                raise TimeoutError
            for key, _ in ready:
                if key.fd == there:
                    asked = asked[os.write(there, asked) :]
                    if not asked:
                        selector.unregister(there)
                    continue
                piece = os.read(back, MOST)
                data += piece
                if not piece or len(data) > MOST:
                    raise OSError("no reply")
    return data


def serve(folder: Path, address: Path) -> None:
    """Answer one connection after the other, for ever."""
    scorers = {one.name.removesuffix(ENDING): Scorer(one) for one in folder.iterdir() if one.name.endswith(ENDING)}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        address.unlink(missing_ok=True)
        listening.bind(str(address))
        address.chmod(0o660)  # the run's container is another user of the same group
        listening.listen()
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_answer, args=(connection, scorers), daemon=True).start()


def _answer(connection: socket.socket, scorers: dict[str, Scorer]) -> None:
    with connection, connection.makefile("rwb") as stream:
        for line in stream:
            asked = json.loads(line)
            told = scorers[asked["metric"]].ask(asked["row"], asked["answer"])
            stream.write(json.dumps(told).encode() + b"\n")
            stream.flush()


def main(argv: list[str]) -> int:
    """Until the pod ends."""
    parser = argparse.ArgumentParser(prog="llmops score", description="Scorers of an EvalJob (a container of its Job).")
    parser.add_argument("--scorers", type=Path, required=True, help="the folder with a file a metric")
    parser.add_argument("--socket", type=Path, required=True, help="where rows and answers come in")
    given = parser.parse_args(argv)
    serve(given.scorers, given.socket)
    return 0
