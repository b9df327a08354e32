"""hf://org/name, or one file of it: over the model hub's HTTP API, or a mirror's that speaks it.

    GET <hub>/api/models/<org>/<name>/revision/<revision>?blobs=true
        {"sha": <commit>, "siblings": [{"rfilename": …, "size": bytes, "lfs": {"sha256": …}}, …]}
    GET <hub>/<org>/<name>/resolve/<commit>/<file>      the bytes, mostly by way of another host

Source: https://huggingface.co/docs/hub/api. A branch may move while its files come, or before a second try: the commit
is looked up once and written down beside them.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from llmops.serving import transfer
from llmops.serving.files import File, check_room, inside, worth_it
from llmops.serving.refused import Refused

SCHEME = "hf://"
BRANCH = "main"


def fetch_model(uri: str, path: Path, hub: str, revision: str = "", sha256: str = "", token: str = "") -> str:
    """Makes `path` the repository's folder, or its one file; returns what was done, in words."""
    org, name, *rest = uri.removeprefix(SCHEME).rstrip("/").split("/")
    repository, one = f"{org}/{name}", "/".join(rest)
    pin = path.parent / ".commit"
    wanted = pin.read_text() if pin.exists() else revision or BRANCH
    commit, files = listing(repository, wanted, hub, token)

    def show(_: str) -> dict[str, str]:
        return transfer.bearer(token)

    path.parent.mkdir(parents=True, exist_ok=True)
    pin.write_text(commit)
    chosen = [_one(files, one, repository)] if one else worth_it(files)
    places = {each: path if one else path / each.name for each in chosen}
    check_room(places, path.parent)
    for each, place in places.items():
        where = f"{hub}/{repository}/resolve/{commit}/{quote(each.name)}"
        if sha256:
            transfer.fetch(where, place, sha256, show)
        else:
            transfer.fetch(where, place, each.sha256, show, says="the hub")
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


def _file(told: dict[str, Any]) -> File:
    lfs = told.get("lfs") or {}
    return File(
        inside(str(told["rfilename"])), int(lfs.get("size") or told.get("size") or 0), str(lfs.get("sha256") or "")
    )


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
