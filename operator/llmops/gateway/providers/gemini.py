"""Google's Gemini API, version v1beta (ai.google.dev/api, "Generating content", "Embeddings"); baseURL ends in /v1beta.

Differences that matter: the model is part of the path, roles are user and model, a message is a list of parts, calls of
tools have no identity of their own, and a stream ends without saying so: the piece with a finishReason is the last. The
signature of a thought that comes with a call must come back with its result; it travels as Google's own OpenAI-shaped
endpoint has it, in the call's `extra_content`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import orjson

from llmops.gateway.providers.adapter import Adapter, Feed, Object, Unsupported
from llmops.gateway.providers.shapes import CHAT, EMBEDDINGS, Stream, call, text_of, usage, vectors, whole

REFUSED = ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "IMAGE_SAFETY")
NAMES = {"temperature": "temperature", "top_p": "topP", "top_k": "topK", "max_tokens": "maxOutputTokens",
         "max_completion_tokens": "maxOutputTokens", "seed": "seed", "presence_penalty": "presencePenalty",
         "frequency_penalty": "frequencyPenalty"}  # fmt: skip
PURPOSES = {"search_document": "RETRIEVAL_DOCUMENT", "search_query": "RETRIEVAL_QUERY",
            "classification": "CLASSIFICATION", "clustering": "CLUSTERING"}  # fmt: skip
"""What an embedding is for, by Cohere's names for it, which the door takes for both."""
MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}


def put(path: str, body: Object, model: str) -> tuple[str, Object]:
    place = f"/models/{quote(model, safe='')}"
    if path == EMBEDDINGS:
        return f"{place}:batchEmbedContents", _embed(body, model)
    if path != CHAT:
        raise Unsupported("Gemini answers /v1/chat/completions and /v1/embeddings only: name another service")
    if body.get("n", 1) != 1:
        raise Unsupported("Gemini is asked for one answer a request: remove n")
    listed = body.get("messages") or []
    system = "\n\n".join(text_of(one.get("content")) for one in listed if one.get("role") in ("system", "developer"))
    sent: Object = {"contents": _contents(one for one in listed if one.get("role") not in ("system", "developer"))}
    if system:
        sent["systemInstruction"] = {"parts": [{"text": system}]}
    if config := _config(body):
        sent["generationConfig"] = config
    if body.get("tools"):
        sent["tools"] = [{"functionDeclarations": [_tool(one["function"]) for one in body["tools"]]}]
        sent["toolConfig"] = {"functionCallingConfig": _choice(body.get("tool_choice", "auto"))}
    return place + (":streamGenerateContent?alt=sse" if body.get("stream") else ":generateContent"), sent


def headers(credential: str) -> dict[str, str]:
    return {"x-goog-api-key": credential}


def _config(body: Object) -> Object:
    config = {theirs: body[ours] for ours, theirs in NAMES.items() if body.get(ours) is not None}
    if body.get("stop"):
        config["stopSequences"] = [body["stop"]] if isinstance(body["stop"], str) else body["stop"]
    form = body.get("response_format") or {}
    if form.get("type") in ("json_object", "json_schema"):
        config["responseMimeType"] = "application/json"
    if form.get("type") == "json_schema":
        config["responseJsonSchema"] = form["json_schema"]["schema"]
    return config


def _contents(listed: Iterable[Object]) -> list[Object]:
    """Turns of one role that follow each other are one; a tool's result is told by the name of what was called."""
    turns: list[Object] = []
    called: dict[str, str] = {}
    for one in listed:
        called |= {tool["id"]: tool["function"]["name"] for tool in one.get("tool_calls") or []}
        role, parts = ("model" if one.get("role") == "assistant" else "user"), _parts(one, called)
        if turns and turns[-1]["role"] == role:
            turns[-1]["parts"] += parts
        else:
            turns.append({"role": role, "parts": parts})
    return turns


def _parts(message: Object, called: dict[str, str]) -> list[Object]:
    content = message.get("content")
    if message.get("role") == "tool":
        result = {"name": called[message["tool_call_id"]], "response": {"result": text_of(content)}}
        return [{"functionResponse": result}]
    given = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    parts = [_part(one) for one in given if one.get("type") != "text" or one.get("text")]
    for tool in message.get("tool_calls") or []:
        asked = tool["function"]
        thought = ((tool.get("extra_content") or {}).get("google") or {}).get("thought_signature")
        part: Object = {"functionCall": {"name": asked["name"], "args": json.loads(asked.get("arguments") or "{}")}}
        parts.append(part | ({"thoughtSignature": thought} if thought else {}))
    return parts


