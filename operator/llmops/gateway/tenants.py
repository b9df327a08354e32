"""Whose documents a prompt's index is searched for, where it keeps tenants apart (VectorIndex query.tenants).

A request names the tenant that it asks for (`prompt: {id, tenant: "acme"}`), and the key has to have it: an admin wrote
into GatewayKey.spec.tenants for whom its holder may ask. A key with one tenant need not name it. A key of another
namespace speaks for that namespace only: its tenant acme is called `thatnamespace/acme`. A service account may ask for
none; an evaluation of the release's own namespace for the one that its EvalJob names.

Whether the index keeps tenants apart the gateway does not know. So what a request names is refused here where the key
has it not, and by the index where it cannot be meant; and where it names none, the index refuses that it needs one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmops.api.tenants import ALL, FORM, is_tenant
from llmops.gateway.auth import Caller
from llmops.gateway.errors import BadRequest, NotAllowed

PARAM = "prompt.tenant"


@dataclass(frozen=True, slots=True)
class Whose:
    """The tenant that a request names, or the only one that its caller has; empty: none."""

    named: str = ""
    only: str = ""


def of(caller: Caller, namespace: str, prompt: Mapping[str, Any], evaluates: bool) -> Whose:
    """For an index of this namespace. BadRequest, NotAllowed."""
    holder = caller.holder
    has = holder.tenants if holder is not None else frozenset()
    if "tenant" not in prompt:
        only = _called(next(iter(has)), caller, namespace) if len(has) == 1 and ALL not in has else ""
        return Whose(only=only if is_tenant(only) else "")
    name = prompt["tenant"]
    # null too: who meant nobody's must not get the key's own
    if not is_tenant(name) or not is_tenant(_called(name, caller, namespace)):
        raise BadRequest(f"{PARAM} must be {FORM}", code="invalid_tenant", param=PARAM)
    if evaluates:
        return Whose(name)
    if holder is None:
        raise NotAllowed(
            "a service account asks for no tenant: send a GatewayKey's key, with the tenant in its spec.tenants",
            code="tenant_not_allowed",
            param=PARAM,
        )
    if ALL not in has and name not in has:
        raise NotAllowed(
            f"GatewayKey {caller.identity} does not ask for tenant {name!r}: add it to its spec.tenants",
            code="tenant_not_allowed",
            param=PARAM,
        )
    return Whose(_called(name, caller, namespace))


def _called(name: str, caller: Caller, namespace: str) -> str:
    """By documents of this namespace."""
    return name if caller.namespace == namespace else f"{caller.namespace}/{name}"
