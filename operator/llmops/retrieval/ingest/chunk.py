"""Documents -> passages. A passage is called `<source>/<document>#<n>`, so it cites its document by its name."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from llmops.retrieval.ingest.read import Document

Count = Callable[[str], int]
TEXT_BYTES = 65_000  # what the engine keeps of a passage's text


@dataclass(frozen=True)
class Passage:
    """A piece of a document, small enough to be embedded whole."""

    id: str
    document: str
    source: str
    text: str
    metadata: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """The identity of its text: an equal one needs no new vector."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def passages(documents: Iterable[Document], chunking: Mapping[str, Any], count: Count) -> list[Passage]:
    """Every document's passages, in order."""
    cut = _cutter(chunking, count)
    return [
        Passage(f"{one.id}#{number}", one.id, one.source, text, one.metadata)
        for one in documents
        for number, text in enumerate(cut(one.text))
        if text.strip()
    ]


def _cutter(chunking: Mapping[str, Any], count: Count) -> Callable[[str], list[str]]:
    strategy, most, overlap = chunking["strategy"], chunking["maxTokens"], chunking["overlap"]
    if strategy == "Document":
        return lambda text: [text]
    if strategy == "Fixed":
        return lambda text: _fixed(text, most, overlap, count)
    from semchunk.semchunk import chunkerify

    chunker = chunkerify(count, most)
    return lambda text: [str(one) for one in chunker(text, overlap=overlap or None)]


def _fixed(text: str, most: int, overlap: int, count: Count) -> list[str]:
    """As many whole words as fit, then again from `overlap` tokens before the end."""
    words = re.findall(r"\S+\s*", text)
    sizes = [max(1, count(word)) for word in words]
    found, start = [], 0
    while start < len(words):
        end, size = start, 0
        while end < len(words) and (end == start or size + sizes[end] <= most):
            size += sizes[end]
            end += 1
        found.append("".join(words[start:end]).strip())
        if end == len(words):
            break
        first, start, kept = start, end, 0
        while start - 1 > first and kept + sizes[start - 1] <= overlap:
            start -= 1
            kept += sizes[start]
    return found


def counter(url: str, model: str) -> Count:
    """Counts tokens as the embedding model does, where its server can be asked (llama.cpp and vLLM have /tokenize)."""
    exact = lru_cache(maxsize=100_000)(_Tokenizer(url, model))
    try:
        exact("Does this server count?")
    except (OSError, http.client.HTTPException, KeyError, ValueError):
        return estimate
    return exact


_PIECE = re.compile(r"\w+|[^\w\s]")


def estimate(text: str) -> int:
    """For servers that cannot be asked: four letters a token, each mark one; more than most tokenizers make."""
    return sum(-(-len(piece) // 4) for piece in _PIECE.findall(text))


class _Tokenizer:
    """POST /tokenize, on a connection that is kept: chunking asks often."""

    def __init__(self, url: str, model: str) -> None:
        self._host, self._model = urlsplit(url).netloc, model
        self._connection = http.client.HTTPConnection(self._host, timeout=10)

    def __call__(self, text: str) -> int:
        body = json.dumps({"content": text, "add_special": True, "model": self._model, "prompt": text})
        try:
            return self._ask(body)
        except (http.client.HTTPException, ConnectionError):  # a kept connection may have been closed at any time
            self._connection.close()
            return self._ask(body)

    def _ask(self, body: str) -> int:
        self._connection.request("POST", "/tokenize", body, {"content-type": "application/json"})
        reply = self._connection.getresponse()
        answer = reply.read()
        if reply.status != 200:
            raise ValueError(f"/tokenize answered {reply.status}")
        return len(json.loads(answer)["tokens"])
