"""One look at a candidate that answers, and what a question about it may say."""

from __future__ import annotations

from dataclasses import dataclass

from llmops.api import Reason
from llmops.api.rollout import Step
from llmops.rollout.state import Candidate
from llmops.rollout.world import Wanted, World


@dataclass(frozen=True)
class RollBack:
    """Take it away from users and remember it."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Hold:
    """Change nothing until the reason is gone, or a person decides."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Stay:
    """Go on as it is; not enough is known."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Advance:
    """One step further."""

    reason: Reason
    message: str


Verdict = RollBack | Hold | Stay | Advance


@dataclass(frozen=True)
class Case:
    """One look at a candidate that answers; `home` is Shadow, Canary or Baking."""

    candidate: Candidate
    wanted: Wanted
    world: World
    home: str

    @property
    def baking(self) -> bool:
        return self.home == "Baking"

    @property
    def place(self) -> int | str:
        """What an approval must name: the step, or that it is the shadow (evaluations are step 0)."""
        return "shadow" if self.home == "Shadow" else self.candidate.step

    @property
    def step(self) -> Step:
        """The step of the spec that it is in; one that was edited away asks for evidence only."""
        same = [one for one in self.wanted.rollout.steps if one.weight == self.candidate.weight]
        return same[0] if same else Step(weight=min(99, self.candidate.weight), min_units=1)

    @property
    def next_weight(self) -> int:
        """The first weight of the spec above this one; 100 after the last."""
        above = [one.weight for one in self.wanted.rollout.steps if one.weight > self.candidate.weight]
        return min(above, default=100)
