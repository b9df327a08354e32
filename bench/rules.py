"""Whole rollouts by three rules over the same users with the same luck: ours, Flagger's and Argo Rollouts'.

A run is twelve hours of a crowd that comes steadily, each user four times within an hour, each with a rate of failure
of their own. A rule sees what it would see, once a minute or as its documentation says, moves the weight, and ends with
the candidate promoted, rolled back, or neither. The peers are run as their documentation's own examples are
(docs.flagger.app/usage/metrics, the analysis guide of Argo Rollouts), and once more with the best bound they could have
been given: the tightest on the success rate (in tenths of the base rate, by 200 runs) with which they take back no more
than 5% of identical candidates at that very base rate, which nobody knows beforehand.

    python3 -m bench rules        JSON lines, and docs/evidence/*.svg
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.chart import Line, chart
from llmops.rollout import evidence

MINUTES, EACH_MINUTE, VISITS, WITHIN = 720, 100, 4, 60
End = tuple[Literal["promoted", "rolled back", "neither"], int, int]
"""How it ended, at which minute, and how many failures users met with the candidate until then."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Story:
    """Rates of failure, how unlike users are, how late a failure is told, and how the rates move by the minute."""

    stable: float
    times: float = 1.0
    likeness: float = 2.0
    late: float = 0.0  # minutes, mean
    moves: Callable[[Floats, bool], Floats] = lambda at, candidate: np.ones_like(at)


@dataclass
class Run:
    """One crowd: of each request its minute, its user's bucket, and whether either version fails it, told when."""

    minute: Floats
    bucket: Floats
    user: NDArray[np.int64]
    fails: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    told: Floats

    def between(self, begin: int, end: int) -> slice:
        return slice(*np.searchsorted(self.minute, (begin, end)))


def crowd(story: Story, seed: int) -> Run:
    rng = np.random.default_rng(seed)
    users = (MINUTES + WITHIN) * EACH_MINUTE // VISITS
    lean = rng.beta(story.likeness * 0.1, story.likeness * 0.9, users) / 0.1  # mean 1
    begins = rng.random(users) * (MINUTES + WITHIN) - WITHIN  # the crowd was there before the rollout
    come = np.repeat(begins, VISITS) + rng.random(users * VISITS) * WITHIN
    user, bucket = np.repeat(np.arange(users), VISITS), np.repeat(rng.random(users), VISITS)
    order = np.argsort(come)
    order = order[(come[order] >= 0) & (come[order] < MINUTES)]
    at, user, bucket = come[order], user[order], bucket[order]
    luck, late = rng.random(len(at)), rng.exponential(1.0, len(at)) * story.late
    rates = [story.stable, story.stable * story.times]
    fails = [luck < np.clip(rate * lean[user] * story.moves(at, arm == 1), 0, 1) for arm, rate in enumerate(rates)]
    return Run(at, bucket, user, (fails[0], fails[1]), at + late)


# --- the peers


def windowed(run: Run, least: float, minutes: int, weights: Sequence[float], most_failed: int, hold: int) -> End:
    """Every so many minutes the candidate's success rate is looked at: failures told in that time over requests of that
    time, as counters have it. A failed look counts, `hold` good ones let the weight rise; promoted after the last."""
    pending: Floats = np.empty(0)
    step = good = failed = harm = 0
    for end in range(minutes, MINUTES, minutes):
        part = run.between(end - minutes, end)
        met = run.bucket[part] < weights[step]
        pending = np.concatenate([pending, run.told[part][met & run.fails[1][part]]])
        told = int((pending < end).sum())
        pending = pending[pending >= end]
        harm += int((met & run.fails[1][part]).sum())
        asked = int(met.sum())
        if asked == 0 or 1 - told / asked < least:
            failed += 1
            if failed >= most_failed:
                return "rolled back", end, harm
            continue
        good += 1
        if good % hold == 0:
            step += 1
            if step == len(weights):
                return "promoted", end, harm
    return "neither", MINUTES, harm


def flagger(run: Run, least: float = 0.99) -> End:
    """interval 1m, threshold 5, stepWeight 10, maxWeight 50, request-success-rate min 99."""
    return windowed(run, least, 1, (0.1, 0.2, 0.3, 0.4, 0.5), 5, hold=1)


