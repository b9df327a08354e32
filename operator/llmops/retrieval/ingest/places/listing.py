"""What a place gives: files that can be read, and the version of all of them together."""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from llmops.web import Wrong

MOST_BYTES = 64 << 20  # of one file
KNOWN = (".md", ".markdown", ".html", ".htm", ".pdf", ".docx", ".txt", ".rst", ".adoc", ".jsonl", ".ndjson", ".csv",
         ".tsv")  # fmt: skip


class Unreadable(Wrong):
    """Of the file itself: whoever looks again finds the same, until it changes and its version tells."""


@dataclass(frozen=True)
class File:
    """One file; `name` is its path in its place. `read` may raise Unreadable, web.Passing, web.Wrong or OSError."""

    name: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Listing:
    """`files` are asked for only where they have to be read. `missing`: what could not be listed, in words; then it is
    not complete."""

    version: str
    files: Callable[[], Iterable[File]]
    missing: tuple[str, ...] = ()


def version_of(entries: Iterable[Sequence[object]]) -> str:
    """One version out of many: of names with their sizes, tags or times."""
    whole = json.dumps(sorted(map(list, entries)), ensure_ascii=False)
    return hashlib.sha256(whole.encode(errors="surrogatepass")).hexdigest()  # a file's name need not be UTF-8


def wanted(name: str, include: Sequence[str], format: str) -> bool:
    """Whether a file is a document: by the globs, else by its ending; a format that is named takes every ending."""
    if any(part.startswith(".") for part in name.split("/")):
        return False
    if include:
        return any(fnmatch.fnmatchcase(name, glob) or (glob.startswith("**/") and fnmatch.fnmatchcase(name, glob[3:]))
                   for glob in include)  # fmt: skip
    return format != "Auto" or name.lower().endswith(KNOWN)
