"""oci://host/repository[:tag][#file]: a model in a container registry, over its HTTP API; without a container runtime.

    GET <host>/v2/<repository>/manifests/<tag or digest>        which files (of an index: which platform's)
    GET <host>/v2/<repository>/blobs/<digest>                   one of them
    401 with WWW-Authenticate: Bearer realm=…                   ask there for a token, then again

An artifact (ORAS, ModelPack, KitOps) has a blob for each file, whose name is an annotation; an image has archives of
files, unpacked one over the other. Sources: https://github.com/opencontainers/distribution-spec,
https://distribution.github.io/distribution/spec/auth/token/.
"""

from __future__ import annotations

import base64
import json
import math
import os
import platform
import re
import shutil
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlencode, urlsplit

from llmops.serving import transfer
from llmops.serving.files import File, check_room, inside
from llmops.serving.refused import Refused

Object = dict[str, Any]
SCHEME = "oci://"
TITLE = "org.opencontainers.image.title"
LATEST = "latest"
HUB = {"docker.io": "registry-1.docker.io"}
MANIFESTS = (
    "application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json", "application/vnd.docker.distribution.manifest.v2+json",
)  # fmt: skip
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
WHITEOUT = ".wh."
FRESH_SECONDS = 50.0


@dataclass
class Repository:
    """Where it is; `basic` proves who asks, `token` is what was given for that, by who the `challenge` names."""

    host: str
    name: str
    base: str
    basic: str = ""
    challenge: str = ""
    token: str = field(default="", repr=False)
    given: float = -math.inf

    def headers(self, _: str) -> Mapping[str, str]:
        """Of a request for one of its things. Tokens live a minute at least, and a file may take an hour."""
        if self.challenge and time.monotonic() - self.given > FRESH_SECONDS:
            self.token, self.given = _token(self), time.monotonic()
        proof = transfer.bearer(self.token) or ({"Authorization": f"Basic {self.basic}"} if self.basic else {})
        return {"Accept": ", ".join(MANIFESTS), **proof}

    def address(self, kind: str, which: str) -> str:
        """Of a manifest or a blob."""
        return f"{self.base}/v2/{self.name}/{kind}/{which}"


def fetch_model(uri: str, path: Path, mirror: str, revision: str = "", logins: str = "") -> str:
    """Makes `path` the folder of its files, or the one after #; returns what was done, in words.

    `revision` is a tag or sha256:<digest> of the manifest, in place of the tag in `uri`; `logins` a .dockerconfigjson.
    """
    if path.exists():
        return f"{path.name} is there already"
    whole, _, one = uri.partition("#")
    place, tag = _reference(whole, mirror, logins)
    manifest = _manifest(place, revision or tag, whole)
    folder = path.with_name(path.name + ".files")
    layers = [_layer(layer) for layer in manifest.get("layers") or []]
    wanted = [each for each in layers if not one or not each.title or each.title == one]
    if one and not wanted:
        raise Refused(_without(whole, one, [each.title for each in layers]))
    blobs = {File(each.digest, each.size): folder / each.place for each in wanted}
    folder.mkdir(parents=True, exist_ok=True)
    check_room(blobs, folder)
    for each in wanted:
        sha256 = each.digest.removeprefix("sha256:")
        transfer.fetch(place.address("blobs", each.digest), folder / each.place, sha256, place.headers, "the registry")
        if not each.title:
            _unpack(folder / each.place, folder)
    _finish(folder, path, one, whole)
    return f"{place.host}/{place.name} at {revision or tag}: {sum(each.size for each in wanted) / 2**20:.1f} MiB"


@dataclass(frozen=True)
class _Layer:
    digest: str
    size: int
    title: str  # the file's name; empty: an archive of files

    @property
    def place(self) -> str:
        return self.title or f".{self.digest.removeprefix('sha256:')}.layer"


def _layer(told: Object) -> _Layer:
    title = str((told.get("annotations") or {}).get(TITLE, ""))
    archive = "tar" in str(told.get("mediaType"))
    if "zstd" in str(told.get("mediaType")):
        raise Refused("a layer is compressed with zstd, which the download cannot read: push the image with gzip")
    return _Layer(
        str(told["digest"]), int(told.get("size") or 0), "" if archive else inside(title or told["digest"][7:])
    )


