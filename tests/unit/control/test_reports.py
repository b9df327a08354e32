"""What the leader makes of the gateways' reports."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.api import Settings
from llmops.api.report import Report, Unit
from llmops.control.reports import GatewayState, Reports
from llmops.rollout.ledger import Ledger

RELEASE, DIGEST = "shop/answer", "d" * 64


def unit(
    name: str, at: float, variant: Any = "stable", signal: str | None = None, pair: bool = False
) -> Unit:  # fmt: skip
    return Unit(
        release=RELEASE, digest=DIGEST, attempt=1, unit=name, variant="candidate" if pair and not signal else variant,
        weight=5, at=at, kind="pair" if pair else "failure" if signal else "exposure", signal=signal,
    )  # fmt: skip


def report(*units: Unit, instance: str = "one", **parts: Any) -> Report:
    told = {"instance": instance, "pod": f"gateway-{instance}", "cursor": len(units), "units": list(units)}
    return cast("Report", {**told, "serving": {}, "services": {}, "spend": [], **parts})


def reports() -> tuple[Reports, list[tuple[str, str]]]:
    turns: list[tuple[str, str]] = []
    return Reports(Settings(), lambda kind, name: turns.append((kind, name))), turns


def test_a_unit_that_met_two_gateways_counts_once_where_it_came_first() -> None:
    seen, _ = reports()
    seen.take("a:1", report(unit("u", at=20.0)))
    seen.take("b:1", report(unit("u", at=10.0), instance="two"))
    assert [(one["unit"], one["at"]) for one in seen.units(RELEASE, DIGEST, 1)] == [("u", 10.0)]


def test_a_failure_told_before_its_exposure_is_not_lost() -> None:
    seen, _ = reports()
    seen.take("b:1", report(unit("u", at=11.0, signal="Feedback"), instance="two"))
    seen.take("a:1", report(unit("u", at=10.0)))
    assert {one["kind"] for one in seen.units(RELEASE, DIGEST, 1)} == {"exposure", "failure"}


def test_a_pair_that_two_gateways_tell_counts_once_and_beside_what_its_user_meets_later() -> None:
    seen, _ = reports()
    seen.take("a:1", report(unit("u", 20.0, pair=True), unit("u", 20.0, "stable", "Errors", pair=True)))
    seen.take(
        "b:1", report(unit("u", 10.0, pair=True), unit("u", 10.0, "candidate", "Errors", pair=True), instance="two")
    )
    seen.take("a:1", report(unit("u", 30.0), unit("u", 30.0, "stable", "Errors")))
    ledger = Ledger()
    ledger.add(seen.units(RELEASE, DIGEST, 1))
    tally = ledger.tally(["Errors"], 100.0, {})
    assert (tally.pairs, tally.signal("Errors").differed, tally.signal("Errors").failures) == (1, (1, 1), (1, 0))


UNITS = st.lists(
    st.builds(unit, st.sampled_from("uvw"), st.floats(0, 9), st.sampled_from(["stable", "candidate"]),
              st.sampled_from([None, "Errors"]), st.booleans()), max_size=12,
)  # fmt: skip


@given(UNITS, st.randoms(use_true_random=False))
def test_any_order_any_gateway_and_any_repetition_give_the_same_units(units: list[Unit], chance: random.Random) -> None:
    """So a new leader that asks again from the start decides as the old one would have."""
    plain, mixed = reports()[0], reports()[0]
    plain.take("a:1", report(*units))
    again = [*units, *units]
    chance.shuffle(again)
    for address, some in zip(itertools.cycle("ab"), (again[i : i + 3] for i in range(0, len(again), 3)), strict=False):
        mixed.take(address, report(*some, instance=address))
    assert counted(plain) == counted(mixed)


def counted(seen: Reports) -> set[tuple[Any, ...]]:
    """Two records of one moment are as good as each other, whatever they say besides."""
    return {(one["unit"], one["kind"], one["signal"], one["at"]) for one in seen.units(RELEASE, DIGEST, 1)}


def test_turns_are_given_to_whom_something_changed_for_and_to_nobody_else() -> None:
    seen, turns = reports()
    serving = {RELEASE: {"stable": DIGEST, "candidate": None, "attempt": 0, "weight": 0}}
    seen.take("a:1", report(serving=serving, services={"shop/support": 1, "shop/minilm": 2}))
    assert sorted(turns) == [
        ("LLMService", "shop/minilm"), ("LLMService", "shop/support"), ("PromptRelease", RELEASE),
    ]  # fmt: skip
    turns.clear()
    seen.take("a:1", report(serving=serving, services={"shop/support": 0, "shop/minilm": 2}))
    assert turns == [("LLMService", "shop/support")]
    turns.clear()
    seen.take("a:1", report(unit("u", at=1.0), serving=serving, services={"shop/support": 0, "shop/minilm": 2}))
    assert turns == [("PromptRelease", RELEASE)]


def test_spend_is_the_sum_over_gateways_of_their_newest_word() -> None:
    seen, _ = reports()
    for instance, tokens in (("one", 10), ("one", 25), ("two", 100)):
        spent = [{"key": "shop/app", "requests": 1, "tokens": tokens, "cost": 0.5}]
        seen.take(f"{instance}:1", report(instance=instance, spend=spent))
    assert seen.spend("shop/app") == {"key": "shop/app", "requests": 2, "tokens": 125, "cost": 1.0}


def test_the_units_of_attempts_that_ended_are_forgotten_on_request() -> None:
    seen, _ = reports()
    seen.take("a:1", report(unit("u", at=1.0)))
    seen.forget(RELEASE, keep=(DIGEST, 1))
    assert seen.units(RELEASE, DIGEST, 1)
    seen.forget(RELEASE)
    assert not seen.units(RELEASE, DIGEST, 1)


def load(held: int = 0, asked: int = 1, running: int = 0) -> Any:
    return {"shop/support": {"running": running, "held": held, "asked": asked, "tokens": 10}}


def test_somebody_who_waits_for_a_pod_gives_the_service_a_turn_once() -> None:
    seen, turns = reports()
    seen.take("a:1", report(load=load(held=1)))
    assert turns == [("LLMService", "shop/support")]
    seen.take("a:1", report(load=load(held=2, asked=2)))
    assert turns == [("LLMService", "shop/support")]
    seen.take("a:1", report(load=load(held=0, asked=2)))
    seen.take("a:1", report(load=load(held=1, asked=3)))
    assert len(turns) == 2


def test_demand_is_the_sum_over_gateways() -> None:
    seen, _ = reports()
    seen.take("a:1", report(load=load(held=1, running=2)))
    seen.take("b:1", report(load=load(held=3), instance="two"))
    found = seen.demand("shop/support")
    assert (found.running, found.held, found.tokens) == (2, 4, 20)
    assert seen.demand("shop/other").held == 0


def test_a_credential_is_there_when_every_ready_gateway_says_so() -> None:
    seen, turns = reports()
    assert seen.credential("openai") is None
    seen.take("a:1", report(providers={"openai": True}))
    assert turns == [("Provider", "llmops-system/openai")]
    assert seen.credential("openai") is True
    seen.take("b:1", report(providers={"openai": False}, instance="two"))
    assert seen.credential("openai") is False
    seen.take("b:1", report(providers={}, instance="two"))
    assert seen.credential("openai") is None
    assert len(turns) == 3


def test_nobody_is_idle_while_a_gateway_is_silent_or_of_the_version_before() -> None:
    seen, _ = reports()
    assert seen.demand("shop/support").idle is None
    seen.take("a:1", report(load={}))
    idle = seen.demand("shop/support").idle
    assert idle is not None
    assert idle >= 0
    for silent in (GatewayState("gateway-two"), GatewayState("gateway-two", reported=time.monotonic())):
        seen._gateways["b:1"] = silent
        assert seen.demand("shop/support").idle is None


def test_what_a_new_leader_hears_first_is_no_idleness(monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot know when the five hundred that were asked came: they might have come just now."""
    seen, _ = reports()
    now = time.monotonic()
    monkeypatch.setattr("llmops.control.reports.time.monotonic", lambda: now + 100)
    seen.take("a:1", report(load=load(asked=500)))
    assert seen.demand("shop/support").idle == 0.0
    monkeypatch.setattr("llmops.control.reports.time.monotonic", lambda: now + 109)
    assert seen.demand("shop/support").idle == 9.0
    seen.take("a:1", report(load=load(asked=501)))
    assert seen.demand("shop/support").idle == 0.0


async def test_a_new_leader_waits_for_the_first_words_of_every_gateway_and_not_for_ever() -> None:
    reports = Reports(Settings(), changed=lambda *_: None)
    waiting = asyncio.create_task(reports.heard(30))
    await asyncio.sleep(0.05)
    assert not waiting.done()  # it does not even know yet which gateways there are
    reports._followed = True
    reports._gateways = {"a": GatewayState("gateway-a"), "b": GatewayState("gateway-b")}
    for address in ("a", "b"):
        assert not waiting.done()
        reports._gateways[address].reported = time.monotonic()
        await asyncio.sleep(0.05)
    assert waiting.done()
    reports._gateways["c"] = GatewayState("gateway-c")
    began = time.monotonic()
    await reports.heard(0.2)
    assert 0.1 < time.monotonic() - began < 5
