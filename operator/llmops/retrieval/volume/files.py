"""Files that are there after a power cut, or not at all."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

OURS = ".llmops"
NOT_DATA = frozenset({OURS, "lost+found", ".snapshot"})
"""What a volume has at its root besides the engine's files: a file system's own are not ours to move."""


class Refused(Exception):
    """Why the data are not opened, and what to write."""


class Busy(Exception):
    """Another pod is at work on the volume."""


def data(root: Path) -> list[Path]:
    """What the engine has written at the root of its volume."""
    return sorted(one for one in root.iterdir() if one.name not in NOT_DATA)


def read(path: Path) -> dict[str, Any] | None:
    """What was written; None where nothing was, or nothing that can be read."""
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return found


def write(path: Path, told: dict[str, Any]) -> None:
    """As a whole: who looks finds what was there before, or this."""
    new = path.with_name(f"{path.name}.new")
    with new.open("w") as file:
        json.dump(told, file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync(path.parent)


def move(path: Path, folder: Path) -> None:
    path.rename(folder / path.name)


def remove(path: Path) -> None:
    """A folder, or nothing."""
    if path.exists():
        shutil.rmtree(path)
        sync(path.parent)


def sync(folder: Path) -> None:
    """The names in it."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def alone(ours: Path) -> Iterator[None]:
    """A pod that was deleted and its successor may be here at the same time. The kernel lets go of it, however this
    ends."""
    with (ours / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy("another pod is at work on the volume: it is tried again") from None
        yield
