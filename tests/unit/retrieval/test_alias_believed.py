"""Where the alias is believed to be: only where no other Job may have moved it since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.retrieval.conftest import finished, job, outcome_of, seen, work_of
from tests.unit.retrieval.test_index_plan import NOW, kinds

from llmops.retrieval.observe import Seen
from llmops.retrieval.plan import State, plan
from llmops.retrieval.referred import Missing
from llmops.retrieval.run import Run
from llmops.retrieval.status import status
from llmops.retrieval.work import FAILURE, OUTCOME, WAITING

AWAY = Missing("LLMService shop/minilm does not serve yet", exists=True)


def other(served: Seen) -> Seen:
    """The same index with another spec."""
    return seen({"index": {"parameters": {"M": 32}}}, served.raw["status"], runs=served.runs)


def of_other(served: Seen, ended: str | None, data: Mapping[str, str] = {}, day: int = 2) -> Run:
    """What the other spec's Job left, which ran the day after the one that is served; no Job where it is "Gone"."""
    index = other(served)
    results = {"kind": "ConfigMap", "metadata": {"name": f"faq-index-{work_of(index).short}"}, "data": data}
    return on(day, Run(work_of(index).parts.key, None if ended == "Gone" else job(index, ended), results))


def on(day: int, run: Run) -> Run:
    """The same run, begun and ended on that day."""
    stamp = {"creationTimestamp": f"2026-01-0{day}T00:00:00Z"}
    begun = run.job and {**run.job, "metadata": {**run.job["metadata"], **stamp}}
    data = {
        name: text.replace('"at": ""', f'"at": "2026-01-0{day}T01:00:00Z"')
        for name, text in ((run.results or {}).get("data") or {}).items()
    }
    return Run(run.key, begun, run.results and {**run.results, "data": data})


@pytest.mark.parametrize(
    ("ended", "left", "believed"),
    [
        ("Complete", {OUTCOME: "served"}, False),  # it served while nobody looked
        ("Gone", {OUTCOME: "served"}, False),
        ("Failed", {}, False),  # it may have failed after it moved the alias
        ("Failed", {FAILURE: "the outcome could not be written"}, False),
        ("Complete", {}, False),  # its outcome was deleted
        ("Gone", {}, False),  # it was deleted while it went on
        (None, {}, False),
        ("Complete", {OUTCOME: "rejected"}, True),
        ("Complete", {WAITING: '{"passages": 9, "tokens": 9}'}, True),  # it asked, and began nothing
    ],
)
def test_going_back_is_believed_only_where_no_other_build_may_have_moved_the_alias(
    served: Seen, ended: str | None, left: dict[str, str], believed: bool
) -> None:
    if OUTCOME in left:
        left = {OUTCOME: outcome_of(other(served), left[OUTCOME] == "served", 2).dumps()}
    back = seen(status=served.raw["status"], runs=(on(1, served.runs[0]), of_other(served, ended, left)))
    wanted = plan(back)
    assert wanted.state is (State.SERVED if believed else State.BUILDING)
    assert "Job" not in kinds(wanted)
    if not believed:
        assert (wanted.keep, wanted.look_after) == ((), 1.0)  # and once all is gone, a Job points the alias again
        assert "Job" in kinds(plan(replace(back, runs=())))


@pytest.mark.parametrize(
    ("job", "results"), [(True, True), (True, False), (False, True)], ids=["both", "its Job", "its results"]
)
def test_what_is_left_of_a_build_of_before_casts_no_doubt_while_it_is_deleted(
    served: Seen, job: bool, results: bool
) -> None:
    """Its parts go one after the other, and the cache hears of each a moment later."""
    first, second = on(1, served.runs[0]), on(2, finished(other(served), True, 2))
    fresh = replace(other(served), runs=(first, second))
    told = status(fresh, plan(fresh), NOW)
    rest = Run(first.key, first.job if job else None, first.results if results else None)
    wanted = plan(seen({"index": {"parameters": {"M": 32}}}, told, runs=(rest, second)))
    assert wanted.state is State.SERVED
    assert second.results in wanted.keep
    failed = of_other(served, "Failed", day=1)  # as does one that ended before this one began
    assert plan(seen(status=served.raw["status"], runs=(on(2, served.runs[0]), failed))).state is State.SERVED


