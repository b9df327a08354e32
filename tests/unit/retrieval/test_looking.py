"""A turn of the schedule looks at the sources; until it finds something, the spec is served as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.retrieval.conftest import finished, job, seen, work_of
from tests.unit.retrieval.test_index_plan import NOW, condition

from llmops.control.turns import Turns
from llmops.retrieval.engines.opener import Standing
from llmops.retrieval.observe import Seen
from llmops.retrieval.plan import State, plan
from llmops.retrieval.run import Run
from llmops.retrieval.status import status
from llmops.retrieval.work import FAILURE, PROGRESS, SourceWork

HOURLY: dict[str, Any] = {
    "sources": [{"name": "faq", "pvc": {"claim": "c"}}], "refresh": {"schedule": "0 * * * *"},
}  # fmt: skip
KEPT = ("Ready", "Available", "Reconciling", "Stalled", "SourcesRead", "Built", "GatesPassed", "EmbeddingMatches")


def at(turn: str, told: dict[str, Any] | None = None, change: dict[str, Any] | None = None, **observed: Any) -> Seen:
    """An index of a volume's files that are looked at each hour."""
    source = SourceWork("faq", "Auto", "id", "text", kind="pvc", claim="c", address="/")
    return seen({**HOURLY, **(change or {})}, told, sources=(source,), turns=Turns(turn), **observed)


def first() -> Seen:
    """Served since the first turn."""
    one = at("T0")
    one = replace(one, runs=(finished(one),))
    return at("T0", status(one, plan(one), NOW), runs=one.runs)


def looking(one: Seen, **progress: Any) -> Seen:
    """Its Job goes on, and has told this."""
    data = {PROGRESS: json.dumps(progress)} if progress else {}
    results = {"kind": "ConfigMap", "metadata": {"name": "x"}, "data": data}
    return replace(one, runs=(*one.runs, Run(work_of(one).parts.key, job(one), results)))


def said(one: Seen) -> dict[str, Any]:
    """Its status: each condition whole, but for when it was said."""
    told = status(one, plan(one), NOW)
    return {condition["type"]: condition for condition in told["conditions"]}


@pytest.mark.parametrize("progress", [None, {}, {"stage": "Measuring", "generation": 1, "done": 9, "total": 9}])
def test_a_look_that_has_found_nothing_changes_no_condition(progress: dict[str, Any] | None) -> None:
    before = first()
    turn = at("T1", before.raw["status"], runs=before.runs)
    index = turn if progress is None else looking(turn, **progress)
    assert plan(index).state is State.BUILDING
    assert {one: said(index)[one] for one in KEPT} == {one: said(before)[one] for one in KEPT}
    assert said(index)["Ready"]["message"] == "generation 1 with 100 passages is served"


@pytest.mark.parametrize("stage", ["Embedding", "Indexing", "Measuring"])
def test_from_the_first_passage_of_a_new_generation_on_it_is_built(stage: str) -> None:
    before = first()
    index = looking(at("T1", before.raw["status"], runs=before.runs), stage=stage, generation=2, done=1, total=2)
    assert (said(index)["Ready"]["status"], said(index)["Ready"]["reason"]) == ("False", "Building")
    assert said(index)["GatesPassed"]["status"] == "Unknown"


@pytest.mark.parametrize(
    "change", [{"index": {"parameters": {"M": 32}}}, {"index": {"search": {"ef": 16}}}, {"chunking": {"maxTokens": 50}}]
)
def test_another_spec_is_not_served_as_it_was(change: dict[str, Any]) -> None:
    before = first()
    for turn in ("T0", "T1"):
        assert said(at(turn, before.raw["status"], change, runs=before.runs))["Ready"]["status"] == "False"


@pytest.mark.parametrize(
    "lost", [{"restored": "2026", "went_back": True}, {"began": "0f1e", "emptied": True}], ids=["went back", "emptied"]
)
def test_what_an_engine_lost_is_not_what_is_wanted_before_it_is_mended(lost: dict[str, Any]) -> None:
    before = first()
    standing = Standing(name="faq-index-engine", **lost)
    assert said(at("T1", before.raw["status"], runs=before.runs, standing=standing))["Ready"]["status"] == "False"


def test_where_the_alias_may_be_elsewhere_a_look_does_not_say_that_all_is_well() -> None:
    before = first()
    gone = plan(at("T0", before.raw["status"]))  # its outcome is gone: the same work is done again
    assert gone.state is State.BUILDING
    told = status(at("T0", before.raw["status"]), gone, NOW)
    assert condition(told, "Ready") == "False"
    assert said(at("T1", told))["Ready"]["status"] == "False"


def test_a_look_that_failed_is_not_forgotten_by_the_next_one() -> None:
    before = first()
    index = at("T1", before.raw["status"], runs=before.runs)
    results = {"kind": "ConfigMap", "metadata": {"name": "x"}, "data": {FAILURE: "source faq is away"}}
    failed = replace(index, runs=(*index.runs, Run(work_of(index).parts.key, job(index, "Failed"), results)))
    told = status(failed, plan(failed), NOW)
    assert condition(told, "Ready") == "False"
    assert said(looking(at("T2", told, runs=before.runs)))["Ready"]["status"] == "False"


def test_while_it_looks_a_query_server_that_is_away_is_seen() -> None:
    before = first()
    index = replace(looking(at("T1", before.raw["status"], runs=before.runs)), servers_ready=0)
    assert (said(index)["Ready"]["status"], said(index)["Available"]["status"]) == ("False", "False")