def _part(part: Object) -> Object:
    if part.get("type") == "text":
        return {"text": part["text"]}
    url = part["image_url"]["url"] if part.get("type") == "image_url" else ""
    if not url.startswith("data:"):
        raise Unsupported(f"Gemini takes text, and images as data: URLs: change the part of type {part.get('type')!r}")
    kind, _, data = url.removeprefix("data:").partition(";base64,")
    return {"inlineData": {"mimeType": kind, "data": data}}


def _tool(function: Object) -> Object:
    told = {name: function[name] for name in ("name", "description") if function.get(name)}
    schema = function.get("parameters")
    return {**told, **({"parametersJsonSchema": schema} if schema else {})}


def _choice(choice: Any) -> Object:
    if isinstance(choice, str):
        return {"mode": MODES.get(choice, "AUTO")}
    return {"mode": "ANY", "allowedFunctionNames": [choice["function"]["name"]]}


def _embed(body: Object, model: str) -> Object:
    given = body["input"]
    texts = [given] if isinstance(given, str) else given
    if any(not isinstance(one, str) for one in texts):
        raise Unsupported("Gemini embeds texts, not tokens: send input as text")
    more: Object = {"outputDimensionality": body["dimensions"]} if body.get("dimensions") else {}
    if purpose := body.get("input_type"):
        if purpose not in PURPOSES:
            raise Unsupported(f"Gemini knows no input_type {purpose!r}: write one of {', '.join(PURPOSES)}")
        more["taskType"] = PURPOSES[purpose]
    named = f"models/{model}"
    return {"requests": [{"model": named, "content": {"parts": [{"text": one}]}, **more} for one in texts]}


def reply(answer: Object) -> Object:
    if "embeddings" in answer:
        used = (answer.get("usageMetadata") or {}).get("promptTokenCount") or 0
        return vectors("", [one["values"] for one in answer["embeddings"]], used)
    text, calls, finish = _said(answer, 0)
    used = _usage(answer.get("usageMetadata") or {})
    return whole(answer.get("responseId", ""), answer.get("modelVersion", ""), text, calls, finish or "stop", used)


def _said(answer: Object, before: int) -> tuple[str, list[Object], str | None]:
    """(text, calls, why it ended or None) of a whole answer or a piece of one; `before` calls came already."""
    candidates = answer.get("candidates") or []
    if not candidates:
        blocked = (answer.get("promptFeedback") or {}).get("blockReason")
        return "", [], "content_filter" if blocked else None
    parts = (candidates[0].get("content") or {}).get("parts") or []
    text = "".join(one["text"] for one in parts if "text" in one and not one.get("thought"))
    asked = [one for one in parts if "functionCall" in one]
    calls = [_call(one, before + at) for at, one in enumerate(asked)]
    ended = candidates[0].get("finishReason")
    if ended is None:
        return text, calls, None
    if calls or before:
        return text, calls, "tool_calls"
    return text, calls, "length" if ended == "MAX_TOKENS" else "content_filter" if ended in REFUSED else "stop"


def _call(part: Object, at: int) -> Object:
    asked = part["functionCall"]
    made = call(asked.get("id") or f"call_{at}", asked["name"], orjson.dumps(asked.get("args") or {}).decode())
    thought = part.get("thoughtSignature")
    return made | ({"extra_content": {"google": {"thought_signature": thought}}} if thought else {})


def _usage(told: Object) -> Object:
    """What it thought is paid for as what it said."""
    out = (told.get("candidatesTokenCount") or 0) + (told.get("thoughtsTokenCount") or 0)
    return usage(told.get("promptTokenCount") or 0, out, told.get("cachedContentTokenCount") or 0)


def problem(answer: Object) -> str:
    error = answer.get("error")
    return str(error.get("message")) if isinstance(error, dict) else "no reason given"


def events() -> Feed:
    return _Stream().feed


class _Stream(Stream):
    def __init__(self) -> None:
        super().__init__()
        self._calls = 0

    def event(self, told: Object) -> bytes:
        if "error" in told:
            return self.broken(problem(told))
        first = b"" if self.id else self._first(told)
        text, calls, finish = _said(told, self._calls)
        self._calls += len(calls)
        pieces = first + (self.chunk({"content": text}) if text else b"") + b"".join(map(self.begins, calls))
        return pieces + (self.end(finish, _usage(told.get("usageMetadata") or {})) if finish else b"")

    def _first(self, told: Object) -> bytes:
        self.id, self.model = told.get("responseId") or "gemini", told.get("modelVersion", "")
        return self.chunk({"role": "assistant", "content": ""})


ADAPTER = Adapter(put, headers, reply, events, problem)
