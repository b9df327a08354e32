"""Tenants: customers whose documents lie in one index and are never found together (VectorIndex query.tenants)."""

from __future__ import annotations

from typing import Annotated, TypeGuard

from pydantic import Field

from llmops.api.common import Rule

LONGEST = 255
MOST = 256
ALL = "*"
"""In a key: whichever tenant a request names. No tenant is called so."""
FORM = f'one text of 1 to {LONGEST} printable characters, such as "acme"'

TenantName = Annotated[str, Field(min_length=1, max_length=LONGEST)]
OneTenant = Annotated[TenantName, Rule(f"self != '{ALL}'", "write the name of one tenant, such as acme")]


def is_tenant(given: object) -> TypeGuard[str]:
    """Whether it can be a tenant's name: marks that nobody sees would make two of one, and a space at an end too."""
    return (
        isinstance(given, str)
        and 1 <= len(given) <= LONGEST
        and given.isprintable()
        and given == given.strip()
        and given != ALL
    )
