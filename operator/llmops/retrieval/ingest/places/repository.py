"""Files in a git repository, at the commit that a branch, tag or HEAD names now (dulwich, over https or ssh)."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from llmops.retrieval.ingest.places.listing import File, Listing, wanted
from llmops.retrieval.ingest.places.mounted import read, walk
from llmops.retrieval.work import SourceWork
from llmops.web import Passing, Wrong

if TYPE_CHECKING:
    from dulwich.client import GitClient

NO_SUCH = re.compile("not (be )?found|does not (appear|exist)|denied|not allowed|no permission", re.IGNORECASE)


def look(source: SourceWork, _: Path, secret: Path) -> Listing:
    """One small question for the commit; its files come (that commit alone) if they have to be read."""
    commit = _commit(source, secret)
    return Listing(commit, partial(_files, source, secret, commit))


def _commit(source: SourceWork, secret: Path) -> str:
    if len(source.ref) == 40 and all(one in "0123456789abcdef" for one in source.ref):
        return source.ref
    with _client(source, secret) as (client, path):
        refs = _asked(source, lambda: client.get_refs(path.encode())).refs
    for name in (source.ref, f"refs/heads/{source.ref}", f"refs/tags/{source.ref}"):
        found = refs.get(name.encode())
        if found:
            return str(found.decode())
    raise Wrong(f"source {source.name}: {source.address} has no branch or tag {source.ref!r}: correct git.ref")


def _files(source: SourceWork, secret: Path, commit: str) -> list[File]:
    folder = Path(tempfile.mkdtemp(prefix="git-"))
    branch = None if source.ref == "HEAD" or source.ref == commit else source.ref
    depth = 1 if source.ref != commit else None
    with _client(source, secret) as (client, path):
        repo = _asked(source, lambda: client.clone(
            path, str(folder), mkdir=False, branch=branch, depth=depth, progress=lambda _: None,
            origin_url=source.address,
        ))  # fmt: skip
    if repo.head().decode() != commit:
        _check_out(source, repo, commit)
    repo.close()
    root = (folder / source.path.strip("/")).resolve()
    if not root.is_relative_to(folder.resolve()) or not root.exists():
        raise Wrong(
            f"source {source.name}: {source.path} is not in {source.address} at {commit[:12]}: correct git.path"
        )
    paths = [root] if root.is_file() else [one for one in walk(root, []) if ".git" not in one.parts]
    names = {one: one.relative_to(root).as_posix() if one != root else one.name for one in paths}
    return [
        File(name, partial(read, path, folder))
        for path, name in names.items()
        if path == root or wanted(name, source.include, source.format)
    ]


def _check_out(source: SourceWork, repo: Any, commit: str) -> None:
    from dulwich.porcelain import reset

    try:
        reset(repo, "hard", commit)
    except KeyError:
        if source.ref != commit:  # somebody pushed between the two questions
            raise Passing(f"source {source.name}: {source.ref} moved while it was read") from None
        raise Wrong(f"source {source.name}: no commit {commit} in {source.address}: correct git.ref") from None


@contextmanager
def _client(source: SourceWork, secret: Path) -> Iterator[tuple[GitClient, str]]:
    """Who asks, and for what path."""
    from dulwich.client import SSHGitClient, get_transport_and_path_from_url
    from dulwich.config import StackedConfig

    if not source.address.startswith("ssh://"):
        yield get_transport_and_path_from_url(source.address, config=StackedConfig.default(), **_user(secret))
        return
    from llmops.retrieval.ingest.places import ssh

    caller = ssh.Caller(ssh.login(source, secret))
    try:
        address = urlparse(source.address)
        yield SSHGitClient.from_parsedurl(address, vendor=caller), address.path
    finally:
        caller.close()


def _user(secret: Path) -> dict[str, Any]:
    given = {name: secret / name for name in ("username", "password")}
    return {name: path.read_text().strip() for name, path in given.items() if path.is_file()}


def _asked(source: SourceWork, ask: Any) -> Any:
    from dulwich.client import HTTPUnauthorized
    from dulwich.errors import GitProtocolError, NotGitRepository

    where = f"source {source.name}: {source.address}"
    try:
        return ask()
    except HTTPUnauthorized:
        raise Wrong(f"{where} wants to know who asks: name a Secret with username and password (for hosted git a token "
                    "is the password) as git.credentialsSecretRef") from None  # fmt: skip
    except NotGitRepository:
        raise Wrong(f"{where} is no git repository: correct git.url") from None
    except (GitProtocolError, OSError) as problem:
        if isinstance(problem, GitProtocolError) and NO_SUCH.search(str(problem)):
            raise Wrong(f"{where}: {problem}: correct git.url, or let who asks read it") from None
        raise Passing(f"{where}: {str(problem) or type(problem).__name__}") from problem
    except Exception as problem:
        if type(problem).__module__.startswith(("urllib3", "asyncssh")):
            raise Passing(f"{where}: {problem}") from problem
        raise