def argo(run: Run, least: float = 0.95) -> End:
    """20% more every 10 minutes; a background analysis every 5 minutes, success >= 0.95, failureLimit 3."""
    return windowed(run, least, 5, (0.2, 0.4, 0.6, 0.8), 4, hold=2)


# --- ours


def ours(run: Run) -> End:
    """The defaults: 10, 25 and 50% with 100, 200 and 200 users, margin 1.5 times or a point, ten minutes of bake."""
    weights, least = (0.10, 0.25, 0.50, 1.0), (100, 200, 200, 0)
    take_back, go_on = math.log(evidence.rollback_at(1, 0.05)), math.log(evidence.advance_at(0.05))
    first: dict[int, int] = {}  # user -> weight's place at the first meeting
    failed: dict[int, tuple[int, bool]] = {}
    n, x, survived, met = [0] * 4, [0] * 4, [0] * 4, [0] * 4
    waiting: list[tuple[float, int, int, bool]] = []
    step = began = harm = 0
    for end in range(1, MINUTES):
        part = run.between(end - 1, end)
        candidate = run.bucket[part] < weights[step]
        bad = np.where(candidate, run.fails[1][part], run.fails[0][part])
        harm += int((candidate & run.fails[1][part]).sum())
        for user, new, fails, told in zip(run.user[part], candidate, bad, run.told[part], strict=True):
            if user not in first:
                first[int(user)] = step
                met[step] += bool(new)
                survived[step] += 1
            if fails and user not in failed:
                failed[int(user)] = (step, bool(new))
                waiting.append((float(told), int(user), step, bool(new)))
        for one in [one for one in waiting if one[0] < end]:
            waiting.remove(one)
            _, user, at, new = one
            n[at] += 1
            x[at] += new
            survived[first[user]] -= first[user] == at
        counts = [
            evidence.Counts(w, n[k], x[k], n[k] + survived[k]) for k, w in enumerate(weights[:3]) if n[k] + met[k]
        ]
        if evidence.harm(counts) >= take_back:
            return "rolled back", end, harm
        if step == 3:
            if end - began >= 10:
                return "promoted", end, harm
        elif met[step] >= least[step] and evidence.no_worse(counts, 1.5, 1.0, weights[step + 1]) >= go_on:
            step, began = step + 1, end
    return "neither", MINUTES, harm


# --- what is asked of them


def share(ends: Sequence[End], word: str) -> float:
    return round(sum(one[0] == word for one in ends) / len(ends), 3)


def median(ends: Sequence[End], word: str) -> int | None:
    found = [one[1] for one in ends if one[0] == word]
    return int(np.median(found)) if found else None


def calm(story: Story) -> Story:
    """Identical versions, and rates that stay what they are."""
    return replace(story, times=1.0, moves=Story.moves)


def tuned(rule: Callable[[Run, float], End], story: Story, runs: int) -> float:
    """The tightest bound, in tenths of the base rate, with which at most 5% of identical candidates are taken back
    while nothing else happens: who tunes it does not know the bad hour beforehand."""
    same = [crowd(calm(story), 10_000 + one) for one in range(runs)]
    for tenths in (*range(5, 61), *range(65, 205, 5)):
        least = 1 - story.stable * tenths / 10
        if share([rule(one, least) for one in same], "rolled back") <= 0.05:
            return least
    return 0.0


def compared(story: Story, runs: int) -> dict[str, list[End]]:
    crowds = [crowd(story, one) for one in range(runs)]
    bounds = {"Flagger": tuned(flagger, story, runs), "Argo": tuned(argo, story, runs)}
    return {
        "ours": [ours(one) for one in crowds],
        "Flagger as documented": [flagger(one) for one in crowds],
        "Argo Rollouts as documented": [argo(one) for one in crowds],
        "Flagger, bound tuned": [flagger(one, bounds["Flagger"]) for one in crowds],
        "Argo Rollouts, bound tuned": [argo(one, bounds["Argo"]) for one in crowds],
    }


