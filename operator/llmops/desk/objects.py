"""Objects by the names people use: `prel support-answer`, `llm/support`."""

from __future__ import annotations

from llmops.api import KINDS, names
from llmops.api.common import KubernetesObject
from llmops.kube.resources import Resource


class Unknown(Exception):
    """A word on the command line that means nothing here; the sentence lists what does."""


def kind_named(word: str) -> type[KubernetesObject]:
    """The kind by its name, plural, singular or short name, in any case."""
    for kind in KINDS:
        if word.lower() in {kind.KIND.lower(), kind.PLURAL, kind.SHORT}:
            return kind
    raise Unknown(f"no kind {word!r}: write one of {', '.join(f'{kind.KIND} ({kind.SHORT})' for kind in KINDS)}")


def resource(kind: type[KubernetesObject]) -> Resource:
    """Where the API server has it."""
    return Resource(names.GROUP, names.VERSION, kind.PLURAL, kind.KIND)


def named(words: list[str]) -> tuple[type[KubernetesObject], str]:
    """`["prel", "answer"]` or `["prel/answer"]` -> the kind and the name."""
    parts = words[0].split("/", 1) if len(words) == 1 else words
    if len(parts) != 2:
        raise Unknown(f"{' '.join(words)!r} names no object: write KIND NAME, such as prel support-answer")
    return kind_named(parts[0]), parts[1]
