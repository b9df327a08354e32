"""One HTTP request of ASGI, with its headers by name, and the ways of answering it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from llmops.gateway.errors import BadRequest, Refusal

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

MAX_BODY = 32 * 1024 * 1024
JSON = (b"content-type", b"application/json")
SSE = (b"content-type", b"text/event-stream; charset=utf-8")


class Gone(Exception):
    """The caller hung up: nobody is there to be answered."""


class Request:
    """What came in. `extra` are headers for whatever answer it gets."""

    __slots__ = ("_receive", "_send", "extra", "headers", "method", "path", "started", "status")

    def __init__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send, started: float) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self._receive, self._send = receive, send
        self.started = started
        self.extra: Headers = []
        self.status = 0

    async def json(self) -> dict[str, Any]:
        """The body, which must be a JSON object."""
        try:
            body = orjson.loads(await self._body())
        except orjson.JSONDecodeError as problem:
            raise BadRequest(f"the body is not JSON: {problem}", code="invalid_json") from None
        if not isinstance(body, dict):
            raise BadRequest("the body must be a JSON object", code="invalid_json")
        return body

    async def _body(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise Gone
        body: bytes = message.get("body", b"")
        if not message.get("more_body"):
            return body  # nearly always: uvicorn hands over what arrived in one piece
        parts, size = [body], len(body)
        while message.get("more_body"):
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Gone
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > MAX_BODY:
                raise BadRequest(f"the body is larger than {MAX_BODY >> 20} MiB", code="body_too_large")
        return b"".join(parts)

    async def hung_up(self) -> None:
        """Returns when the caller closes the connection, or has been answered."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def answer(self, status: int, body: bytes, kind: tuple[bytes, bytes] = JSON) -> None:
        """A complete answer."""
        await self.begin(status, kind, length=len(body))
        await self._send({"type": "http.response.body", "body": body})

    async def refuse(self, refusal: Refusal) -> None:
        """An error, in OpenAI's shape."""
        self.extra += refusal.headers()
        await self.answer(refusal.status, refusal.body())

    async def begin(self, status: int, kind: tuple[bytes, bytes], length: int | None = None) -> None:
        """Status and headers."""
        self.status = status
        headers = [kind, *self.extra]
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def chunk(self, data: bytes) -> None:
        """A part of a stream."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        """The end of a stream."""
        await self._send({"type": "http.response.body", "body": b""})
