"""One service is asked, and what its answer took is paid for: for a user, or unseen (shadow.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from llmops.gateway.snapshot import External, Service
from llmops.gateway.upstream import Opened, Whole

if TYPE_CHECKING:
    from llmops.gateway.app import Door


async def ask(
    door: Door, service: Service, adapter: str, caller: str, path: str, body: dict[str, Any], stream: bool
) -> Whole | Opened:
    """Its answer; `body` gets the model's name as this service has it."""
    if service.external is not None:
        _within_budget(door, service.external)
        return await door.upstream.abroad(service, caller, path, body, stream)
    # what every revision's engine calls itself; another service has no such adapter
    taught = bool(adapter) and adapter in service.adapters
    body["model"] = f"{service.name}:{adapter}" if taught else service.name
    data = orjson.dumps(body)
    if stream:
        return await door.upstream.stream(service, caller, path, data, taught)
    return await door.upstream.whole(service, caller, path, data, taught)


def _within_budget(door: Door, abroad: External) -> None:
    if abroad.budget is not None:
        account = door.accounts.of_provider(abroad.provider)
        account.within(f"Provider {abroad.provider}", abroad.budget, door.today())


def paid(door: Door, service: Service, tokens_in: int, tokens_out: int) -> float:
    """What an answer cost, by the service's prices; a Provider's account is charged by its own."""
    if (abroad := service.external) is not None:
        cost = tokens_in * abroad.price_in + tokens_out * abroad.price_out
        door.accounts.of_provider(abroad.provider).used(tokens_in + tokens_out, cost)
    return door.meter.used(service, tokens_in, tokens_out)


def usage(body: bytes) -> tuple[int, int]:
    """Tokens in and out, as a whole answer says."""
    told = orjson.loads(body).get("usage") or {}
    return told.get("prompt_tokens") or 0, told.get("completion_tokens") or 0
