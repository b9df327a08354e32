"""What must hold in any history: hypothesis plays people, gateways, crashes and clocks; and dice play many more.

Hypothesis writes and reads every status and finds the shortest history that breaks something; the dice keep the state
as it is, and so play 20,000 histories in less time than hypothesis plays 300.
"""

from __future__ import annotations

import random
from collections import Counter
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.rollout.story import DEMO, Kept, Story

from llmops.api.rollout import PHASES, Rollout, Shadow
from llmops.rollout.counters import Counters
from llmops.rollout.hand import attempt_of
from llmops.rollout.world import Offline

MOVES = st.one_of(
    st.tuples(st.just("look"), st.booleans()),  # False: the operator is killed before it writes
    st.tuples(st.just("sync"), st.just(0)),
    st.tuples(st.just("users"), st.integers(1, 60)),
    st.tuples(st.just("bad users"), st.integers(20, 80)),
    st.tuples(st.just("spec"), st.sampled_from(["one", "two", "three", "four"])),
    st.tuples(st.just("clock"), st.sampled_from([1, 1, 1, 5, 40, 400, -100, 100_000])),
    st.tuples(st.just("offline"), st.sampled_from(["Pass", "Pass", "Fail", "Inconclusive", "Error", None])),
    st.tuples(st.just("suspend"), st.booleans()),
    st.tuples(st.just("retry"), st.integers(1, 2)),
    st.tuples(st.just("approve"), st.integers(0, 3)),
    st.tuples(st.just("abort"), st.integers(1, 2)),
    st.tuples(st.just("by hand"), st.tuples(st.sampled_from(["one", "two", "three", "four"]), st.integers(1, 3))),
    st.tuples(st.just("annotated"), st.tuples(st.sampled_from(["one", "two", "three", "four"]), st.integers(1, 3))),
    st.tuples(st.just("approve"), st.just("shadow")),
    st.tuples(st.just("fails"), st.sampled_from(["Errors", "Feedback", "Latency", "InvalidResponse"])),
    st.tuples(st.just("numbers"), st.lists(st.integers(0, 300), min_size=4, max_size=4) | st.none()),
    st.tuples(
        st.just("rollout"), st.sampled_from(["demo", "approval", "no steps", "shadow", "shadow or back", "watched"])
    ),
)
SHADOW = Shadow(percent=50, min_samples=20, timeout="60s")
ROLLOUTS = {
    "demo": DEMO,
    "approval": DEMO.model_copy(update={"steps": [DEMO.steps[0].model_copy(update={"pause": "Approval"})]}),
    "no steps": DEMO.model_copy(update={"steps": []}),
    "shadow": DEMO.model_copy(update={"shadow": SHADOW}),
    "watched": Rollout.model_validate(
        {
            **DEMO.wire(),
            "shadow": SHADOW.wire(),
            "online": [
                {"signal": "Errors"},
                {"signal": "Latency", "max": "2s"},
                {"signal": "InvalidResponse"},
                {"signal": "Prometheus", "failures": "a", "total": "b"},
            ],
        }
    ),
    "shadow or back": DEMO.model_copy(update={"shadow": SHADOW, "on_inconclusive": "Rollback"}),
}


@cache
def beginning() -> Story:
    """Versions one and two were released, so there is one to go back to."""
    story = Story().released()
    story.spec = "two"
    assert story.go("Released", users=80) == "Released"
    return story


