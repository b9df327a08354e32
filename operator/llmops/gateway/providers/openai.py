"""OpenAI's own API and what is compatible with it (platform.openai.com, "API Reference", Chat and Streaming)."""

from __future__ import annotations

from llmops.gateway.providers.adapter import Adapter, Feed, Object


def put(path: str, body: Object, model: str) -> tuple[str, Object]:
    """The base URL ends where the door's /v1 does."""
    return path.removeprefix("/v1"), {**body, "model": model}


def headers(credential: str) -> dict[str, str]:
    return {"authorization": f"Bearer {credential}"}


def reply(answer: Object) -> Object:
    return answer


def events() -> Feed:
    """Some compatible servers end lines with CR LF; a CR at the end of a piece waits for what follows."""
    rest = b""

    def feed(data: bytes) -> bytes:
        nonlocal rest
        data = rest + data
        rest = b"\r" if data.endswith(b"\r") else b""
        return data.removesuffix(b"\r").replace(b"\r\n", b"\n")

    return feed


def problem(answer: Object) -> str:
    error = answer.get("error")
    return str(error.get("message") if isinstance(error, dict) else error or answer.get("message") or "no reason given")


ADAPTER = Adapter(put, headers, reply, events, problem)
