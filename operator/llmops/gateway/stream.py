"""Server-sent events on their way through: whole events only, the id ours, tokens counted, citations added.

The engine is always asked for usage, since metering needs it; the chunk with it is taken out again when the caller did
not ask. What needs no change is passed as the bytes it came in: 2 us a chunk here, most of the rest is the two sockets.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from llmops.gateway.errors import Refusal
from llmops.gateway.form import Heard

DONE = b"data: [DONE]\n\n"
_ID = re.compile(rb'"id":\s*("(?:[^"\\]|\\.)*")')
_USAGE = re.compile(rb'"usage":\s*\{')


class Events:
    """One stream. After it, `done` says whether it came to its end, and `tokens_in`, `tokens_out` what it took.

    With `heard` the whole text is judged before its end is passed on: if it is wrong, `refusal` is passed on instead.
    """

    def __init__(
        self, our_id: str | None, usage_wanted: bool, extra: dict[str, Any] | None, heard: Heard | None = None
    ) -> None:
        self._heard = heard
        self.refusal: Refusal | None = None
        self._our_id = orjson.dumps(our_id) if our_id else None
        self._usage_wanted, self._extra = usage_wanted, extra
        self._their_id: bytes | None = None
        self._rest = b""
        self.done = False
        self.tokens_in = self.tokens_out = 0
        self._chunks = 0

    def feed(self, data: bytes) -> bytes:
        """What can be passed on now."""
        data = self._rest + data if self._rest else data
        cut = data.rfind(b"\n\n") + 2
        if cut < 2:
            self._rest = data
            return b""
        self._rest, data = data[cut:], data[:cut]
        self._chunks += data.count(b"\ndata:") + 1
        if _USAGE.search(data) or b"[DONE]" in data or b'"error"' in data or self._heard is not None:
            data = b"".join(self._event(one) for one in data.split(b"\n\n") if one)
        return self._renamed(data) if self._our_id else data

    def count(self) -> None:
        """Where the engine gave no usage, a chunk is counted as a token."""
        if not self.tokens_out:
            self.tokens_out = max(0, self._chunks - 1)

    def _renamed(self, data: bytes) -> bytes:
        if self._their_id is None:
            match = _ID.search(data)
            if match is None:
                return data
            self._their_id = match.group(1)
        return data.replace(self._their_id, self._our_id)  # type: ignore[arg-type]

    def _event(self, event: bytes) -> bytes:
        whole = event + b"\n\n"
        if not event.startswith(b"data:"):
            return whole
        payload = event[5:].strip()
        if payload == b"[DONE]":
            self.done = True
            self.refusal = self._heard.refusal() if self._heard is not None else None
            return self._last() + DONE if self.refusal is None else error_event(self.refusal.body())
        try:
            chunk = orjson.loads(payload)
        except orjson.JSONDecodeError:
            return whole
        if self._heard is not None:
            self._heard.chunk(chunk.get("choices") or ())
        usage = chunk.get("usage")
        if usage:
            self.tokens_in, self.tokens_out = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
            if not self._usage_wanted:
                return self._without_usage(chunk)
        return whole

    def _without_usage(self, chunk: dict[str, Any]) -> bytes:
        if not chunk.get("choices"):
            return b""
        del chunk["usage"]
        return b"data: " + orjson.dumps(chunk) + b"\n\n"

    def _last(self) -> bytes:
        """A chunk without choices that carries the citations."""
        if not self._extra:
            return b""
        chunk = {
            "id": orjson.loads(self._our_id or b'""'),
            "object": "chat.completion.chunk",
            "created": 0,
            "model": "",
            "choices": [],
            **self._extra,
        }
        return b"data: " + orjson.dumps(chunk) + b"\n\n"


def error_event(body: bytes) -> bytes:
    """An error after the first byte: OpenAI's clients raise it from their iteration."""
    return b"data: " + body + b"\n\n"
