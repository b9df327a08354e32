"""What is measured is what will be served: questions by the way that they will take, latency so many at a time, and
the drift of best scores."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pytest
from tests.unit.retrieval.conftest import seen, work_of
from tests.unit.retrieval.test_exact_search import Rows

from llmops.retrieval.gates import judge
from llmops.retrieval.ingest.ask import Asking, Query
from llmops.retrieval.ingest.exact import Exact
from llmops.retrieval.ingest.latency import enough, latencies
from llmops.retrieval.ingest.measure import QUESTION, _answered, figures
from llmops.retrieval.ingest.measure import Asked as Labelled
from llmops.retrieval.ingest.scores import OWN, PASSAGES, Scores, best, drift
from llmops.retrieval.rank import Way
from llmops.retrieval.reranker import Reranker
from llmops.retrieval.stores.base import Asked, Found, Generation, Reader
from llmops.retrieval.stores.tenants import Tenant, mark
from llmops.retrieval.work import Question, RerankWork

A, B = Query((1.0,), "a"), Query((2.0,), "b")


@dataclass
class Engine:
    """Answers each search when all that may come at a time have come, with its vector's first number as the score."""

    at_a_time: int = 1
    now: int = 0
    most: int = 0
    searches: int = 0

    async def search(self, _: str, asked: Asked) -> list[Found]:
        self.now += 1
        self.searches += 1
        self.most = max(self.most, self.now)
        for _turn in range(3):
            await asyncio.sleep(0)
        self.now -= 1
        return [Found("faq/a#0", "", "faq/a", float(asked.vector[0]), {})]

    async def ask(self, query: Query, k: int) -> list[Found]:
        return await self.search("c", Asked(query.vector, k))

    @property
    def asking(self) -> Asking:
        return Asking(cast("Reader", self), Way(), "c", "Cosine", {})


@pytest.mark.parametrize(("percentile", "many"), [(50, 200), (95, 200), (99, 1000), (100, 2000)])
def test_a_percentile_is_taken_of_so_many_searches_that_ten_were_slower(percentile: int, many: int) -> None:
    assert enough(percentile) == many


async def test_searches_come_as_many_at_a_time_as_the_gate_says() -> None:
    gates: list[dict[str, Any]] = [{"type": "Latency", "max": "1s", "concurrency": 8, "percentile": 99},
                                   {"type": "Latency", "max": "1s"}]  # fmt: skip
    for gate, most, searches in ((gates[0], 8, 1000), (gates[1], 1, 200)):
        engine = Engine()
        found = await latencies(engine.ask, [A, B], [gate])
        assert (engine.most, engine.searches) == (most, searches + 1)  # the first one connects and does not count
        assert found[most] == sorted(found[most])
        assert len(found[most]) == searches
    assert (await latencies(Engine().ask, [A], gates)).keys() == {1, 8}
    assert await latencies(Engine().ask, [], gates) == {}


class ByWords:
    """Finds the same two by nearness, and by words what the question names."""

    async def search(self, _: str, asked: Asked) -> list[Found]:
        found = [Found(f"{one}#0", "", f"faq/{one}", 0.5, {}) for one in (asked.words.split() or ["x", "y"])]
        return found[: asked.top_k]


@pytest.mark.parametrize(("mode", "recall"), [("Dense", 0.0), ("Keyword", 0.75), ("Hybrid", 0.75)])
async def test_recall_is_of_the_way_that_questions_are_answered(mode: str, recall: float) -> None:
    asking = Asking(cast("Reader", ByWords()), Way(mode), "c", "Cosine", {})
    questions = [Question("d", ["d"]), Question("a b", ["b#0", "c"])]
    gates = [{"type": "Retrieval", "atK": 4, "min": "0.9"}]
    asked = Labelled(questions, [(1.0,), (1.0,)], asking.reader, asking.way)
    assert await _answered(asking, [*zip(asked.queries(""), questions, strict=True)], gates) == {4: recall}


class Stored:
    """Of twelve passages, whose first number is their own, finds that of the vector; tells what it was asked, and read
    as a reranker. Each text has its number at its beginning and a word at its end that no question has room for."""

    work = RerankWork("", "", "")

    def __init__(self) -> None:
        self.asked, self.read = list[Asked](), list[str]()

    def text(self, at: int) -> str:
        return f"number{at} " + "filler " * 30 + "end"

    async def search(self, _: str, asked: Asked) -> list[Found]:
        self.asked.append(asked)
        at = int(asked.vector[0])
        return [Found(f"faq/{at:06}#0", self.text(at), "faq", 0.5, {})]

    async def relevance(self, question: str, texts: Sequence[str]) -> list[float]:
        self.read.append(question)
        return [0.5 for _ in texts]


