"""Anthropic's Messages API (docs.anthropic.com, "Messages", "Streaming Messages", "Errors"), version 2023-06-01.

Differences that matter: instructions are a field of their own, max_tokens must be given, the reply is a list of
blocks, tools are called by blocks of input in JSON, and the events of a stream have types instead of one shape.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from llmops.gateway.providers.adapter import Adapter, Feed, Object, Unsupported

VERSION = "2023-06-01"
MAX_TOKENS = 4096  # where the caller says nothing; the API asks for a number
CHAT = "/v1/chat/completions"
FINISH = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls",
          "refusal": "content_filter"}  # fmt: skip
SAME = ("temperature", "top_p", "top_k", "stream")
CHOICES = {"auto": {"type": "auto"}, "none": {"type": "none"}, "required": {"type": "any"}}


def put(path: str, body: Object, model: str) -> tuple[str, Object]:
    if path != CHAT:
        raise Unsupported("Anthropic answers /v1/chat/completions only: name another service")
    if body.get("n", 1) != 1:
        raise Unsupported("Anthropic gives one answer a request: remove n")
    listed = body.get("messages") or []
    system = "\n\n".join(_text(one.get("content")) for one in listed if one.get("role") in ("system", "developer"))
    sent: Object = {
        "model": model,
        "max_tokens": body.get("max_completion_tokens") or body.get("max_tokens") or MAX_TOKENS,
        "messages": _turns(one for one in listed if one.get("role") not in ("system", "developer")),
        **({"system": system} if system else {}),
        **{name: body[name] for name in SAME if body.get(name) is not None},
    }
    if body.get("stop"):
        sent["stop_sequences"] = [body["stop"]] if isinstance(body["stop"], str) else body["stop"]
    if body.get("tools"):
        sent["tools"] = [_tool(one["function"]) for one in body["tools"]]
        sent["tool_choice"] = _choice(body.get("tool_choice", "auto"))
    return "/messages", sent


def headers(credential: str) -> dict[str, str]:
    return {"x-api-key": credential, "anthropic-version": VERSION}


def _turns(listed: Iterator[Object]) -> list[Object]:
    """Results of tools are the user's blocks there; turns of one role that follow each other are one."""
    turns: list[Object] = []
    for one in listed:
        role, blocks = ("assistant" if one.get("role") == "assistant" else "user"), _blocks(one)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    return turns


def _blocks(message: Object) -> list[Object]:
    if message.get("role") == "tool":
        text = _text(message.get("content"))
        return [{"type": "tool_result", "tool_use_id": message.get("tool_call_id"), "content": text}]
    content = message.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    blocks = [_part(one) for one in parts if one.get("type") != "text" or one.get("text")]
    for call in message.get("tool_calls") or []:
        asked = call["function"]
        given = json.loads(asked.get("arguments") or "{}")
        blocks.append({"type": "tool_use", "id": call["id"], "name": asked["name"], "input": given})
    return blocks


def _part(part: Object) -> Object:
    if part.get("type") == "text":
        return {"type": "text", "text": part["text"]}
    if part.get("type") != "image_url":
        raise Unsupported(f"Anthropic takes text and images: remove the part of type {part.get('type')!r}")
    url = part["image_url"]["url"]
    if url.startswith("data:"):
        kind, _, data = url.removeprefix("data:").partition(";base64,")
        return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}
    return {"type": "image", "source": {"type": "url", "url": url}}


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(one.get("text", "") for one in content)
    return content or ""


def _tool(function: Object) -> Object:
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    told = {"description": function["description"]} if function.get("description") else {}
    return {"name": function["name"], **told, "input_schema": schema}


def _choice(choice: Any) -> Object:
    if isinstance(choice, str):
        return CHOICES.get(choice, CHOICES["auto"])
    return {"type": "tool", "name": choice["function"]["name"]}


