"""A release told in sentences, for the tests: a world whose status survives, gateways that lag, users who come."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

from llmops.api.promptrelease import PromptReleaseStatus
from llmops.api.report import Unit
from llmops.api.rollout import Rollout
from llmops.rollout.counters import SIGNAL, Counters
from llmops.rollout.ledger import Ledger
from llmops.rollout.machine import look
from llmops.rollout.split import bucket, is_shadowed, meets_candidate
from llmops.rollout.state import State, memory, read, stamp
from llmops.rollout.tell import fields
from llmops.rollout.world import Gateway, Offline, Outcome, Problem, Wanted, World

DEMO = Rollout.model_validate(
    {
        "online": [{"signal": "Errors"}, {"signal": "Feedback"}],
        "steps": [
            {"weight": 10, "minUnits": 50, "minDuration": "5s"},
            {"weight": 50, "minUnits": 100, "minDuration": "5s"},
        ],
        "bake": "10s",
        "margin": {"ratio": "3", "points": "20"},
    }
)


def stored(state: State) -> PromptReleaseStatus:
    """The state, through the status as it is written, so that every test tests the writing too."""
    candidate: dict[str, Any] | None = None
    if state.candidate:
        one = state.candidate
        candidate = {
            "digest": one.digest, "version": one.version, "attempt": one.attempt, "weight": one.weight,
            "step": one.step, "since": stamp(one.since), "score": one.score, "memory": memory(one),
        }  # fmt: skip
    stable = state.stable
    return PromptReleaseStatus.model_validate(
        {
            "phase": state.phase,
            "heldFrom": state.held_from,
            "stable": {"digest": stable.digest, "version": stable.version, "since": stamp(stable.since)}
            if stable
            else None,
            "candidate": candidate,
            "rejected": [one.wire() for one in state.rejected],
            "history": [one.wire() for one in state.history],
            "lastHandled": state.handled.wire(),
        }
    )


@dataclass
class Story:
    """Everything there is; `look()` is one turn of the operator, which reads only the stored status."""

    rollout: Rollout = DEMO
    spec: str = "one"
    now: float = 1_700_000_000.0
    status: PromptReleaseStatus | None = None
    offline: Offline = field(default_factory=Offline)
    problem: Problem | None = None
    suspend: bool = False
    unsplit: bool = False
    frozen: bool = True
    approve: str | None = None
    retry: str | None = None
    abort: str | None = None
    rollback: str | None = None
    revisions: dict[str, tuple[str, str]] = field(default_factory=dict)
    ledgers: dict[tuple[str, int], Ledger] = field(default_factory=dict)
    gateway: Gateway | None = None
    met: list[tuple[str, int, str, bool]] = field(default_factory=list)  # who was sent where
    last: Outcome | None = None
    counters: Counters | None = None
    fails: str = "Feedback"
    """The signal that users' answers fail, if they do; unseen it is Errors in place of Feedback."""

    @property
    def digest(self) -> str:
        return self.of(self.spec)

    @staticmethod
    def of(spec: str) -> str:
        return f"{spec}-".ljust(64, "0")

    @property
    def state(self) -> State:
        return read(self.status, self.rollout)

    @property
    def phase(self) -> str | None:
        return self.state.phase

    @property
    def weight(self) -> int:
        return self.state.candidate.weight if self.state.candidate else 0

    def look(self, write: bool = True) -> Outcome:
        """One turn; without `write` the operator was killed before it wrote."""
        state = self.state
        self.last = look(state, self.wanted, self.world)
        if write:
            self.write(self.last.state)
        return self.last

    def write(self, state: State) -> None:
        """What the next look will read."""
        self.status = stored(state)

    @property
    def wanted(self) -> Wanted:
        return Wanted(self.digest, self.spec, self.rollout, self.suspend, self.unsplit)

    @property
    def world(self) -> World:
        moving = self.state.candidate
        world = World(
            self.now, self.problem, self.offline, approve=self.approve, retry=self.retry, abort=self.abort,
            rollback=self.rollback, revisions=self.revisions, frozen=self.frozen,
            gateways=(self.gateway,) if self.gateway else (),
        )  # fmt: skip
        if moving is None:
            return world
        tally = self.ledger().tally(moving.frozen.signals, self.now, {"Feedback": moving.frozen.window})
        if self.counters is not None:
            tally = replace(tally, signals={**tally.signals, SIGNAL: self.counters.counts()})
        return replace(world, tally=tally)

    def ledger(self) -> Ledger:
        moving = self.state.candidate
        assert moving is not None
        return self.ledgers.setdefault((moving.digest, moving.attempt), Ledger())

    def sync(self) -> None:
        """The gateway reads the status and says what it serves."""
        moving = self.state.candidate
        serving = (moving.digest, moving.attempt, moving.weight) if moving else (None, 0, 0)
        self.gateway = Gateway("gateway-0", self.now, *serving)

    def users(self, count: int, bad: float = 0.0, first: int = 0, stable_bad: float = 0.0) -> None:
        """Users come to the gateway and get what it serves; a share of them fails, evenly."""
        told = self.gateway
        if told is None or told.candidate is None or told.weight == 0:
            return
        for number in range(first, first + count):
            unit = f"user-{number}"
            mine = meets_candidate(bucket("shop/answer", told.candidate, told.attempt, unit), told.weight)
            self.met.append((told.candidate, told.attempt, unit, mine))
            record: dict[str, Any] = {
                "release": "shop/answer", "digest": told.candidate, "attempt": told.attempt, "unit": unit,
                "variant": "candidate" if mine else "stable", "weight": told.weight, "at": self.now,
                "kind": "exposure", "signal": None,
            }  # fmt: skip
            rate = bad if mine else stable_bad
            ledger = self.ledgers.setdefault((told.candidate, told.attempt), Ledger())
            ledger.add([record])  # type: ignore[list-item]
            if rate and hash_share(unit) < rate:
                ledger.add([{**record, "kind": "failure", "signal": self.fails}])  # type: ignore[typeddict-item]

    def go(self, until: str | None = None, seconds: int = 120, users: int = 0, bad: float = 0.0) -> str | None:
        """Second after second, until a phase, or until nothing is left to wait for."""
        for _ in range(seconds):
            for _ in range(6):
                if not self.look().moved:
                    break
                self.sync()
            if self.phase == until:
                return self.phase
            self.now += 1
            self.sync()
            self.users(users, bad, first=int(self.now * 1000) % 10_000_000)
            self.pairs(users, bad, first=int(self.now * 1000) % 10_000_000)
        return self.phase

    def told(self) -> dict[str, Any]:
        """The candidate as the last look's status tells it."""
        assert self.last is not None
        now = datetime.fromtimestamp(self.now, UTC)
        told = fields(self.last, self.wanted, self.world, str, 10, now)["candidate"]
        assert isinstance(told, dict)
        return told

    def pairs(self, count: int, bad: float = 0.0, first: int = 0, stable_bad: float = 0.0) -> None:
        """Users come, and the candidate answers its share of them too, unseen; nobody meets it."""
        moving, shadow = self.state.candidate, self.rollout.shadow
        if moving is None or shadow is None or not self.state.in_shadow:
            return
        for number in range(first, first + count):
            unit = f"user-{number}"
            if not is_shadowed("shop/answer", moving.digest, moving.attempt, unit, shadow.percent):
                continue
            record: dict[str, Any] = {"unit": unit, "weight": 0, "at": self.now, "kind": "pair", "signal": None}
            ours, theirs = hash_share(unit) < bad, hash_share(f"{unit} again") < stable_bad
            self.ledger().add([cast("Unit", {**record, "variant": "candidate"})])
            if ours != theirs:
                worse = {**record, "variant": "candidate" if ours else "stable", "signal": self.fails}
                worse["signal"] = "Errors" if self.fails == "Feedback" else self.fails
                self.ledger().add([cast("Unit", worse)])

    def released(self) -> Story:
        """With a first version that everybody gets."""
        assert self.go("Released") == "Released"
        return self


@dataclass
class Kept(Story):
    """The same, ten times as fast: the state is kept as it is, instead of being written as a status and read again."""

    kept: State = field(default_factory=State)

    @property
    def state(self) -> State:
        return self.kept

    def write(self, state: State) -> None:
        self.kept = state


def hash_share(unit: str) -> float:
    """A number from 0 to 1 that belongs to the unit, apart from its bucket."""
    return bucket("chance", "", 0, unit) / 10_000
