"""From buildah's storage into containerd, sending only the layers that are not there.

`buildah push` would read, hash and write every layer of a 300 MB image for a change of one file: 11 seconds. buildah's
storage holds, for each layer, its files and the recipe (tar-split: the bytes between the files) that gives back the
very tar whose digest the manifest names; so a missing layer is put together from those and the rest left out. The
format is that of github.com/containers/storage.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .layout import CONTAINERD_SOCKET

CTR = ("ctr", "--address", str(CONTAINERD_SOCKET), "--namespace", "k8s.io")
FILE, BYTES = 1, 2  # the two kinds of line in a recipe


def load(storage: Path, image: str) -> int:
    """Have containerd know the image by that name; the bytes that had to be sent, 0 if it was there."""
    record = find(storage, image)
    manifest = big_data(storage, record, "manifest")
    digest = digest_of(manifest)
    if digest in ask("images", "list", f"name=={image}"):
        return 0
    # containerd may be collecting the layers of the image before while it unpacks on top of them
    sent = send(storage, image, manifest, digest) or send(storage, image, manifest, digest)
    if sent is None:
        raise RuntimeError(f"containerd did not take {image}")
    return sent


def send(storage: Path, image: str, manifest: bytes, digest: str) -> int | None:
    """The bytes of what containerd did not have; None if it did not take them."""
    record = find(storage, image)
    have = set(ask("content", "list", "--quiet").split())
    config_digest = json.loads(manifest)["config"]["digest"]
    blobs = {digest: manifest, config_digest: big_data(storage, record, config_digest)}
    missing = [layer["digest"] for layer in json.loads(manifest)["layers"] if layer["digest"] not in have]
    importing = subprocess.Popen((*CTR, "images", "import", "-"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert importing.stdin
    with importing.stdin as pipe, tarfile.open(fileobj=pipe, mode="w|") as archive:
        add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        add(archive, "index.json", build_index(image, digest, len(manifest)))
        for name, data in blobs.items():
            add(archive, blob(name), data)
        sent = sum(add_layer(archive, storage, layer) for layer in missing)
    if importing.wait():
        return None
    return sent + sum(map(len, blobs.values()))


def find(storage: Path, image: str) -> dict[str, Any]:
    images: list[dict[str, Any]] = json.loads((storage / "overlay-images" / "images.json").read_text())
    return next(record for record in images if image in (record.get("names") or ()))


def big_data(storage: Path, record: dict[str, Any], key: str) -> bytes:
    """A document kept with an image; a key that is no plain file name is kept under its base64."""
    name = key if key.isalnum() else "=" + base64.b64encode(key.encode()).decode()
    file: Path = storage / "overlay-images" / record["id"] / name
    return file.read_bytes()


def build_index(image: str, digest: str, size: int) -> bytes:
    names = {"io.containerd.image.name": image, "org.opencontainers.image.ref.name": image.rpartition(":")[2]}
    media = "application/vnd.oci.image.manifest.v1+json"
    manifest = {"mediaType": media, "digest": digest, "size": size, "annotations": names}
    return json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode()


def add_layer(archive: tarfile.TarFile, storage: Path, digest: str) -> int:
    records = json.loads((storage / "overlay-layers" / "layers.json").read_text())
    layer = next(record for record in records if record.get("diff-digest") == digest)
    entry = tarfile.TarInfo(blob(digest))
    entry.size = layer["diff-size"]
    recipe = storage / "overlay-layers" / f"{layer['id']}.tar-split.gz"
    archive.addfile(entry, Joined(assemble(recipe, storage / "overlay" / layer["id"] / "diff")))
    return int(entry.size)


def assemble(recipe: Path, files: Path) -> Iterator[bytes]:
    """The layer's tar, piece by piece: the recipe's own bytes, and the files' where it names one."""
    with gzip.open(recipe, "rt") as lines:
        for line in lines:
            step = json.loads(line)
            if step["type"] == BYTES:
                yield base64.b64decode(step["payload"])
            elif step.get("size"):
                with (files / name_of(step)).open("rb") as file:
                    while piece := file.read(1 << 20):
                        yield piece


def name_of(step: dict[str, Any]) -> str:
    """The file's path; one that is not UTF-8 is written in base64."""
    raw = base64.b64decode(step["name_raw"]).decode(errors="surrogateescape") if "name_raw" in step else step["name"]
    return str(raw).lstrip("/")


class Joined(io.RawIOBase):
    """Pieces read as one file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._left = pieces, b""

    def read(self, size: int = -1) -> bytes:
        while len(self._left) < size and (piece := next(self._pieces, b"")):
            self._left += piece
        taken, self._left = self._left[:size], self._left[size:]
        return taken


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def ask(*arguments: str) -> str:
    return subprocess.run((*CTR, *arguments), check=True, capture_output=True, text=True).stdout