class History:
    """Plays moves, and watches; `fast`: no status is written and read."""

    def __init__(self, fast: bool = False) -> None:
        before = beginning()
        told = {"spec": before.spec, "now": before.now, "gateway": before.gateway}
        self.story = Kept(kept=before.state, **told) if fast else Story(status=before.status, **told)  # type: ignore[arg-type]
        self.crowd = 0
        self.read_of: tuple[str, int] | None = None
        self.seen: dict[tuple[str, int, str], bool] = {}
        self.weights: dict[tuple[str, int], int] = {}

    def play(self, move: str, value: object) -> None:
        story = self.story
        attempt = story.state.candidate.attempt if story.state.candidate else 1
        if move == "look":
            story.look(write=bool(value))
        elif move == "sync":
            story.sync()
        elif move in ("users", "bad users"):
            bad = 0.9 if move == "bad users" else 0.0
            story.users(int(value), bad, first=self.crowd % 500)  # type: ignore[call-overload]
            story.pairs(int(value), bad, first=self.crowd % 500)  # type: ignore[call-overload]
            self.crowd += int(value)  # type: ignore[call-overload]
        elif move == "fails":
            story.fails = str(value)
        elif move == "numbers":
            self.read(value)  # type: ignore[arg-type]
        elif move == "spec":
            story.spec = str(value)
        elif move == "clock":
            story.now += float(value)  # type: ignore[arg-type]
        elif move == "offline":
            story.offline = Offline(value)  # type: ignore[arg-type]
        elif move == "suspend":
            story.suspend = bool(value)
        elif move == "rollout":
            story.rollout = ROLLOUTS[str(value)]
        elif move in ("by hand", "annotated"):
            self.by_hand(move, *value)  # type: ignore[misc]
        elif move == "approve":
            story.approve = f"{story.digest}/{attempt}/{value}"
        else:
            setattr(story, move, f"{story.digest}/{value}")
        self.watch()

    def by_hand(self, move: str, spec: str, attempt: int) -> None:
        """With the content, as it should be, or the annotation alone; the attempt is often the right one."""
        right = attempt_of(self.story.state, self.story.of(spec))
        self.story.rollback = f"{self.story.of(spec)}/{right if attempt > 1 else attempt}"
        if move == "by hand":
            self.story.spec = spec

    def read(self, numbers: list[float] | None) -> None:
        """Somebody else's counters, which grow, begin anew or are not there."""
        moving = self.story.state.candidate
        if moving is None or not moving.weight:
            return
        if self.read_of != (moving.digest, moving.attempt):
            self.read_of, self.story.counters = (moving.digest, moving.attempt), Counters("a", "b")
        assert self.story.counters is not None
        self.story.counters.add(moving.weight, numbers or [None] * 4)

    def watch(self) -> None:
        """The properties."""
        story, state = self.story, self.story.state
        assert state.stable is not None  # somebody is always served
        moving = state.candidate
        if moving is None:
            return
        if moving.by_hand and moving.weight:  # only what was released once and is not rejected, and only all at once
            assert state.released(moving.digest)
            assert state.rejection(moving.digest) is None
            assert moving.weight == 100
        overtaken = moving.ending is not None and moving.ending.outcome == "Superseded"
        assert not (moving.by_hand and overtaken)  # or its users would get what a person took from them
        told = story.gateway
        if told and (told.candidate, told.attempt) == (moving.digest, moving.attempt) and moving.ending is None:
            assert told.weight <= moving.weight  # nobody is shown more of it than the status says
        if state.rejection(moving.digest) and state.phase == "Rejected":
            assert moving.weight == 0  # a rejected digest gets nobody
        if state.phase in ("Pending", "Validating", "Evaluating", "Shadow", "RollingBack", "Rejected"):
            assert moving.weight == 0
        if state.in_shadow:
            assert moving.weight == moving.step == 0  # nobody met it yet, and nobody will unless it is admitted
        before = self.weights.get((moving.digest, moving.attempt), 0)
        assert moving.weight >= before or moving.weight == 0  # it only rises, or is taken back whole
        assert moving.weight == 0 or before >= 0
        self.weights[moving.digest, moving.attempt] = -1 if before and not moving.weight else moving.weight or before
        for digest, attempt, unit, candidate in story.met:
            key = (digest, attempt, unit)
            assert candidate >= self.seen.get(
                key, False
            )  # nobody goes back to stable, unless rolled back: no users then
            self.seen[key] = candidate
        story.met.clear()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(MOVES, max_size=60))
def test_in_any_history_weights_only_rise_and_nobody_returns_to_stable(moves: list[tuple[str, object]]) -> None:
    history = History()
    for move, value in moves:
        history.play(move, value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(MOVES, max_size=50))
