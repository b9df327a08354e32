"""What is measured is what will be served: questions by the mode's own way, and the time that it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pytest

from llmops.retrieval.ingest import measure
from llmops.retrieval.ingest.measure import Asked, figures
from llmops.retrieval.stores.base import Page

GATES = ({"type": "AnnRecall", "atK": 1, "min": "0.9"}, {"type": "Retrieval", "atK": 2, "min": "0.9"})


class Clock:
    """Stands still but for what is said to take time."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Vectors:
    """An exact store, of which a search takes 1 ms."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.rows = clock, np.eye(4, dtype=np.float32)

    def vectors(self, collection: str) -> Iterator[Page]:
        yield Page(list("abcd"), list("abcd"), self.rows)

    def search(
        self, collection: str, vector: Sequence[float], k: int, search: Mapping[str, int]
    ) -> list[tuple[str, str]]:
        self.clock.now += 0.001
        order = np.argsort(-(self.rows @ np.array(vector)), kind="stable")[:k]
        return [("abcd"[one], "abcd"[one]) for one in order]


@pytest.mark.parametrize(("more", "p95"), [(False, "1ms"), (True, "250ms")])
def test_recall_and_latency_are_of_the_way_that_questions_are_answered(
    monkeypatch: pytest.MonkeyPatch, more: bool, p95: str
) -> None:
    clock = Clock()
    monkeypatch.setattr(measure, "time", clock)

    def ask(
        collection: str, question: str, vector: Sequence[float], k: int, search: Mapping[str, int]
    ) -> list[tuple[str, str]]:
        clock.now += 0.25
        return [("d#0", "faq/d"), ("c#0", "faq/c")][:k]

    asked = Asked([("by words", ["d"]), ("by none", ["a", "c#0"])], [[1, 0, 0, 0]] * 2, ask, more)
    found, _ = figures(Vectors(clock), "c", "Cosine", {}, GATES, asked, tune=False)  # type: ignore[arg-type]
    assert found.retrieval_recall == {2: 0.75}
    assert found.ann_recall == {1: 1.0}
    assert found.told()["p95"] == p95
