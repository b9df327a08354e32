"""Requests over a few kept connections, written and read as bytes: the load costs less than what it measures."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson


def post(path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> bytes:
    """One request, as it goes over the wire."""
    data = orjson.dumps(body)
    every = {"host": "127.0.0.1", "content-type": "application/json", "content-length": len(data), **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in every.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


async def send(port: int, request: bytes, times: int, connections: int) -> None:
    """`times` in all; the first answer that is not a 200 ends it with its text."""
    share, left = divmod(times, connections)
    await asyncio.gather(*(_connection(port, request, share + (n < left)) for n in range(connections)))


async def _connection(port: int, request: bytes, times: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    for _ in range(times):
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if b"transfer-encoding: chunked" in head:
            body = await reader.readuntil(b"\r\n0\r\n\r\n")
        else:
            body = await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(f"{head[:80]!r} {body[:300]!r}")
    writer.close()
