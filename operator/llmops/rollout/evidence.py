"""The strength of evidence, as e-values: numbers that stay honest however often one looks.

An e-process is a bet at fair odds against a hypothesis: while the hypothesis holds its expectation never exceeds 1, so
the chance that it EVER reaches 1/a is at most a (Ville's inequality). One may look every second and act at once.

A unit is a user, counted at its first failure. At weight w, while candidate and stable are alike, a failing unit met
the candidate with probability w, whatever made it fail and whenever. Betting that the candidate is r times worse,

    candidate share of failures = w r / (w r + 1 - w) = w r / (1 + w (r - 1)),

each failure multiplies the stake by r / (1 + w (r - 1)) in the candidate and by 1 / (1 + w (r - 1)) in stable: fair.
The mean over several r is an e-process too, and needs nobody to guess r. That is `harm`.

`no_worse` bets the other way, against "worse than the margin". By ratio: if the candidate is at least m times worse,
the same bets turned around, (1 + w (m - 1))^n / m^x. By points: if the candidate's rate exceeds stable's by at least
d, a unit that does not fail pays 1 + c w d, one that fails in the candidate c less, one that fails in stable
c w / (1 - w) more: in expectation at most 1. Either suffices, since a ratio alone never decides where hardly anything
fails. Exact margins at a weight w' that is not reached yet: m = 1 + (ratio - 1) / w', d = points / w'.

Everything is computed as logarithms: a product over 100,000 units fits no float.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

RATIOS = (1.3, 1.6, 2.0, 3.0, 6.0, 50.0)
STAKES = (0.05, 0.1, 0.2, 0.4, 0.8)
SHARES = (1.02, 1.05, 1.1, 1.25, 1.5, 2.0, 5.0)
MISMATCH_AT = 1000.0
"""The value of `sample_ratio` at which splitting or counting is broken: one sound rollout in a thousand gets there."""


@dataclass(frozen=True)
class Counts:
    """What was counted at one weight, for one signal: n failed units, x of them in the candidate, N units in all.

    N counts a unit whose observation has ended, or that failed.
    """

    weight: float  # 0 to 1
    n: int
    x: int
    N: int


def harm(counts: Iterable[Counts]) -> float:
    """log E against "the candidate is no worse": large means roll back."""
    seen = [one for one in counts if one.weight < 1]  # at 100% every failure is the candidate's: nothing to compare
    return _mean_log(
        [sum(one.x * math.log(r) - one.n * math.log1p(one.weight * (r - 1)) for one in seen) for r in RATIOS]
    )


def no_worse(counts: Sequence[Counts], ratio: float, points: float, next_weight: float) -> float:
    """log of the larger of A and B against "worse than the margin": large means advance to `next_weight`."""
    return max(no_worse_by_ratio(counts, ratio, next_weight), no_worse_by_points(counts, points, next_weight))


def no_worse_by_ratio(counts: Iterable[Counts], ratio: float, next_weight: float) -> float:
    """log A: against "at least `ratio` times stable's rate"."""
    m = 1 + (ratio - 1) / next_weight
    seen = [one for one in counts if one.weight < 1]
    return sum(one.n * math.log1p(one.weight * (m - 1)) - one.x * math.log(m) for one in seen)


def no_worse_by_points(counts: Iterable[Counts], points: float, next_weight: float) -> float:
    """log B: against "at least `points` percentage points above stable's rate"."""
    d = points / 100 / next_weight
    seen = [one for one in counts if one.weight < 1]
    return _mean_log([sum(_points_bet(one, d, stake) for one in seen) for stake in STAKES])


def _points_bet(one: Counts, d: float, stake: float) -> float:
    w = one.weight
    even = stake * w * d
    return (
        (one.N - one.n) * math.log1p(even)
        + one.x * math.log(1 + even - stake)
        + (one.n - one.x) * math.log(1 + even + stake * w / (1 - w))
    )


def upper_bound(failed: int, units: int, confidence: float = 0.99) -> float:
    """What a rate lies below with this confidence (Chernoff's bound; exact where nothing failed)."""
    if units == 0:
        return 1.0
    rate, budget = failed / units, -math.log(1 - confidence) / units
    low, high = rate, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _divergence(rate, middle) < budget else (low, middle)
    return high


def _divergence(p: float, q: float) -> float:
    """How surprising the rate p is where q is true, per unit."""
    if q >= 1:
        return 0.0 if p >= 1 else math.inf
    left = p * math.log(p / q) if p > 0 else 0.0
    right = (1 - p) * math.log((1 - p) / (1 - q)) if p < 1 else 0.0
    return left + right


def bake_limit(stable_upper: float, ratio: float, points: float) -> float:
    """The failure rate that is still acceptable when there is no second arm any more: by ratio or by points.

    Where stable fails often, a ratio allows nearly everything and leaves nothing to bet on; then points alone count.
    A candidate like stable is still rolled back as seldom as promised: its rate lies below `stable_upper` itself.
    """
    by_points = stable_upper + points / 100
    either = max(ratio * stable_upper, by_points)
    return either if either * RATIOS[0] < 1 else by_points


def bake_harm(failed: int, units: int, limit: float) -> float | None:
    """log E against "the rate is at most `limit`"; None where the limit leaves nothing to bet on."""
    ratios = [r for r in RATIOS if r * limit < 1]
    if not ratios:
        return None
    good = units - failed
    return _mean_log([failed * math.log(r) + good * math.log((1 - r * limit) / (1 - limit)) for r in ratios])


def sample_ratio(exposures: Iterable[tuple[float, int, int]]) -> float:
    """log E against "units met the candidate in the published proportion"; (weight, units, of them candidate)."""
    seen = [one for one in exposures if one[0] < 1]
    shares = [*SHARES, *(1 / r for r in SHARES)]
    return _mean_log([sum(c * math.log(r) - units * math.log1p(w * (r - 1)) for w, units, c in seen) for r in shares])


def rollback_at(signals: int, false_positive_rate: float) -> float:
    """The e-value that rolls back: half the rate for the canary, half for the bake, shared among the signals."""
    return 2 * max(1, signals) / false_positive_rate


def advance_at(false_advance_rate: float) -> float:
    """The e-value that advances: two bets, by ratio and by points; every signal must show it."""
    return 2 / false_advance_rate


def text(log_value: float) -> str:
    """An e-value for people: 0.4, 87, 1.2e+06."""
    return f"{math.exp(min(log_value, 700.0)):.3g}"


def _mean_log(logs: Sequence[float]) -> float:
    """log of the mean of exp(logs), without overflow."""
    top = max(logs)
    return top + math.log(sum(math.exp(one - top) for one in logs) / len(logs))
