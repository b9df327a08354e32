"""What a generation is worth: its index against exact search, labelled questions, and how long a search takes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmops.retrieval.gates import Figures
from llmops.retrieval.ingest.exact import Exact, exact
from llmops.retrieval.stores.base import PAGE
from llmops.retrieval.work import Questions

if TYPE_CHECKING:
    from llmops.retrieval.ingest.ask import Ask
    from llmops.retrieval.stores.base import Store

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
    by_k = {gate.get("atK", 10): float(gate["min"]) for gate in gates if gate["type"] == "AnnRecall"} or {10: 0.0}
    truth = exact(store, collection, metric, max(by_k))
    wanted, rows = dict(search), truth.rows
    while True:
        recall, latencies = _ann(store, collection, truth, wanted, sorted(by_k))
        enough = all(recall[k] >= least for k, least in by_k.items() if k in recall)
        if enough or not tune or wanted.get("ef", MOST_EF) >= min(MOST_EF, rows * 2):
            break
        wanted["ef"] = wanted["ef"] * 2
    at_k = {gate.get("atK", 10) for gate in gates if gate["type"] == "Retrieval"}
    answered, took = {}, []
    for k in sorted(at_k) if asked.questions else ():
        answered[k], seconds = _answered(collection, asked, wanted, k)
        took += seconds
    latencies = took if asked.more and took else latencies
    told = Figures(rows, recall, answered, len(asked.questions), sorted(latencies), wanted.get("ef"))
    return told, wanted


def _ann(
    store: Store, collection: str, truth: Exact, search: Mapping[str, int], ks: Sequence[int]
) -> tuple[dict[int, float], list[float]]:
    """Recall by k over stored vectors (never random ones: their neighbours are all equally far), and latencies."""
    recall, latencies = {}, []
    for k in ks if truth.ids else ():
        # one more than k, as the vector itself is there too; ef below that is refused by the engine
        widened = {**search, "ef": max(search["ef"], k + 1)} if "ef" in search else search
        found = []
        for name, vector in zip(truth.ids, truth.vectors, strict=True):
            started = time.perf_counter()
            near = store.search(collection, vector.tolist(), k + 1, widened)
            latencies.append(time.perf_counter() - started)
            found.append([one for one in dict.fromkeys(one for one, _ in near) if one != name][:k])
        recall[k] = _recall(store, collection, truth, k, found)
    return recall, latencies


def _recall(store: Store, collection: str, truth: Exact, k: int, found: Sequence[Sequence[str]]) -> float:
    shares, some = [], max(1, PAGE // k)  # of the sample at a time, so that a page of vectors is in memory
    for at in range(0, len(found), some):
        vectors = store.fetch(collection, list({one for names in found[at : at + some] for one in names}))
        for n, names in enumerate(found[at : at + some], start=at):
            shares.append(truth.right(n, k, np.array([vectors[one] for one in names], np.float32)))
    return sum(shares) / len(shares)


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
