"""How often the evidence errs, and how soon it decides: simulated whole rollouts, a JSON line for each question.

A run is a crowd of users with rates of their own (clustered: some fail often, most never), who come at random times and
tell of failures late. The weight rises while they come; a user who failed counts once, with the variant and weight of
the answer that failed. One looks after every failure that is told, as the operator does every second.

    python3 -m bench evidence
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass

import numpy as np

from llmops.rollout import evidence

WEIGHTS = ((0.0, 0.10), (0.3, 0.25), (0.6, 0.50))
"""Share of the run's time at which each weight begins."""


@dataclass(frozen=True)
class Crowd:
    """Who comes: rates of failure a visit, how unlike the users are, visits a user, and how late they tell."""

    stable: float
    candidate: float
    users: int = 2000
    visits: int = 4
    likeness: float = 2.0  # of a beta distribution; small is clustered
    delay: float = 0.05  # mean, in shares of the run's time


def run(crowd: Crowd, rng: np.random.Generator, weights: tuple[tuple[float, float], ...] = WEIGHTS) -> np.ndarray:
    """One rollout: rows (weight, candidate 0/1, when told) of first failures, in the order they are told."""
    bucket = rng.random(crowd.users)
    lean = rng.beta(crowd.likeness * 0.1, crowd.likeness * 0.9, crowd.users) / 0.1  # mean 1
    at = np.sort(rng.random((crowd.users, crowd.visits)), axis=1)
    weight = np.zeros_like(at)
    for begins, value in weights:
        weight[at >= begins] = value
    candidate = bucket[:, None] < weight
    rate = np.clip(np.where(candidate, crowd.candidate, crowd.stable) * lean[:, None], 0, 1)
    failed = rng.random(at.shape) < rate
    some = failed.any(axis=1)
    first = failed.argmax(axis=1)
    rows = np.arange(crowd.users)
    told = at[rows, first] + rng.exponential(crowd.delay, crowd.users)
    seen = np.column_stack([weight[rows, first], candidate[rows, first], told])[some]
    return seen[np.argsort(seen[:, 2])]


def log_harm(rows: np.ndarray) -> np.ndarray:
    """`evidence.harm` after every failure at once."""
    w, x = rows[:, :1], rows[:, 1:2]
    ratios = np.array(evidence.RATIOS)
    each = np.cumsum(x * np.log(ratios) - np.log1p(w * (ratios - 1)), axis=0)
    return np.logaddexp.reduce(each, axis=1) - math.log(len(ratios))


def rolls_back(crowd: Crowd, runs: int, limit: float, seed: int = 1) -> list[int]:
    """For each run the number of failures after which it was rolled back; -1 where it was not."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(runs):
        over = log_harm(run(crowd, rng)) >= math.log(limit)
        found.append(int(over.argmax()) + 1 if over.any() else -1)
    return found


def advances(
    stable: float,
    candidate: float,
    weight: float,
    following: float,
    units: int,
    runs: int,
    seed: int = 2,
    ratio: float = 1.5,
    points: float = 1.0,
) -> list[int]:
    """For each run the users after which A or B let it advance, looking every ten users; -1 where neither did."""
    rng = np.random.default_rng(seed)
    d, m = points / 100 / following, 1 + (ratio - 1) / following
    limit, stakes = math.log(evidence.advance_at(0.05)), np.array(evidence.STAKES)
    found = []
    for _ in range(runs):
        arm = rng.random(units) < weight
        failed = rng.random(units) < np.where(arm, candidate, stable)
        x, y = (arm & failed)[:, None], (~arm & failed)[:, None]
        a = np.cumsum((x | y)[:, 0] * math.log1p(weight * (m - 1)) - x[:, 0] * math.log(m))
        even = stakes * weight * d
        each = np.where(
            x, np.log(1 + even - stakes), np.where(y, np.log(1 + even + stakes * weight / (1 - weight)), np.log1p(even))
        )
        b = np.logaddexp.reduce(np.cumsum(each, axis=0), axis=1) - math.log(len(stakes))
        over = (np.maximum(a, b) >= limit)[9::10]
        found.append(10 * (int(over.argmax()) + 1) if over.any() else -1)
    return found


def _share(found: list[int]) -> float:
    return round(sum(one >= 0 for one in found) / len(found), 4)


def _median(found: list[int]) -> int | None:
    seen = [one for one in found if one >= 0]
    return int(np.median(seen)) if len(seen) > len(found) / 2 else None


def main() -> None:
    """Print the lines."""
    begun, limit = time.monotonic(), evidence.rollback_at(1, 0.05)
    for rate in (0.001, 0.01, 0.05, 0.2):
        same = rolls_back(Crowd(rate, rate), 2000, limit)
        print(json.dumps({"question": "identical arms rolled back", "rate": rate, "runs": 2000, "share": _share(same)}))
    for times in (1.5, 2, 5, 20):
        worse = rolls_back(Crowd(0.01, 0.01 * times, users=20_000), 200, limit)
        print(
            json.dumps(
                {
                    "question": "worse candidate rolled back",
                    "times": times,
                    "runs": 200,
                    "share": _share(worse),
                    "failures_seen": _median(worse),
                }
            )
        )
    for weight, following in ((0.1, 0.25), (0.25, 0.5), (0.5, 1.0)):
        for rate in (0.01, 0.05, 0.2):
            margin = max(rate * (1 + 0.5 / following), rate + 0.01 / following)
            at_margin = advances(rate, min(margin, 0.99), weight, following, 20_000, 500)
            equal = advances(rate, rate, weight, following, 40_000, 60)
            print(
                json.dumps(
                    {
                        "question": "candidate at the margin advanced",
                        "weight": weight,
                        "rate": rate,
                        "runs": 500,
                        "share": _share(at_margin),
                        "users_for_equal_arms": _median(equal),
                    }
                )
            )
    print(json.dumps({"question": "seconds", "value": round(time.monotonic() - begun, 1)}))


if __name__ == "__main__":
    main()
