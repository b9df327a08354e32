"""Best scores: how near the nearest passage to each labelled question is, or, where there are too few questions, the
nearest other one to each sampled passage. Another model or prefix moves them, and every minScore with them.

They are kept with the generation that is served, so that the next one is compared without the model of then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmops.psi import LEAST, beyond_chance, counted, tenths
from llmops.retrieval.gates import Drift
from llmops.retrieval.ingest.ask import Asking, Query
from llmops.retrieval.ingest.exact import SAMPLE, Exact
from llmops.retrieval.stores.base import nearness

if TYPE_CHECKING:
    from llmops.retrieval.stores.base import Generation

TOLD = 3
"""Decimals that a score has to say anything: another CPU, engine or number format moves the next one, and where many
passages have the nearest there can be (1, of copies), so little is no drift."""
PASSAGES, OWN = "passages", "passages of each tenant"


@dataclass(frozen=True)
class Scores:
    """Best scores, and of what: stored passages, of all or of each tenant, or the questions' digest."""

    of: str
    values: tuple[float, ...]

    def told(self) -> dict[str, Any]:
        """As it is kept beside the collection."""
        return asdict(self)


async def best(asking: Asking, questions: Sequence[Query], of: str, truth: Exact) -> Scores:
    """Of this generation; of two hundred questions at most."""
    if len(questions) < LEAST:
        nearest = [one for one in truth.near[:, :1].ravel() if np.isfinite(one)]
        values = [nearness(max(0.0, -one)) if truth.metric == "L2" else one for one in nearest]
        return Scores(OWN if any(truth.tenants) else PASSAGES, tuple(round(float(one), 4) for one in values))
    some = min(SAMPLE, len(questions))
    found = []
    for at in range(some):
        near = await asking.nearest(questions[at * len(questions) // some], 1)
        found.append(near[0].score if near else 0.0)
    return Scores(of, tuple(round(one, 4) for one in found))


def drift(served: Generation | None, now: Scores) -> Drift:
    """From the generation that is served, where there is one and it was asked the same."""
    of = "stored passages" if now.of in (PASSAGES, OWN) else "questions"
    if served is None:
        return Drift(of, len(now.values), why="nothing is served yet")
    kept = served.told.get("scores") or {}
    then = Scores(str(kept.get("of", "")), tuple(kept.get("values") or ()))
    if then.of != now.of:
        return Drift(of, len(now.values), why=f"of generation {served.number} the scores of these {of} are not known")
    if min(len(then.values), len(now.values)) < LEAST:
        least = min(len(then.values), len(now.values))
        return Drift(of, least, why=f"{least} {of} are too few to tell drift from chance, {LEAST} are needed")
    before, after = (np.round(one.values, TOLD) for one in (then, now))
    edges = tenths(before)
    apart = beyond_chance(counted(edges, before), counted(edges, after))
    return Drift(of, len(now.values), apart, float(np.median(before)), float(np.median(after)))
