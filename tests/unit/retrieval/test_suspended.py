"""spec.suspend: what is served stays, nothing new is built, and going back to what was served is always allowed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.retrieval.conftest import finished, job, seen, work_of
from tests.unit.retrieval.test_approval import Counting, Memory, making
from tests.unit.retrieval.test_index_plan import NOW, begun, given, kinds

from llmops.retrieval.observe import Seen
from llmops.retrieval.outcome import loads
from llmops.retrieval.plan import State, plan
from llmops.retrieval.referred import Missing
from llmops.retrieval.run import Run
from llmops.retrieval.status import status
from llmops.retrieval.work import OUTCOME
from llmops.web import Wrong

OTHER = {"index": {"parameters": {"M": 32}}}
AWAY = {"embedder": Missing("LLMService shop/minilm does not serve yet", exists=True)}
SUSPENDED = {"suspend": True}


def keeping(run: Run, *kept: int) -> Run:
    """With the generations that are kept, as its Job says."""
    assert run.outcome is not None
    assert run.results is not None
    text = replace(run.outcome, kept=kept).dumps()
    assert loads(text).kept == kept
    return Run(run.key, run.job, {**run.results, "data": {OUTCOME: text}})


def moved_on(served: Seen, *kept: int) -> Seen:
    """Another spec was served after the first; its Job kept these generations."""
    second = seen(OTHER, served.raw["status"], runs=served.runs)
    second = replace(second, runs=(*served.runs, keeping(finished(second, generation=2), *kept)))
    return seen(OTHER, status(second, plan(second), NOW), runs=second.runs[1:])


@pytest.mark.parametrize("observed", [{}, AWAY, {"source_problem": "source faq: gone"}])
def test_suspended_while_it_builds_the_build_is_stopped_and_all_else_stays(
    served: Seen, observed: dict[str, Any]
) -> None:
    index = seen({**OTHER, **SUSPENDED}, served.raw["status"])
    results = {"kind": "ConfigMap", "metadata": {"name": f"faq-index-{work_of(index).short}"}, "data": {}}
    running = Run(work_of(index).parts.key, job(index), results)
    wanted = plan(replace(index, runs=(*served.runs, running), **observed))
    assert wanted.state in (State.WAITING, State.BAD_SOURCES)
    assert [one for one in wanted.keep if one["kind"] == "Job"] == [served.runs[0].job]
    assert running.results in wanted.keep  # by which going back is not believed: it may have moved the alias
    assert served.runs[0].results in wanted.keep
    going_on = plan(seen(OTHER, served.raw["status"], runs=(*served.runs, Run(running.key, None, results))))
    assert begun(going_on)["metadata"]["name"] == running.job["metadata"]["name"]  # type: ignore[index]


@pytest.mark.parametrize(("kept", "back"), [((1, 2), True), ((2,), False)])
def test_suspended_it_goes_back_to_what_was_served_as_long_as_that_is_kept(
    served: Seen, kept: tuple[int, ...], back: bool
) -> None:
    second = moved_on(served, *kept)
    wanted = plan(seen(SUSPENDED, second.raw["status"], runs=second.runs))
    if back:
        assert (wanted.state, wanted.sentence) == (State.BUILDING, "going back to what was served before")
        assert given(wanted).only_there
    else:
        assert (wanted.state, "Job" in kinds(wanted)) == (State.WAITING, False)
    assert not given(plan(seen(status=second.raw["status"], runs=second.runs))).only_there


def test_suspended_it_goes_back_to_what_an_operator_of_before_remembers_as_served(served: Seen) -> None:
    memory = {name: one for name, one in served.raw["status"]["memory"].items() if name != "wereServed"}
    wanted = plan(seen(SUSPENDED, {**served.raw["status"], "memory": memory}))  # its outcome was doubted, and is gone
    assert (wanted.state, "Job" in kinds(wanted)) == (State.BUILDING, True)


def test_suspended_neither_new_content_nor_new_search_parameters_are_taken(served: Seen) -> None:
    second = moved_on(served, 1, 2)
    source = replace(second.sources[0], sha256="b" * 64)
    for index in (
        seen(SUSPENDED, second.raw["status"], runs=second.runs, sources=(source,)),
        seen({**SUSPENDED, "index": {"search": {"ef": 16}}}, second.raw["status"], runs=second.runs),
    ):
        assert plan(index).state is State.WAITING


def test_a_look_at_another_time_is_the_same_to_go_back_to(served: Seen) -> None:
    work = work_of(served)
    later = replace(work, sources=tuple(replace(one, look="2026-01-02T00:00:00Z") for one in work.sources))
    assert later.parts.key != work.parts.key
    assert later.timeless == work.timeless
    assert work_of(seen(OTHER)).timeless != work.timeless


def test_a_job_that_only_goes_back_builds_nothing(tmp_path: Path) -> None:
    store, service = Memory(), Counting()
    with pytest.raises(
        Wrong, match=r"spec\.suspend is true, and what is asked for is not in the vector database any more"
    ):
        asyncio.run(making(store, service, ["A text."], str(tmp_path), only_there=True).build())
    assert (store.made, service.embedded) == ({}, [])


def test_what_failed_as_it_was_suspended_begins_again_when_it_is_not(served: Seen) -> None:
    second = moved_on(served, 1, 2)
    begins = begun(plan(seen(SUSPENDED, second.raw["status"], runs=second.runs)))
    ended = {"conditions": [{"type": "Failed", "status": "True"}]}
    failed = Run(work_of(served).parts.key, {**begins, "status": ended}, None)
    runs = (*second.runs, failed)
    assert plan(seen(SUSPENDED, second.raw["status"], runs=runs)).state is State.FAILED
    assert plan(seen(status=second.raw["status"], runs=runs)).state is State.BUILDING
