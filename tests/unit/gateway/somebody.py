"""Somebody's API, as its public documentation says it behaves, on loopback: replies, streams, and every way to fail.

`Somebody(kind)` speaks like OpenAI, Anthropic, Cohere or Gemini. `next` is a list of what happens to the coming
requests: a status, or the name of a fault in the middle of a stream (overloaded, malformed, cut); what is not
said there succeeds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

Object = dict[str, Any]
SECRET = "sk-their-secret-000111222"
TEXT = ["Good ", "morning"]


class Somebody:
    """Its address is `url`; `asked` are the bodies, `headers` and `paths` what came with them."""

    def __init__(self, kind: str) -> None:
        self.kind, self.asked, self.headers, self.paths = kind, list[Object](), list[Any](), list[str]()
        self.next: list[int | str] = []
        self.reply: Object | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._take)
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}/v1"

    async def stop(self) -> None:
        await self.runner.cleanup()

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(body)
        self.headers.append(request.headers)
        self.paths.append(request.path)
        fault = self.next.pop(0) if self.next else 0
        key = request.headers.get("x-api-key") or request.headers.get("x-goog-api-key")
        shown = request.headers.get("authorization") or f"Bearer {key}"
        if shown != f"Bearer {SECRET}":
            return self._error(401, f"Incorrect API key provided: {shown}")
        if isinstance(fault, int) and fault:
            return self._error(fault, f"refused for {SECRET}, says the server")
        if body.get("stream") or "streamGenerateContent" in request.path:
            return await self._stream(request, str(fault or ""))
        return web.json_response(self.reply or WHOLE[self.kind](request.path))

    def _error(self, status: int, message: str) -> web.Response:
        headers = {"retry-after": "7"} if status in (429, 529) else {}
        headers |= {"location": "http://127.0.0.1:1/stolen"} if status in (302, 307) else {}
        kind = {429: "rate_limit_error", 529: "overloaded_error"}.get(status, "invalid_request_error")
        told: Object = {"type": "error", "error": {"type": kind, "message": message}}
        if self.kind == "Cohere":
            told = {"id": "e", "message": message}
        if self.kind == "Gemini":
            told = {"error": {"code": status, "message": message, "status": kind.upper()}}
        return web.json_response(told, status=status, headers=headers)

    async def _stream(self, request: web.Request, fault: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        *first, last = STREAMS[self.kind]()
        for event in first:
            await response.write(event)
        if fault == "overloaded":
            await response.write(ERRORS[self.kind])
        elif fault == "malformed":
            await response.write(b"event: content_block_delta\ndata: {not json\n\n")
        elif fault != "cut":
            await response.write(last)
            return response
        assert request.transport is not None
        request.transport.close()
        return response


def _openai_whole(path: str) -> Object:
    if path.endswith("/embeddings"):
        return {"object": "list", "model": "their-model", "data": [{"object": "embedding", "index": 0,
                "embedding": [0.25]}], "usage": {"prompt_tokens": 2, "total_tokens": 2}}  # fmt: skip
    message = {"role": "assistant", "content": "".join(TEXT)}
    return {"id": "theirs", "object": "chat.completion", "created": 1, "model": "their-model-0613",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}}  # fmt: skip


def _anthropic_whole(path: str) -> Object:
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": "their-model-0613",
            "content": [{"type": "text", "text": one} for one in TEXT], "stop_reason": "end_turn",
            "usage": {"input_tokens": 9, "cache_read_input_tokens": 2, "output_tokens": 5}}  # fmt: skip


def _openai_stream() -> list[bytes]:
    def line(part: Object) -> bytes:
        head = {"id": "theirs", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        return b"data: " + orjson.dumps({**head, **part}) + b"\r\n\r\n"  # as some compatible servers end lines

    said = [line({"choices": [{"index": 0, "delta": {"content": one}}]}) for one in TEXT]
    usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
    return [*said, line({"choices": [], "usage": usage}) + b"data: [DONE]\r\n\r\n"]


def _anthropic_event(told: Object) -> bytes:
    return b"event: " + told["type"].encode() + b"\ndata: " + orjson.dumps(told) + b"\n\n"


def _anthropic_stream() -> list[bytes]:
    usage = {"input_tokens": 9, "cache_read_input_tokens": 2, "output_tokens": 1}
    message = {"id": "msg_1", "role": "assistant", "content": [], "model": "m", "usage": usage}
    pieces = [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": one}} for one in TEXT]
    listed: list[Object] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        *pieces,
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    return [_anthropic_event(one) for one in listed]


def _cohere_whole(path: str) -> Object:
    if path.endswith("/embed"):
        return {"id": "e", "embeddings": {"float": [[0.25]]}, "texts": ["x"],
                "meta": {"billed_units": {"input_tokens": 2}}}  # fmt: skip
    thought = {"type": "thinking", "thinking": "hm"}
    content = [thought, *({"type": "text", "text": one} for one in TEXT)]
    return {"id": "c1", "finish_reason": "COMPLETE", "message": {"role": "assistant", "content": content},
            "usage": {"billed_units": {"input_tokens": 3, "output_tokens": 5},
                      "tokens": {"input_tokens": 11, "output_tokens": 5}}}  # fmt: skip


def _cohere_stream() -> list[bytes]:
    def said(content: Object) -> Object:
        return {"type": "content-delta", "index": 0, "delta": {"message": {"content": content}}}

    usage = {"tokens": {"input_tokens": 11, "output_tokens": 5}}
    listed: list[Object] = [
        {"type": "message-start", "id": "c1", "delta": {"message": {"role": "assistant", "content": []}}},
        {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
        said({"thinking": "hm"}),
        *(said({"text": one}) for one in TEXT),
        {"type": "content-end", "index": 0},
        {"type": "message-end", "delta": {"finish_reason": "MAX_TOKENS", "usage": usage}},
    ]
    *events, last = [_anthropic_event(one) for one in listed]
    return [*events, last + b"data: [DONE]\n\n"]


def gemini_said(parts: list[Object], **more: Any) -> Object:
    candidate = {"content": {"role": "model", "parts": parts}, "index": 0, **more}
    usage = {"promptTokenCount": 11, "candidatesTokenCount": 3, "thoughtsTokenCount": 2, "totalTokenCount": 16}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "their-model-0613", "responseId": "g1"}


def _gemini_whole(path: str) -> Object:
    if path.endswith(":batchEmbedContents"):
        return {"embeddings": [{"values": [0.25]}]}
    thought = {"text": "hm", "thought": True}
    return gemini_said([thought, *({"text": one} for one in TEXT)], finishReason="STOP")


def _gemini_stream() -> list[bytes]:
    listed = [gemini_said([{"text": TEXT[0]}]), gemini_said([{"text": TEXT[1]}], finishReason="MAX_TOKENS")]
    return [b"data: " + orjson.dumps(one) + b"\r\n\r\n" for one in listed]


WHOLE: dict[str, Callable[[str], Object]] = {
    "OpenAI": _openai_whole, "Anthropic": _anthropic_whole, "Cohere": _cohere_whole, "Gemini": _gemini_whole,
}  # fmt: skip
STREAMS: dict[str, Callable[[], list[bytes]]] = {
    "OpenAI": _openai_stream, "Anthropic": _anthropic_stream, "Cohere": _cohere_stream, "Gemini": _gemini_stream,
}  # fmt: skip
ERRORS = {
    "OpenAI": b'data: {"error": {"message": "Overloaded", "type": "server_error"}}\n\n',
    "Anthropic": b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", '
    b'"message": "Overloaded"}}\n\n',
    "Cohere": b'event: message-end\ndata: {"type": "message-end", "delta": {"finish_reason": "ERROR", '
    b'"error": "Overloaded"}}\n\n',
    "Gemini": b'data: {"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}}\r\n\r\n',
}
