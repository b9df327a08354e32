"""Names, codes and numbers are found by their words where vectors cannot tell them apart: the real engine, the real
small model, the Job and the query server as processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.test_index_engine import (
    ROOT,
    ROWS,
    Index,
    answers,
    embedder,
    engine,
    milvus_lite,
    post,
    process,
    until,
)
from tests.e2e.test_index_queries import counted
from tests.ports import free_port

from llmops.retrieval.work import RerankWork

__all__ = ["milvus_lite"]

CAUSES = (
    "the card was declined", "the scale is offline", "the voucher has expired", "the locker is full",
    "the label was not printed", "the address is unknown", "the session has ended", "the file is too large",
)  # fmt: skip
ITEMS = ("rain jacket", "trail shoe", "two person tent", "gas stove", "head lamp", "sleeping bag", "water filter")
CODES = [{"id": f"e{at}", "answer": f"Error LX-{4100 + at * 7}: {CAUSES[at % 8]}; step {at // 8 + 1} of the checkout "
          "is tried again after a minute."} for at in range(48)]  # fmt: skip
PARTS = [{"id": f"p{at}", "answer": f"Spare part {70210 + at * 13}-B fits the {ITEMS[at % 7]}, size {at // 7 + 36}."}
         for at in range(49)]  # fmt: skip
EXACT = [
    *({"question": f"What does LX-{4100 + at * 7} mean?", "documents": [f"e{at}"]} for at in range(0, 48, 3)),
    *({"question": f"What is part {70210 + at * 13}-B for?", "documents": [f"p{at}"]} for at in range(0, 49, 3)),
    {"question": "Utrecht", "documents": ["q023"]},
    {"question": "PostNL", "documents": ["q025"]},
    {"question": "Maestro", "documents": ["q037"]},
]
MEANT = [{"question": row["question"], "documents": [row["id"]]} for row in ROWS[::2]]


@pytest.fixture
def index(tmp_path: Path, milvus_lite: Path) -> Iterator[Index]:
    one = Index(tmp_path, free_port(), free_port())
    one.documents([*ROWS, *CODES, *PARTS])
    with engine(milvus_lite, tmp_path / "data", one.engine_port), embedder(one.embedder_port):
        yield one


def recall(index: Index, mode: str, questions: list[dict[str, Any]]) -> float:
    """How many are answered among the first four."""
    hits = 0
    for one in questions:
        status, answer = index.search(one["question"], topK=4, mode=mode)
        assert status == 200, answer
        hits += f"faq/{one['documents'][0]}" in {passage["source"] for passage in answer["passages"]}
    return round(hits / len(questions), 3)


def ranked(index: Index, text: str) -> set[str]:
    """What the first passage was ranked by; nothing where none was answered."""
    passages = index.search(text)[1].get("passages") or [{}]
    return set(passages[0].get("ranks", ()))


def test_hybrid_finds_the_exact_terms_that_vectors_miss_and_hardly_loses_what_is_meant(index: Index) -> None:
    index.questions = EXACT
    gate = {"type": "Retrieval", "evalJobRef": {"name": "q"}, "atK": 4, "min": "0.9"}
    with index.serving():
        first = index.build(gates=({**gate, "min": "0.2"},))  # the gate measures what would be served
        assert first.measured["retrievalRecallAt4"] == "0.333"
        until(lambda: index.found("Utrecht") is not None, 60)
        status, answer = index.search("Utrecht", mode="Hybrid")
        assert (status, "write spec.query.mode Hybrid, or ask with mode Dense" in str(answer)) == (400, True)
        assert index.search("Utrecht", mode="Sparse")[0] == 400
        assert "ranks" not in index.search("Utrecht")[1]["passages"][0]

        hybrid = index.build(mode="Hybrid", copy_vectors=True, gates=(gate,))
        assert (hybrid.served, hybrid.embedded, hybrid.generation) == (True, 0, first.generation + 1)
        until(lambda: index.search("Utrecht")[1].get("generation") == hybrid.generation, 60)
        sets = {"exact": EXACT, "meant": MEANT}
        figures = {(mode, name): recall(index, mode, sets[name]) for mode in ("Dense", "Hybrid") for name in sets}
        assert figures["Dense", "exact"] == float(first.measured["retrievalRecallAt4"])
        assert figures["Hybrid", "exact"] == float(hybrid.measured["retrievalRecallAt4"])
        assert figures["Dense", "exact"] < 0.4 < 0.95 < figures["Hybrid", "exact"], figures
        assert figures["Hybrid", "meant"] >= figures["Dense", "meant"] - 0.1 > 0.7, figures

        # why it is there, and how near it is
        (found,) = [one for one in index.search("LX-4121", topK=4)[1]["passages"] if one["id"] == "faq/e3#0"]
        assert found["ranks"]["keyword"] == 1
        assert 0 < found["score"] < 1
        assert index.search("LX-4121", topK=4, mode="Keyword")[1]["passages"][0]["id"] == "faq/e3#0"
        near = index.search("LX-4121", topK=4, minScore=found["score"] + 0.001)[1]["passages"]
        assert "faq/e3#0" not in {one["id"] for one in near}  # minScore is of nearness, whatever the mode

        command = [sys.executable, "-m", "llmops.cli", "search", "faq", "LX-4121", "--mode", "Keyword", "--url",
                   f"http://127.0.0.1:{index.port}"]  # fmt: skip
        assert "  1  0." in subprocess.run(command, capture_output=True, text=True, check=True).stdout

        # the words' own index is not needed for the other mode: measured, not built
        words = index.build(mode="Keyword")
        assert (words.served, words.collection, words.measured["retrievalRecallAt4"]) == (
            True,
            hybrid.collection,
            "1.000",
        )
        until(lambda: ranked(index, "Utrecht") == {"keyword"}, 60)


FAILED = 'llmops_retrieval_reranks_total{result="failed"}'


@contextmanager
def reranker(port: int) -> Iterator[None]:
    """A real llama.cpp at /v1/rerank. The model has no head that was trained for it: its figures are an order and no
    judgement, which is enough to see that the order is kept."""
    with process(sys.executable, str(ROOT / "images/llamacpp/serve.py"), "--model",
                 str(ROOT / "build/models/minilm.gguf"), "--alias", "shop/reranker", "--host", "127.0.0.1", "--port",
                 str(port), "--context-length", "512", "--reranking", "--drain-seconds", "0"):  # fmt: skip
        until(answers(port))
        yield


def test_a_model_orders_the_passages_and_without_it_they_are_answered_as_before(index: Index) -> None:
    port, question = free_port(), "What does LX-4121 mean?"
    work = RerankWork(f"http://127.0.0.1:{port}/v1", "shop/reranker", "r1", candidates=12, seconds=5)
    index.questions = EXACT[:1]
    gate = {"type": "Retrieval", "evalJobRef": {"name": "q"}, "atK": 4, "min": "0"}
    with index.serving():
        first = index.build(mode="Hybrid", gates=())
        until(lambda: index.search(question)[0] == 200, 60)
        before = index.search(question, topK=12)[1]
        assert "reranked" not in before
        with reranker(port):
            second = index.build(rerank=work, gates=(gate,))  # measured, not built
            assert (second.served, second.collection, second.embedded) == (True, first.collection, 0)
            until(lambda: index.search(question)[1].get("reranked"), 60)
            passages = index.search(question, topK=4)[1]["passages"]
            texts = [one["text"] for one in before["passages"]]
            status, told = post(f"{work.url}/rerank", {"query": question, "documents": texts, "top_n": 12})
            assert status == 200
            best = sorted(told["results"], key=lambda one: -one["relevance_score"])[:4]
            assert [one["id"] for one in passages] == [before["passages"][one["index"]]["id"] for one in best]
            assert [one["relevance"] for one in passages] == pytest.approx([one["relevance_score"] for one in best])
            assert [one["id"] for one in passages] != [one["id"] for one in before["passages"]][:4]
            failed = counted(index, FAILED)
        without = index.search(question, topK=4)[1]
        assert without["reranked"] is False
        assert [one["id"] for one in without["passages"]] == [one["id"] for one in before["passages"]][:4]
        assert counted(index, FAILED) == failed + 1

        # what would be measured is not what would be served: tried again, and the sentence is there if it was the last
        code, folder = index.run(gates=({**gate, "min": "0.1"},))
        assert code == 1
        assert "was not reranked: shop/reranker does not answer" in (folder / "failure.txt").read_text()
