"""Documents -> passages. A passage is called `<source>/<document>#<n>`, so it cites its document by its name."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from llmops.retrieval.ingest.parse import Document
from llmops.retrieval.passage import Passage

Count = Callable[[str], int]


def passages(documents: Iterable[Document], chunking: Mapping[str, Any], count: Count) -> Iterator[Passage]:
    """Every document's passages, in order."""
    cut = _cutter(chunking, count)
    for one in documents:
        pieces = [(text, more) for text, more in cut(one.text) if text.strip()]
        for number, (text, more) in enumerate(pieces):
            yield Passage(f"{one.id}#{number}", one.id, one.source, text, {**one.metadata, **more})


Piece = tuple[str, Mapping[str, Any]]
"""A text, and what it adds to its document's metadata."""


def _cutter(chunking: Mapping[str, Any], count: Count) -> Callable[[str], Iterable[Piece]]:
    strategy, most, overlap = chunking["strategy"], chunking["maxTokens"], chunking["overlap"]
    if strategy == "Document":
        return lambda text: [(text, {})]
    if strategy == "Fixed":
        return lambda text: [(one, {}) for one in _fixed(text, most, overlap, count)]
    from semchunk.semchunk import chunkerify

    @lru_cache(maxsize=64)
    def within(tokens: int) -> Any:
        return chunkerify(count, tokens, memoize=False)  # else it keeps every text that it ever counted

    def semantic(text: str, above: str = "") -> list[str]:
        left = max(most - count(above), most // 2) if above else most
        return [str(one) for one in within(left)(text, overlap=max(0, overlap - (most - left)) or None)]

    if strategy == "Headings":
        return lambda text: _by_headings(text, semantic)
    return lambda text: [(one, {}) for one in semantic(text)]


_HEADING = re.compile(r"^(#{1,6})[ \t]+(.+?)[ \t#]*$", re.MULTILINE)


def _by_headings(text: str, semantic: Callable[..., list[str]]) -> Iterator[Piece]:
    """A passage a section, with the headings that it stands under; long sections are cut as Semantic cuts, into what
    those leave of maxTokens. A heading with nothing under it is a passage: it may be all that there is to say."""
    path: list[tuple[int, str]] = []
    marks = [*_HEADING.finditer(text)]
    ends = [one.start() for one in marks] + [len(text)]
    levels = [len(one.group(1)) for one in marks]
    yield from ((one, {}) for one in semantic(text[: ends[0]].strip()))
    for mark, end, level, next_ in zip(marks, ends[1:], levels, [*levels[1:], 0], strict=True):
        path = [(at, title) for at, title in path if at < level] + [(level, mark.group(2))]
        above = " > ".join(title for _, title in path)
        body = text[mark.end() : end].strip()
        if not body and next_ <= level:
            yield above, {"headings": above}
        for one in semantic(body, above):
            yield f"{above}\n{one}", {"headings": above}


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
    """Counts tokens as the embedding model does, where its server can be asked (llama.cpp and vLLM have /tokenize).

    Tokenizers cut at white space before anything else, so a text has at most as many tokens as its words have: the
    words are counted once each, where asking about every text takes longer than embedding it.
    """
    tokenizer = _Tokenizer(url, model)
    try:
        around = tokenizer("a") - (tokenizer("a a") - tokenizer("a"))  # what begins and ends every text
        word = lru_cache(maxsize=500_000)(lambda text: tokenizer(text) - around)
    except (OSError, http.client.HTTPException, KeyError, ValueError):
        return estimate
    return lambda text: around + sum(map(word, text.split()))


_PIECE = re.compile(r"\w+|[^\w\s]")


def estimate(text: str) -> int:
    """For servers that cannot be asked, as of somebody's API: four Latin letters a token, two Greek or Cyrillic, one
    of any other script, and each mark one; more than most tokenizers make."""
    return sum(map(_tokens_of, _PIECE.findall(text)))


def _tokens_of(word: str) -> int:
    if word.isascii():
        return -(-len(word) // 4)
    return -(-sum(1 if letter < "\u0250" else 2 if letter < "\u0530" else 4 for letter in word) // 4)


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
