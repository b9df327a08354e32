"""A host with git repositories behind ssh (asyncssh): the real protocol, on loopback."""

from __future__ import annotations

import asyncio
import shlex
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh


@dataclass
class Host:
    """Lets `clients` in, and runs git-upload-pack for what is in `repositories`; `asked` is what it was asked."""

    repositories: dict[str, Path]
    clients: list[asyncssh.SSHKey]
    key: asyncssh.SSHKey = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))
    asked: list[tuple[str, str | None]] = field(default_factory=list)
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
        return f"[127.0.0.1]:{self.port} {(key or self.key).export_public_key().decode()}"

    async def _listen(self) -> Any:
        keys = "".join(one.export_public_key().decode() for one in self.clients)
        return await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[self.key], process_factory=self._serve, encoding=None,
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
