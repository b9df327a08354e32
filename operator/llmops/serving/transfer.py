"""One file over HTTP: whole or not at all. Resumes where it was cut, checks, and renames into place."""

from __future__ import annotations

import hashlib
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from llmops.serving import progress, room
from llmops.serving.refused import Refused

CHUNK = 1 << 20
TRIES = 5
PROOFS = ("Authorization", "X-amz-security-token")
Headers = Callable[[str], Mapping[str, str]]


def nothing(_: str) -> Mapping[str, str]:
    return {}


def fetch(uri: str, path: Path, sha256: str = "", headers: Headers = nothing, says: str = "spec.model.revision") -> str:
    """Makes `path` the content of `uri`; returns what was done, in words.

    `headers` gives those of a request to an address, made anew for each try; `says`: who says its SHA-256.
    """
    if path.exists():
        return f"{path.name} is there already"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    for attempt in range(1, TRIES + 1):
        try:
            _download(uri, part, headers(uri))
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
    _check(part, uri, sha256, says)
    size = part.stat().st_size
    part.rename(path)
    part.with_suffix(".etag").unlink(missing_ok=True)
    return f"{path.name}: {size / 2**20:.1f} MiB"


class _Redirects(urllib.request.HTTPRedirectHandler):
    """A proof is for the host that it was given for; the one that has the bytes must not see it."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        followed = super().redirect_request(req, fp, code, msg, headers, newurl)
        if followed is not None and urlsplit(newurl)[:2] != urlsplit(req.full_url)[:2]:
            for one in PROOFS:
                followed.remove_header(one)
        return followed


def opened(request: urllib.request.Request) -> Any:
    """The reply, after redirects."""
    return urllib.request.build_opener(_Redirects).open(request, timeout=60)


def bearer(token: str) -> dict[str, str]:
    """The header that shows a token."""
    return {"Authorization": f"Bearer {token}"} if token else {}


def begun(path: Path) -> int:
    """Bytes of it that are here already."""
    part = path.with_name(path.name + ".part")
    return part.stat().st_size if part.exists() else 0


def _download(uri: str, part: Path, headers: Mapping[str, str]) -> None:
    done, mark = part.stat().st_size if part.exists() else 0, part.with_suffix(".etag")
    # the server sends the rest only if the file is still the one we began; without a mark of it, all of it
    version = mark.read_text() if done and mark.exists() else ""
    rest = {"Range": f"bytes={done}-", "If-Range": version} if version else {}
    try:
        reply = opened(urllib.request.Request(uri, headers={**headers, **rest}))
    except urllib.error.HTTPError as problem:
        if problem.code == 416 and version:
            return  # nothing after what we have: it was whole
        raise
    etag = reply.headers.get("ETag") or ""
    if reply.status == 206 and etag not in ("", version):  # it knows ranges, not If-Range
        part.unlink()
        raise ConnectionError("the file is another one by now: from its beginning")
    if etag.startswith('"'):  # a weak one (W/) does not vouch for bytes
        mark.write_text(etag)
    elif reply.status != 206:
        mark.unlink(missing_ok=True)
    with reply, part.open("ab" if reply.status == 206 else "wb") as file:
        promised, got = reply.headers.get("Content-Length"), 0
        room.HERE.make(int(promised or 0), part.parent)
        if not progress.NOW.total and promised is not None:  # nobody listed what is to come
            here = done if reply.status == 206 else 0
            progress.NOW.expect(here + int(promised), here)
        while chunk := reply.read1(CHUNK):
            file.write(chunk)
            progress.NOW.came(len(chunk))
            got += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    if promised is not None and got < int(promised):
        raise ConnectionError(f"cut after {got} of {promised} bytes")


def _check(part: Path, uri: str, sha256: str, says: str) -> None:
    if not sha256:
        return
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256.lower():
        part.unlink()
        part.with_suffix(".etag").unlink(missing_ok=True)
        raise Refused(f"{uri} has sha256:{found}, and {says} says sha256:{sha256}: correct one of the two")
