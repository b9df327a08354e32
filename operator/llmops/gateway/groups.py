"""Whose documents a prompt may find: the groups of who asks, as its index is told them (VectorIndex query.permissions).

They are the key's, which an admin wrote (GatewayKey.spec.groups). Whoever holds it may name fewer in a request, for the
person it asks for (`prompt: {id, groups: [...]}`), and never more. A key of another namespace speaks for that namespace
only: its group staff is called `thatnamespace/staff`, so no other tenant's admin can make somebody one of our staff. A
service account has none; an evaluation of the release's own namespace those that it names
(EvalJob.spec.groups), as its people may read all that is in their namespace anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmops.api.common import MOST_GROUPS
from llmops.gateway.auth import Caller
from llmops.gateway.errors import BadRequest


def of(caller: Caller, namespace: str, prompt: Mapping[str, Any], evaluates: bool) -> tuple[str, ...]:
    """The caller's, for an index of this namespace."""
    named = _named(prompt)
    if evaluates:
        return tuple(sorted(named or ()))
    has = caller.holder.groups if caller.holder is not None else frozenset()
    groups = has if named is None else has & named
    return tuple(sorted(one if caller.namespace == namespace else f"{caller.namespace}/{one}" for one in groups))


def _named(prompt: Mapping[str, Any]) -> frozenset[str] | None:
    """What the request narrows to; None where it does not. null is refused: who meant nobody must not get all."""
    if "groups" not in prompt:
        return None
    named = prompt["groups"]
    if not isinstance(named, list) or len(named) > MOST_GROUPS or not all(isinstance(one, str) for one in named):
        raise BadRequest(
            f'prompt.groups must be a list of at most {MOST_GROUPS} names, such as ["staff"]; [] is no group, and '
            "without prompt.groups all of the key's groups count",
            code="invalid_groups",
            param="prompt.groups",
        )
    return frozenset(named)
