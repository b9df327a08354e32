"""hf://org/name, or one file of it: over the model hub's HTTP API, or a mirror's that speaks it.

    GET <hub>/api/models/<org>/<name>/revision/<revision>?blobs=true
        {"sha": <commit>, "siblings": [{"rfilename": …, "size": bytes, "lfs": {"sha256": …}}, …]}
    GET <hub>/<org>/<name>/resolve/<commit>/<file>      the bytes, mostly by way of another host

Source: https://huggingface.co/docs/hub/api. A branch may move while its files come, or before a second try: the commit
is looked up once and written down beside them.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from llmops.serving import transfer
from llmops.serving.transfer import Refused

SCHEME = "hf://"
BRANCH = "main"
ACCEPTED = ".safetensors"
OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".ot", ".gguf")
"""The same weights in formats that no engine reads where safetensors are there too."""


@dataclass(frozen=True)
class File:
    """One file of a repository. `size` in bytes; `sha256` only of large files, the hub keeps none of small ones."""

    name: str
    size: int
    sha256: str


def fetch_model(uri: str, path: Path, hub: str, revision: str = "", sha256: str = "", token: str = "") -> str:
    """Makes `path` the repository's folder, or its one file; returns what was done, in words."""
    org, name, *inside = uri.removeprefix(SCHEME).rstrip("/").split("/")
    repository, one = f"{org}/{name}", "/".join(inside)
    pin = path.parent / ".commit"
    wanted = pin.read_text() if pin.exists() else revision or BRANCH
    commit, files = listing(repository, wanted, hub, token)
    path.parent.mkdir(parents=True, exist_ok=True)
    pin.write_text(commit)
    chosen = [_one(files, one, repository)] if one else worth_it(files)
    places = {each: path if one else path / each.name for each in chosen}
    _room(places, path.parent)
    for each, place in places.items():
        where = f"{hub}/{repository}/resolve/{commit}/{quote(each.name)}"
        if sha256:
            transfer.fetch(where, place, sha256, token)
        else:
            transfer.fetch(where, place, each.sha256, token, says="the hub")
    return f"{repository} at {commit[:10]}: {len(chosen)} files, {sum(one.size for one in chosen) / 2**20:.1f} MiB"


def listing(repository: str, revision: str, hub: str, token: str) -> tuple[str, list[File]]:
    """The commit that the revision is, and its files."""
    address = f"{hub}/api/models/{repository}/revision/{quote(revision, safe='')}?blobs=true"
    try:
        with transfer.opened(urllib.request.Request(address, headers=transfer.bearer(token))) as reply:
            found = json.load(reply)
    except urllib.error.HTTPError as problem:
        raise Refused(_refusal(repository, revision, hub, problem, bool(token))) from problem
    return str(found["sha"]), [_file(each) for each in found.get("siblings") or []]


def worth_it(files: Sequence[File]) -> list[File]:
    """A folder's files without the same weights in other formats, and without what begins with a dot."""
    modern = any(one.name.endswith(ACCEPTED) for one in files)
    dropped = OTHER_WEIGHTS if modern else ()
    return [
        one
        for one in files
        if not one.name.startswith((".", "original/")) and not one.name.endswith(dropped or ("\0",))
    ]


def _file(told: dict[str, Any]) -> File:
    name = str(told["rfilename"])
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise Refused(f"the hub names a file {name!r}, which would lie outside of the model's folder")
    lfs = told.get("lfs") or {}
    return File(name, int(lfs.get("size") or told.get("size") or 0), str(lfs.get("sha256") or ""))


def _one(files: Sequence[File], name: str, repository: str) -> File:
    for each in files:
        if each.name == name:
            return each
    has = ", ".join(each.name for each in files[:10])
    raise Refused(f"{repository} has no file {name}; it has {has}{', …' if len(files) > 10 else ''}")


def _refusal(repository: str, revision: str, hub: str, problem: urllib.error.HTTPError, known: bool) -> str:
    told = f"{hub} answers {problem.code} for {repository} at {revision}: "
    if problem.code == 404:
        return told + "correct spec.model.uri or spec.model.revision"
    if problem.code not in (401, 403):
        raise problem
    if known:
        return told + "the token's account must accept the model's licence on its page, and the token must read it"
    return told + (
        "it does not exist, or is gated or private: put a token under HF_TOKEN into a Secret, "
        "and name that as spec.model.credentialsSecretRef"
    )


def _room(places: dict[File, Path], folder: Path) -> None:
    """Said before hours of download, not after."""
    missing = sum(one.size - transfer.begun(place) for one, place in places.items() if not place.exists())
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if missing > free:
        raise Refused(
            f"{missing / 2**30:.1f} GiB are still to come and the volume has {free / 2**30:.1f} GiB free: "
            "write a larger spec.model.cache.size"
        )
