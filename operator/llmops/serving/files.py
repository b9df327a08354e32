"""What a hub or a bucket has, which of it is worth fetching, and whether it fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from llmops.serving import progress, room
from llmops.serving.refused import Refused
from llmops.serving.transfer import begun

ACCEPTED = ".safetensors"
OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".ot", ".gguf")
"""The same weights in formats that no engine reads where safetensors are there too."""


@dataclass(frozen=True)
class File:
    """One file. `size` in bytes; `sha256` where its store tells one."""

    name: str
    size: int
    sha256: str = ""


def worth_it(files: Sequence[File]) -> list[File]:
    """A folder's files without the same weights in other formats, and without what begins with a dot."""
    modern = any(one.name.endswith(ACCEPTED) for one in files)
    dropped = OTHER_WEIGHTS if modern else ()
    return [
        one
        for one in files
        if not one.name.startswith((".", "original/")) and not one.name.endswith(dropped or ("\0",))
    ]


def inside(name: str) -> str:
    """The name of a file, which must lie in the model's folder."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise Refused(f"there is a file {name!r}, which would lie outside of the model's folder")
    return name


def check_room(places: Mapping[File, Path], folder: Path) -> None:
    """Said before hours of download, not after."""
    total = sum(one.size for one in places)
    missing = sum(one.size - begun(place) for one, place in places.items() if not place.exists())
    progress.NOW.expect(total, total - missing)
    room.HERE.make(missing, folder)
