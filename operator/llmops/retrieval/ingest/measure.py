"""What a generation is worth: its index against exact search, labelled questions, and how long a search takes."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmops.retrieval.gates import Figures
from llmops.retrieval.work import Questions

if TYPE_CHECKING:
    from llmops.retrieval.ingest.ask import Ask
    from llmops.retrieval.stores.base import Store

SAMPLE = 200  # stored vectors asked for their own neighbours
MOST_EF = 4096


@dataclass(frozen=True)
class Asked:
    """The labelled questions with their vectors, and how they are asked: as the query server will."""

    questions: Questions
    vectors: Sequence[Sequence[float]]
    ask: Ask
    more: bool = False  # than one search of vectors: then what a question takes is what users wait for


def figures(
    store: Store, collection: str, metric: str, search: Mapping[str, int], gates: Sequence[Mapping[str, Any]],
    asked: Asked, tune: bool,
) -> tuple[Figures, dict[str, int]]:  # fmt: skip
    """The measurements, and the search parameters they hold for: with `tune`, ef is raised until AnnRecall passes."""
    pages = list(store.vectors(collection))
    rows = [one for page in pages for one in page.ids]
    vectors = np.concatenate([page.vectors for page in pages]) if pages else np.empty((0, 0), np.float32)
    neighbours = Neighbours(rows, vectors, metric)
    by_k = {gate.get("atK", 10): float(gate["min"]) for gate in gates if gate["type"] == "AnnRecall"} or {10: 0.0}
    wanted = dict(search)
    while True:
        recall, latencies = _ann(store, collection, neighbours, wanted, sorted(by_k))
        enough = all(recall[k] >= least for k, least in by_k.items() if k in recall)
        if enough or not tune or wanted.get("ef", MOST_EF) >= min(MOST_EF, len(rows) * 2):
            break
        wanted["ef"] = wanted["ef"] * 2
    at_k = {gate.get("atK", 10) for gate in gates if gate["type"] == "Retrieval"}
    answered, took = {}, []
    for k in sorted(at_k) if asked.questions else ():
        answered[k], seconds = _answered(collection, asked, wanted, k)
        took += seconds
    latencies = took if asked.more and took else latencies
    told = Figures(len(rows), recall, answered, len(asked.questions), sorted(latencies), wanted.get("ef"))
    return told, wanted


class Neighbours:
    """Exact search over the stored vectors, by the engine's own metric."""

    def __init__(self, ids: Sequence[str], vectors: np.ndarray[Any, Any], metric: str) -> None:
        self.ids, self.vectors, self._metric = ids, vectors, metric
        if metric == "Cosine" and len(ids):
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            self._compared = vectors / np.where(lengths == 0, 1, lengths)
        else:
            self._compared = vectors

    def nearest(self, at: int, k: int) -> set[str]:
        """The k nearest to a stored vector, without itself."""
        if self._metric == "L2":
            near = -((self._compared - self._compared[at]) ** 2).sum(axis=1)
        else:
            near = self._compared @ self._compared[at]
        near[at] = -np.inf
        return {self.ids[one] for one in np.argsort(-near, kind="stable")[:k]}


def _ann(
    store: Store, collection: str, neighbours: Neighbours, search: Mapping[str, int], ks: Sequence[int]
) -> tuple[dict[int, float], list[float]]:
    """Recall by k over stored vectors (never random ones: their neighbours are all equally far), and latencies."""
    sample = random.Random(7).sample(range(len(neighbours.ids)), min(SAMPLE, len(neighbours.ids)))
    hits: dict[int, list[float]] = {k: [] for k in ks}
    latencies = []
    for at in sample:
        for k in ks:
            exact = neighbours.nearest(at, min(k, len(neighbours.ids) - 1))
            started = time.perf_counter()
            # one more than k, as the vector itself is there too; ef below that is refused by the engine
            widened = {**search, "ef": max(search["ef"], k + 1)} if "ef" in search else search
            found = [one for one, _ in store.search(collection, neighbours.vectors[at].tolist(), k + 1, widened)]
            latencies.append(time.perf_counter() - started)
            others = [one for one in found if one != neighbours.ids[at]][:k]
            hits[k].append(len(exact & set(others)) / len(exact) if exact else 1.0)
    return {k: sum(shares) / len(shares) for k, shares in hits.items() if shares}, latencies


def _answered(collection: str, asked: Asked, search: Mapping[str, int], k: int) -> tuple[float, list[float]]:
    """The share of what answers a question that is among its first k passages, over all questions; and latencies."""
    shares, took = [], []
    for (question, relevant), vector in zip(asked.questions, asked.vectors, strict=True):
        started = time.perf_counter()
        found = asked.ask(collection, question, vector, k, search)
        took.append(time.perf_counter() - started)
        named = {name for one, document in found for name in (one, document, document.split("/", 1)[-1])}
        shares.append(len(named & set(relevant)) / len(set(relevant)))
    return sum(shares) / len(shares), took
