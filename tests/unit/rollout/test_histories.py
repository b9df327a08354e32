"""What must hold in any history: hypothesis plays people, gateways, crashes and clocks."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.rollout.story import DEMO, Story

from llmops.api.rollout import Rollout, Shadow
from llmops.rollout.counters import Counters
from llmops.rollout.world import Offline

MOVES = st.one_of(
    st.tuples(st.just("look"), st.booleans()),  # False: the operator is killed before it writes
    st.tuples(st.just("sync"), st.just(0)),
    st.tuples(st.just("users"), st.integers(1, 60)),
    st.tuples(st.just("bad users"), st.integers(20, 80)),
    st.tuples(st.just("spec"), st.sampled_from(["one", "two", "three"])),
    st.tuples(st.just("clock"), st.sampled_from([1, 1, 1, 5, 40, 400, -100, 100_000])),
    st.tuples(st.just("offline"), st.sampled_from(["Pass", "Pass", "Fail", "Inconclusive", "Error", None])),
    st.tuples(st.just("suspend"), st.booleans()),
    st.tuples(st.just("retry"), st.integers(1, 2)),
    st.tuples(st.just("approve"), st.integers(0, 3)),
    st.tuples(st.just("abort"), st.integers(1, 2)),
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


class History:
    """Plays moves, and watches."""

    def __init__(self) -> None:
        self.story = Story().released()
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
        elif move == "approve":
            story.approve = f"{story.digest}/{attempt}/{value}"
        else:
            setattr(story, move, f"{story.digest}/{value}")
        self.watch()

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
    story.spec, story.offline, story.rollout = "four", Offline("Pass"), ROLLOUTS["shadow" if unseen else "demo"]
    story.suspend, story.abort, story.retry, story.approve = False, None, None, None
    story.counters = None
    story.go("Canary", seconds=60, users=80 if unseen else 0)
    assert story.go("Released", seconds=200, users=80) == "Released"
    assert story.state.stable
    assert story.state.stable.digest == Story.of("four")


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
