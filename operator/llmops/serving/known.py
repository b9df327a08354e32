"""What sizing knows of a model, and who said so: the spec, the model's own files, or the catalogue. Pure.

The files are read where they were downloaded (headers.py), which tells of them as the container ends; a Revision
freezes what it was sized by, so a later one of the same model still knows when that container is gone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from pydantic.alias_generators import to_camel, to_snake

from llmops.api.llmservice import ModelSource
from llmops.serving.catalogue import CATALOGUE, EXPERTS

Object = dict[str, Any]

SPEC, FILES, CATALOGUED = "spec.model.dimensions", "its own files", "the catalogue"

UNLIKE = {
    "windows": "some layers have a sliding window and are counted whole, so more may fit",
    "others": "some layers have no attention and are counted as if they had, so more may fit, "
              "but what those keep for each request is not counted",
}  # fmt: skip
"""What sizing says where a model has layers that its sum does not know."""


@dataclass(frozen=True)
class Known:
    """One model. `embeddings` are the weights of words in and out, which quantization leaves at two bytes each.

    `stored` are the bytes of its files, where they were seen; `quantized` whether those are less than two a weight.
    `experts` is how many a layer has, where it has any; `unlike` a word of UNLIKE. What is known from before these were
    asked says nothing of them.
    """

    parameters: int
    layers: int
    kv_heads: int
    head_dim: int
    context_length: int
    heads: int | None = None
    embeddings: int | None = None
    stored: int | None = None
    quantized: bool = False
    experts: int | None = None
    unlike: str | None = None
    by: str = SPEC

    def wire(self) -> Object:
        return {to_camel(key): value for key, value in asdict(self).items() if value not in (None, False)}

    @staticmethod
    def of(told: Object) -> Known | None:
        """None where something is missing or is no number: what a container says is not trusted."""
        told = {to_snake(key): value for key, value in told.items()}
        try:
            numbers = {key: int(told[key]) for key in ("parameters", "layers", "kv_heads", "head_dim")}
            more = {key: int(told[key]) for key in ("heads", "embeddings", "stored", "experts") if told.get(key)}
            context, by = int(told["context_length"]), str(told.get("by", FILES))[:64]
            unlike = next((word for word in UNLIKE if word == told.get("unlike")), None)
        except (KeyError, TypeError, ValueError):
            return None
        if min(*numbers.values(), context) < 1:
            return None
        quantized = bool(told.get("quantized"))
        return Known(**numbers, **more, context_length=context, quantized=quantized, unlike=unlike, by=by)


def known(model: ModelSource, told: str, revisions: Iterable[Object]) -> Known | None:
    """`told`: what the download said as it ended (JSON), "" if it has not."""
    if model.dimensions is not None:
        return Known(**model.dimensions.model_dump())
    return _told(told) or _frozen(model, revisions) or _catalogued(model)


def _told(said: str) -> Known | None:
    try:
        found = json.loads(said)
    except ValueError:
        return None
    return Known.of(found) if isinstance(found, dict) else None


def _frozen(model: ModelSource, revisions: Iterable[Object]) -> Known | None:
    """Of an earlier Revision of the same files."""
    for one in revisions:
        content = one["spec"].get("content") or {}
        theirs = content.get("model") or {}
        told = ((content.get("resolved") or {}).get("sizing") or {}).get("model") or {}
        if (theirs.get("uri"), theirs.get("revision")) == (model.uri, model.revision) and told.get("by") == FILES:
            return Known.of(told)
    return None


def _catalogued(model: ModelSource) -> Known | None:
    address = model.uri.removeprefix("hf://").strip("/").lower()
    row = CATALOGUE.get(address) if model.uri.startswith("hf://") else None
    return Known(*row, experts=EXPERTS.get(address), by=CATALOGUED) if row else None
