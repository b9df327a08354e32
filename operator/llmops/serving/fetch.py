"""`llmops fetch URI PATH`: what a download Job runs. Resumes where it was cut, checks, and renames into place.

Exit status: 0 done, 2 a fault of the address (a person must act: not tried again), 1 anything that may pass by itself.
The last line, which Kubernetes keeps as the termination message, is the sentence for the status.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

CHUNK = 1 << 20
TRIES = 5


class Refused(Exception):
    """Trying again would not help."""


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="llmops fetch", description="Downloads a model's weights")
    parser.add_argument("uri")
    parser.add_argument("path", type=Path)
    parser.add_argument("--sha256", default="")
    given = parser.parse_args(argv)
    try:
        print(fetch(given.uri, given.path, given.sha256), flush=True)
    except Refused as refusal:
        print(refusal, flush=True)
        return 2
    except OSError as problem:
        full = problem.errno in (errno.ENOSPC, errno.EDQUOT)
        print(
            "the volume is full: write a larger spec.model.cache.size" if full else f"{given.uri}: {problem}",
            flush=True,
        )
        return 2 if full else 1
    return 0


def fetch(uri: str, path: Path, sha256: str = "") -> str:
    """Makes `path` the content of `uri`; returns what was done, in words."""
    if path.exists():
        return f"{path.name} is there already"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    for attempt in range(1, TRIES + 1):
        try:
            _download(uri, part)
            break
        except (urllib.error.URLError, ConnectionError, TimeoutError) as problem:
            if isinstance(problem, urllib.error.HTTPError) and problem.code in (400, 401, 403, 404, 410):
                raise Refused(
                    f"{uri} answers {problem.code} {problem.reason}: check the address and its access"
                ) from problem
            if attempt == TRIES:
                raise
            print(f"{uri}: {problem}; again", flush=True)
            time.sleep(2**attempt / 4)
    _check(part, uri, sha256)
    size = part.stat().st_size
    part.rename(path)
    part.with_suffix(".etag").unlink(missing_ok=True)
    return f"{path.name}: {size / 2**20:.1f} MiB"


def _download(uri: str, part: Path) -> None:
    done, mark = part.stat().st_size if part.exists() else 0, part.with_suffix(".etag")
    # the server sends the rest only if the file is still the one we began; without a mark of it, all of it
    version = mark.read_text() if done and mark.exists() else ""
    headers = {"Range": f"bytes={done}-", "If-Range": version} if version else {}
    request = urllib.request.Request(uri, headers=headers)
    try:
        reply = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as problem:
        if problem.code == 416 and version:
            return  # nothing after what we have: it was whole
        raise
    if (etag := reply.headers.get("ETag") or "").startswith('"'):  # a weak one (W/) does not vouch for bytes
        mark.write_text(etag)
    elif reply.status != 206:
        mark.unlink(missing_ok=True)
    with reply, part.open("ab" if reply.status == 206 else "wb") as file:
        promised, got = reply.headers.get("Content-Length"), 0
        while chunk := reply.read(CHUNK):
            file.write(chunk)
            got += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    if promised is not None and got < int(promised):
        raise ConnectionError(f"cut after {got} of {promised} bytes")


def _check(part: Path, uri: str, sha256: str) -> None:
    if not sha256:
        return
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256.lower():
        part.unlink()
        part.with_suffix(".etag").unlink(missing_ok=True)
        raise Refused(f"{uri} has sha256:{found}, and spec.model.revision says sha256:{sha256}: correct one of the two")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