@pytest.mark.parametrize("mode", ["Dense", "Keyword", "Hybrid"])
async def test_without_labelled_questions_latency_is_of_searches_in_words_as_users_ask(mode: str) -> None:
    engine, rows = Stored(), Rows(np.array([[at, 1.0] for at in range(12)], np.float32))
    latency: tuple[dict[str, Any], ...] = ({"type": "Latency", "max": "1s", "concurrency": 4},)
    wanted = replace(work_of(seen()), gates=latency, metric="L2", mode=mode)
    asked = Labelled([], [], cast("Reader", engine), Way(mode, cast("Reranker", engine)))
    found = (await figures(rows.store, served(None), None, wanted, asked)).figures
    assert len(found.latencies[4]) == enough(95)
    assert len(engine.read) == enough(95) + 1
    assert {one[:QUESTION] for one in map(engine.text, range(12))} == set(engine.read)
    by_words = [one for one in engine.asked if one.words]
    assert len(by_words) == (0 if mode == "Dense" else enough(95) + 1)
    for one in by_words:
        assert (one.words.split()[0], "end" in one.words) == (f"number{int(one.vector[0])}", False)


async def test_where_there_is_no_passage_no_latency_is_measured() -> None:
    rows = Rows(np.empty((0, 2), np.float32))
    wanted = replace(work_of(seen()), gates=({"type": "Latency", "max": "1s"},))
    asked = Labelled([], [], cast("Reader", Stored()), Way("Keyword"))
    found = (await figures(rows.store, served(None), None, wanted, asked)).figures
    assert not judge(wanted.gates, found)[0].passed
    assert found.flat
    of_qdrant = replace(wanted, engine_type="Qdrant")
    assert not (await figures(rows.store, served(None), None, of_qdrant, asked)).figures.flat


class OfTenants:
    """Finds what the tenant is called, and nothing where none is named."""

    async def search(self, _: str, asked: Asked) -> list[Found]:
        whose = asked.tenant
        return [Found(f"{whose.name}#0", "", f"faq/{whose.name}", 0.5, {})] if whose and whose.mark else []


async def test_a_question_is_measured_within_its_own_tenant_as_it_will_be_asked() -> None:
    asking = Asking(cast("Reader", OfTenants()), Way(), "c", "Cosine", {}, 9)
    questions = [Question("d", ["acme"], "acme"), Question("d", ["acme"], "other")]
    gates = [{"type": "Retrieval", "atK": 4, "min": "0.9"}]
    asked = Labelled(questions, [(1.0,), (1.0,)], asking.reader, asking.way)
    queries = asked.queries("customer")
    assert [one.tenant for one in queries] == [
        Tenant("customer", "acme", mark("acme")), Tenant("customer", "other", mark("other")),
    ]  # fmt: skip
    assert await _answered(asking, [*zip(queries, questions, strict=True)], gates) == {4: 0.5}


def truth(near: Sequence[float], metric: str = "Cosine") -> Exact:
    ids = [str(at) for at in range(len(near))]
    return Exact(metric, len(near), ids, np.ones((len(near), 2), "f4"), [""] * len(near), np.array(near)[:, None])


async def test_scores_are_of_the_questions_or_where_they_are_few_of_stored_passages() -> None:
    questions = [Query((at / 100,)) for at in range(60)]
    assert (await best(Engine().asking, questions, "q", truth([]))).values[:3] == (0.0, 0.01, 0.02)
    few = await best(Engine().asking, questions[:49], "q", truth([0.5, -np.inf, 0.25]))
    assert few == Scores(PASSAGES, (0.5, 0.25))  # a tenant's only passage has no nearest
    assert (await best(Engine().asking, [], "", truth([-1.0], "L2"))).values == (0.5,)
    assert (await best(Engine().asking, [], "", truth([]))).values == ()
    own = await best(Engine().asking, [], "", replace(truth([0.5]), tenants=["a"]))
    assert (own, drift(served(few), own).of) == (Scores(OWN, (0.5,)), "stored passages")
    assert "the scores of these stored passages are not known" in drift(served(few), own).why


def served(scores: Scores | None) -> Generation:
    return Generation("c", {"generation": 7, **({"scores": scores.told()} if scores else {})})


def drawn(seed: int, mean: float, many: int = 200) -> Scores:
    values: Any = np.random.default_rng(seed).normal(mean, 0.1, many)
    return Scores("q", tuple(values.tolist()))


def test_scores_that_only_chance_moves_do_not_drift_and_those_of_another_model_do() -> None:
    same = drift(served(drawn(1, 0.6)), drawn(2, 0.6))
    assert same.apart < 0.1
    other = drift(served(drawn(1, 0.6)), drawn(2, 0.8))
    assert other.apart > 0.5
    assert (round(other.then, 1), round(other.now, 1)) == (0.6, 0.8)
    assert drift(served(drawn(1, 0.6)), drawn(1, 0.6)).apart == 0.0
    copies = Scores("questions", (1.0,) * 200)
    assert drift(served(copies), replace(copies, values=(0.9996,) * 200)).apart == 0.0
    assert drift(served(copies), replace(copies, values=(0.98,) * 200)).apart > 1


@pytest.mark.parametrize(
    ("generation", "now", "why"),
    [
        (None, drawn(1, 0.6), "nothing is served yet"),
        (served(None), drawn(1, 0.6), "of generation 7 the scores of these questions are not known"),
        (served(Scores("other", (0.1,) * 60)), drawn(1, 0.6), "of generation 7 the scores of these questions"),
        (served(drawn(1, 0.6, 49)), drawn(1, 0.6), "49 questions are too few"),
    ],
)
def test_where_nothing_can_be_compared_it_says_why(generation: Generation | None, now: Scores, why: str) -> None:
    assert why in drift(generation, now).why
