"""Which cluster: the one you name, kind, or the own node. See the package's first page for the order."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import given, kind, node
from .layout import CACHE, KUBECONFIG, SUFFIX
from .progress import Progress

CHOICES = ("auto", "current", "kind", "node")


def choose(wanted: str = "auto") -> str:
    """`current`, `kind` or `node`."""
    wanted = os.environ.get("LLMOPS_CLUSTER", "auto") if wanted == "auto" else wanted
    if wanted not in CHOICES:
        raise ValueError(f"cluster {wanted!r}: write one of {', '.join(CHOICES)}")
    if wanted != "auto":
        return wanted
    if KUBECONFIG.exists():
        return "kind" if kind.is_ours() else "node"
    return "kind" if kind.usable() else "node"


def up(wanted: str = "auto") -> Path:
    """Have a cluster; the path of its kubeconfig."""
    progress = Progress()
    with one_at_a_time():
        match choose(wanted):
            case "current":
                return given.kubeconfig()
            case "kind":
                return kind.up(progress)
            case _:
                return node.up(progress)


def down(wanted: str = "auto") -> None:
    """Take away what `up` made; never a cluster that was given."""
    with one_at_a_time():
        match choose(wanted):
            case "current":
                given.refuse_down()
            case "kind":
                kind.down()
            case _:
                node.down()


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two commands at once (two checkouts, a test and a person) wait for each other."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"lock{SUFFIX}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