def _drift(at: Floats, _: bool) -> Floats:
    """A bad hour for everybody, soon after the rollout began."""
    return np.where((at > 2) & (at < 62), 3.0, 1.0)


def _novelty(at: Floats, candidate: bool) -> Floats:
    """The candidate pleases for twenty minutes, and is three times worse from then on."""
    return np.where(at < 20, 0.7, 3.0) if candidate else np.ones_like(at)


def _cold(at: Floats, candidate: bool) -> Floats:
    """The candidate fails three times as often for twenty minutes, and as often as stable from then on."""
    return np.where(at < 20, 3.0, 1.0) if candidate else np.ones_like(at)


STORIES = {
    "identical, 0.1%": Story(0.001), "identical, 0.2%": Story(0.002),
    "identical, 1%": Story(0.01), "identical, 5%": Story(0.05),
    "identical, 20%": Story(0.20), "identical, 5%, few users fail often": Story(0.05, likeness=0.3),
    "identical, 5%, told 5 min late": Story(0.05, late=5.0),
    "identical, 2%, a bad hour for all": Story(0.02, moves=_drift),
    "3 times worse, 1%": Story(0.01, 3.0), "3 times worse, 5%": Story(0.05, 3.0),
    "3 times worse, 5%, told 5 min late": Story(0.05, 3.0, late=5.0),
    "3 times worse, 0.1%": Story(0.001, 3.0), "10 times worse, 0.1%": Story(0.001, 10.0),
    "3 times worse for 20 minutes, then alike, 2%": Story(0.02, moves=_cold),
    "pleases at first, then 3 times worse, 2%": Story(0.02, moves=_novelty),
}  # fmt: skip


def main(runs: int = 200) -> None:
    """Print the lines, and draw what a candidate's being so many times worse leads to."""
    begun = time.monotonic()
    for name, story in STORIES.items():
        for rule, ends in compared(story, runs).items():
            told = {"rolled_back": share(ends, "rolled back"), "promoted": share(ends, "promoted")}
            minutes = {
                "minutes_to_rollback": median(ends, "rolled back"),
                "minutes_to_promotion": median(ends, "promoted"),
            }
            failures = {"failures_met": float(np.mean([one[2] for one in ends]))}
            print(
                json.dumps({"bench": "rules", "story": name, "rule": rule, **told, **minutes, **failures}), flush=True
            )
    times = (1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
    for rate in (0.01, 0.05):
        found = {one: compared(Story(rate, one), max(20, runs // 2)) for one in times}
        for word, what in (("rolled back", "taken back"), ("promoted", "promoted")):
            lines = [Line(rule, [(one, 100 * share(found[one][rule], word)) for one in times]) for rule in found[1.0]]
            title = f"Candidates that were {what}, at a base rate of {rate:.0%}"
            drawn = chart(title, "times as many failures as stable", "% of rollouts", lines)
            _write(f"{word.replace(' ', '-')}-{round(rate * 100)}", drawn)
        _draw_delays(rate, found)
    print(json.dumps({"bench": "rules", "runs": runs, "seconds": round(time.monotonic() - begun)}))


def _draw_delays(rate: float, found: dict[float, dict[str, list[End]]]) -> None:
    """How many had been taken back by which minute, of candidates that are a little, or much, worse."""
    for times in (1.5, 3.0):
        lines = [Line(rule, _taken_back(ends)) for rule, ends in found[times].items()]
        title = f"Candidates {times:g} times worse that were taken back by then, at a base rate of {rate:.0%}"
        drawn = chart(title, "minutes of rollout", "% of rollouts", lines)
        _write(f"delay-{times:g}-times-{round(rate * 100)}".replace(".", "-"), drawn)


def _taken_back(ends: Sequence[End]) -> list[tuple[float, float]]:
    minutes = (1, 2, 5, 10, 20, 30, 60, 120, 240, 480, 720)
    back = [end for word, end, _ in ends if word == "rolled back"]
    return [(at, 100 * sum(end <= at for end in back) / len(ends)) for at in minutes]


def _write(name: str, drawn: str) -> None:
    where = Path(__file__).parents[1] / "docs/evidence" / f"{name}.svg"
    where.parent.mkdir(exist_ok=True)
    where.write_text(drawn)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
