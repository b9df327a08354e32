"""Long-running programs of the node, each known by a pid file that cannot point at a stranger.

A pid alone may be reused after a crash or a reboot, so the file also holds the start time that the kernel gave the
process, and the command it was started with: a changed command means a restart, an unchanged one is left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .layout import RUN, log_of


class NotStarted(Exception):
    """A program ended, or did not answer in time; the message shows the end of its log."""


@dataclass(frozen=True)
class Program:
    """One program: how it is started and how one knows that it serves."""

    name: str
    command: tuple[str, ...]
    ready: Callable[[], bool]
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def pid_file(self) -> Path:
        return RUN / "pids" / f"{self.name}.json"


def started_at(pid: int) -> int | None:
    """The kernel's start time of a live process, None for one that is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *rest = text.rpartition(")")[2].split()
    return None if state in "ZX" else int(rest[18])


def recorded(pid_file: Path) -> dict[str, object] | None:
    """What the pid file says, if the process it names is still the one it was written for."""
    try:
        record: dict[str, object] = json.loads(pid_file.read_text())
        pid, started = int(str(record["pid"])), record["started"]
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return record if started_at(pid) == started else None


def ensure(program: Program, timeout: float = 60) -> bool:
    """Have the program running with this very command and serving; True if it had to be started."""
    record = recorded(program.pid_file)
    if record and record["command"] == list(program.command):
        wait_until_ready(program, timeout)
        return False
    stop(program.pid_file)
    log = log_of(program.name)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            program.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            env={**os.environ, **program.environment}, cwd="/",
        )  # fmt: skip
    process.returncode = 0  # it outlives this command, and Python need not warn that nobody waits for it
    program.pid_file.parent.mkdir(parents=True, exist_ok=True)
    record = {"pid": process.pid, "started": started_at(process.pid), "command": list(program.command)}
    program.pid_file.write_text(json.dumps(record))
    wait_until_ready(program, timeout)
    return True


def wait_until_ready(program: Program, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not program.ready():
        ended = recorded(program.pid_file) is None
        if ended or time.monotonic() > deadline:
            said = "ended" if ended else f"did not become ready within {timeout:.0f} s"
            log = log_of(program.name)
            raise NotStarted(f"{program.name} {said}; the end of {log}:\n{tail(log)}")
        time.sleep(0.1)


def tail(log: Path, lines: int = 15) -> str:
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return "(no log)"


def stop(pid_file: Path, grace: float = 5) -> bool:
    """End the process the file names, politely and then not; True if there was one."""
    record = recorded(pid_file)
    if record:
        end(int(str(record["pid"])), grace)
    pid_file.unlink(missing_ok=True)
    return record is not None


def end(pid: int, grace: float) -> None:
    started = started_at(pid)
    for number, wait in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        if started is None or started_at(pid) != started:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + wait
        while started_at(pid) == started and time.monotonic() < deadline:
            reap(pid)
            time.sleep(0.05)


def reap(pid: int) -> None:
    """Collect a child that ended (a start and a stop in one command), or it stays a zombie."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
