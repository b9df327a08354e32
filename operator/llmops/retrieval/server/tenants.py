"""Whose passages a search is within: the index's rule (spec.query.tenants), and the tenant that a request names.

A request names one itself (`tenant`), or the door names the only one that the caller's key has (`caller.tenant`). Whose
they may be the door knows from the key; this namespace's own pods are trusted with all. Nobody is answered from
everyone's: a request that names none is refused, and so is one that names a tenant to an index that keeps none apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmops.api.tenants import FORM, is_tenant
from llmops.retrieval.stores.tenants import TENANT, Tenant, mark

MISSING, NONE_HERE = "tenant_missing", "no_tenants"
"""Codes of refusals, by which the door tells them from a query server that fails."""


class NoTenant(Exception):
    """Why a request is not answered; `code` for the door."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True)
class Named:
    """The tenant of a request: named by it, or the only one of who asks."""

    name: str | None = None
    only: str | None = None


def named(body: Mapping[str, Any]) -> Named:
    """ValueError for what is no tenant's name."""
    caller = body.get("caller")
    own, only = body.get("tenant"), caller.get("tenant") if isinstance(caller, dict) else None
    for where, one in (("tenant", own), ("caller.tenant", only)):
        if one is not None and not is_tenant(one):
            raise ValueError(f"{where} must be {FORM}")
    return Named(own, only)


def within(field: str, asked: Named, told: Mapping[str, Any], index: str) -> Tenant | None:
    """What a search may find in the generation that this is told of, in an index whose rule has this field (empty:
    which has none); NoTenant."""
    if not field:
        if asked.name is not None:
            raise NoTenant(
                NONE_HERE, f"VectorIndex {index} keeps no tenants apart, so nothing is answered to tenant "
                f"{asked.name!r}: write its spec.query.tenants, or ask without a tenant",
            )  # fmt: skip
        return None
    name = asked.name or asked.only
    if name is None:
        raise NoTenant(
            MISSING, f"VectorIndex {index} has the documents of many tenants: name whose to search, "
            '{"tenant": "acme"}; in a prompt, prompt: {"id": …, "tenant": "acme"}, of those in the spec.tenants of the '
            "GatewayKey",
        )  # fmt: skip
    return Tenant(field, name, mark(name) if told.get(TENANT) == field else "")
