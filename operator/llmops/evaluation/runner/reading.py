"""A source's bytes: from the mounted claim, the web, a bucket, Label Studio, or the gateways.

With spec.keep the last copy is on the volume with the tag (ETag) that its server gave it: then only what changed comes
again. A weak tag (W/) does not vouch for bytes, and is not kept.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from llmops.evaluation.run import TOKEN_FILE
from llmops.evaluation.runner import labels, traffic
from llmops.evaluation.source import TOKEN, Source
from llmops.s3 import Keys, Store, right_region, tag
from llmops.web import Limits, Passing, Reply, Wrong, get

TRIES = 3
PAUSE = 2.0  # seconds before the second try, doubled for the third
PASSING = frozenset({408, 425, 429})


@dataclass(frozen=True)
class Kept:
    """The copy of an earlier look; `folder` None keeps none."""

    folder: Path | None = None

    def tag(self, source: Source) -> str:
        """Of the copy, if it is one of this source."""
        try:
            mark = json.loads((self._folder / "mark.json").read_text())
        except (OSError, ValueError):
            return ""
        return str(mark["etag"]) if mark.get("source") == asdict(source) and self._copy.is_file() else ""

    def read(self) -> bytes:
        """The copy."""
        return self._copy.read_bytes()

    def keep(self, source: Source, data: bytes, etag: str) -> None:
        """Instead of the one before. The mark goes first and comes last: it never speaks of other bytes."""
        if self.folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        mark = self._folder / "mark.json"
        mark.unlink(missing_ok=True)
        if etag.startswith('"'):
            self._copy.write_bytes(data)
            mark.write_text(json.dumps({"source": asdict(source), "etag": etag}))

    @property
    def _folder(self) -> Path:
        return self.folder or Path("/nonexistent")

    @property
    def _copy(self) -> Path:
        return self._folder / "data"


def read(
    source: Source,
    mount: Path,
    kept: Kept,
    limits: Limits | None = None,
    environ: Mapping[str, str] = os.environ,
    sleep: Callable[[float], None] = time.sleep,
) -> bytes:
    """Wrong where a person must act; Passing when it did not work out in several tries."""
    limits = limits or Limits()
    if source.kind == "pvc":
        return _file(source, mount, limits)
    for attempt in range(1, TRIES + 1):
        try:
            reply = READERS[source.kind](source, kept.tag(source), limits, environ)
            return _content(source, reply, kept)
        except Passing as problem:
            if attempt == TRIES:
                raise
            print(f"{problem}; again", file=sys.stderr)
            sleep(PAUSE * 2 ** (attempt - 1))
    raise AssertionError("the last try returns or raises")


def _file(source: Source, mount: Path, limits: Limits) -> bytes:
    path = (mount / source.address.lstrip("/")).resolve()
    if not path.is_relative_to(mount.resolve()):
        raise Wrong(f"{source.told} is a link out of the volume: name the file itself in spec.dataset.pvc.path")
    try:
        if not path.is_file():
            what = "is no file" if path.exists() else "does not exist"
            raise Wrong(f"{source.told} {what}: correct spec.dataset.pvc.path")
        if path.stat().st_size > limits.bytes:
            raise Wrong(f"{source.told} has more than the {limits.bytes / 2**20:g} MiB that a dataset may have")
        return path.read_bytes()
    except PermissionError:
        raise Wrong(f"{source.told} may not be read by user 65532, as whom the run reads: chmod a+r it") from None


def _web(source: Source, etag: str, limits: Limits, _: Mapping[str, str]) -> Reply:
    return get(source.address, {"If-None-Match": etag} if etag else {}, limits)


def _object(source: Source, etag: str, limits: Limits, environ: Mapping[str, str]) -> Reply:
    """A signature holds for one host, so nothing is redirected; a store that minds the region is asked once more."""
    where = urlsplit(source.address)
    key = source.address.removeprefix(f"s3://{where.netloc}/")
    store = Store(source.endpoint, where.netloc, Keys.of(environ))
    for _ in range(3):
        address = store.address(key, **({"versionId": source.version} if source.version else {}))
        condition = {"If-None-Match": etag} if etag else {}
        reply = get(address, {**store.headers(address), **condition}, limits, follow=False)
        header = reply.headers.get("x-amz-bucket-region")
        region = right_region(reply.status, reply.body.decode(errors="replace"), header, store.region)
        if region is None:
            break
        store = replace(store, region=region)
    return reply


def _labels(source: Source, _: str, limits: Limits, environ: Mapping[str, str]) -> Reply:
    """A personal access token is a JSON Web Token, and buys one that is good for minutes; a legacy one is good itself.
    Neither is sent to where a redirect leads."""
    token, scheme = environ.get(TOKEN, "").strip(), "Token"
    if token.count(".") == 2:
        scheme, asked = "Bearer", json.dumps({"refresh": token}).encode()
        json_ = {"Content-Type": "application/json"}
        reply = get(f"{source.endpoint}/api/token/refresh", json_, limits, follow=False, posted=asked)
        if reply.status != 200:
            return reply
        token = str(json.loads(reply.body)["access"])
    address = f"{source.endpoint}/api/projects/{source.address}/export?exportType=JSON_MIN"
    return get(address, {"Authorization": f"{scheme} {token}"}, limits, follow=False)


def _traffic(source: Source, _: str, limits: Limits, __: Mapping[str, str]) -> Reply:
    return traffic.read(source, TOKEN_FILE, limits)


READERS = {"http": _web, "s3": _object, "labelStudio": _labels, "traffic": _traffic}


def _content(source: Source, reply: Reply, kept: Kept) -> bytes:
    if reply.status == 304:
        return kept.read()
    if reply.status == 200 and source.kind == "labelStudio":
        return _labelled(source, reply.body)
    if reply.status == 200 and source.kind == "traffic":
        return reply.body  # other rows every time: nothing to keep
    if reply.status == 200:
        kept.keep(source, reply.body, reply.headers.get("ETag") or "")
        return reply.body
    says = tag(reply.body[:10_000].decode(errors="replace"), "Code") if source.kind == "s3" else ""
    said = f"{source.told} answers {reply.status} {says or reply.reason}"
    if reply.status in PASSING or reply.status >= 500:
        raise Passing(said)
    raise Wrong(f"{said}: {_help(source, reply.status)}")


def _labelled(source: Source, body: bytes) -> bytes:
    try:
        return labels.rows(body)
    except ValueError as problem:
        raise Wrong(f"{source.told}: what it exported cannot be read ({problem})") from None


def _help(source: Source, status: int) -> str:
    if source.kind == "labelStudio":
        if status == 404:
            return "correct spec.dataset.labelStudio.url and project"
        return f"{TOKEN} in Secret {source.secret} must be a token of somebody who may see the project"
    if source.kind == "traffic":
        return "the gateways must be of this operator's version: upgrade the chart as a whole"
    if source.kind == "http":
        return "correct spec.dataset.http.url; it is read without any credential"
    if status == 404:
        return "correct spec.dataset.s3.uri"
    if not source.secret:
        return (
            "it is not public: put AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY into a Secret, and name that as "
            "spec.dataset.s3.credentialsSecretRef"
        )
    return f"the key in Secret {source.secret} must be right, and may read the object"
