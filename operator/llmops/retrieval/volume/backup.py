"""The copy of what an image wrote: made, checked, found."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops.retrieval.volume.files import OURS, Refused, data, read, remove, sync, write

ABOUT = "backup.json"
BLOCK = 4 * 2**20
MARGIN = 16 * 2**20
PAGE = 4096
GIB = 2**30


@dataclass(frozen=True)
class Backup:
    """What `image` wrote until `at`; `files` by their path: size and SHA-256. By its number it is newer than another:
    the clock may be another node's."""

    folder: Path
    number: int
    image: str
    at: float
    files: Mapping[str, tuple[int, str]]

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def size(self) -> int:
        return sum(size for size, _ in self.files.values())


def backups(root: Path) -> list[Backup]:
    """Those that are whole, the newest first."""
    folder = root / OURS / "backups"
    told = [(one, read(one / ABOUT)) for one in (folder.iterdir() if folder.exists() else ())]
    found = [_backup(one, about) for one, about in told if about is not None]
    return sorted(found, key=lambda one: one.number, reverse=True)


def _backup(folder: Path, about: Mapping[str, Any]) -> Backup:
    files = {name: (size, sha256) for name, (size, sha256) in about["files"].items()}
    return Backup(folder, about["number"], about["image"], about["at"], files)


def make(root: Path, image: str, wanted: str) -> None:
    """A copy beside the data. By reading and writing: a hard link would be changed with the file, which engines do in
    place, and a clone of blocks (where a volume can do that) would be lost with them."""
    ours, before = root / OURS, dict(_listing(root))
    size = sum(one for one, _ in before.values())
    _make_room(root, size + PAGE * len(before), image, wanted)
    try:
        number = _copy(root, ours / "copying", image)
    except OSError as problem:
        if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        remove(ours / "copying")
        raise Refused(_no_room(root, size, image, wanted)) from None
    if dict(_listing(root)) != before:
        raise OSError("it was written to while it was copied: it is tried again")
    (ours / "backups").mkdir(exist_ok=True)
    name = re.sub("[^A-Za-z0-9.]+", "-", image or "unknown")[-80:]
    (ours / "copying").rename(ours / "backups" / f"{name}-{number}")
    sync(ours / "backups")
    sync(ours)


def _copy(root: Path, copying: Path, image: str) -> int:
    (copying / "data").mkdir(parents=True)
    copied = {str(one.relative_to(root)): _copied(one, root, copying / "data") for one in _every(data(root))}
    files = {name: told for name, told in copied.items() if told is not None}
    about = {"number": max((one.number for one in backups(root)), default=0) + 1, "image": image, "at": time.time()}
    write(copying / ABOUT, {**about, "files": files})
    made = _backup(copying, {**about, "files": files})
    verify(made)
    return made.number


def verify(backup: Backup) -> None:
    """Each file as it is on the volume, not as it is remembered; OSError names one that differs."""
    for one in _every([backup.data]):
        if one.is_dir() and not one.is_symlink():
            sync(one)
    for name, (size, sha256) in backup.files.items():
        digest = hashlib.sha256()
        with (backup.data / name).open("rb", buffering=0) as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while block := file.read(BLOCK):
                digest.update(block)
            if (file.tell(), digest.hexdigest()) != (size, sha256):
                raise OSError(f"{name} in {backup.folder.name} is not what was copied")


def drop(backup: Backup) -> None:
    """First what makes it one: half of it is none."""
    (backup.folder / ABOUT).unlink(missing_ok=True)
    remove(backup.folder)


def _make_room(root: Path, size: int, image: str, wanted: str) -> None:
    """An older backup goes first only where that is needed and enough: what it was kept for is two images away, and
    the data themselves are still whole."""
    older = backups(root)
    missing = size + MARGIN - free(root)
    if missing <= 0:
        return
    if sum(one.size for one in older) < missing:
        raise Refused(_no_room(root, size, image, wanted))
    for one in older:
        drop(one)


def free(root: Path) -> int:
    """Bytes that we may still write."""
    disk = os.statvfs(root)
    return disk.f_bavail * disk.f_frsize


def _no_room(root: Path, size: int, image: str, wanted: str) -> str:
    disk = os.statvfs(root)
    enough = -(-(disk.f_blocks * disk.f_frsize + size + MARGIN - free(root)) // GIB)
    return (
        f"image {wanted} does not open what {image or 'an image of before'} wrote before that is saved, and a copy of "
        f"{size / GIB:.2f} GiB does not fit beside it: {free(root) / GIB:.2f} GiB are free. Write "
        f"spec.engine.storage.size: {enough}Gi, where the StorageClass lets volumes grow, or spec.engine.backup: Never "
        "to go on without a way back"
    )


def _every(paths: list[Path]) -> Iterator[Path]:
    """These and all in them, folders before what is in them."""
    for one in paths:
        yield one
        if one.is_dir() and not one.is_symlink():
            yield from _every(sorted(one.iterdir()))


def _listing(root: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    for one in _every(data(root)):
        found = one.lstat()
        yield str(one), (found.st_size if stat.S_ISREG(found.st_mode) else 0, found.st_mtime_ns)


def _copied(one: Path, root: Path, into: Path) -> tuple[int, str] | None:
    """Size and digest of what was read, which is not asked of the disk a second time; None for what is no file."""
    target, mode = into / one.relative_to(root), one.lstat().st_mode
    if stat.S_ISLNK(mode):
        target.symlink_to(one.readlink())
    elif stat.S_ISDIR(mode):
        target.mkdir()
        target.chmod(stat.S_IMODE(mode))
    if not stat.S_ISREG(mode):
        return None  # in a socket or pipe that a killed engine left is nothing
    size, digest = 0, hashlib.sha256()
    with one.open("rb", buffering=0) as given, target.open("xb") as made:
        while block := given.read(BLOCK):
            digest.update(block)
            size += made.write(block)
    shutil.copystat(one, target)
    return size, digest.hexdigest()
