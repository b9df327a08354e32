"""How to reach one API server, and as whom."""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

TOKEN_KEPT = 60.0  # seconds: the kubelet replaces the file long before the old token expires


class NoCluster(Exception):
    """Neither in a pod nor with a usable kubeconfig; the sentence says what to set."""


Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Login:
    """The credentials of a request."""

    headers: Headers = ()
    expires: float = math.inf  # by time.time()


def bearer(token: str) -> Headers:
    """A token, as it is sent."""
    return (("authorization", f"Bearer {token}"),)


@dataclass
class Connection:
    """Address, trust and credentials; `log_in` gives them where a program has to be asked for them."""

    server: str
    trust: ssl.SSLContext | None
    token: str | None = None
    token_file: Path | None = None
    log_in: Callable[[Login | None], Awaitable[Login]] | None = None
    headers: Headers = ()  # of every request
    proxy: str | None = None
    server_name: str | None = None  # that its certificate has, if not the address's
    whose: str = "this pod's service account"
    _read: tuple[float, str] = field(default=(-TOKEN_KEPT, ""), repr=False)

    async def login(self, refused: Login | None = None) -> Login:
        """For the next request: others than those which the API server `refused`, where there can be others."""
        if self.log_in is not None:
            return await self.log_in(refused)
        token = self._token()
        return Login(bearer(token) if token else ())

    def _token(self) -> str | None:
        """A projected token is read again once a minute, for it rotates."""
        if self.token_file is None:
            return self.token
        at, token = self._read
        if time.monotonic() - at > TOKEN_KEPT:
            token = self.token_file.read_text().strip()
            self._read = (time.monotonic(), token)
        return token
