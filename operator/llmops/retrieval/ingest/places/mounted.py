"""What the kubelet mounts: a ConfigMap's keys, or the files of a volume."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

from llmops.retrieval.ingest.places.listing import MOST_BYTES, File, Listing, Unreadable, version_of, wanted
from llmops.retrieval.work import SourceWork, content_sha256
from llmops.web import Passing, Wrong

PATIENCE = 90.0  # seconds: a kubelet brings a changed ConfigMap to a mounted volume within a minute or so


def config_map(source: SourceWork, mount: Path, _: Path, patience: float | None = None) -> Listing:
    """Of what the work was planned from. That may be a content of before, whose generation is only measured again
    (refresh.onSourceChange false): so nobody waits for it who does not read it."""
    return Listing(source.sha256, lambda: _planned(source, mount, PATIENCE if patience is None else patience))


def _planned(source: SourceWork, mount: Path, patience: float) -> list[File]:
    """Exactly that; what is older is waited for."""
    end = time.monotonic() + patience
    while content_sha256(data := _keys(source, mount)) != source.sha256:
        if time.monotonic() >= end:
            raise Wrong(f"source {source.name} is not what this build was planned from: it changed meanwhile")
        time.sleep(1.0)
    return [File(key, partial(data.__getitem__, key)) for key in sorted(data)]


def _keys(source: SourceWork, mount: Path) -> dict[str, bytes]:
    if not mount.is_dir():
        return {}
    # a ConfigMap's volume has ..data and a timestamped folder beside the keys
    files = (one for one in mount.iterdir() if not one.name.startswith("..") and one.is_file())
    return {one.name: one.read_bytes() for one in files if source.key in (None, one.name)}


def volume(source: SourceWork, mount: Path, _: Path) -> Listing:
    """Files beneath the path. Links are followed inside the volume only."""
    root = (mount / source.address.lstrip("/")).resolve()
    if not root.is_relative_to(mount.resolve()):
        raise Wrong(f"source {source.name}: {source.address} is a link out of the volume")
    if not root.exists():
        raise Wrong(f"source {source.name}: {source.address} is not on claim {source.claim}: correct pvc.path")
    missing: list[str] = []
    paths = [root] if root.is_file() else walk(root, missing)
    files, entries = [], []
    for path in paths:
        name = path.relative_to(root).as_posix() if path != root else path.name
        if path == root or wanted(name, source.include, source.format):
            stat = path.stat()
            entries.append((name, stat.st_size, stat.st_mtime_ns))
            files.append(File(name, partial(read, path, mount)))
    return Listing(version_of(entries), lambda: files, tuple(missing))


def walk(root: Path, missing: list[str]) -> list[Path]:
    """All files beneath, in order; what cannot be looked into is added to `missing`."""
    found: list[Path] = []

    def cannot(problem: OSError) -> None:
        missing.append(f"{problem.filename}: {problem.strerror}")

    for folder, folders, names in os.walk(root, onerror=cannot):
        folders.sort()
        found += [path for name in sorted(names) if (path := Path(folder, name)).is_file()]
    return found


def read(path: Path, mount: Path) -> bytes:
    """A file's bytes, if it is inside of `mount`."""
    if not path.resolve().is_relative_to(mount.resolve()):
        raise Unreadable("a link out of the volume")
    if path.stat().st_size > MOST_BYTES:
        raise Unreadable(f"it has more than {MOST_BYTES >> 20} MiB")
    try:
        return path.read_bytes()
    except PermissionError:
        raise Wrong("user 65532, as whom the Job reads, may not read it: chmod a+r it") from None
    except OSError as problem:
        raise Passing(str(problem)) from problem
