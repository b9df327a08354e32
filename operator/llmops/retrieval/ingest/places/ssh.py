"""Git over ssh, as dulwich asks for it: a command on the other side, its answer read as bytes (asyncssh).

OpenSSH's own client ends where its user has no passwd entry, as in a pod, and reads whatever lies in ~/.ssh; this reads
the Secret's ssh-privatekey and known_hosts and nothing else. A host that known_hosts does not vouch for is not asked:
there is no way to leave that out.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from dulwich.client import SSHVendor

from llmops.retrieval.work import SourceWork
from llmops.web import Passing, Wrong

if TYPE_CHECKING:
    import asyncssh

PATIENCE = 120.0  # seconds for one answer
GREETING = 30.0  # to be let in
USER, PORT = "git", 22
KEY, HOSTS = "ssh-privatekey", "known_hosts"
# the kinds that are known before all others: a host that has none of them must still show its key to be told apart from
# one that hangs up
SHOWN = "+ssh-*,ecdsa-*,rsa-*"
T = TypeVar("T")


@dataclass(frozen=True)
class Login:
    """Whom to ask, as whom, and how to know that it is the one."""

    where: str  # for sentences
    host: str
    port: int
    user: str
    key: asyncssh.SSHKey
    known_hosts: asyncssh.SSHKnownHosts

    @property
    def scanned(self) -> str:
        """What to write."""
        port = f"-p {self.port} " if self.port != PORT else ""
        return (f"what `ssh-keyscan {port}{self.host}` prints there, once you have compared it with what {self.host} "
                "publishes")  # fmt: skip


def login(source: SourceWork, secret: Path) -> Login:
    """From a source's address and Secret; what is missing is said."""
    address, where = urlsplit(source.address), f"source {source.name}: {source.address}"
    try:
        host, port, user = address.hostname or "", address.port or PORT, address.username or USER
    except ValueError:
        told = f"{where} has no port after the colon: where git takes git@host:path, write ssh://git@host/path"
        raise Wrong(told) from None
    if not source.secret:
        raise Wrong(f"{where} needs a Secret with {KEY} and {HOSTS}: name it as git.credentialsSecretRef")
    if not (key := _text(secret / KEY)):
        raise Wrong(f"{where}: there is no {KEY} in Secret {source.secret}, or no such Secret: write a key into it "
                    "that may read the repository")  # fmt: skip
    made = Login(where, host, port, user, _key(key, f"{where}: {KEY} in Secret {source.secret}"), _hosts(secret, where))
    if not _text(secret / HOSTS):
        raise Wrong(f"{where}: there is no {HOSTS} in Secret {source.secret}, so anybody could answer as {host}: write "
                    f"{made.scanned}")  # fmt: skip
    return made


def _text(path: Path) -> str:
    return path.read_text().strip() if path.is_file() else ""


def _key(text: str, what: str) -> asyncssh.SSHKey:
    import asyncssh

    try:
        return asyncssh.import_private_key(text + "\n")
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as problem:
        if isinstance(problem, asyncssh.KeyEncryptionError) or "assphrase" in str(problem):
            raise Wrong(f"{what} has a passphrase, which nobody can type here: write a key without one") from None
        raise Wrong(f"{what} cannot be read ({problem}): write the whole private key, from BEGIN to END") from None


def _hosts(secret: Path, where: str) -> asyncssh.SSHKnownHosts:
    import asyncssh

    try:
        # never its text: an empty one would have asyncssh look into ~/.ssh, and None would let any host in
        return asyncssh.import_known_hosts(_text(secret / HOSTS))
    except ValueError as problem:
        raise Wrong(f"{where}: {problem}: write {HOSTS} as ssh-keyscan prints it, a host a line") from None


class Caller(SSHVendor):
    """dulwich's way to run a command; close it when all is read."""

    def __init__(self, login: Login) -> None:
        self._login, self._loop = login, asyncio.new_event_loop()
        self._connection: asyncssh.SSHClientConnection | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="ssh", daemon=True)
        self._thread.start()

    def run_command(self, host: str, command: bytes, *_: Any, **more: Any) -> Any:
        """dulwich names host, port and user again; where to and as whom stands in the login."""
        version = more.get("protocol_version")
        return Running(self, self.wait(self._run(command.decode(), 2 if version is None else version)))

    async def _run(self, command: str, version: int) -> asyncssh.SSHClientProcess[bytes]:
        if self._connection is None:
            self._connection = await _connected(self._login)
        asked = {"GIT_PROTOCOL": f"version={version}"} if version else {}
        return await self._connection.create_process(command, env=asked, encoding=None)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Until it is done, on this thread."""
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, PATIENCE), self._loop).result()

    def soon(self, call: Callable[[], object]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call)

    def close(self) -> None:
        """Nobody waits for the other side to agree."""
        self.wait(self._end())
        self.soon(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        if self._connection is not None:
            self._connection.abort()
            await self._connection.wait_closed()


class Running:
    """A command, as dulwich reads and writes it."""

    def __init__(self, caller: Caller, process: asyncssh.SSHClientProcess[bytes]) -> None:
        self._caller, self._process, self.stderr = caller, process, self

    def read(self, size: int) -> bytes:
        """So many bytes, or fewer at the end."""
        return self._caller.wait(self._read(size))

    async def _read(self, size: int) -> bytes:
        try:
            return await self._process.stdout.readexactly(size)
        except asyncio.IncompleteReadError as end:
            return end.partial

    def write(self, data: bytes) -> None:
        self._caller.wait(self._write(data))

    async def _write(self, data: bytes) -> None:
        self._process.stdin.write(data)
        await self._process.stdin.drain()

    def can_read(self) -> bool:
        """Asked between what we have and the other side has not: a fresh clone has nothing."""
        return False

    def readlines(self) -> list[bytes]:
        """What it said beside its answer, at its end."""
        return self._caller.wait(self._process.stderr.read()).splitlines()

    def close(self) -> None:
        """dulwich may forget to, and ask for it when all is closed."""
        self._caller.soon(self._process.close)


async def _connected(login: Login) -> asyncssh.SSHClientConnection:
    import asyncssh

    # asyncssh asks who we are to read nobody's configuration, and a pod's user has no name
    os.environ.setdefault("LOGNAME", login.user)
    try:
        return await asyncssh.connect(
            login.host, login.port, username=login.user, client_keys=[login.key], preferred_auth="publickey",
            known_hosts=login.known_hosts, server_host_key_algs=SHOWN, config=None, agent_path=None,
            x509_trusted_certs=None, connect_timeout=GREETING, login_timeout=GREETING, keepalive_interval=GREETING,
        )  # fmt: skip
    except asyncssh.PermissionDenied:
        raise Wrong(
            f"{login.where} does not let {login.user} in with the key {login.key.get_fingerprint()}: let it read the "
            f"repository (a deploy key), or correct {KEY}"
        ) from None
    except asyncssh.Error as problem:
        if isinstance(problem, asyncssh.HostKeyNotVerifiable):
            raise _not_known(login, problem) from None
        raise Passing(f"{login.where}: {problem}") from None


def _not_known(login: Login, problem: Exception) -> Wrong:
    keys = login.known_hosts.match(login.host, "", login.port if login.port != PORT else None)
    if any(keys):
        return Wrong(f"{login.where} shows another key than {HOSTS} has for it ({problem}): somebody may stand in "
                     f"between; if {login.host} has a new key, write {login.scanned}")  # fmt: skip
    return Wrong(f"{login.where}: {HOSTS} has no key of {login.host}: write {login.scanned}")
