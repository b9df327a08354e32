"""`llmops validate FILE...`: the API server's verdicts without one, and the templates' besides."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from llmops.api.admission import is_ours, judge


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: a moment stays a text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def validate(files: list[str]) -> int:
    """1 when anything of ours would be refused."""
    judged, refused = 0, 0
    for name in files:
        for place, given in read(name):
            if isinstance(given, str):
                print(f"{place}: {given}")
                refused += 1
            elif is_ours(given):
                judged += 1
                refused += _say(place, given)
    if not refused:
        print(f"{judged} object{'s' if judged != 1 else ''} would be accepted")
    return 1 if refused or not files else 0


def _say(place: str, given: dict[str, Any]) -> int:
    metadata = given.get("metadata") or {}
    whole = "/".join(filter(None, (metadata.get("namespace"), metadata.get("name"))))
    refusals = judge(given)
    for refusal in refusals:
        print(f"{place}: {given.get('kind')} {whole}: {refusal}")
    return len(refusals)


def read(name: str) -> Iterator[tuple[str, Any]]:
    """Each document with its place; a text instead of an object says what is wrong with the file."""
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        documents = [document for document in yaml.load_all(text, _Loader) if document is not None]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        yield name, f"cannot be read: {' '.join(str(error).split())}"
        return
    for document in documents:
        items = document.get("items") if isinstance(document, dict) and document.get("kind") == "List" else [document]
        yield from (
            (name, item if isinstance(item, dict) else "holds something that is no object") for item in items or []
        )
