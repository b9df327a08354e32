"""Reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009): several lists of the same things, best first, as
one. Scores of different kinds need not be compared, only places. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

K = 60
"""The paper's: how little the first places count for more than the next."""


@dataclass(frozen=True)
class Ranked:
    """One of them, with its place in each list that has it, from 1."""

    id: str
    ranks: Mapping[str, int]

    def score(self, k: int = K) -> float:
        return sum(1 / (k + rank) for rank in self.ranks.values())


def fused(lists: Mapping[str, Sequence[str]], k: int = K) -> list[Ranked]:
    """Best first; of equals, the one that an earlier list has first."""
    ranks: dict[str, dict[str, int]] = {}
    for name, ids in lists.items():
        for at, one in enumerate(ids, start=1):
            ranks.setdefault(one, {}).setdefault(name, at)
    return sorted((Ranked(one, places) for one, places in ranks.items()), key=lambda one: -one.score(k))
