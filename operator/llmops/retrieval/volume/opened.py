"""Which image opened the data last, which is to open them now, and what that takes.

An image is known by its name, as it stands in the pod: its digest does not. A tag that was moved is not noticed, and
the same engine by another name counts as another.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops.retrieval.volume import backup, restore
from llmops.retrieval.volume.backup import Backup
from llmops.retrieval.volume.files import OURS, alone, data, read, remove, sync, write

UNKNOWN = ""
"""The image that wrote data from before this was kept."""


@dataclass(frozen=True)
class Opened:
    """The data are open to the image that was asked for."""

    restored: str  # names the last restore; empty where the data only ever went on
    began: str  # names the last time that there were no data at all; empty where nobody saw that
    backup: Backup | None  # the one that is there now


def last(root: Path, was: str) -> str | None:
    """Who wrote the data; `was` is believed where the volume itself does not know. None: there are none."""
    found = _marker(root)
    if found:
        return str(found["image"])
    return was or UNKNOWN if data(root) else None


def open_for(image: str, root: Path, was: str = UNKNOWN, keep: bool = True) -> Opened:
    """Afterwards `image` may open the data. `keep` False: as they are, nothing saved and nothing put back."""
    ours = root / OURS
    if not ours.exists():
        ours.mkdir(exist_ok=True)
        sync(root)
    with alone(ours):
        restore.finish(root)
        _tidy(root)
        before = last(root, was)
        if before not in (None, image) and keep:
            _exchange(root, before or UNKNOWN, image)
        found = _marker(root)
        told = {**found, "image": image}
        if not data(root):  # a new volume, or an emptied one: whatever was built before is not on it
            told["began"] = secrets.token_hex(5)
        if told != found:
            write(ours / restore.OPENED, told)
        _tidy(root)
        return Opened(told.get("restored", ""), told.get("began", ""), next(iter(backup.backups(root)), None))


def _exchange(root: Path, before: str, image: str) -> None:
    own = next((one for one in backup.backups(root) if one.image == image), None)
    if own is not None:
        restore.restore(root, own)
    elif data(root):
        backup.make(root, before, image)


def _marker(root: Path) -> dict[str, Any]:
    return read(root / OURS / restore.OPENED) or {}


def _tidy(root: Path) -> None:
    """What is left of what was cut off, and every backup but the newest. No restore is under way here."""
    ours = root / OURS
    remove(ours / "copying")
    remove(ours / "aside")
    there = backup.backups(root)
    for one in there[1:]:
        backup.drop(one)
    kept = there[0].folder if there else None
    for folder in (ours / "backups").iterdir() if (ours / "backups").exists() else ():
        if folder != kept:
            remove(folder)
