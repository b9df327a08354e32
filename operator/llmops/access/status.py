"""What a GatewayKey's status says: pure."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from llmops.access.observe import Seen
from llmops.access.plan import COUNTED, Ledger, Plan
from llmops.api import ConditionType, Reason
from llmops.api.common import Budget
from llmops.control import Condition, merge, summary


def status(seen: Seen, plan: Plan, now: datetime) -> dict[str, Any]:
    """The whole status."""
    ledger, old = plan.ledger, seen.raw.get("status") or {}
    conditions = [*_usable(seen, plan), within(seen.key.spec.budget, ledger)]
    generation = seen.raw["metadata"].get("generation", 0)
    return {**sums(ledger), "conditions": merge(old.get("conditions"), conditions, generation, now)}


def sums(ledger: Ledger) -> dict[str, Any]:
    """What was spent, and what of it is counted."""
    told: dict[str, Any] = {
        "spent": money(ledger.spent),
        "requests": ledger.requests,
        "tokens": ledger.tokens,
        "periodStart": ledger.start.isoformat(),
    }
    if ledger.counted:
        told["memory"] = {COUNTED: {instance: list(sums) for instance, sums in ledger.counted.items()}}
    return told


def _usable(seen: Seen, plan: Plan) -> list[Condition]:
    name = seen.key.qualified
    if seen.key.spec.disabled:
        return summary(
            ready=False,
            available=False,
            stalled=True,
            reason=Reason.KEY_DISABLED,
            message=f"spec.disabled is true: every request with a key of {name} is refused",
        )
    if plan.expired:
        return summary(
            ready=False,
            available=False,
            stalled=True,
            reason=Reason.KEY_EXPIRED,
            message=f"every key of {name} has expired: add a new one under spec.keys",
        )
    told = "honoured by the gateways"
    if plan.next_expiry is not None:
        told += f"; the next key expires at {plan.next_expiry:%Y-%m-%dT%H:%M:%SZ}"
    return summary(ready=True, available=True, reason=Reason.AS_WANTED, message=told)


def within(budget: Budget | None, ledger: Ledger) -> Condition:
    """Whether anything is left."""
    if budget is None:
        return Condition(ConditionType.WITHIN_BUDGET, True, Reason.AS_WANTED, "no budget is set")
    told = f"{budget.amount} {budget.currency} a {budget.period.lower()} since {ledger.start.date()}"
    if ledger.spent >= Decimal(budget.amount):
        return Condition(
            ConditionType.WITHIN_BUDGET,
            False,
            Reason.BUDGET_SPENT,
            f"the budget of {told} is spent: requests are refused until {ledger.end.date()}, or raise "
            "spec.budget.amount",
        )
    return Condition(ConditionType.WITHIN_BUDGET, True, Reason.AS_WANTED, f"something is left of {told}")


def money(amount: Decimal) -> str:
    """At least cents, and no more digits than there are."""
    text = f"{amount:.9f}".rstrip("0")
    whole, _, cents = text.partition(".")
    return f"{whole}.{cents.ljust(2, '0')}"
