"""Who may see which passage: the index's rule (spec.query.permissions) and the groups of who asks.

Who asks is told in the body, `caller: {groups: [...]}`, by whom the network lets in: the door, which knows it from the
key, and this namespace's own pods, which are trusted with its documents. A body that tells nothing is of nobody's group
and finds what is everybody's. The engine searches within the restriction; what it finds is looked at here once more,
since one passage too many is the worst that an index can answer.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmops.api.common import GROUP_FORM, MOST_GROUPS
from llmops.retrieval.rank import Placed
from llmops.retrieval.stores.base import EVERYBODY, SEEN_BY, Restriction
from llmops.retrieval.stores.tenants import Tenant
from llmops.telemetry import metrics

log = logging.getLogger(__name__)

_GROUP = re.compile(f"([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?{GROUP_FORM}")
"""A group of this namespace's keys, or namespace/group of another's."""


@dataclass(frozen=True)
class Permissions:
    """The index's rule."""

    field: str
    missing: bool = False

    def of(self, groups: frozenset[str], told: Mapping[str, Any]) -> Restriction:
        """What members of these groups may find in the generation that this is told of."""
        return Restriction(self.field, groups, self.missing, column=told.get(SEEN_BY) == self.field)

    def whose(self, metadata: Mapping[str, Any]) -> list[str]:
        """The groups whose members find a passage with this metadata; ["*"] where everybody does, [] where nobody."""
        given = metadata.get(self.field)
        listed = given if isinstance(given, list) else [given]
        named = {one for one in listed if isinstance(one, str) and is_group(one)}
        everybodys = Restriction(self.field, missing=self.missing).admits(metadata)
        return [EVERYBODY] if everybodys else sorted(named)


def is_group(name: str) -> bool:
    """Whether who asks can be a member of it."""
    return len(name) <= 127 and _GROUP.fullmatch(name) is not None


def groups(body: dict[str, object]) -> frozenset[str]:
    """Those of who asks; ValueError for what is not a caller."""
    caller = body.get("caller")
    if caller is None:
        return frozenset()
    listed = caller.get("groups", []) if isinstance(caller, dict) else None
    if not isinstance(listed, list) or len(listed) > MOST_GROUPS:
        raise ValueError(f'caller must be such as {{"groups": ["staff"]}}, with at most {MOST_GROUPS} groups')
    for one in listed:
        if not isinstance(one, str) or not is_group(one):
            raise ValueError(f"caller.groups: {one!r} is no group's name, such as staff or othernamespace/staff")
    return frozenset(listed)


def seen(found: Sequence[Placed], only: Restriction | None, tenant: Tenant | None = None) -> list[Placed]:
    """What of it may be seen: all, unless the engine did not do as it was told."""
    limits = [one for one in (only, tenant) if one is not None]
    kept = [one for one in found if all(limit.admits(one.found.metadata) for limit in limits)]
    if len(kept) < len(found):
        metrics.RETRIEVAL_WITHHELD.inc(len(found) - len(kept))
        log.error("the engine found %d passages that the caller may not see: withheld", len(found) - len(kept))
    return kept
