"""From what is seen to what is wanted and said; values in, values out."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from llmops.api import EvalJob, Reason, Settings
from llmops.api.metric import BUILT_IN
from llmops.evaluation import children, measures
from llmops.evaluation.observe import DatasetSeen, Seen, build_run, read_as
from llmops.evaluation.plan import State, plan
from llmops.evaluation.results import LEVELS, ArmResult, Measured, MetricResult, Results
from llmops.evaluation.rows import parse
from llmops.evaluation.run import FAILURE, PROGRESS, RESULTS, Arm, Price, loads
from llmops.evaluation.status import status
from llmops.evaluation.targets import Missing, Resolved

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
TEXT = "".join(json.dumps({"id": str(i), "question": f"q{i}", "answer": "a"}) + "\n" for i in range(100))
ARM = Resolved(Arm("http://gateway/v1", "shop/support", "digest-of-support", token=True))
SPEC: dict[str, Any] = {
    "target": {"serviceRef": {"name": "support"}},
    "dataset": {"configMapRef": {"name": "qa", "key": "qa.jsonl"}, "fields": {"input": "question", "target": "answer"}},
    "metrics": [{"name": "exact_match"}],
    "thresholds": [{"metric": "exact_match", "min": "0.90"}],
}


JUDGE = {"name": "judge", "type": "Judge", "serviceRef": {"name": "j"}, "rubric": "Is it polite?"}
PANEL = Resolved(Arm("http://gateway/v1", "shop/j", "digest-of-j", token=True))


def seen(text=TEXT, resolved=ARM, panel=PANEL, **spec):
    whole: dict[str, Any] = {
        "apiVersion": "llmops.dev/v1alpha1",
        "kind": "EvalJob",
        "metadata": {"name": "quality", "namespace": "shop", "generation": 3},
        "spec": {**SPEC, **spec},
    }
    whole["spec"] = {name: value for name, value in whole["spec"].items() if value is not None}
    job = EvalJob.model_validate(whole)
    asked = {metric.name: panel for metric in job.spec.metrics if metric.service_ref}
    one = Seen(whole, job, Settings(), DatasetSeen(text, parse(text, read_as(job))), resolved, panel=asked)
    return replace(one, run=build_run(one))


def finished(one, value=1.0, n=100, errors=0, key=None):
    results = Results(
        key or one.run.key,
        {"target": ArmResult(100, errors, "HTTP 503")},
        (MetricResult("exact_match", "proportion", Measured(n, value)),),
        seconds=3.2,
    )
    return {
        "metadata": {"name": children.run_name("quality", one.run), "annotations": {children.RUN_KEY: results.key}},
        "data": {RESULTS: results.dumps()},
    }


def conditions(one, wanted):
    return {c["type"]: c for c in status(one, wanted, NOW)["conditions"]}


def test_a_job_without_a_target_is_a_template_and_says_so():
    one = seen(resolved=None, target=None)
    wanted = plan(one)
    ready = conditions(one, wanted)["Ready"]
    assert (wanted.state, wanted.children) == (State.TEMPLATE, ())
    assert (ready["status"], ready["reason"]) == ("True", "Template")
    assert "template" in ready["message"]


def test_a_target_that_is_missing_is_waited_for_by_name():
    one = replace(seen(), target=Missing("LLMService shop/support does not exist; create it or name another"), run=None)
    wanted = plan(one)
    told = conditions(one, wanted)
    assert (wanted.state, wanted.children) == (State.WAITING, ())
    assert told["TargetReachable"]["status"] == "False"
    assert "shop/support does not exist" in told["Ready"]["message"]
    assert told["Reconciling"]["status"] == "True"


def test_a_broken_row_stops_everything_before_the_first_call():
    one = seen(text=TEXT + '{"id": "x", "question": "no answer"}\n')
    wanted = plan(one)
    told = conditions(one, wanted)
    assert (wanted.state, wanted.children) == (State.BAD_DATASET, ())
    assert told["DatasetValid"]["status"] == "False"
    assert "row 101" in told["DatasetValid"]["message"]
    assert told["Stalled"]["status"] == "True"


def test_a_run_gets_its_job_its_rows_and_the_right_to_write_one_config_map():
    one = seen()
    wanted = plan(one)
    by_kind = {(child["kind"], child["metadata"]["name"]): child for child in wanted.children}
    name = f"quality-eval-{one.run.key[:10]}"
    job = by_kind["Job", name]
    assert wanted.state is State.RUNNING
    assert job["spec"]["podFailurePolicy"]["rules"][1]["onPodConditions"][0]["type"] == "DisruptionTarget"
    assert by_kind["Role", "quality-eval"]["rules"] == [
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [name], "verbs": ["get", "patch"]}
    ]
    data = by_kind["ConfigMap", f"{name}-in"]["data"]
    assert loads(data["run.json"]) == one.run
    assert data["rows.jsonl"] == TEXT
    assert "data" not in by_kind["ConfigMap", name]
    assert not [child for child in wanted.children if child["kind"] == "PersistentVolumeClaim"]
    pod = job["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "quality-eval"
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"]


def test_logs_that_are_kept_have_a_volume():
    wanted = plan(seen(keep={"samples": "7d"}))
    claim = next(child for child in wanted.children if child["kind"] == "PersistentVolumeClaim")
    job = next(child for child in wanted.children if child["kind"] == "Job")
    volumes = {volume["name"]: volume for volume in job["spec"]["template"]["spec"]["volumes"]}
    assert volumes["logs"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ({"thresholds": [{"metric": "exact_match", "min": "0.50"}]}, False),
        ({"concurrency": 2}, False),
        ({"timeout": "1h"}, False),
        ({"metrics": [{"name": "exact_match"}, {"name": "f1"}]}, True),
        ({"dataset": {**SPEC["dataset"], "limit": 50}}, True),
        ({"dataset": {**SPEC["dataset"], "slices": ["topic"]}}, True),
        ({"metrics": [{"name": "exact_match"}, JUDGE]}, True),
    ],
)
def test_only_what_could_change_the_result_runs_again(changed, again):
    assert (seen(**changed).run.key != seen().run.key) is again


def key(*metrics, **more):
    return seen(metrics=[{"name": "exact_match"}, *metrics], **more).run.key


def form(**settings):
    return {"name": "form", **settings}


@pytest.mark.parametrize(
    "changed",
    [
        {**JUDGE, "rubric": "Is it short?"},
        {**JUDGE, "scale": [1, 10]},
        {**JUDGE, "repeat": 3},
        {**JUDGE, "labels": {"field": "human"}},
        {**JUDGE, "name": "other"},
        {**JUDGE, "type": "Pairwise"},
    ],
)
def test_all_that_makes_a_judge_s_marks_runs_again(changed):
    assert key(JUDGE) != key(changed)


def test_a_pattern_a_schema_the_judge_s_model_and_the_price_are_in_the_key_and_a_default_is_not():
    assert key(JUDGE) == key({**JUDGE, "repeat": 1})
    assert key(JUDGE) != key(JUDGE, panel=Resolved(replace(PANEL.arm, identity="digest-of-the-next-j")))
    assert len({key(form(type="Regex", pattern=one)) for one in ("a", "b")}) == 2
    assert len({key(form(type="JSONSchema", schema=one)) for one in ({}, {"const": ""}, {"const": "a"})}) == 3
    dear = Resolved(replace(ARM.arm, price=Price(1.0, 2.0, "EUR")))
    assert key({"name": "cost"}) != key({"name": "cost"}, resolved=dear)
    assert key() == key(resolved=dear)


def test_the_key_of_a_run_without_these_metrics_is_what_it_was_before_them():
    assert seen().run.key == "113b4200872b818eb123bfdcbfda92438dd42e2e987b815362c12f141054227a"


def test_a_run_with_a_judge_travels_whole():
    one = seen(metrics=[{"name": "exact_match"}, JUDGE])
    assert loads(one.run.dumps()) == one.run
    assert one.run.typed[0].arm == PANEL.arm
    assert one.run.questions == 200


def test_a_judge_that_is_missing_is_waited_for_by_name():
    one = seen(metrics=[{"name": "exact_match"}, JUDGE], panel=Missing("LLMService shop/j is not Available yet"))
    assert (plan(one).state, one.run) == (State.WAITING, None)
    assert "shop/j is not Available" in conditions(one, plan(one))["Ready"]["message"]


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (form(type="Regex", pattern="("), "metric form: pattern is not a regular expression that RE2 knows"),
        (form(type="JSONSchema", schema={"type": "strin"}), "metric form: schema is not a JSON Schema"),
    ],
)
def test_a_form_that_no_answer_could_have_is_told_before_a_run(metric, said):
    one = seen(metrics=[{"name": "exact_match"}, metric])
    ready = conditions(one, plan(one))["Ready"]
    assert plan(one).children == ()
    assert (ready["status"], ready["reason"]) == ("False", "InvalidSpec")
    assert said in ready["message"]


def test_a_metric_is_told_with_its_percentiles_and_what_else_is_to_be_known():
    one = seen(metrics=[{"name": "exact_match"}, {"name": "latency"}, {"name": "cost"}], thresholds=None)
    latency = Measured(99, 0.41, tuple(0.41 + (level - 0.5) / 10 for level in LEVELS), {"p50": 0.3, "p95": 1.25})
    metrics = (
        MetricResult("latency", "mean", latency, less_is_better=True, unmarked=1, why="no token of text came"),
        MetricResult("cost", "mean", Measured(99, 1.234e-05, (1.2e-05,) * len(LEVELS)), note="EUR an answer"),
    )
    stored = Results(one.run.key, {"target": ArmResult(100, 0)}, metrics)
    one = replace(one, results={"metadata": {"name": "x"}, "data": {RESULTS: stored.dumps()}})
    told = {each["name"]: each for each in status(one, plan(one), NOW)["metrics"]}
    assert (told["latency"]["p50"], told["latency"]["p95"]) == ("0.3000", "1.2500")
    assert told["latency"]["note"] == "1 answers have none; the first: no token of text came"
    assert (told["cost"]["value"], told["cost"]["note"]) == ("0.00001234", "EUR an answer")


def test_every_built_in_metric_is_known_to_the_api_and_to_the_docs():
    assert tuple(measures.BUILT_IN) == BUILT_IN
    docs = (Path(__file__).parents[3] / "docs/evaluation.md").read_text()
    assert [name for name in (*BUILT_IN, *measures.TYPED) if name not in docs] == []


def test_another_model_behind_the_name_or_another_row_runs_again():
    other = Resolved(replace(ARM.arm, identity="digest-of-the-next-revision"))
    more = TEXT + '{"id": "new", "question": "q", "answer": "a"}\n'
    assert len({seen().run.key, seen(resolved=other).run.key, seen(text=more).run.key}) == 3


def test_the_same_key_is_never_run_twice():
    one = seen()
    done = replace(one, results=finished(one), others=(finished(one),))
    wanted = plan(done)
    assert (wanted.state, wanted.children) == (State.FINISHED, ())
    assert wanted.keep[0]["metadata"]["name"] == children.run_name("quality", one.run)


def test_a_changed_threshold_is_judged_from_what_is_stored():
    for minimum, verdict, reason in (("0.90", "Pass", "ThresholdsMet"), ("0.97", "Inconclusive", "ThresholdUndecided")):
        one = seen(thresholds=[{"metric": "exact_match", "min": minimum}])
        one = replace(one, results=finished(one))
        told = status(one, plan(one), NOW)
        assert (plan(one).children, told["verdict"], told["phase"]) == ((), verdict, "Succeeded")
        assert told["metrics"] == [
            {"name": "exact_match", "n": 100, "value": "1.0000", "low": "0.9630", "high": "1.0000"}
        ]
        assert {c["type"]: c["reason"] for c in told["conditions"]}["Ready"] == reason


def test_errors_above_two_percent_are_the_verdict_error_and_the_target_is_not_reachable():
    one = seen()
    one = replace(one, results=finished(one, n=90, errors=10))
    told = status(one, plan(one), NOW)
    found = conditions(one, plan(one))
    assert (told["phase"], told["verdict"], told["progress"]["errors"]) == ("Succeeded", "Error", 10)
    assert found["TargetReachable"]["status"] == "False"
    assert "HTTP 503" in found["TargetReachable"]["message"]
    assert found["Ready"]["status"] == "False"


def test_a_pod_that_does_not_start_is_told_in_the_kubelet_s_words():
    one = replace(seen(), trouble="ImagePullBackOff: no such image")
    assert "ImagePullBackOff: no such image" in conditions(one, plan(one))["Ready"]["message"]


def test_progress_is_told_while_it_runs():
    one = seen()
    progress = {"done": 40, "total": 100, "errors": 1, "etaSeconds": 12}
    one = replace(one, results={"metadata": {"name": "x"}, "data": {PROGRESS: json.dumps(progress)}})
    told = status(one, plan(one), NOW)
    assert (told["phase"], told["progress"], told["runKey"]) == ("Running", progress, one.run.key)
    assert "verdict" not in told


@pytest.mark.parametrize(
    ("reason", "data", "said"),
    [
        ("DeadlineExceeded", {}, "within spec.timeout"),
        ("PodFailurePolicy", {FAILURE: "row 3: not JSON"}, "row 3: not JSON"),
        ("BackoffLimitExceeded", {}, "BackoffLimitExceeded"),
    ],
)
def test_a_job_that_failed_for_good_is_told_in_its_own_words_and_not_started_again(reason, data, said):
    one = seen()
    batch = {
        "metadata": {"name": "x"},
        "status": {"conditions": [{"type": "Failed", "status": "True", "reason": reason, "message": "words"}]},
    }
    one = replace(one, batch=batch, results={"metadata": {"name": "x"}, "data": data})
    wanted = plan(one)
    told = status(one, wanted, NOW)
    assert (wanted.state, wanted.reason, wanted.children) == (State.FAILED, Reason.RUN_FAILED, ())
    assert (told["phase"], told["verdict"]) == ("Failed", "Error")
    assert said in conditions(one, wanted)["Ready"]["message"]


def test_a_result_stays_told_while_its_target_is_away():
    one = seen()
    away = replace(one, target=Missing("LLMService shop/support is not Available yet"), run=None, last=finished(one))
    told = status(away, plan(away), NOW)
    assert (told["verdict"], told["runKey"]) == ("Pass", one.run.key)
    assert conditions(away, plan(away))["TargetReachable"]["status"] == "False"


def test_a_suspended_job_begins_nothing():
    one = seen(suspend=True)
    assert (plan(one).state, plan(one).reason, plan(one).children) == (State.WAITING, Reason.SUSPENDED, ())


def test_children_of_a_long_name_still_fit_and_differ():
    run = seen().run
    names = {children.run_name("x" * 60 + end, run) for end in "ab"}
    assert len(names) == 2
    assert all(len(name) <= 63 and name.endswith(f"-eval-{run.short}") for name in names)


def test_deleting_the_results_runs_the_same_key_again():
    one = seen()
    ended = {"metadata": {"name": "x"}, "status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    wanted = plan(replace(one, batch=ended))
    assert (wanted.state, wanted.children, wanted.keep) == (State.RUNNING, (), ())  # the ended Job is pruned
    assert "Job" in [child["kind"] for child in plan(one).children]
