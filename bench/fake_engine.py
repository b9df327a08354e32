"""An engine that costs next to nothing: canned answers over asyncio's bare protocol, so that what is in front shows.

python -m bench.fake_engine PORT
"""

from __future__ import annotations

import asyncio
import sys

import orjson

USAGE = {"prompt_tokens": 20, "completion_tokens": 8, "total_tokens": 28}
_CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Yes, within thirty days."}, "finish_reason": "stop"}
_WHOLE = orjson.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "shop/support",
        "choices": [_CHOICE],
        "usage": USAGE,
    }
)
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(_WHOLE), _WHOLE)


def _event(choices: list[object], **more: object) -> bytes:
    chunk = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "shop/support",
        "choices": choices,
        **more,
    }
    data = b"data: " + orjson.dumps(chunk) + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
PIECE = _event([{"index": 0, "delta": {"content": " word"}, "finish_reason": None}])
LAST = _event([{"index": 0, "delta": {}, "finish_reason": "stop"}]) + _event([], usage=USAGE)
DONE = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


class Engine(asyncio.Protocol):
    """One connection. A streamed answer has as many pieces as the request's `seed` says, each its own packet."""

    def __init__(self) -> None:
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep whom to answer."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._data) < end + 4 + length:
                return
            body, self._data = self._data[end + 4 : end + 4 + length], self._data[end + 4 + length :]
            self._answer(body)

    def _answer(self, body: bytes) -> None:
        asked = orjson.loads(body) if body else {}
        if not asked.get("stream"):
            self._transport.write(WHOLE)
            return
        self._transport.write(HEAD)
        self._next(int(asked.get("seed") or 1))

    def _next(self, left: int) -> None:
        if left:
            self._transport.write(PIECE)
            asyncio.get_running_loop().call_later(0.001, self._next, left - 1)
        else:
            self._transport.write(LAST + DONE)


async def main(port: int) -> None:
    """Until killed."""
    server = await asyncio.get_running_loop().create_server(Engine, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
