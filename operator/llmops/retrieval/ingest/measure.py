"""What a generation is worth: its index against exact search, labelled questions, how long a search takes, and how far
its scores are from those that are served."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from llmops.retrieval.gates import Figures, Tried, percentile
from llmops.retrieval.ingest.ask import Asking
from llmops.retrieval.ingest.exact import Exact, exact
from llmops.retrieval.ingest.latency import latencies
from llmops.retrieval.ingest.scores import Scores, best, drift
from llmops.retrieval.stores.base import MOST, PAGE, TAKES
from llmops.retrieval.stores.base import Asked as Search
from llmops.retrieval.work import Question, Questions, Work

if TYPE_CHECKING:
    from llmops.retrieval.rank import Way
    from llmops.retrieval.stores.base import Generation, Reader, Store


@dataclass(frozen=True)
class Asked:
    """The labelled questions with their vectors, and how they are asked: as the query server will."""

    questions: Questions
    vectors: Sequence[Sequence[float]]
    reader: Reader
    way: Way

    @property
    def pairs(self) -> list[tuple[Question, Sequence[float]]]:
        return [*zip(self.questions, self.vectors, strict=True)]


@dataclass(frozen=True)
class Measured:
    """The figures, the search parameters that they hold for, and what the next generation is compared with."""

    figures: Figures
    search: Mapping[str, int]
    scores: Scores | None = None


async def figures(store: Store, built: Generation, served: Generation | None, wanted: Work, asked: Asked) -> Measured:
    """Everything that the gates ask for."""
    name, gates = built.collection, wanted.gates
    found, search, truth = await asyncio.to_thread(_found, store, name, wanted)
    asking = Asking(asked.reader, asked.way, name, wanted.metric, search, truth.rows, wanted.tenants)
    found = replace(
        found, questions=len(asked.questions), index=_index(wanted),
        retrieval_recall=await _answered(asking, asked, gates),
        latencies={**found.latencies, **await latencies(asking.ask, _often(asked, truth), gates)},
    )  # fmt: skip
    if not any(gate["type"] == "ScoreDrift" for gate in gates):
        return Measured(found, search)
    question = Search((), 1, search=search, metric=wanted.metric)
    questions = [replace(question, vector=vector, tenant=asking.within(one)) for one, vector in asked.pairs]
    scores = await best(asked.reader, name, questions, wanted.questions_sha256, truth)
    return Measured(replace(found, drift=drift(served, scores)), search, scores)


def _often(asked: Asked, truth: Exact) -> list[tuple[Question, Sequence[float]]]:
    """What is asked to see how long it takes: the labelled questions, or stored vectors where there are none."""
    if not asked.questions:
        return [(Question("", []), vector) for vector in truth.vectors.tolist()]
    return asked.pairs


def _index(wanted: Work) -> str:
    parameters = " and ".join(f"{name} {value}" for name, value in sorted(wanted.parameters.items()))
    return f"{wanted.index_type} with {parameters}" if parameters else wanted.index_type


def _found(store: Store, collection: str, wanted: Work) -> tuple[Figures, dict[str, int], Exact]:
    """The recalls, and the search parameters they hold for: with autoTuneSearch those are raised until AnnRecall
    passes."""
    gates = [gate for gate in wanted.gates if gate["type"] == "AnnRecall"]
    by_k = {gate.get("atK", 10): float(gate["min"]) for gate in gates} or {10: 0.0}
    truth = exact(store, collection, wanted.metric, max(by_k))
    search, tried = dict(wanted.search), list[Tried]()
    most = {name: _most(name, wanted, truth.rows) for name in search}
    while True:
        recall, took = _ann(store, collection, truth, search, sorted(by_k))
        if recall and search:
            tried.append(Tried(dict(search), min(recall.values()), percentile(sorted(took), 95) or 0.0))
        enough = all(recall[k] >= least for k, least in by_k.items() if k in recall)
        wider = {name: max(value, min(2 * value, most[name])) for name, value in search.items()}
        if enough or not wanted.auto_tune or wider == search:
            break
        search = wider
    told = Figures(
        truth.rows, recall, latencies={1: sorted(took)}, search=search, tried=tried if wanted.auto_tune else (),
        everything=all(value >= _all(name, wanted, truth.rows) for name, value in search.items()),
    )  # fmt: skip
    return told, search, truth


def _most(name: str, wanted: Work, rows: int) -> int:
    """That is tried: as much as there is, where the engine takes it."""
    return min(TAKES.get(wanted.engine_type, {}).get(name, MOST[name]), _all(name, wanted, rows))


def _all(name: str, wanted: Work, rows: int) -> int:
    """Passages for ef; lists for nprobe, of which no engine takes more than there are."""
    return rows if name == "ef" else int(wanted.parameters.get("nlist", 128))  # 128 is Milvus's own


def _ann(
    store: Store, collection: str, truth: Exact, search: Mapping[str, int], ks: Sequence[int]
) -> tuple[dict[int, float], list[float]]:
    """Recall by k over stored vectors (never random ones: their neighbours are all equally far), and latencies."""
    recall, took = {}, []
    for k in ks if truth.ids else ():
        # one more than k, as the vector itself is there too; ef below that is refused by the engine
        widened = {**search, "ef": max(search["ef"], k + 1)} if "ef" in search else search
        found = []
        for name, vector in zip(truth.ids, truth.vectors, strict=True):
            started = time.perf_counter()
            near = store.search(collection, vector.tolist(), k + 1, widened)
            took.append(time.perf_counter() - started)
            found.append([one for one in dict.fromkeys(one for one, _ in near) if one != name][:k])
        recall[k] = _recall(store, collection, truth, k, found)
    return recall, took


def _recall(store: Store, collection: str, truth: Exact, k: int, found: Sequence[Sequence[str]]) -> float:
    shares, some = [], max(1, PAGE // k)  # of the sample at a time, so that a page of vectors is in memory
    for at in range(0, len(found), some):
        vectors = store.fetch(collection, list({one for names in found[at : at + some] for one in names}))
        for n, names in enumerate(found[at : at + some], start=at):
            shares.append(truth.right(n, k, np.array([vectors[one] for one in names], np.float32)))
    return sum(shares) / len(shares)


async def _answered(asking: Asking, asked: Asked, gates: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """By k: the share of what answers a question that is among its first k passages, over all questions."""
    at_k = {gate.get("atK", 10) for gate in gates if gate["type"] == "Retrieval"} if asked.questions else set()
    recall = {}
    for k in sorted(at_k):
        shares = []
        for question, vector in asked.pairs:
            found = [one.found for one in await asking.ask(question, vector, k)]
            named = {name for one in found for name in (one.id, one.document, one.document.split("/", 1)[-1])}
            relevant = set(question.documents)
            shares.append(len(named & relevant) / len(relevant))
        recall[k] = sum(shares) / len(shares)
    return recall
