"""A host with git repositories behind ssh (asyncssh): the real protocol, on loopback, or in a pod as a script.

python -c THIS NAME TEXT     serves a repository /docs.git with that one file; CLIENT and HOST_KEY are its keys
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

PORT = 2222


@dataclass
class Host:
    """Lets `clients` in, and runs git-upload-pack for what is in `repositories`; `asked` is what it was asked."""

    repositories: dict[str, Path]
    clients: list[asyncssh.SSHKey]
    key: asyncssh.SSHKey = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    at: tuple[str, int] = ("127.0.0.1", 0)
    port: int = 0

    def __post_init__(self) -> None:
        self._serving: list[Any] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._listener: Any = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        self.port = self._listener.get_port()

    def known_hosts(self, key: asyncssh.SSHKey | None = None) -> str:
        """As ssh-keyscan prints it."""
        return known("127.0.0.1", self.port, key or self.key)

    async def _listen(self) -> Any:
        keys = "".join(one.export_public_key().decode() for one in self.clients)
        return await asyncssh.listen(
            *self.at, server_host_keys=[self.key], process_factory=self._serve, encoding=None,
            authorized_client_keys=asyncssh.import_authorized_keys(keys),
        )  # fmt: skip

    async def _serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        self._serving.append(asyncio.current_task())
        self.asked.append((process.get_extra_info("username"), process.command))
        command, path = shlex.split(process.command or "")
        where = self.repositories.get(path)
        if command != "git-upload-pack" or where is None:
            process.stderr.write(f"fatal: '{path}' does not appear to be a git repository\n".encode())
            process.exit(128)
            return
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "dulwich", "upload-pack", str(where), stdin=pipe, stdout=pipe
        )
        asking = asyncio.create_task(_pump(process.stdin, child.stdin))
        await _pump(child.stdout, process.stdout)
        await asking
        process.exit(await child.wait())

    def close(self) -> None:
        if not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()

    async def _end(self) -> None:
        self._listener.close()
        await self._listener.wait_closed()
        await asyncio.gather(*self._serving, return_exceptions=True)


async def _pump(source: Any, sink: Any) -> None:
    with suppress(ConnectionError, asyncssh.Error):  # who asked has what it wanted
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    sink.close()


def known(host: str, port: int, key: asyncssh.SSHKey) -> str:
    """A line of known_hosts."""
    return f"[{host}]:{port} {key.export_public_key().decode()}"


def _serve_one(name: str, text: str) -> None:
    from dulwich.repo import Repo

    made, who = Repo.init("/tmp/docs", mkdir=True), b"Larch <larch@example.org>"
    Path(made.path, name).write_text(text)
    made.get_worktree().stage([name])
    made.get_worktree().commit(message=b"one", committer=who, author=who)
    client, key = asyncssh.import_public_key(os.environ["CLIENT"]), asyncssh.import_private_key(os.environ["HOST_KEY"])
    Host({"/docs.git": Path("/tmp/docs")}, [client], key, at=("0.0.0.0", PORT))
    threading.Event().wait()


if __name__ == "__main__":
    _serve_one(*sys.argv[1:])
