"""What was spent in this period, from sums that restart: pure, every sum counted exactly once.

Gateways tell how much came with a key since they began. The status remembers, for each gateway's instance, up to
where it has counted; only the difference is added. An instance that is not heard of any more stays
remembered for a while, for a new leader hears of the gateways one by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from llmops.access.observe import Seen
from llmops.api.common import Budget
from llmops.api.gatewaykey import GatewayKeyStatus
from llmops.api.periods import period
from llmops.api.provider import ProviderStatus
from llmops.api.report import Spend

REMEMBERED = 32
"""Instances of gateways whose sums are remembered; far more than are replaced between two looks."""
LOOK_SECONDS = 10.0
COUNTED = "counted"


@dataclass(frozen=True)
class Ledger:
    """Of this period: money, requests, tokens; and what of each instance is in them."""

    start: datetime
    end: datetime
    spent: Decimal
    requests: int
    tokens: int
    counted: Mapping[str, tuple[int, int, float]]


@dataclass(frozen=True)
class Plan:
    """The sums, whether anybody could still use the key, and when to look again."""

    ledger: Ledger
    expired: bool
    next_expiry: datetime | None
    look_seconds: float


def plan(seen: Seen, now: datetime) -> Plan:
    """What status will say."""
    spec = seen.key.spec
    ends = [one.expires_at for one in spec.keys]
    coming = sorted(end for end in ends if end is not None and end > now)
    ledger = count(spec.budget, seen.key.status, seen.spent, now)
    moments = [ledger.end, *coming[:1]]
    look = min([LOOK_SECONDS, *((moment - now).total_seconds() + 0.1 for moment in moments)])
    expired = all(end is not None and end <= now for end in ends)
    return Plan(ledger, expired, coming[0] if coming else None, look)


def count(
    budget: Budget | None, status: GatewayKeyStatus | ProviderStatus | None, spent: Mapping[str, Spend], now: datetime
) -> Ledger:
    """This period's sums, from the last status and what the gateways tell."""
    start, end = period(budget.period if budget else "Month", now)
    counted = _remembered(status)
    same = status is not None and status.period_start == start.isoformat()
    money = Decimal(status.spent or "0") if same and status else Decimal(0)
    requests = (status.requests or 0) if same and status else 0
    tokens = (status.tokens or 0) if same and status else 0
    fresh = status is None or status.period_start is None
    for instance, sums in spent.items():
        now_at = (sums["requests"], sums["tokens"], sums["cost"])
        before = counted.pop(instance, (0, 0, 0.0))
        counted[instance] = now_at
        if same or fresh:
            requests += now_at[0] - before[0]
            tokens += now_at[1] - before[1]
            money += Decimal(f"{now_at[2] - before[2]:.9f}")
    kept = dict(list(counted.items())[-REMEMBERED:])
    return Ledger(start, end, money, requests, tokens, kept)


def _remembered(status: GatewayKeyStatus | ProviderStatus | None) -> dict[str, tuple[int, int, float]]:
    memory = status.memory if status else None
    counted = (memory or {}).get(COUNTED) or {}
    return {instance: (int(sums[0]), int(sums[1]), float(sums[2])) for instance, sums in counted.items()}
