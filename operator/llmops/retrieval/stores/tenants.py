"""Whose passages a search is within: one tenant's. Pure.

Engines keep the passages of a tenant together by a column, which has not the tenant's name but a mark of it: a mark is
hex digits of one length, so whatever a name is made of, no engine has to read it. The name itself stands in the
metadata, where a generation that has no such column is asked for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmops.api.tenants import is_tenant

TENANT = "tenant"
"""The column; and, told of a generation that has it, the metadata field that it was read from."""
MARK = 32  # hex digits


@dataclass(frozen=True)
class Tenant:
    """Only passages whose metadata `field` is this name. Given as data, so that each engine says it in its own words;
    `admits` is what they must all mean."""

    field: str
    name: str
    mark: str = ""  # where the generation has a column of them; then nobody looks at the name

    def admits(self, metadata: Mapping[str, Any]) -> bool:
        """Whether a passage with this metadata is this tenant's."""
        return named(metadata, self.field) == self.name


def named(metadata: Mapping[str, Any], field: str) -> str | None:
    """The one tenant that metadata names; None where it is none, or several."""
    given = metadata.get(field)
    return given if is_tenant(given) else None


def mark(name: str) -> str:
    """Of a tenant's name."""
    return hashlib.sha256(name.encode()).hexdigest()[:MARK]


def marked(metadata: Mapping[str, Any], field: str) -> str:
    """For the column; empty, and so nobody's, where no tenant is named."""
    name = named(metadata, field)
    return mark(name) if name is not None else ""
