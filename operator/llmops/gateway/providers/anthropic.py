"""Anthropic's Messages API (docs.anthropic.com, "Messages", "Streaming Messages", "Errors"), version 2023-06-01.

Differences that matter: instructions are a field of their own, max_tokens must be given, the reply is a list of
blocks, tools are called by blocks of input in JSON, and the events of a stream have types instead of one shape.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from llmops.gateway.providers.adapter import Adapter, Feed, Object, Unsupported
from llmops.gateway.providers.shapes import CHAT, Stream, call, text_of, usage, whole

VERSION = "2023-06-01"
MAX_TOKENS = 4096  # where the caller says nothing; the API asks for a number
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
    system = "\n\n".join(text_of(one.get("content")) for one in listed if one.get("role") in ("system", "developer"))
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
        text = text_of(message.get("content"))
        return [{"type": "tool_result", "tool_use_id": message.get("tool_call_id"), "content": text}]
    content = message.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    blocks = [_part(one) for one in parts if one.get("type") != "text" or one.get("text")]
    for tool in message.get("tool_calls") or []:
        asked = tool["function"]
        given = json.loads(asked.get("arguments") or "{}")
        blocks.append({"type": "tool_use", "id": tool["id"], "name": asked["name"], "input": given})
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
    calls = [call(one["id"], one["name"], orjson.dumps(one["input"]).decode()) for one in blocks
             if one["type"] == "tool_use"]  # fmt: skip
    finish = FINISH.get(answer.get("stop_reason") or "", "stop")
    return whole(answer.get("id", ""), answer.get("model", ""), text, calls, finish, _usage(answer.get("usage") or {}))


def _usage(told: Object) -> Object:
    """What was read from its cache and written to it are parts of the prompt."""
    cached = told.get("cache_read_input_tokens") or 0
    into = (told.get("input_tokens") or 0) + cached + (told.get("cache_creation_input_tokens") or 0)
    return usage(into, told.get("output_tokens") or 0, cached)


def problem(answer: Object) -> str:
    error = answer.get("error")
    return str(error.get("message")) if isinstance(error, dict) else "no reason given"


def events() -> Feed:
    return _Stream().feed


class _Stream(Stream):
    """Events of types; an `error` event is passed on, and the stream has no end then."""

    def __init__(self) -> None:
        super().__init__()
        self._usage: Object = {}
        self._finish = "stop"
        self._handlers: dict[str, Callable[[Object], bytes]] = {
            "message_start": self._message_start,
            "content_block_start": self._content_block_start,
            "content_block_delta": self._content_block_delta,
            "message_delta": self._message_delta,
            "message_stop": self._message_stop,
            "error": self._error,
        }

    def event(self, told: Object) -> bytes:
        handler = self._handlers.get(told["type"])
        return handler(told) if handler else b""  # ping, and what will be invented

    def _message_start(self, told: Object) -> bytes:
        message = told["message"]
        self.id, self.model, self._usage = message["id"], message["model"], dict(message.get("usage") or {})
        return self.chunk({"role": "assistant", "content": ""})

    def _content_block_start(self, told: Object) -> bytes:
        block = told["content_block"]
        if block["type"] != "tool_use":
            return b""
        return self.begins(call(block["id"], block["name"], ""))

    def _content_block_delta(self, told: Object) -> bytes:
        delta = told["delta"]
        if delta["type"] == "text_delta":
            return self.chunk({"content": delta["text"]})
        if delta["type"] == "input_json_delta":
            return self.goes_on(delta["partial_json"])
        return b""

    def _message_delta(self, told: Object) -> bytes:
        self._finish = FINISH.get(told["delta"].get("stop_reason") or "", "stop")
        self._usage |= told.get("usage") or {}
        return b""

    def _message_stop(self, told: Object) -> bytes:
        return self.end(self._finish, _usage(self._usage))

    def _error(self, told: Object) -> bytes:
        return self.broken(problem(told))


ADAPTER = Adapter(put, headers, reply, events, problem)
