"""How often and for how much: a key's limits and budget, as this gateway's share of them.

Each of N ready gateways lets through a share of `limit / N`, rounded up: together never more than N - 1 above the
limit, and a caller whose connections all end at one gateway meets its share sooner. A budget is not shared: it is
checked against the operator's sum (GatewayKey.status.spent, at most ten seconds old) and what this gateway has added
since, so it can be exceeded by what the others spend in that time. Tokens are known only afterwards: a request is let
in while the bucket is above zero, and charged when it is done.
"""

from __future__ import annotations

import asyncio
import datetime
import math
from collections import deque
from dataclasses import dataclass, field

from llmops.api.periods import period
from llmops.api.report import Spend, account
from llmops.gateway.errors import BudgetSpent, NotAllowed, TooMuch
from llmops.gateway.snapshot import Budget, Holder, Service


@dataclass(slots=True)
class Bucket:
    """So many a minute, and at most a minute's worth at once."""

    level: float | None = None
    at: float = 0.0

    def wait(self, now: float, per_minute: float, needs: float) -> float:
        """Seconds until `needs` are there; 0 if they are. Takes nothing."""
        level = per_minute if self.level is None else self.level
        self.level = min(per_minute, level + (now - self.at) * per_minute / 60)
        self.at = now
        return 0.0 if self.level >= needs else (needs - self.level) * 60 / per_minute

    def take(self, amount: float) -> None:
        """May go below zero: what was used was used."""
        if self.level is not None:
            self.level -= amount


@dataclass(slots=True)
class Account:
    """What came with one key, or one service account, since this process began."""

    name: str
    requests: int = 0
    tokens: int = 0
    cost: float = 0.0
    running: int = 0
    request_bucket: Bucket = field(default_factory=Bucket)
    token_bucket: Bucket = field(default_factory=Bucket)
    known_spent: tuple[float, str] | None = None
    cost_then: float = 0.0

    def enter(self, holder: Holder | None, gateways: int, now: float, today: datetime.datetime) -> None:
        """Let one request in, or raise TooMuch; who entered must `leave`."""
        if holder is not None:
            self._check(holder, gateways, now, today)
            if holder.requests_per_minute is not None:
                self.request_bucket.take(1)
        self.running += 1
        self.requests += 1

    def leave(self, tokens: int, cost: float) -> None:
        """The request is over and used this."""
        self.running -= 1
        self.tokens += tokens
        self.cost += cost
        self.token_bucket.take(tokens)

    def _check(self, holder: Holder, gateways: int, now: float, today: datetime.datetime) -> None:
        name = holder.name
        if holder.concurrency is not None and self.running >= math.ceil(holder.concurrency / gateways):
            raise _limited(name, f"limits.concurrency is {holder.concurrency}", 1.0)
        if holder.requests_per_minute is not None:
            wait = self.request_bucket.wait(now, _share(holder.requests_per_minute, gateways), 1.0)
            if wait:
                raise _limited(name, f"limits.requestsPerMinute is {holder.requests_per_minute}", wait)
        if holder.tokens_per_minute is not None:
            wait = self.token_bucket.wait(now, _share(holder.tokens_per_minute, gateways), 1.0)
            if wait:
                raise _limited(name, f"limits.tokensPerMinute is {holder.tokens_per_minute}", wait)
        if holder.budget is not None:
            self.within(f"GatewayKey {name}", holder.budget, today)

    def used(self, tokens: int, cost: float) -> None:
        """One more answer, which this was spent for."""
        self.requests += 1
        self.tokens += tokens
        self.cost += cost

    def within(self, whose: str, budget: Budget, today: datetime.datetime) -> None:
        """Or BudgetSpent."""
        start, end = period(budget.period, today)
        known = (budget.spent if budget.period_start == start.isoformat() else 0.0, start.isoformat())
        if known != self.known_spent:
            self.known_spent, self.cost_then = known, self.cost
        if known[0] + self.cost - self.cost_then >= budget.amount:
            raise BudgetSpent(
                f"the budget of {whose} ({budget.amount:g} {budget.currency} a {budget.period.lower()}) is "
                f"spent: it begins anew on {end.date().isoformat()}, or ask for a larger spec.budget.amount",
                code="insufficient_quota",
                retry_after=(end - today).total_seconds(),
            )


def same_currency(holder: Holder | None, service: Service) -> None:
    """A budget in one currency says nothing about prices in another: refused, rather than counted wrongly."""
    if holder is None or holder.budget is None or service.currency in (None, holder.budget.currency):
        return
    raise NotAllowed(
        f"LLMService {service.name} is priced in {service.currency} and the budget of GatewayKey {holder.name} is in "
        f"{holder.budget.currency}: write both in the same currency",
        code="currency_mismatch",
        param="model",
    )


class Accounts:
    """One Account a caller, for as long as the process lives."""

    def __init__(self) -> None:
        self._all: dict[str, Account] = {}

    def of(self, holder: Holder | None, identity: str) -> Account:
        """The account of a key, or of a service account."""
        name = holder.name if holder is not None else f"serviceaccount:{identity}"
        found = self._all.get(name)
        if found is None:
            found = self._all[name] = Account(name)
        return found

    def of_provider(self, name: str) -> Account:
        """The account of all that was asked of somebody's API."""
        return self._all.setdefault(account(name), Account(account(name)))

    def all(self) -> list[Account]:
        """Every account there is."""
        return list(self._all.values())

    def spend(self) -> list[Spend]:
        """What the operator is told: of keys and Providers, service accounts have no budget."""
        return [
            Spend(key=one.name, requests=one.requests, tokens=one.tokens, cost=one.cost)
            for one in self._all.values()
            if not one.name.startswith("serviceaccount:")
        ]


def _share(per_minute: int, gateways: int) -> float:
    return math.ceil(per_minute / gateways)


def _limited(name: str, what: str, wait: float) -> TooMuch:
    return TooMuch(
        f"GatewayKey {name}: {what}; try again in {max(1, math.ceil(wait))} s",
        code="rate_limit_exceeded",
        retry_after=wait,
    )


class Gate:
    """spec.limits.maxConcurrency of a service: what comes beyond waits its turn, first come first served."""

    __slots__ = ("_waiting", "running")

    def __init__(self) -> None:
        self.running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self, limit: int) -> None:
        """Returns with a place, which must be given back by `leave`."""
        if self.running < limit and not self._waiting:
            self.running += 1
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave()  # it was given the place in the moment that its caller gave up
            raise

    def leave(self) -> None:
        """The place goes to who has waited longest."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.running -= 1
