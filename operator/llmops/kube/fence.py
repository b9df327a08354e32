"""Sockets that send nothing once this process may not write any more.

A deadline on a call is not enough. Between its check and the system call lie some 0.3 ms of building the request, and
a process stopped just there (SIGSTOP, a paused machine) sends its write when it wakes, minutes later: one of the first
three pauses in tests/e2e/test_leadership.py did. Asked again where the bytes leave, none of the next ten did. Only
asyncio's own event loop asks: uvloop writes past the socket object, so the operator must not run on it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Any

import aiohttp


class _Fenced(socket.socket):
    may_send: Callable[[], bool]

    def send(self, data: Any, flags: int = 0, /) -> int:
        self._check()
        return super().send(data, flags)

    def sendmsg(self, buffers: Iterable[Any], /, *rest: Any) -> int:  # what asyncio uses since Python 3.12
        self._check()
        return super().sendmsg(buffers, *rest)

    def _check(self) -> None:
        if not self.may_send():
            raise ConnectionAbortedError("not sent: this process may not write without the lease")


def factory(may_send: Callable[[], bool]) -> Callable[[aiohttp.AddrInfoType], socket.socket]:
    """For aiohttp's TCPConnector."""

    def build(address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, *_ = address
        made = _Fenced(family, kind, protocol)
        made.may_send = may_send
        return made

    return build
