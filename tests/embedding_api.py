"""Somebody's embedding API as its public documentation has it, with vectors that mean something: texts that share words
lie near each other, and no two calls give quite the same numbers. Nothing but the standard library, so that it runs in
any pod: `python embedding_api.py PORT`.

`/v2/embed` is Cohere's (a purpose must be told, at most 96 texts), `/v1/embeddings` OpenAI's (what it does not know is
refused), `/v1beta/models/NAME:batchEmbedContents` Gemini's (at most 100). GET /told says what was asked; PUT /told
{next: [statuses that the coming requests get], noise: …, model: …} changes what happens.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = os.environ.get("EMBEDDING_KEY", "co-nobody-may-read-this-9876543210")
WIDTH = 256
WOBBLE = 1e-4
"""Of each number, between two calls: more than OpenAI's (2.8e-5, over seventeen numbers that users published)."""
Object = dict[str, Any]


def words(text: str, model: str = "") -> list[float]:
    """The sum of the directions of its longer words, of length one."""
    total = [0.0] * WIDTH
    for word in re.findall(r"\w{4,}", text.lower()):
        seed = hashlib.sha256((word.rstrip("s") + model).encode()).digest()
        for at, number in enumerate(random.Random(seed).choices((-1.0, 1.0), k=WIDTH)):
            total[at] += number
    length = math.sqrt(sum(number * number for number in total)) or 1.0
    return [number / length for number in total]


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Api(ThreadingHTTPServer):
    """Listens until `shutdown`; `told` is what it was asked: purpose, number of texts, kind."""

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        super().__init__((host, port), Handler)
        self.asked: list[Object] = []
        self.next: list[int] = []
        self.after: str | None = "1"
        self.noise = WOBBLE
        self.model = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def vectors(self, texts: list[str]) -> list[list[float]]:
        return [[number + random.gauss(0.0, self.noise) for number in words(one, self.model)] for one in texts]

    def purposes(self) -> set[str]:
        return {str(one["purpose"]) for one in self.asked}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Api

    def do_GET(self) -> None:
        self._reply(200, {"asked": self.server.asked})

    def do_PUT(self) -> None:
        for name, value in self._body().items():
            setattr(self.server, name, value)
        self._reply(200, {})

    def do_POST(self) -> None:
        body = self._body()
        try:
            self._allowed()
            self._reply(200, self._embedded(body))
        except Refused as refused:
            self._reply(refused.status, self._error(refused))

    def _allowed(self) -> None:
        shown = self.headers.get("x-goog-api-key") or self.headers.get("authorization", "").removeprefix("Bearer ")
        if shown != KEY:
            raise Refused(401, f"invalid api token {shown}")
        if self.server.next:
            raise Refused(self.server.next.pop(0), f"not now, {KEY}")

    def _embedded(self, body: Object) -> Object:
        if self.path == "/v2/embed":
            return self._cohere(body)
        if self.path == "/v1/embeddings":
            return self._openai(body)
        return self._gemini(body)

    def _cohere(self, body: Object) -> Object:
        texts, purpose = body["texts"], body.get("input_type")
        if purpose not in ("search_document", "search_query", "classification", "clustering"):
            raise Refused(400, "valid input_type must be provided with the provided model")
        self._counted("Cohere", purpose, texts, 96)
        tokens = [len(one.split()) for one in texts]
        if body.get("truncate") == "NONE" and max(tokens) > 512:
            raise Refused(400, f"too many tokens: max tokens per text is 512, got {max(tokens)}")
        vectors = {"float": self.server.vectors(texts)}
        return {
            "id": "e",
            "texts": texts,
            "embeddings": vectors,
            "meta": {"billed_units": {"input_tokens": sum(tokens)}},
        }

    def _openai(self, body: Object) -> Object:
        strange = set(body) - {"model", "input", "encoding_format", "dimensions", "user"}
        if strange:
            raise Refused(400, f"Unrecognized request argument supplied: {min(strange)}")
        texts = body["input"]
        self._counted("OpenAI", "", texts, 2048)
        data = [
            {"object": "embedding", "index": at, "embedding": one} for at, one in enumerate(self.server.vectors(texts))
        ]
        used = sum(len(one.split()) for one in texts)
        return {"object": "list", "model": body["model"], "data": data,
                "usage": {"prompt_tokens": used, "total_tokens": used}}  # fmt: skip

    def _gemini(self, body: Object) -> Object:
        texts = [one["content"]["parts"][0]["text"] for one in body["requests"]]
        (purpose,) = {one.get("taskType") for one in body["requests"]}
        self._counted("Gemini", purpose, texts, 100)
        return {"embeddings": [{"values": one} for one in self.server.vectors(texts)]}

    def _counted(self, kind: str, purpose: str | None, texts: list[str], most: int) -> None:
        self.server.asked.append({"kind": kind, "purpose": purpose, "texts": len(texts)})
        if len(texts) > most:
            raise Refused(400, f"invalid request: at most {most} texts can be in one request")

    def _error(self, refused: Refused) -> Object:
        return {"message": str(refused)} if self.path == "/v2/embed" else {"error": {"message": str(refused)}}

    def _body(self) -> Object:
        found: Object = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        return found

    def _reply(self, status: int, body: Object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        if status == 429 and self.server.after is not None:
            self.send_header("retry-after", self.server.after)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what is asked is told by /told."""


@contextmanager
def api() -> Iterator[Api]:
    """One that listens, for as long as its block."""
    with Api() as one:
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield one
        finally:
            one.shutdown()


if __name__ == "__main__":
    Api(int(sys.argv[1]), "0.0.0.0").serve_forever()
