"""The signal Judge: only those whose answers were read count, in the proportion in which they met either version."""

from __future__ import annotations

import math
import random
from typing import Any, Literal

import pytest

from llmops.api import Reason
from llmops.api.report import Unit
from llmops.api.rollout import Rollout
from llmops.rollout import evidence
from llmops.rollout.case import Case, Hold
from llmops.rollout.judge import split_broken
from llmops.rollout.ledger import Ledger, Shares, SignalCounts, Tally
from llmops.rollout.state import Candidate, freeze
from llmops.rollout.world import Wanted, World

NOW = 1_800_000_000.0

Kind = Literal["exposure", "failure", "pair", "judged"]


def record(
    unit: str, kind: Kind, candidate: bool, weight: int = 50, at: float = 1.0, signal: str | None = None
) -> Unit:
    return Unit(release="shop/a", digest="d", attempt=1, unit=unit, variant="candidate" if candidate else "stable",
                weight=weight, at=at, kind=kind, signal=signal)  # fmt: skip


def met(unit: str, candidate: bool, **more: Any) -> list[Unit]:
    return [record(unit, "exposure", candidate, **more)]


def judged(unit: str, candidate: bool, failed: bool, **more: Any) -> list[Unit]:
    told = [*met(unit, candidate, **more), record(unit, "judged", candidate, signal="Judge", **more)]
    return told + ([record(unit, "failure", candidate, signal="Judge", **more)] if failed else [])


def tallied(records: list[Unit]) -> Any:
    ledger = Ledger()
    ledger.add(records)
    again = Ledger()
    again.unpack(ledger.pack())
    one, other = (each.tally(("Errors", "Judge"), 100.0, {}) for each in (ledger, again))
    assert one == other  # saved and read again, nothing is lost
    return one


def test_only_units_whose_answers_were_read_count_for_the_judge() -> None:
    records = [*judged("a", True, True), *judged("b", False, False), *met("c", True), *met("d", False)]
    tally = tallied(records)
    assert tally.units("Errors") == (2, 2)
    assert tally.units("Judge") == (1, 1)
    [counts] = tally.signal("Judge").by_weight
    assert (counts.n, counts.x, counts.N) == (1, 1, 2)
    assert tally.signal("Errors").by_weight[0].N == 4


def test_a_unit_that_meets_the_candidate_later_is_seen_with_it_too() -> None:
    records = [*judged("a", False, False, weight=10), *judged("a", True, True, weight=50, at=2.0)]
    tally = tallied(records)
    assert tally.units("Judge") == (1, 1)
    assert [(one.weight, one.n, one.x) for one in tally.signal("Judge").by_weight] == [(0.1, 0, 0), (0.5, 1, 1)]
    assert tallied(list(reversed(records))) == tally


def test_everybody_that_is_judged_at_a_hundred_counts_for_the_bake() -> None:
    tally = tallied(
        [*judged("a", True, True, weight=100), *judged("b", True, False, weight=100), *met("c", True, weight=100)]
    )
    assert tally.signal("Judge").baked == (1, 2)
    assert tally.signal("Errors").baked == (0, 3)


def test_a_share_that_is_read_takes_a_sound_candidate_back_no_more_often_than_was_promised() -> None:
    """A third of the users is read, by a judge that finds a tenth of all answers bad; looked at after every user."""
    random.seed(7)
    wrong, runs, limit = 0, 300, evidence.rollback_at(1, 0.05)
    for _ in range(runs):
        n = x = 0
        for _ in range(1500):
            candidate, read, bad = random.random() < 0.25, random.random() < 0.33, random.random() < 0.1
            n, x = n + (read and bad), x + (read and bad and candidate)
            counts = (evidence.Counts(0.25, n, x, n),)
            if read and bad and evidence.harm(counts) >= math.log(limit):
                wrong += 1
                break
    assert wrong / runs <= 0.05


@pytest.mark.parametrize(("read", "held"), [(200, False), (80, True)])
def test_a_judge_that_reads_one_version_more_often_than_the_other_is_no_witness(read: int, held: bool) -> None:
    """Of 400 units that were read at 50%, so many met the candidate."""
    counts = SignalCounts(shares=(Shares(50, 400, read, read),), units=(400 - read, read))
    moving = Candidate("d" * 64, "2", 1, freeze(Rollout()), weight=50, since=NOW, evidence_at=NOW)
    world = World(NOW, tally=Tally((Shares(50, 4000, 2000, 2000),), {"Judge": counts}))
    verdict = split_broken(Case(moving, Wanted("d" * 64, "2", Rollout()), world, "Canary"))
    assert (verdict is not None) == held
    if held:
        assert isinstance(verdict, Hold)
        assert verdict.reason == Reason.SAMPLE_RATIO_MISMATCH
        assert "80 of 400 users whose answers were judged met the candidate" in verdict.message
