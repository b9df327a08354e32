"""What an index refers to, and cannot use: told with what to write."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.retrieval.conftest import finished, merged, seen

from llmops.api import VectorIndex
from llmops.kube.resources import EVAL_JOB
from llmops.retrieval.plan import LOOK_AT_UNFOLLOWED, State, plan
from llmops.retrieval.referred import Missing, questions_of
from llmops.retrieval.sources import sources_of
from llmops.retrieval.work import Question

GATE = {"rollout": {"gates": [{"type": "Retrieval", "min": "0.5", "evalJobRef": {"name": "q"}}]}}


class Holding:
    """An EvalJob with this dataset, and a ConfigMap."""

    def __init__(self, dataset: dict[str, Any] | None = None, data: dict[str, str] | None = None) -> None:
        metadata = {"name": "q", "namespace": "shop"}
        self.job = {"metadata": metadata, "spec": {"dataset": dataset}} if dataset else None
        self.config_map = None if data is None else {"metadata": {}, "data": data}

    def get(self, resource: Any, *_: str) -> Any:
        return self.job if resource == EVAL_JOB else self.config_map

    async def fresh(self, *_: Any) -> Any:
        return self.config_map


def index(change: dict[str, Any]) -> VectorIndex:
    return seen(change).index


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ('{"input": "Why?", "relevant": ["faq/1"]', "it is no JSON object: write one a line"),
        ("question,answer", "it is no JSON object: write one a line"),
        ('["Why?"]', "it is no JSON object: write one a line"),
        ("[" * 100_000, "it is no JSON object: write one a line"),
        ('{"input": "Why?"}', "it names no document that answers it: write relevant, or the field 'target'"),
        (
            '{"question": "Why?", "relevant": ["faq/1"]}',
            "it has no text in the field 'input': write it, or dataset.fields",
        ),
        ('{"input": " ", "target": "faq/1"}', "it has no text in the field 'input'"),
    ],
)
async def test_a_labelled_question_that_cannot_be_read_is_told_by_its_number(row: str, says: str) -> None:
    dataset = {"configMapRef": {"name": "questions", "key": "q.jsonl"}}
    rows = f'{{"input": "Why?", "target": "faq/1"}}\n{row}'
    found, _ = await questions_of(index(GATE), Holding(dataset, {"q.jsonl": rows}))  # type: ignore[arg-type]
    assert isinstance(found, Missing)
    assert f"EvalJob shop/q, question 2: {says}" in found.sentence
    one, _ = await questions_of(index(GATE), Holding({**dataset, "limit": 1}, {"q.jsonl": rows}))  # type: ignore[arg-type]
    assert one == [Question("Why?", ["faq/1"])]


async def test_half_a_letter_in_a_question_is_asked_as_one_that_nobody_knows() -> None:
    row = r'{"input": "How warm? \ud83e", "relevant": ["faq/\udd76"]}'
    dataset = {"configMapRef": {"name": "questions", "key": "q.jsonl"}}
    found, _ = await questions_of(index(GATE), Holding(dataset, {"q.jsonl": row}))  # type: ignore[arg-type]
    assert found == [Question("How warm? \ufffd", ["faq/\ufffd"])]
    assert seen(GATE, questions=found).work is not None  # else no turn of the index came to its end


@pytest.mark.parametrize(
    ("dataset", "says"),
    [
        (None, "does not exist: create it, or correct evalJobRef"),
        ({"pvc": {"claim": "c", "path": "/q.jsonl"}}, "needs a dataset with configMapRef (JSON Lines) or inline"),
        (
            {"configMapRef": {"name": "questions", "key": "b"}},
            "with key 'b' is missing: create it, with the questions",
        ),
    ],
)
async def test_an_eval_job_without_questions_is_told_with_what_it_lacks(
    dataset: dict[str, Any] | None, says: str
) -> None:
    found, _ = await questions_of(index(GATE), Holding(dataset, {"a": ""}))  # type: ignore[arg-type]
    assert isinstance(found, Missing)
    assert says in found.sentence


@pytest.mark.parametrize(
    ("data", "key", "says"),
    [
        (None, None, "does not exist: create it, or correct configMapRef"),
        ({}, None, "it is empty: put documents into it"),
        ({"a.md": "a", "b.md": "b"}, "c.md", "has no key 'c.md': write one of its keys (a.md, b.md)"),
        ({}, "c.md", "has no key 'c.md': it is empty"),
    ],
)
async def test_a_config_map_without_documents_is_told_with_what_it_lacks(
    data: dict[str, str] | None, key: str | None, says: str
) -> None:
    reference = {"name": "shop-faq", **({"key": key} if key else {})}
    sources = {"sources": [{"name": "faq", "configMapRef": reference}]}
    _, problem, _ = await sources_of(index(merged({}, sources)), Holding(data=data))  # type: ignore[arg-type]
    assert problem is not None
    assert problem.startswith("source faq: ConfigMap shop/shop-faq")
    assert says in problem


def test_a_config_map_without_the_label_is_looked_at_every_minute() -> None:
    whole = seen()
    whole = replace(whole, runs=(finished(whole),))
    assert (plan(whole).state, plan(whole).look_after) == (State.SERVED, None)
    assert plan(replace(whole, followed=False)).look_after == LOOK_AT_UNFOLLOWED == 60