def reply(answer: Object) -> Object:
    blocks = answer.get("content") or []
    text = "".join(one["text"] for one in blocks if one["type"] == "text")
    calls = [_call(one["id"], one["name"], orjson.dumps(one["input"]).decode()) for one in blocks
             if one["type"] == "tool_use"]  # fmt: skip
    message = {"role": "assistant", "content": text or None, **({"tool_calls": calls} if calls else {})}
    finish = FINISH.get(answer.get("stop_reason") or "", "stop")
    return {
        "id": answer.get("id", ""),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": answer.get("model", ""),
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": _usage(answer.get("usage") or {}),
    }


def _call(identity: str, name: str, arguments: str) -> Object:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def _usage(told: Object) -> Object:
    """What was read from its cache and written to it are parts of the prompt."""
    cached = told.get("cache_read_input_tokens") or 0
    into = (told.get("input_tokens") or 0) + cached + (told.get("cache_creation_input_tokens") or 0)
    out = told.get("output_tokens") or 0
    return {"prompt_tokens": into, "completion_tokens": out, "total_tokens": into + out,
            "prompt_tokens_details": {"cached_tokens": cached}}  # fmt: skip


def problem(answer: Object) -> str:
    error = answer.get("error")
    return str(error.get("message")) if isinstance(error, dict) else "no reason given"


def events() -> Feed:
    return _Stream().feed


class _Stream:
    """One stream: events in, chunks out. An `error` event is passed on as OpenAI's clients read it, without an end."""

    def __init__(self) -> None:
        self._rest, self._id, self._model = b"", "", ""
        self._usage: Object = {}
        self._tools = -1
        self._finish = "stop"
        self._handlers: dict[str, Callable[[Object], bytes]] = {
            "message_start": self._message_start,
            "content_block_start": self._content_block_start,
            "content_block_delta": self._content_block_delta,
            "message_delta": self._message_delta,
            "message_stop": self._message_stop,
            "error": self._error,
        }

    def feed(self, data: bytes) -> bytes:
        whole = (self._rest + data).replace(b"\r\n", b"\n")
        *ended, self._rest = whole.split(b"\n\n")
        return b"".join(self._event(one) for one in ended)

    def _event(self, event: bytes) -> bytes:
        lines = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
        if not lines:
            return b""
        told: Object = orjson.loads(b"".join(lines))
        handler = self._handlers.get(told["type"])
        return handler(told) if handler else b""  # ping, and what will be invented

    def _message_start(self, told: Object) -> bytes:
        message = told["message"]
        self._id, self._model, self._usage = message["id"], message["model"], dict(message.get("usage") or {})
        return self._chunk({"role": "assistant", "content": ""})

    def _content_block_start(self, told: Object) -> bytes:
        block = told["content_block"]
        if block["type"] != "tool_use":
            return b""
        self._tools += 1
        return self._chunk({"tool_calls": [{"index": self._tools, **_call(block["id"], block["name"], "")}]})

    def _content_block_delta(self, told: Object) -> bytes:
        delta = told["delta"]
        if delta["type"] == "text_delta":
            return self._chunk({"content": delta["text"]})
        if delta["type"] == "input_json_delta":
            arguments = {"arguments": delta["partial_json"]}
            return self._chunk({"tool_calls": [{"index": self._tools, "function": arguments}]})
        return b""

    def _message_delta(self, told: Object) -> bytes:
        self._finish = FINISH.get(told["delta"].get("stop_reason") or "", "stop")
        self._usage |= told.get("usage") or {}
        return b""

    def _message_stop(self, told: Object) -> bytes:
        last = self._chunk({}, self._finish)
        return last + self._line({"choices": [], "usage": _usage(self._usage)}) + b"data: [DONE]\n\n"

    def _error(self, told: Object) -> bytes:
        error = {"message": problem(told), "type": "api_error", "param": None, "code": "provider_error"}
        return b"data: " + orjson.dumps({"error": error}) + b"\n\n"

    def _chunk(self, delta: Object, finish: str | None = None) -> bytes:
        return self._line({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    def _line(self, part: Object) -> bytes:
        head = {"id": self._id, "object": "chat.completion.chunk", "created": int(time.time()), "model": self._model}
        return b"data: " + orjson.dumps({**head, **part}) + b"\n\n"


ADAPTER = Adapter(put, headers, reply, events, problem)
