"""The copy put in place of the data. Nothing is copied: names are moved, and a journal says how far that is.

    1. what the newer image wrote goes aside, name by name
    2. the backup's names take its place; then it is no backup any more, and the data are open to its image

Each step may be done again from its beginning: what is moved already is not there to be moved.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from llmops.retrieval.volume.backup import ABOUT, Backup, verify
from llmops.retrieval.volume.files import OURS, Refused, data, move, read, sync, write

JOURNAL = "restoring.json"
OPENED = "opened.json"
ASIDE, BACK = "aside", "back"


def restore(root: Path, backup: Backup) -> None:
    """All of it is read once before the data are touched."""
    try:
        verify(backup)
    except OSError as problem:
        raise Refused(
            f"the backup of what image {backup.image} wrote cannot be put back: {problem}. Write spec.engine.backup: "
            "Never to have that image open the data as they are, or go back to the image that runs"
        ) from None
    told = {"image": backup.image, "backup": backup.folder.name, "restored": secrets.token_hex(5), "step": ASIDE}
    write(root / OURS / JOURNAL, told)
    finish(root)


def finish(root: Path) -> None:
    """Goes on with a restore that was begun, if one was."""
    ours = root / OURS
    journal = ours / JOURNAL
    if not journal.exists():
        return
    told = read(journal)
    if told is None:
        raise OSError(f"{OURS}/{JOURNAL} on the volume cannot be read: what a restore was about to do is not known")
    folder, aside = ours / "backups" / told["backup"], ours / "aside"
    if told["step"] == ASIDE:
        aside.mkdir(exist_ok=True)
        _move_all(root, aside)
        told["step"] = BACK
        write(journal, told)
    _move_all(folder / "data", root)
    (folder / ABOUT).unlink(missing_ok=True)
    sync(folder)
    write(ours / OPENED, {**(read(ours / OPENED) or {}), "image": told["image"], "restored": told["restored"]})
    journal.unlink()
    sync(ours)


def _move_all(source: Path, target: Path) -> None:
    for one in data(source):
        move(one, target)
    sync(target)
    sync(source)