def test_from_anywhere_returning_to_stable_ends_the_rollout(moves: list[tuple[str, object]]) -> None:
    """Every state has a way out: back to what is served."""
    history = History()
    for move, value in moves:
        history.play(move, value)
    story = history.story
    assert story.state.stable
    story.spec = story.state.stable.version
    story.suspend, story.abort, story.retry = False, None, None
    assert story.go("Released", seconds=60) == "Released"
    assert story.state.candidate is None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(MOVES, max_size=50), st.booleans())
def test_from_anywhere_a_new_sound_content_reaches_everybody(moves: list[tuple[str, object]], unseen: bool) -> None:
    """And forward: a new content, users, and nothing in the way."""
    history = History()
    for move, value in moves:
        history.play(move, value)
    story = history.story
    story.spec, story.offline, story.rollout = "five", Offline("Pass"), ROLLOUTS["shadow" if unseen else "demo"]
    story.suspend, story.abort, story.retry, story.approve = False, None, None, None
    story.counters = None
    story.go("Canary", seconds=60, users=80 if unseen else 0)
    assert story.go("Released", seconds=200, users=80) == "Released"
    assert story.state.stable
    assert story.state.stable.digest == Story.of("five")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=30, max_size=30), st.sampled_from(["demo", "shadow"]))
def test_killing_the_operator_before_any_write_ends_in_the_same_state(kills: list[bool], rollout: str) -> None:
    def played(killed: list[bool]) -> object:
        story = Story(rollout=ROLLOUTS[rollout]).released()
        story.spec = "two"
        for kill in [*killed, *[False] * 40]:
            if kill:
                story.look(write=False)
            for _ in range(6):
                if not story.look().moved:
                    break
                story.sync()
            story.now += 1
            story.sync()
            story.users(60, first=int(story.now * 1000) % 10_000_000)
            story.pairs(60, first=int(story.now * 1000) % 10_000_000)
        return story.phase, story.state.stable, story.state.history

    assert played(kills) == played([False] * 30)


SPECS = ["one", "one", "two", "two", "three", "four"]
DICE: dict[str, tuple[int, list[object]]] = {  # how often, and what
    "turn": (12, [(0, 0.0), (20, 0.0), (60, 0.0), (60, 0.9)]),
    "look": (2, [True, True, False]),
    "sync": (1, [0]),
    "spec": (3, [*SPECS]),
    "by hand": (3, [(spec, attempt) for spec in SPECS for attempt in (1, 2, 2, 2)]),
    "annotated": (1, [(spec, 2) for spec in SPECS]),
    "clock": (1, [1, 5, 40, 400, -100, 100_000]),
    "offline": (1, ["Pass", "Pass", "Pass", "Fail", "Inconclusive", "Error", None]),
    "suspend": (1, [True, False, False]),
    "approve": (1, [0, 1, 2, 3, "shadow"]),
    "retry": (1, [1, 2]),
    "abort": (1, [1, 2]),
    "rollout": (1, ["demo", "demo", "approval", "no steps", "shadow", "shadow or back", "watched"]),
}
MANY = 20_000


@pytest.mark.parametrize("seed", range(4))
def test_in_many_histories_the_same_holds_and_each_has_a_way_out(seed: int) -> None:
    dice, went = random.Random(seed), Counter[str]()
    moves, often = list(DICE), [many for many, _ in DICE.values()]
    for _ in range(MANY // 4):
        history = History(fast=True)
        for move in dice.choices(moves, often, k=dice.randint(5, 40)):
            value = dice.choice(DICE[move][1])
            for one, what in turn(*value) if move == "turn" else [(move, value)]:  # type: ignore[misc]
                history.play(one, what)
            story = history.story
            moving = story.state.candidate
            went[f"{story.phase}{' by hand' if moving and moving.by_hand else ''}"] += 1
        assert story.state.stable
        story.spec, story.suspend, story.abort, story.retry = story.state.stable.version, False, None, None
        assert story.go("Released", seconds=60) == "Released"
    # or the dice would show nothing
    assert {*PHASES, "Baking by hand", "Holding by hand", "RollingBack by hand", "Rejected by hand"} <= went.keys()


def turn(users: int, bad: float) -> list[tuple[str, object]]:
    """A second in which everybody does what they should, more often than dice would."""
    return [("look", True), ("sync", 0), ("bad users" if bad else "users", users), ("clock", 1)]
