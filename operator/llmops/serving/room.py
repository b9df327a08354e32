"""Room for a download on the volume of a service: what no kept revision needs goes first, and only if it must.

The volume has a folder of ten hexadecimal digits for each address and revision (sources.py), all of them this
service's. Only the download's Job can write there, so it is the one that clears it.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from llmops.serving.refused import Refused

FOLDER = re.compile(r"[0-9a-f]{10}")


@dataclass
class Room:
    """`kept` are the names of folders that stay; None: nothing is ever taken away."""

    root: Path = Path()
    kept: frozenset[str] | None = None

    def make(self, missing: int, folder: Path) -> None:
        """So many bytes beneath `folder`; said before hours of download, not after."""
        for old in self._old(missing, folder):
            shutil.rmtree(old)
            print(f"removed {old.name}, which no kept revision needs, for want of room", flush=True)
            if missing <= free(folder):
                return
        if missing > free(folder):
            raise Refused(
                f"{missing / 2**30:.1f} GiB are still to come and the volume has {free(folder) / 2**30:.1f} GiB free: "
                "write a larger spec.model.cache.size"
            )

    def _old(self, missing: int, folder: Path) -> list[Path]:
        if self.kept is None or missing <= free(folder):
            return []
        found = [one for one in self.root.iterdir() if FOLDER.fullmatch(one.name) and one.name not in self.kept]
        return sorted(found, key=lambda one: one.stat().st_mtime)


def free(folder: Path) -> int:
    """Bytes that its volume has left."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


HERE = Room()
