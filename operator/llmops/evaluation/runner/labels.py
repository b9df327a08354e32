"""A Label Studio project's labelled tasks -> rows, from its export JSON_MIN. Pure.

That export has one flat object an annotation, newest first: the task's own data, and what each tag of the form
was given, under the tag's name. A task that several people labelled is one row: where they differ, the field is a list
of what they said, each of which is right as a target. Who labelled when, and how long it took, is no part of a row, so
that the rows and their SHA-256 change only with what was said. What nobody labelled, or skipped, is not exported.
(labelstud.io/guide/export; the shapes as of 1.23.2, tests/data)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

CIRCUMSTANCES = frozenset({"annotator", "annotation_id", "created_at", "updated_at", "lead_time"})


def rows(content: bytes) -> bytes:
    """JSON Lines, by the tasks' numbers; ValueError where this is no such export."""
    told = json.loads(content)
    if not isinstance(told, list) or not all(isinstance(one, dict) and "id" in one for one in told):
        raise ValueError("no list of annotated tasks")
    tasks: dict[Any, list[Mapping[str, Any]]] = {}
    for one in sorted(told, key=lambda one: (one["id"], one.get("annotation_id") or 0)):
        tasks.setdefault(one["id"], []).append(one)
    return "".join(json.dumps(_row(said), ensure_ascii=False) + "\n" for said in tasks.values()).encode()


def _row(annotations: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    said: dict[str, list[Any]] = {}
    for one in annotations:
        for field, value in one.items():
            if field not in CIRCUMSTANCES:
                known = said.setdefault(field, [])
                known += [each for each in _values(value) if each not in known]
    return {field: values[0] if len(values) == 1 else values for field, values in said.items()}


def _values(value: Any) -> list[Any]:
    """Several choices come as {"choices": [...]}, several texts as {"text": [...]}, a rating as [{"rating": 4}]."""
    if isinstance(value, dict) and len(value) == 1:
        return _values(*value.values())
    return [each for one in value for each in _values(one)] if isinstance(value, list) else [value]
