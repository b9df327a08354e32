"""Mounted sources -> documents. A source that is not what the work was made of is waited for, never indexed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmops.retrieval.work import SourceWork

PATIENCE = 90.0  # seconds: a kubelet brings a changed ConfigMap to a mounted volume within a minute or so


class Wrong(Exception):
    """The work cannot be done as it is written; no retry helps."""


@dataclass(frozen=True)
class Document:
    """One document; `id` begins with its source's name."""

    id: str
    source: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


def content_sha256(data: Mapping[str, str]) -> str:
    """The identity of a ConfigMap source's content."""
    whole = json.dumps(sorted(data.items()), ensure_ascii=False)
    return hashlib.sha256(whole.encode()).hexdigest()


def read(source: SourceWork, folder: Path, patience: float = PATIENCE) -> list[Document]:
    """The source's documents."""
    end = time.monotonic() + patience
    while content_sha256(data := _mounted(source, folder)) != source.sha256:
        if time.monotonic() >= end:
            raise Wrong(f"source {source.name} is not what this build was planned from: it changed meanwhile")
        time.sleep(1.0)
    return documents(source, data)


def _mounted(source: SourceWork, folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        return {}
    # a ConfigMap's volume has ..data and a timestamped folder beside the keys
    files = (one for one in folder.iterdir() if not one.name.startswith("..") and one.is_file())
    return {one.name: one.read_text() for one in files if source.key in (None, one.name)}


def documents(source: SourceWork, data: Mapping[str, str]) -> list[Document]:
    """One document a data key, or one a row where the key holds jsonl; Wrong names the row that is broken."""
    found: list[Document] = []
    for key, text in sorted(data.items()):
        rows = source.format == "Jsonl" or (source.format == "Auto" and key.endswith(".jsonl"))
        found += _rows(source, key, text) if rows else _whole(source, key, text)
    seen: set[str] = set()
    for one in found:
        if one.id in seen:
            raise Wrong(f"source {source.name}: two documents are called {one.id!r}; give each row its own id")
        seen.add(one.id)
    return found


def _whole(source: SourceWork, key: str, text: str) -> list[Document]:
    return [Document(f"{source.name}/{key}", source.name, text)] if text.strip() else []


def _rows(source: SourceWork, key: str, text: str) -> list[Document]:
    found = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if line.strip():
            found.append(_row(source, line, f"source {source.name}, {key} row {number}"))
    return found


def _row(source: SourceWork, line: str, where: str) -> Document:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise Wrong(f"{where}: not JSON ({error})") from None
    if not isinstance(row, dict):
        raise Wrong(f"{where}: a JSON object is expected, not {type(row).__name__}")
    identity, text = row.pop(source.id_field, None), row.pop(source.text_field, None)
    if isinstance(identity, bool) or not isinstance(identity, str | int) or identity == "":
        raise Wrong(f"{where}: field {source.id_field!r} must be a text or a whole number (sources[].fields.id)")
    if not isinstance(text, str) or not text.strip():
        raise Wrong(f"{where}: field {source.text_field!r} must be a text that is not empty (sources[].fields.text)")
    return Document(f"{source.name}/{identity}", source.name, text, row)
