"""What somebody else counted for one attempt (the signal Prometheus), by weight: differences of cumulative numbers.

A reading is four numbers: failed units and all units, of stable and of the candidate. What lies between two readings
counts for both or for neither: nothing is known of it if one of the four is missing, has fallen (a counter began anew)
or fails more than there were, or if the weight changed meanwhile. A silence between two good readings loses nothing,
since the numbers went on growing. The queries are those of the attempt's first reading, as every signal is fixed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from llmops.rollout.evidence import Counts
from llmops.rollout.ledger import SignalCounts

SIGNAL = "Prometheus"
EVERY = 10.0
"""Seconds between two readings."""
SETTLES = 60.0
"""Seconds after which what Prometheus knows is of the present weight: it reads its targets now and then only."""
VARIANTS = ("stable", "candidate")


@dataclass
class Counters:
    """The counts of one attempt. A cell has failed and all units of stable, then of the candidate."""

    failures: str
    total: str
    cells: dict[int, list[float]] = field(default_factory=dict)
    last: tuple[int, list[float]] | None = None

    def queries(self) -> list[str]:
        """In the order of a reading."""
        both = (self.failures, self.total)
        return [one.replace("{{variant}}", variant) for variant in VARIANTS for one in both]

    def add(self, weight: int, numbers: Sequence[float | None]) -> None:
        """One reading, at the weight that was in force since the one before, if it was the same then."""
        told = [one for one in numbers if one is not None]
        if len(told) < len(numbers):
            return
        before, self.last = self.last, (weight, told)
        if before is None or before[0] != weight:
            return
        more = [now - then for now, then in zip(told, before[1], strict=True)]
        if min(more) < 0 or more[0] > more[1] or more[2] > more[3]:
            return
        cell = self.cells.get(weight, [0.0] * len(more))
        self.cells[weight] = [a + b for a, b in zip(cell, more, strict=True)]

    def counts(self) -> SignalCounts:
        """As every other signal is counted."""
        by_weight = []
        for weight, cell in sorted(self.cells.items()):
            stable, met, failed, meeting = (round(one) for one in cell)
            by_weight.append(Counts(weight / 100, stable + failed, failed, met + meeting))
        bake = self.cells.get(100, [0.0] * 4)
        seen = [round(sum(cell[place] for cell in self.cells.values())) for place in (1, 3)]
        return SignalCounts(tuple(by_weight), (round(bake[2]), round(bake[3])), units=(seen[0], seen[1]))

    def pack(self) -> str:
        """As text, for a ConfigMap."""
        cells = {str(weight): cell for weight, cell in self.cells.items()}
        return json.dumps({"failures": self.failures, "total": self.total, "cells": cells, "last": self.last})

    @staticmethod
    def unpack(text: str) -> Counters:
        """What `pack` wrote."""
        told = json.loads(text)
        last = (told["last"][0], told["last"][1]) if told["last"] else None
        cells = {int(weight): cell for weight, cell in told["cells"].items()}
        return Counters(told["failures"], told["total"], cells, last)
