"""What came with a key is counted once: across restarts of gateways, changes of leader and ends of periods."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.access.observe import Seen
from llmops.access.plan import REMEMBERED, plan
from llmops.access.provider import conditions
from llmops.access.status import money, status
from llmops.api import GatewayKey, Provider
from llmops.api.periods import period
from llmops.api.report import Spend

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def key(old: dict[str, Any] | None = None, **spec: Any) -> Any:
    raw = {
        "metadata": {"name": "app", "namespace": "shop", "generation": 1},
        "spec": {"keys": [{"sha256": "0" * 64}], **spec},
    }
    return raw if old is None else {**raw, "status": old}


def turn(raw: Any, spent: dict[str, tuple[int, int, float]], now: datetime = NOW) -> dict[str, Any]:
    """One turn of the reconcile; the next status."""
    told = {one: Spend(key="shop/app", requests=sums[0], tokens=sums[1], cost=sums[2]) for one, sums in spent.items()}
    seen = Seen(raw, GatewayKey.parse(raw), told)
    return status(seen, plan(seen, now), now)


def said(told: dict[str, Any], type_: str) -> tuple[str, str]:
    one = next(one for one in told["conditions"] if one["type"] == type_)
    return one["status"], one["reason"]


def test_gateways_are_summed() -> None:
    told = turn(key(), {"a": (2, 30, 0.5), "b": (1, 10, 0.25)})
    assert (told["requests"], told["tokens"], told["spent"]) == (3, 40, "0.75")


def test_looking_again_counts_nothing_twice_and_writes_nothing() -> None:
    first = turn(key(), {"a": (2, 30, 0.5)})
    assert turn(key(first), {"a": (2, 30, 0.5)}) == first


def test_a_new_leader_that_hears_of_gateways_one_by_one_counts_nothing_twice() -> None:
    first = turn(key(), {"a": (2, 30, 0.5), "b": (1, 10, 0.25)})
    second = turn(key(first), {"b": (1, 10, 0.25)})
    third = turn(key(second), {"b": (1, 10, 0.25), "a": (3, 40, 0.75)})
    assert (third["requests"], third["spent"]) == (4, "1.00")


def test_a_restarted_gateway_begins_anew_and_nothing_is_lost() -> None:
    first = turn(key(), {"a": (2, 30, 0.5)})
    assert turn(key(first), {"a": (2, 30, 0.5), "a2": (1, 5, 0.1)})["requests"] == 3


def test_a_new_period_begins_at_nothing() -> None:
    first = turn(key(budget={"amount": "1", "period": "Day"}), {"a": (2, 30, 1.5)})
    assert said(first, "WithinBudget") == ("False", "BudgetSpent")
    tomorrow = turn(key(first, budget={"amount": "1", "period": "Day"}), {"a": (2, 30, 1.5)}, NOW + timedelta(days=1))
    assert tomorrow["spent"] == "0.00"
    assert said(tomorrow, "WithinBudget") == ("True", "AsWanted")
    later = turn(key(tomorrow, budget={"amount": "1", "period": "Day"}), {"a": (3, 40, 1.6)}, NOW + timedelta(days=1))
    assert later["spent"] == "0.10"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5), st.booleans()), max_size=30))
def test_every_request_is_counted_exactly_once(history: list[tuple[str, int, bool]]) -> None:
    """Requests at gateways that are seen at some looks and not at others; in the end all are seen."""
    sums: dict[str, tuple[int, int, float]] = {}
    raw = key()
    for gateway, requests, looked in history:
        before = sums.get(gateway, (0, 0, 0.0))
        sums[gateway] = (before[0] + requests, before[1] + requests, 0.0)
        raw = key(turn(raw, {gateway: sums[gateway]} if looked else {}))
    assert turn(raw, sums)["requests"] == sum(requests for _, requests, _ in history)


def test_what_is_remembered_is_bounded() -> None:
    raw = key()
    for number in range(REMEMBERED + 8):
        raw = key(turn(raw, {f"gateway-{number}": (1, 1, 0.0)}))
    assert len(raw["status"]["memory"]["counted"]) == REMEMBERED
    assert raw["status"]["requests"] == REMEMBERED + 8


@pytest.mark.parametrize(
    ("spec", "ready"),
    [
        ({}, ("True", "AsWanted")),
        ({"disabled": True}, ("False", "KeyDisabled")),
        ({"keys": [{"sha256": "0" * 64, "expiresAt": "2026-11-23T11:59:59Z"}]}, ("False", "KeyExpired")),
        (
            {"keys": [{"sha256": "0" * 64, "expiresAt": "2026-11-23T11:59:59Z"}, {"sha256": "1" * 64}]},
            ("True", "AsWanted"),
        ),
    ],
)
def test_a_key_says_whether_it_opens_anything(spec: dict[str, Any], ready: tuple[str, str]) -> None:
    told = turn(key(**spec), {})
    assert said(told, "Ready") == ready
    assert said(told, "Stalled")[0] == ("False" if ready[0] == "True" else "True")


def test_the_next_look_comes_when_a_key_expires() -> None:
    raw = key(keys=[{"sha256": "0" * 64, "expiresAt": "2026-11-23T12:00:03Z"}])
    assert plan(Seen(raw, GatewayKey.parse(raw), {}), NOW).look_seconds == pytest.approx(3.1)


OPENAI = {"type": "OpenAI", "baseURL": "https://api.openai.com/v1"}
INSIDE = {"type": "OpenAI", "baseURL": "http://tgi.models.svc/v1"}


@pytest.mark.parametrize(
    ("spec", "namespace", "held", "said"),
    [
        (OPENAI, "llmops-system", True, ("True", "AsWanted", "with the credential of its name")),
        (OPENAI, "llmops-system", False, ("False", "CredentialMissing", "Secret llmops-providers of namespace")),
        (OPENAI, "llmops-system", None, ("Unknown", "NoGateway", "not every gateway has told")),
        (INSIDE, "llmops-system", False, ("True", "AsWanted", "without a credential")),
        (OPENAI, "shop", True, ("False", "ReferenceNotAllowed", "make it in namespace llmops-system")),
    ],
)
def test_a_provider_says_what_its_admin_has_to_do(spec: Any, namespace: str, held: Any, said: Any) -> None:
    provider = Provider.parse({"metadata": {"name": "openai", "namespace": namespace}, "spec": spec})
    ready = conditions(provider, "llmops-system", held)[0]
    assert (ready.word, str(ready.reason)) == said[:2]
    assert said[2] in ready.message


@pytest.mark.parametrize(
    ("length", "start", "end"),
    [("Day", "2026-11-23", "2026-11-24"), ("Week", "2026-11-23", "2026-11-30"), ("Month", "2026-11-01", "2026-12-01")],
)
def test_periods_begin_at_midnight_monday_and_the_first(length: str, start: str, end: str) -> None:
    assert [str(one.date()) for one in period(length, NOW)] == [start, end]


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(["Day", "Week", "Month"]),
)
def test_every_moment_lies_in_its_period(now: datetime, length: str) -> None:
    start, end = period(length, now)
    assert start <= now < end
    assert period(length, end)[0] == end


@pytest.mark.parametrize(("amount", "text"), [("0", "0.00"), ("1.5", "1.50"), ("0.000123", "0.000123")])
def test_money_shows_cents_and_what_is_smaller(amount: str, text: str) -> None:
    assert money(Decimal(amount)) == text
