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
from llmops.retrieval.ingest.ask import Asking, Query
from llmops.retrieval.ingest.exact import Exact, exact, of
from llmops.retrieval.ingest.latency import latencies
from llmops.retrieval.ingest.scores import Scores, best, drift
from llmops.retrieval.rank import Way
from llmops.retrieval.stores.base import HNSW_ONLY, MOST, PAGE, TAKES
from llmops.retrieval.stores.tenants import Tenant, mark
from llmops.retrieval.work import Question, Questions, Work

if TYPE_CHECKING:
    from llmops.retrieval.stores.base import Generation, Reader, Store

QUESTION = 100
"""Characters of a passage that are asked: as long as a question is. All of one has ten times the words to be looked
up, and some rerankers refuse it."""


@dataclass(frozen=True)
class Asked:
    """The labelled questions with their vectors, and how they are asked: as the query server will."""

    questions: Questions
    vectors: Sequence[Sequence[float]]
    reader: Reader
    way: Way

    def queries(self, tenants: str) -> list[Query]:
        """Of each question, in order; `tenants` is the metadata field that tenants are named in, or empty."""
        return [
            Query(vector, one.text, Tenant(tenants, one.tenant, mark(one.tenant)) if tenants and one.tenant else None)
            for one, vector in zip(self.questions, self.vectors, strict=True)
        ]


@dataclass(frozen=True)
class Measured:
    """The figures, the search parameters that they hold for, and what the next generation is compared with."""

    figures: Figures
    search: Mapping[str, int]
    scores: Scores | None = None


async def figures(store: Store, built: Generation, served: Generation | None, wanted: Work, asked: Asked) -> Measured:
    """Everything that the gates ask for."""
    name, gates, questions = built.collection, wanted.gates, asked.queries(wanted.tenants)
    found, search, truth = await found_by_index(store, asked.reader, name, wanted)
    asking = Asking(asked.reader, asked.way, name, wanted.metric, search, truth.rows)
    timed = any(gate["type"] == "Latency" for gate in gates)
    often = questions or ([await _worded(asking, one) for one in _stored(truth, wanted.tenants)] if timed else [])
    found = replace(
        found, questions=len(questions), index=_index(wanted), flat=wanted.engine_type not in HNSW_ONLY,
        retrieval_recall=await _answered(asking, [*zip(questions, asked.questions, strict=True)], gates),
        latencies={**found.latencies, **await latencies(asking.ask, often, gates)},
    )  # fmt: skip
    if not any(gate["type"] == "ScoreDrift" for gate in gates):
        return Measured(found, search)
    scores = await best(asking, questions, wanted.questions_sha256, truth)
    return Measured(replace(found, drift=drift(served, scores)), search, scores)


def _stored(truth: Exact, tenants: str) -> list[Query]:
    """The sampled passages' own vectors, each asked of its tenant's passages."""
    return [
        Query(vector, tenant=Tenant(tenants, "", whose) if whose else None)
        for vector, whose in zip(truth.vectors.tolist(), truth.tenants, strict=True)
    ]


async def _worded(asking: Asking, stored: Query) -> Query:
    """As users ask, in words, for searches by words and rerankers: with the first of what lies there."""
    return replace(stored, text="".join(one.text[:QUESTION] for one in await asking.nearest(stored, 1)))


def _index(wanted: Work) -> str:
    parameters = " and ".join(f"{name} {value}" for name, value in sorted(wanted.parameters.items()))
    return f"{wanted.index_type} with {parameters}" if parameters else wanted.index_type


async def found_by_index(
    store: Store, reader: Reader, collection: str, wanted: Work
) -> tuple[Figures, dict[str, int], Exact]:
    """The recalls, and the search parameters they hold for: with autoTuneSearch those are raised until AnnRecall
    passes."""
    gates = [gate for gate in wanted.gates if gate["type"] == "AnnRecall"]
    by_k = {gate.get("atK", 10): float(gate["min"]) for gate in gates} or {10: 0.0}
    truth = await asyncio.to_thread(exact, store, collection, wanted.metric, max(by_k))
    search, tried, queries = dict(wanted.search), list[Tried](), _stored(truth, wanted.tenants)
    most = {name: _most(name, wanted, truth.rows) for name in search}
    while True:
        asking = Asking(reader, Way(), collection, wanted.metric, search, truth.rows)
        recall, took = await _ann(store, asking, truth, queries, sorted(by_k))
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


async def _ann(
    store: Store, asking: Asking, truth: Exact, queries: Sequence[Query], ks: Sequence[int]
) -> tuple[dict[int, float], list[float]]:
    """Recall by k over stored vectors (never random ones: their neighbours are all equally far), and latencies."""
    recall, took = {}, []
    for k in ks if truth.ids else ():
        found = []
        for name, query in zip(truth.ids, queries, strict=True):
            started = time.perf_counter()
            near = await asking.nearest(query, k + 1)  # one more, as the vector itself is there too
            took.append(time.perf_counter() - started)
            found.append([one for one in dict.fromkeys(one.id for one in near) if one != name][:k])
        recall[k] = await asyncio.to_thread(_recall, store, asking.collection, truth, k, found)
    return recall, took


def _recall(store: Store, collection: str, truth: Exact, k: int, found: Sequence[Sequence[str]]) -> float:
    shares, some = [], max(1, PAGE // k)  # of the sample at a time, so that a page of vectors is in memory
    for at in range(0, len(found), some):
        ids = list({one for names in found[at : at + some] for one in names})
        vectors = {one: vector for one, vector, _ in of(store, collection, ids)}
        for n, names in enumerate(found[at : at + some], start=at):
            shares.append(truth.right(n, k, np.array([vectors[one] for one in names], np.float32)))
    told = [one for one in shares if one is not None]
    return sum(told) / len(told) if told else 1.0


async def _answered(
    asking: Asking, asked: Sequence[tuple[Query, Question]], gates: Sequence[Mapping[str, Any]]
) -> dict[int, float]:
    """By k: the share of what answers a question that is among its first k passages, over all questions."""
    recall = {}
    for k in sorted({gate.get("atK", 10) for gate in gates if gate["type"] == "Retrieval"} if asked else set()):
        shares = []
        for query, question in asked:
            found = [one.found for one in await asking.ask(query, k)]
            named = {name for one in found for name in (one.id, one.document, one.document.split("/", 1)[-1])}
            relevant = set(question.documents)
            shares.append(len(named & relevant) / len(relevant))
        recall[k] = sum(shares) / len(shares)
    return recall
