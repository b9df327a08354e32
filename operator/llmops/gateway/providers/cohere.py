"""Cohere's API, version 2 (docs.cohere.com, "Chat", "A Guide to Streaming Responses", "Embed"); baseURL ends in /v2.

Messages and tools have OpenAI's shapes. What differs: names of parameters, a list of contents in the reply, the events
of a stream, and that an embedding asks what it is for (`input_type`, search_document where the caller says nothing).
That and `truncate` go through by their own names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmops.gateway.providers.adapter import Adapter, Feed, Object, Unsupported
from llmops.gateway.providers.shapes import CHAT, EMBEDDINGS, Stream, call, usage, vectors, whole

FINISH = {"COMPLETE": "stop", "STOP_SEQUENCE": "stop", "MAX_TOKENS": "length", "TOOL_CALL": "tool_calls"}
FAILED = ("ERROR", "TIMEOUT")
NAMES = {"max_completion_tokens": "max_tokens", "max_tokens": "max_tokens", "top_p": "p", "top_k": "k",
         "temperature": "temperature", "seed": "seed", "presence_penalty": "presence_penalty",
         "frequency_penalty": "frequency_penalty", "stream": "stream", "tools": "tools"}  # fmt: skip
CHOICES = {"required": "REQUIRED", "none": "NONE"}


def put(path: str, body: Object, model: str) -> tuple[str, Object]:
    if path == EMBEDDINGS:
        return "/embed", _embed(body, model)
    if path != CHAT:
        raise Unsupported("Cohere answers /v1/chat/completions and /v1/embeddings only: name another service")
    if body.get("n", 1) != 1:
        raise Unsupported("Cohere gives one answer a request: remove n")
    sent: Object = {"model": model, "messages": [_message(one) for one in body.get("messages") or []]}
    sent |= {theirs: body[ours] for ours, theirs in reversed(NAMES.items()) if body.get(ours) is not None}
    if body.get("stop"):
        sent["stop_sequences"] = [body["stop"]] if isinstance(body["stop"], str) else body["stop"]
    if choice := _choice(body.get("tool_choice", "auto")):
        sent["tool_choice"] = choice
    if form := body.get("response_format"):
        sent["response_format"] = _format(form)
    return "/chat", sent


def _message(one: Object) -> Object:
    role = "system" if one.get("role") == "developer" else one["role"]
    kept = {name: one[name] for name in ("content", "tool_calls", "tool_call_id") if one.get(name) is not None}
    return {"role": role, **kept}


def _choice(choice: Any) -> str | None:
    if isinstance(choice, str):
        return CHOICES.get(choice)
    raise Unsupported("Cohere cannot be told which tool to call: write tool_choice: required, and that tool alone")


def _format(form: Object) -> Object:
    if form["type"] == "json_schema":
        return {"type": "json_object", "json_schema": form["json_schema"]["schema"]}
    return {"type": form["type"]}


def _embed(body: Object, model: str) -> Object:
    given = body["input"]
    texts = [given] if isinstance(given, str) else given
    if any(not isinstance(one, str) for one in texts):
        raise Unsupported("Cohere embeds texts, not tokens: send input as text")
    size = {"output_dimension": body["dimensions"]} if body.get("dimensions") else {}
    cut = {"truncate": body["truncate"]} if body.get("truncate") else {}
    purpose = body.get("input_type") or "search_document"
    return {"model": model, "texts": texts, "input_type": purpose, "embedding_types": ["float"], **size, **cut}


def headers(credential: str) -> dict[str, str]:
    return {"authorization": f"Bearer {credential}"}


def reply(answer: Object) -> Object:
    if "embeddings" in answer:
        billed = (answer.get("meta") or {}).get("billed_units") or {}
        return vectors("", answer["embeddings"]["float"], int(billed.get("input_tokens") or 0))
    message = answer["message"]
    text = "".join(one["text"] for one in message.get("content") or [] if one["type"] == "text")
    calls = message.get("tool_calls") or []
    finish = FINISH.get(answer["finish_reason"], "stop")
    return whole(answer.get("id", ""), "", text, calls, finish, _usage(answer.get("usage") or {}))


def _usage(told: Object) -> Object:
    tokens = told.get("tokens") or {}
    return usage(int(tokens.get("input_tokens") or 0), int(tokens.get("output_tokens") or 0))


def problem(answer: Object) -> str:
    return str(answer.get("message") or "no reason given")


def events() -> Feed:
    return _Stream().feed


class _Stream(Stream):
    def __init__(self) -> None:
        super().__init__()
        self._handlers: dict[str, Callable[[Object], bytes]] = {
            "content-delta": self._text,
            "tool-call-start": self._tool_starts,
            "tool-call-delta": lambda message: self.goes_on(message["tool_calls"]["function"]["arguments"]),
        }

    def event(self, told: Object) -> bytes:
        kind, delta = told["type"], told.get("delta") or {}
        if kind == "message-start":
            self.id = told.get("id", "")
            return self.chunk({"role": "assistant", "content": ""})
        if kind == "message-end":
            return self._end(delta)
        handler = self._handlers.get(kind)
        return handler(delta["message"]) if handler else b""  # plans, citations, and what will be invented

    def _text(self, message: Object) -> bytes:
        text = message["content"].get("text")  # or what it thinks
        return self.chunk({"content": text}) if text else b""

    def _tool_starts(self, message: Object) -> bytes:
        tool = message["tool_calls"]
        asked = tool["function"]
        return self.begins(call(tool["id"], asked["name"], asked.get("arguments") or ""))

    def _end(self, delta: Object) -> bytes:
        if delta["finish_reason"] in FAILED:
            return self.broken(str(delta.get("error") or f"it ended with {delta['finish_reason']}"))
        return self.end(FINISH.get(delta["finish_reason"], "stop"), _usage(delta.get("usage") or {}))


ADAPTER = Adapter(put, headers, reply, events, problem)
