"""What the demo stands on: kubectl, waiting for a condition with the time shown, and a plain way to tell a story."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
OBJECTS = Path(__file__).parent / "objects"
NAMESPACE = "shop"
WIDTH = 108
SILENT = ("Unable to connect to the server", "The connection to the server", "server (Timeout)", "etcdserver:")
"""How kubectl says that the API server did not answer."""
SILENCE = 60.0
"""Seconds of it that are waited for: a machine that stalls goes on."""


class StageError(Exception):
    """Something did not come true in time; the message says what was seen last."""


def kubectl(*args: str, stdin: str | None = None) -> str:
    """What it prints; an API server that does not answer is asked again for a while."""
    command, end = [os.environ.get("KUBECTL", "kubectl"), *args], time.monotonic() + SILENCE
    while True:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout
        if time.monotonic() > end or not any(words in done.stderr for words in SILENT):
            raise StageError(f"kubectl {' '.join(args)}: {done.stderr.strip()}")
        time.sleep(1)


def apply(*objects: Object) -> None:
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump_all(objects))


def load(name: str) -> list[Object]:
    return [o for o in yaml.safe_load_all((OBJECTS / name).read_text()) if o]


def get(kind: str, name: str, namespace: str = NAMESPACE) -> Object:
    found: Object = json.loads(kubectl("get", kind, name, "-n", namespace, "-o", "json"))
    return found


def condition(obj: Object, kind: str) -> Object:
    """The condition of that type, if it speaks of the object as it now stands; else an empty one."""
    for one in obj.get("status", {}).get("conditions", []):
        current = one.get("observedGeneration", 0) >= obj["metadata"].get("generation", 0)
        if one["type"] == kind and current:
            return dict(one)
    return {"status": "Unknown", "reason": "", "message": "nothing reported yet"}


def until(what: str, test: Callable[[], Any], timeout: float, last: Callable[[], str] = lambda: "") -> Any:
    """Waits until `test` gives something true and returns it; shows the seconds (off a terminal a line every 15 s)."""
    start, shown = time.monotonic(), 0.0
    while True:
        problem: StageError | None = None
        result = None
        try:
            result = test()
        except StageError as told:  # an API server with too much to do refuses now and then
            problem = told
        spent = time.monotonic() - start
        if result:
            _wipe()
            return result
        if spent > timeout:
            raise StageError(f"{what}: not within {timeout:.0f} s; last seen: {problem or last()}")
        if sys.stdout.isatty():
            print(f"\r  … {what} ({spent:.0f} s)", end="", flush=True)
        elif spent - shown >= 15:
            shown = spent
            print(f"  … {what} ({spent:.0f} s)", flush=True)
        time.sleep(0.25)


def until_true(kind: str, name: str, condition_type: str = "Ready", timeout: float = 300) -> Object:
    def seen() -> Object:
        return condition(get(kind, name), condition_type)

    def said() -> str:
        one = seen()
        return f"{condition_type}={one['status']} {one['reason']}: {one['message']}"

    until(f"{kind}/{name} {condition_type}", lambda: seen()["status"] == "True", timeout, said)
    return get(kind, name)


def act(number: int, title: str) -> None:
    print(f"\n{number}. {title}\n{'─' * WIDTH}", flush=True)


def tell(label: str, text: str) -> None:
    """One labelled paragraph; what it says may have several lines."""
    _wipe()
    for at, line in enumerate(text.splitlines() or [""]):
        lead = f"  {label if at == 0 else '':<10}"
        print(textwrap.fill(line, WIDTH, initial_indent=lead, subsequent_indent=" " * 12), flush=True)


def _wipe() -> None:
    if sys.stdout.isatty():
        print("\r\033[K", end="")
