"""What a release is made of, what its evaluations are asked, and what its children and status say. No cluster."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from llmops.api import EvalJob, PromptRelease, Reason
from llmops.api.rollout import HistoryEntry
from llmops.release import content
from llmops.release import observe as observing
from llmops.release.observe import Seen, gated
from llmops.release.plan import build_revision, plan, revision_name
from llmops.release.status import status
from llmops.rollout import offline
from llmops.rollout.machine import look
from llmops.rollout.state import Candidate, Stable, State, freeze, read
from llmops.rollout.tell import due, label
from llmops.rollout.world import Gateway, Outcome, Problem, Wanted, World

NOW = datetime(2026, 11, 23, tzinfo=UTC)
Object = dict[str, Any]


def raw(**spec: Any) -> Object:
    return {
        "apiVersion": "llmops.dev/v1alpha1",
        "kind": "PromptRelease",
        "metadata": {"name": "answer", "namespace": "shop", "uid": "u", "generation": 3, "resourceVersion": "7"},
        "spec": {
            "serviceRef": {"name": "support"},
            "version": "2.0.0",
            "messages": [{"role": "user", "content": "{{ question }}"}],
            "variables": {"type": "object", "properties": {"question": {"type": "string", "maxLength": 100}}},
            **spec,
        },
    }


def parsed(**spec: Any) -> PromptRelease:
    return PromptRelease.parse(raw(**spec))


def digest(**spec: Any) -> str:
    return content.content_digest(parsed(**spec))


@pytest.mark.parametrize(
    "change",
    [
        {"version": "9.9.9"},
        {"rollout": {"bake": "1h"}},
        {"access": {"from": "All"}},
        {"historyLimit": 3},
        {"suspend": True},
        {"parameters": {}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_only_says_how_makes_no_new_version(change: Object) -> None:
    assert digest(**change) == digest()


@pytest.mark.parametrize(
    "change",
    [
        {"messages": [{"role": "user", "content": "Q: {{ question }}"}]},
        {"parameters": {"temperature": 0}},
        {"serviceRef": {"name": "other"}},
        {"indexRef": {"name": "faq"}},
        {"variables": {"type": "object"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_users_could_notice_makes_a_new_version(change: Object) -> None:
    assert digest(**change) != digest()


@pytest.mark.parametrize(
    ("spec", "reason", "sentence"),
    [
        ({"messages": [{"role": "user", "content": "{{ order_id }}"}]}, Reason.TEMPLATE_INVALID, "order_id"),
        ({"messages": [{"role": "user", "content": "{% if %}"}]}, Reason.TEMPLATE_INVALID, "message 1"),
        ({"variables": {"type": 7}}, Reason.TEMPLATE_INVALID, "spec.variables.type is no JSON Schema"),
        ({"indexRef": {"name": "faq", "query": "{{ nothing }}"}}, Reason.TEMPLATE_INVALID, "indexRef.query"),
        ({"indexRef": {"name": "faq", "filter": "source = 'a'"}}, Reason.TEMPLATE_INVALID,
         "indexRef.filter makes source = 'a' of values as"),
        ({"messages": None, "steps": [{"name": "a", "messages": [{"role": "user", "content": "x"}]}]},
         Reason.UNSUPPORTED, "spec.steps"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(spec: Object, reason: Reason, sentence: str) -> None:
    problem = content.problem(parsed(**spec))
    assert problem is not None
    assert (problem.reason, problem.final) == (reason, reason is Reason.TEMPLATE_INVALID)
    assert sentence in problem.message
    assert "PromptRelease shop/answer" in problem.message


STANDS = {"type": "Available", "status": "True"}
PINNED = {"revision": "support-llm-" + "a" * 10, "ready": True}


@pytest.mark.parametrize(
    ("reference", "status", "sentence"),
    [
        ({}, {}, None),
        ({}, {"candidate": {"weight": 10}}, "LLMService shop/support is being rolled out itself, and goes first"),
        ({"revision": "a" * 12}, {}, f"its operator has not seen yet that revision {'a' * 12} is wanted"),
        ({"revision": "a" * 10}, {"pinned": [PINNED]}, None),
        ({"revision": "a" * 10}, {"pinned": [PINNED], "candidate": {"weight": 10}}, None),
        ({"revision": "a" * 10}, {"pinned": [{**PINNED, "ready": False, "message": "no room"}]},
         f"LLMService shop/support: revision {'a' * 10}: no room"),
    ],
)  # fmt: skip
def test_a_release_waits_for_the_revision_that_it_is_released_with(
    reference: Object, status: Object, sentence: str | None
) -> None:
    service = {"spec": {}, "status": {"conditions": [STANDS], **status}}
    problem = missing(parsed(serviceRef={"name": "support", **reference}), {"support": service})
    assert (problem.message if problem else None) == sentence or (problem and sentence and sentence in problem.message)
    assert (problem is None) == (sentence is None)


@pytest.mark.parametrize(
    ("generation", "told", "sentence"),
    [
        (None, {"active": 3}, None),
        (3, {"active": 3}, None),
        (2, {"active": 3, "kept": [2, 3]}, None),
        (1, {"active": 3, "kept": [2, 3]}, "no generation 1 that passed its gates: it has 2, 3"),
        (1, {}, "no generation 1 that passed its gates: it has none yet"),
    ],
)
def test_a_release_waits_for_a_generation_that_is_not_there(
    generation: int | None, told: Object, sentence: str | None
) -> None:
    there = {"spec": {}, "status": {"conditions": [STANDS], "generation": told}}
    pinned = {"generation": generation} if generation else {}
    problem = missing(parsed(indexRef={"name": "faq", **pinned}), {"support": there, "faq": there})
    assert (problem is None) == (sentence is None)
    assert sentence is None or (problem is not None and sentence in problem.message)


class Known:
    """A cluster that has these objects, whatever their kinds."""

    def __init__(self, objects: dict[str, Object | None]) -> None:
        self._objects = objects

    def get(self, _: object, __: str, name: str) -> Object | None:
        return self._objects.get(name)


def missing(release: PromptRelease, objects: dict[str, Object | None]) -> Problem | None:
    known: Any = Known(objects)
    return observing.missing(release, known) or gated(release, known, {})


def test_a_release_waits_for_the_service_that_is_to_judge_it() -> None:
    judged = parsed(rollout={"online": [{"signal": "Judge", "serviceRef": {"name": "j"}, "rubric": "r", "min": "3"}]})
    there = {"spec": {}, "status": {"conditions": [STANDS]}}
    problem = missing(judged, {"support": there})
    assert problem is not None
    assert "LLMService shop/j, which is to judge, does not exist" in problem.message
    assert missing(judged, {"support": there, "j": there}) is None


def test_a_signal_that_asks_prometheus_waits_until_the_operator_knows_where_it_is() -> None:
    asked = parsed(rollout={"online": [{"signal": "Prometheus", "failures": "a", "total": "b"}]})
    assert content.problem(asked, prometheus=True) is None
    problem = content.problem(asked, prometheus=False)
    assert problem is not None
    assert (problem.reason, problem.final) == (Reason.UNSUPPORTED, False)
    assert "its admin sets LLMOPS_PROMETHEUS_URL" in problem.message


def test_a_sound_release_has_no_problem_and_may_read_its_passages() -> None:
    assert content.problem(parsed()) is None
    said = "{{ question }} {{ context }}"
    assert content.problem(parsed(messages=[{"role": "user", "content": said}], indexRef={"name": "faq"})) is None


GATES = parsed(
    rollout={
        "offline": [
            {"evalJobRef": {"name": "quality"}, "metric": "exact_match", "min": "0.6"},
            {"evalJobRef": {"name": "quality"}, "metric": "exact_match", "maxDrop": "0.02"},
            {"evalJobRef": {"name": "safety"}, "metric": "f1", "maxDrop": "0.1"},
        ]
    }
)
TEMPLATES = {name: {"spec": {"metrics": [{"name": "f1"}], "schedule": "@daily"}} for name in ("quality", "safety")}


def state(phase: str = "Evaluating", stable: str | None = "a" * 64, **candidate: Any) -> State:
    moving = Candidate(digest(), "2.0.0", 1, freeze(GATES.spec.rollout), **candidate)
    return State(phase, stable=Stable(stable, "1.0.0", NOW.timestamp()) if stable else None, candidate=moving)


def job(name: str, verdict: str | None, phase: str = "Succeeded") -> Object:
    told = {"observedGeneration": 1, "phase": phase, "verdict": verdict}
    return {"metadata": {"name": name, "generation": 1, "uid": f"uid-of-{name}"}, "spec": {}, "status": told}


def asks(digest: str, _: str | None) -> Object:
    return {"promptRef": {"name": "answer", "version": digest}}


def test_each_template_becomes_one_evaluation_with_its_gates_as_thresholds() -> None:
    jobs = offline.build_jobs("answer", asks, GATES.spec.rollout.offline, state(), TEMPLATES, over=False)
    first, second = (EvalJob.parse(one) for one in jobs)
    assert first.metadata.name == f"answer-eval-{digest()[:8]}-1"
    assert second.metadata.name == f"answer-eval-{digest()[:8]}-1-2"
    assert [(one.min, one.max_drop) for one in first.spec.thresholds] == [("0.6", None), (None, "0.02")]
    assert first.spec.target
    assert first.spec.target.prompt_ref
    assert first.spec.target.prompt_ref.version == digest()
    assert first.spec.schedule is None


def test_a_gate_on_seconds_or_costs_is_a_most_and_counts_for_a_first_release_too() -> None:
    gates = [{"evalJobRef": {"name": "quality"}, "metric": "latency", "max": "0.8", "confidence": "0.99"}]
    [job] = offline.build_jobs(
        "answer",
        asks,
        parsed(rollout={"offline": gates}).spec.rollout.offline,
        state(stable=None),
        TEMPLATES,
        over=False,
    )
    assert job["spec"]["thresholds"] == [{"metric": "latency", "max": "0.8", "confidence": "0.99"}]
    assert EvalJob.parse(job).spec.thresholds[0].max == "0.8"


def test_a_first_release_is_asked_only_for_absolute_minima() -> None:
    jobs = offline.build_jobs("answer", asks, GATES.spec.rollout.offline, state(stable=None), TEMPLATES, over=False)
    assert len(jobs) == 1
    assert "baseline" not in jobs[0]["spec"]
    assert [one.get("maxDrop") for one in jobs[0]["spec"]["thresholds"]] == [None]


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("Pass", "Pass", "Pass"), ("Pass", "Fail", "Fail"), ("Pass", None, None), ("Fail", None, "Fail"),
        ("Inconclusive", "Pass", "Inconclusive"), ("Error", "Inconclusive", "Error"), ("Error", None, None),
    ],
)  # fmt: skip
def test_a_failure_decides_at_once_and_the_rest_when_all_have_ended(
    one: str | None, other: str | None, together: str | None
) -> None:
    names = [offline.job_name("answer", state(), place) for place in (0, 1)]
    jobs = {name: job(name, said) for name, said in zip(names, (one, other), strict=True)}
    assert offline.verdict("answer", GATES.spec.rollout.offline, state(), jobs).verdict == together


def test_a_verdict_about_an_older_spec_of_the_evaluation_does_not_count() -> None:
    name = offline.job_name("answer", state(), 0)
    stale = {**job(name, "Pass"), "metadata": {"name": name, "generation": 2}}
    gates = GATES.spec.rollout.offline[:2]
    assert offline.verdict("answer", gates, state(), {name: stale}).verdict is None


def seen(state: State, revisions: dict[str, Object] | None = None, jobs: dict[str, Object] | None = None,
         gateways: tuple[Gateway, ...] = ()) -> Seen:  # fmt: skip
    release = raw(rollout=GATES.spec.rollout.wire(), historyLimit=2)
    spec = PromptRelease.parse(release)
    wanted = Wanted(content.content_digest(spec), "2.0.0", spec.spec.rollout)
    world = World(NOW.timestamp(), gateways=gateways)
    return Seen(release, spec, state, wanted, world, revisions or {}, TEMPLATES, jobs or {}, None)


def outcome(state: State) -> Outcome:
    return Outcome(state, Reason.EVALUATING, "it runs")


def revision(digest: str, at: str = "2026-01-01T00:00:00Z") -> Object:
    metadata = {"name": revision_name("answer", digest), "creationTimestamp": at, "labels": {}}
    return {"metadata": metadata, "spec": {"digest": digest, "version": "x", "content": {"old": True}}}


def test_the_candidates_revision_is_made_when_it_is_evaluated_and_not_before() -> None:
    assert plan(seen(state("Validating")), outcome(state("Validating"))).children == ()
    kinds = [one["kind"] for one in plan(seen(state()), outcome(state())).children]
    assert kinds == ["Revision", "EvalJob", "EvalJob"]


def test_a_revision_that_exists_keeps_its_content_and_only_changes_its_label() -> None:
    kept = build_revision(seen(state(), {"a" * 64: revision("a" * 64)}), "a" * 64, state())
    assert kept["spec"]["content"] == {"old": True}
    assert kept["metadata"]["labels"] == {"llmops.dev/state": "stable"}


def test_labels_tell_what_became_of_each_content() -> None:
    assert [label(one, state()) for one in ("a" * 64, digest(), "c" * 64)] == ["stable", "candidate", "retired"]


def test_old_revisions_beyond_the_limit_go_oldest_first_and_stable_never() -> None:
    digests = ["a" * 64, *(character * 64 for character in "cdef")]
    known = {one: revision(one, f"2026-01-0{place}T00:00:00Z") for place, one in enumerate(digests, 1)}
    gone = plan(seen(state(), known), outcome(state())).old_revisions
    assert gone == (revision_name("answer", "c" * 64), revision_name("answer", "d" * 64))


def test_what_was_stable_before_is_kept_however_many_were_rejected_since() -> None:
    digests = ["a" * 64, *(character * 64 for character in "cdef")]
    known = {one: revision(one, f"2026-01-0{place}T00:00:00Z") for place, one in enumerate(digests, 1)}
    history = tuple(HistoryEntry(digest=one * 64, outcome="Released") for one in "ac")
    now = replace(state(), history=history)
    assert plan(seen(now, known), outcome(now)).old_revisions == (revision_name("answer", "d" * 64),)


@pytest.mark.parametrize(
    ("service", "templates", "says"),
    [
        ({"status": {"candidate": {"weight": 10}}}, TEMPLATES, "LLMService shop/support is being rolled out itself"),
        ({}, {"quality": TEMPLATES["quality"]}, "EvalJob shop/safety does not exist"),
        (None, {"quality": TEMPLATES["quality"]}, "EvalJob shop/safety does not exist"),
        ({}, {**TEMPLATES, "safety": {"spec": {"benchmark": {"tasks": ["mmlu"]}}}}, "name one with a dataset"),
    ],
)
def test_what_only_the_gates_wait_for_holds_up_no_rollback_by_hand(
    service: Object | None, templates: Object, says: str
) -> None:
    known: Any = Known({"support": service})
    problem = gated(GATES, known, templates)
    assert problem is not None
    assert problem.gated
    assert says in problem.message


def test_nothing_is_in_the_way_where_the_service_rests_and_the_gates_are_there() -> None:
    known: Any = Known({"support": {"status": {"candidate": {"weight": 0}}}})
    assert gated(GATES, known, TEMPLATES) is None


def test_an_evaluation_that_was_acted_upon_is_suspended_and_a_foreign_running_one_ended() -> None:
    moving = state("Canary", weight=10, step=1)
    mine, old = f"answer-eval-{digest()[:8]}-1", "answer-eval-ffffffff-1"
    planned = plan(seen(moving, jobs={mine: job(mine, "Pass"), old: job(old, None, "Running")}), outcome(moving))
    jobs = [one for one in planned.children if one["kind"] == "EvalJob"]
    assert [(one["metadata"]["name"], one["spec"]["suspend"]) for one in jobs] == [(mine, True)]
    assert jobs[0]["metadata"]["uid"] == f"uid-of-{mine}", "an apply after its deletion would make it anew"
    assert planned.old_jobs == (old,)


def test_a_status_written_is_read_back_as_the_same_state() -> None:
    first = seen(State())
    told = status(first, look(State(), first.wanted, first.world), NOW)
    again = PromptRelease.parse({**first.raw, "status": stored(told)})
    assert read(again.status, first.wanted.rollout) == look(State(), first.wanted, first.world).state


def stored(told: Object) -> Object:
    """As the API server keeps it: a merge patch takes away what is null, and the schema adds empty lists."""
    kept = PromptRelease.parse({**raw(), "status": _without_null(told)}).status
    assert kept is not None
    return kept.model_dump(by_alias=True, exclude_none=True, mode="json")


def _without_null(told: Any) -> Any:
    if isinstance(told, list):
        return [_without_null(one) for one in told]
    kept = told.items() if isinstance(told, dict) else ()
    return {name: _without_null(one) for name, one in kept if one is not None} if isinstance(told, dict) else told


def test_transitions_are_written_at_once_and_clocks_every_ten_seconds() -> None:
    old = stored(status(seen(state()), outcome(state()), NOW)) | {"observedGeneration": 3}
    same = status(seen(state(active=4.0)), outcome(state(active=4.0)), NOW)
    assert not due(old, same, 3, NOW.replace(second=5))
    assert due(old, same, 3, NOW.replace(second=11))
    assert due(old, status(seen(state()), outcome(state("Canary")), NOW), 3, NOW)
    assert due(old, same, 4, NOW)


def test_synced_is_said_only_of_what_gateways_say() -> None:
    moving = state("Canary", weight=10, step=1)

    def synced(*gateways: Gateway) -> str:
        conditions = status(seen(moving, gateways=gateways), outcome(moving), NOW)["conditions"]
        return next(str(one["status"]) for one in conditions if one["type"] == "GatewaySynced")

    at = NOW.timestamp()
    assert synced() == "Unknown"
    assert synced(Gateway("g", at, digest(), 1, 10, "a" * 64)) == "True"
    assert synced(Gateway("g", at, digest(), 1, 0, "a" * 64)) == "False"
