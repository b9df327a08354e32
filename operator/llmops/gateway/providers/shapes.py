"""OpenAI's shapes, as every adapter writes them: a whole answer, a call of a tool, and the chunks of a stream."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import orjson

from llmops.gateway.providers.adapter import Object

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"


def text_of(content: Any) -> str:
    """A message's content, which is a text or a list of parts."""
    if isinstance(content, list):
        return "".join(one.get("text", "") for one in content)
    return content or ""


def call(identity: str, name: str, arguments: str) -> Object:
    """Of a tool; `arguments` is JSON, or its beginning."""
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def usage(into: int, out: int, cached: int = 0) -> Object:
    """Tokens; `cached` are among those that went in."""
    details = {"prompt_tokens_details": {"cached_tokens": cached}}
    return {"prompt_tokens": into, "completion_tokens": out, "total_tokens": into + out, **details}


def whole(identity: str, model: str, text: str, calls: Sequence[Object], finish: str, used: Object) -> Object:
    """An answer with one choice."""
    message = {"role": "assistant", "content": text or None, **({"tool_calls": list(calls)} if calls else {})}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    head = {"id": identity, "object": "chat.completion", "created": int(time.time()), "model": model}
    return {**head, "choices": [choice], "usage": used}


def vectors(model: str, listed: Sequence[Sequence[float]], into: int) -> Object:
    """Embeddings, in the order of the inputs."""
    data = [{"object": "embedding", "index": at, "embedding": one} for at, one in enumerate(listed)]
    return {
        "object": "list", "model": model, "data": data, "usage": {"prompt_tokens": into, "total_tokens": into},
    }  # fmt: skip


class Stream(ABC):
    """Server-sent events in, chunks out. `event` is the adapter's; what it does not end is a stream that broke off."""

    def __init__(self) -> None:
        self.id, self.model = "", ""
        self._rest, self._tool = b"", -1

    def feed(self, data: bytes) -> bytes:
        """Pieces in any cut."""
        together = (self._rest + data).replace(b"\r\n", b"\n")
        *ended, self._rest = together.split(b"\n\n")
        return b"".join(self._one(one) for one in ended)

    def _one(self, event: bytes) -> bytes:
        lines = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
        text = b"".join(lines)
        return self.event(orjson.loads(text)) if text and text != b"[DONE]" else b""

    @abstractmethod
    def event(self, told: Object) -> bytes:
        """Chunks for one event."""

    def begins(self, tool: Object) -> bytes:
        """A call of a tool; what follows in `goes_on` is of it."""
        self._tool += 1
        return self.chunk({"tool_calls": [{"index": self._tool, **tool}]})

    def goes_on(self, arguments: str) -> bytes:
        """More of its arguments."""
        return self.chunk({"tool_calls": [{"index": self._tool, "function": {"arguments": arguments}}]})

    def end(self, finish: str, used: Object) -> bytes:
        """All was said."""
        last = self.chunk({}, finish)
        return last + self._line({"choices": [], "usage": used}) + b"data: [DONE]\n\n"

    def broken(self, message: str) -> bytes:
        """An error in the middle, as OpenAI's clients read it."""
        error = {"message": message, "type": "api_error", "param": None, "code": "provider_error"}
        return b"data: " + orjson.dumps({"error": error}) + b"\n\n"

    def chunk(self, delta: Object, finish: str | None = None) -> bytes:
        """A piece of the answer."""
        return self._line({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    def _line(self, part: Object) -> bytes:
        head = {"id": self.id, "object": "chat.completion.chunk", "created": int(time.time()), "model": self.model}
        return b"data: " + orjson.dumps({**head, **part}) + b"\n\n"
