"""A whole observation of an index, made by hand; each test changes the one thing it is about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import pytest
from tests.unit.retrieval import databases
from tests.unit.retrieval.databases import Database

from llmops.api import Settings, VectorIndex
from llmops.retrieval.observe import Seen
from llmops.retrieval.outcome import GateResult, Outcome
from llmops.retrieval.run import Run
from llmops.retrieval.work import OUTCOME, EmbeddingWork, RerankWork, SourceWork, Work

SPEC: dict[str, Any] = {
    "embedding": {"serviceRef": {"name": "minilm"}},
    "sources": [{"name": "faq", "configMapRef": {"name": "shop-faq"}}],
    "rollout": {"gates": [{"type": "AnnRecall", "atK": 10, "min": "0.95"}]},
}


def merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """`base` with the fields of `change`, at any depth."""
    whole = dict(base)
    for name, value in change.items():
        whole[name] = merged(whole[name], value) if isinstance(value, dict) and name in whole else value
    return whole


def seen(change: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **observed: Any) -> Seen:
    """An index whose engine and embedder are ready."""
    raw = {
        "apiVersion": "llmops.dev/v1alpha1", "kind": "VectorIndex",
        "metadata": {"name": "faq", "namespace": "shop", "uid": "u1", "generation": 3},
        "spec": merged(SPEC, change or {}),
        **({"status": status} if status else {}),
    }  # fmt: skip
    index = VectorIndex.model_validate(raw)
    embedding = index.spec.embedding
    embedder = EmbeddingWork(
        f"http://{embedding.service_ref.name}-llm.shop/v1", f"shop/{embedding.service_ref.name}", "r1",
        embedding.query_prefix, embedding.document_prefix, embedding.batch_size,
    )  # fmt: skip
    sources = (SourceWork("faq", "Auto", "id", "text", "a" * 64),)
    made = Seen(raw, index, Settings(), sources, embedder=embedder, questions=[], servers_ready=1)
    if (rerank := index.spec.query.rerank) is not None:
        name = rerank.service_ref.name
        made = replace(made, reranker=RerankWork(f"http://{name}-llm.shop/v1", f"shop/{name}", "r1", rerank.candidates))
    return replace(made, **observed)


def work_of(one: Seen) -> Work:
    """What that index asks for."""
    work = one.work
    assert work is not None
    return work


def outcome_of(one: Seen, served: bool = True, generation: int = 1) -> Outcome:
    """What its Job would report."""
    work = work_of(one)
    gates = (GateResult("AnnRecall", served, "AnnRecall: figures"),)
    return Outcome(
        work.parts.key, generation, f"faq__g{generation}_x", served, 100, 384, "f", {"annRecallAt10": "1.000"}, gates,
        asdict(work.parts), embedded=100,
    )  # fmt: skip


def job(one: Seen, ended: str | None = None) -> dict[str, Any]:
    """Its Job, running or ended."""
    told = [{"type": ended, "status": "True", "message": "BackoffLimitExceeded"}] if ended else []
    return {"kind": "Job", "metadata": {"name": f"faq-index-{work_of(one).short}"}, "status": {"conditions": told}}


def finished(one: Seen, served: bool = True, generation: int = 1) -> Run:
    """Its Job, with its outcome."""
    outcome = outcome_of(one, served, generation)
    results = {
        "kind": "ConfigMap",
        "metadata": {"name": f"faq-index-{work_of(one).short}"},
        "data": {OUTCOME: outcome.dumps()},
    }
    return Run(outcome.key, job(one, "Complete"), results)


@pytest.fixture
def served() -> Seen:
    """An index whose first generation is served, as its status remembers."""
    from datetime import UTC, datetime

    from llmops.retrieval.plan import plan
    from llmops.retrieval.status import status

    first = seen()
    first = replace(first, runs=(finished(first),))
    return seen(status=status(first, plan(first), datetime(2026, 1, 1, tzinfo=UTC)), runs=first.runs)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A Milvus Lite for the tests of one file."""
    with databases.running(databases.milvus_lite(tmp_path_factory.mktemp("milvus"))) as one:
        yield one