def _reference(uri: str, mirror: str, logins: str) -> tuple[Repository, str]:
    host, _, rest = uri.removeprefix(SCHEME).partition("/")
    name, _, tag = rest.partition("@") if "@" in rest else rest.partition(":")
    if host == "docker.io" and "/" not in name:
        name = f"library/{name}"
    base = mirror.format(host=HUB.get(host, host)).rstrip("/")
    return Repository(host, name, base, _basic(host, logins)), tag or LATEST


def _basic(host: str, logins: str) -> str:
    """What a pull Secret has for this host."""
    known = (json.loads(logins).get("auths") or {}) if logins else {}
    for name, login in known.items():
        if (urlsplit(name).netloc or name.split("/")[0]) in (host, "index.docker.io" if host == "docker.io" else host):
            given = f"{login.get('username', '')}:{login.get('password', '')}"
            return str(login.get("auth") or base64.b64encode(given.encode()).decode())
    return ""


def _manifest(place: Repository, reference: str, uri: str) -> Object:
    found = _asked(place, reference)
    if "manifests" not in found:
        return found
    mine = ARCHITECTURES.get(platform.machine(), platform.machine())
    listed = [one for one in found["manifests"] if (one.get("platform") or {}).get("architecture") in (mine, None)]
    if not listed:
        raise Refused(f"{uri} has nothing for {mine}: push it for this architecture")
    return _asked(place, str(listed[0]["digest"]))


def _asked(place: Repository, reference: str) -> Object:
    """The manifest; once again with a token, if the registry wants one."""
    address = place.address("manifests", reference)
    for _ in range(2):
        try:
            with transfer.opened(urllib.request.Request(address, headers=dict(place.headers(address)))) as reply:
                found: Object = json.load(reply)
                return found
        except urllib.error.HTTPError as problem:
            challenge = problem.headers.get("WWW-Authenticate") or ""
            if problem.code == 401 and challenge.lower().startswith("bearer") and not place.challenge:
                place.challenge = challenge
                continue
            raise Refused(_refusal(place, reference, problem.code)) if problem.code < 500 else problem from problem
    raise AssertionError("a registry was asked a third time")


def _token(place: Repository) -> str:
    told = dict(re.findall(r'(\w+)="([^"]*)"', place.challenge))
    asked = {"service": told.get("service", ""), "scope": told.get("scope", f"repository:{place.name}:pull")}
    basic = {"Authorization": f"Basic {place.basic}"} if place.basic else {}
    try:
        with transfer.opened(urllib.request.Request(f"{told['realm']}?{urlencode(asked)}", headers=basic)) as reply:
            given = json.load(reply)
    except urllib.error.HTTPError as problem:
        raise Refused(_refusal(place, told["realm"], problem.code)) if problem.code < 500 else problem from problem
    return str(given.get("token") or given.get("access_token") or "")


def _refusal(place: Repository, reference: str, code: int) -> str:
    told = f"{place.host} answers {code} for {place.name} at {reference}: "
    if code == 404:
        return told + "correct spec.model.uri or its revision"
    if place.basic:
        return told + f"the login for {place.host} in spec.model.credentialsSecretRef may not pull it"
    return told + (
        "it does not exist, or is private: name a pull Secret (kubernetes.io/dockerconfigjson) as "
        "spec.model.credentialsSecretRef"
    )


def _unpack(archive: Path, folder: Path) -> None:
    """Its regular files, over those of the layers before; links and devices are of no use to an engine."""
    with tarfile.open(archive) as tar:
        for one in tar:
            name = PurePosixPath(inside(one.name.lstrip("./") or "."))
            if name.name.startswith(WHITEOUT):
                (folder / name.with_name(name.name.removeprefix(WHITEOUT))).unlink(missing_ok=True)
            elif one.isfile() and (content := tar.extractfile(one)) is not None:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                with (folder / name).open("wb") as file:
                    shutil.copyfileobj(content, file)
    archive.unlink()


def _finish(folder: Path, path: Path, one: str, uri: str) -> None:
    if not one:
        os.replace(folder, path)
        return
    if not (folder / inside(one)).is_file():
        has = [str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()]
        raise Refused(_without(uri, one, has))
    os.replace(folder / one, path)
    shutil.rmtree(folder)


def _without(uri: str, one: str, has: list[str]) -> str:
    return f"{uri} has no file {one}; it has {', '.join(sorted(has)[:10])}: write one of these after the #"
