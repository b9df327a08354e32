"""An image of one static program and nothing else, written as the tar archive that `ctr images import` reads."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

EPOCH = "1970-01-01T00:00:00Z"  # the same bytes every time, so that an unchanged image is recognised


def build_archive(program: Path, image: str, out: Path) -> Path:
    """An archive of `image` whose entry point is the program, run as nobody."""
    layer = tar({program.name: (program.read_bytes(), 0o755)})
    layer_id = hashlib.sha256(layer).hexdigest()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": EPOCH,
            "config": {"Entrypoint": [f"/{program.name}"], "User": "65532:65532"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_id}"]},
            "history": [{"created": EPOCH, "created_by": program.name}],
        }
    ).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [image], "Layers": [f"{layer_id}.tar"]}]).encode()
    files = {config_name: config, f"{layer_id}.tar": layer, "manifest.json": manifest}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(tar({name: (data, 0o644) for name, data in files.items()}))
    return out


def tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    """The files with their modes as a tar archive without times or owners."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, (data, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