def test_of_two_that_served_the_later_one_is_believed_whatever_the_status_remembers(served: Seen) -> None:
    first, second = on(1, served.runs[0]), on(2, finished(other(served), True, 2))
    fresh = plan(replace(other(served), runs=(first, second)))
    assert fresh.state is State.SERVED
    assert first.results not in fresh.keep
    told = status(replace(other(served), runs=(second,)), fresh, NOW)
    assert plan(seen(status=told, runs=(first, second))).state is State.BUILDING
    slow = Run(second.key, second.job, on(1, replace(finished(other(served), True, 2), job=None)).results)
    ahead = Run(first.key, first.job, on(3, replace(served.runs[0], job=None)).results)  # by the clocks of their nodes
    assert plan(seen(status=told, runs=(ahead, slow))).state is State.BUILDING


def test_a_job_is_believed_though_the_clock_of_its_node_is_behind_that_of_the_one_before(served: Seen) -> None:
    first, second = on(1, served.runs[0]), on(2, finished(other(served), True, 2))
    ahead = Run(first.key, first.job, on(3, served.runs[0]).results)
    fresh = replace(other(served), runs=(ahead, second))
    assert plan(fresh).state is State.SERVED


@pytest.mark.parametrize("data", ["outcome", {FAILURE: "the engine was away"}, {}], ids=["served", "failed", "silent"])
def test_the_results_of_a_job_that_is_deleted_cast_no_doubt_though_a_clock_was_ahead(served: Seen, data: Any) -> None:
    """The end of the Job itself may be told of before that of its results, which the API server's clock dates too."""
    before, second = on(1, served.runs[0]), on(2, finished(other(served), True, 2))
    told = on(3, before).results if data == "outcome" else {**on(1, before).results, "data": data}  # type: ignore[dict-item]
    assert told is not None
    left = {**told, "metadata": {**told["metadata"], "creationTimestamp": "2026-01-01T00:00:00Z"}}
    wanted = plan(replace(other(served), runs=(Run(before.key, None, left), second)))
    assert wanted.state is State.SERVED
    later = {**left, "metadata": {**left["metadata"], "creationTimestamp": "2026-01-03T00:00:00Z"}}
    wanted = plan(replace(other(served), runs=(Run(before.key, None, later), second)))
    assert wanted.state is State.BUILDING


def test_no_job_begins_beside_one_that_told_its_outcome_and_goes_on(served: Seen) -> None:
    """Its pod may have died in its last moment: then another one comes, and does it all once more."""
    told = Run(served.runs[0].key, job(served), served.runs[0].results)
    wanted = plan(replace(other(served), runs=(told,)))
    assert (wanted.state, wanted.keep) == (State.BUILDING, ())
    assert "Job" not in kinds(wanted)
    assert plan(replace(served, runs=(told,))).state is State.SERVED  # while it is what is wanted, it is believed


def test_a_third_spec_forgets_what_may_not_serve_any_more(served: Seen) -> None:
    third = seen({"chunking": {"maxTokens": 50}}, served.raw["status"])
    wanted = plan(replace(third, runs=(*served.runs, finished(other(served), True, 2))))
    assert (wanted.state, wanted.keep) == (State.BUILDING, ())
    mine = Run(work_of(third).parts.key, job(third), None)
    wanted = plan(replace(third, runs=(*served.runs, mine, of_other(served, "Failed"))))
    assert [one for one in wanted.keep if one["kind"] == "Job"] == [mine.job]  # it points the alias anyway
    both = plan(replace(third, runs=(*served.runs, mine, of_other(served, None))))
    assert both.keep == ()  # never two that write


@pytest.mark.parametrize("observed", [{"embedder": AWAY}, {"source_problem": "source faq: gone"}])
@pytest.mark.parametrize(("generation", "stopped"), [(2, True), (3, False)])
def test_while_nobody_can_tell_what_is_wanted_only_the_build_of_a_spec_of_before_is_stopped(
    served: Seen, observed: dict[str, Any], generation: int, stopped: bool
) -> None:
    running = of_other(served, None)
    told = {**served.raw["status"], "observedGeneration": generation}
    wanted = plan(seen(status=told, runs=(*served.runs, running), **observed))
    assert (running.job not in wanted.keep) is stopped
    assert running.results in wanted.keep  # which says later that the alias may be elsewhere
    assert served.runs[0].results in wanted.keep
    back = plan(seen(status=told, runs=(*served.runs, of_other(served, "Gone"))))
    assert back.state is State.BUILDING
