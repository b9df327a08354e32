"""Rows that only the Job can read: what it is given, when it runs, and what is said of what it found."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

from llmops.api import EvalJob, Reason, Settings
from llmops.control.turns import Turns
from llmops.evaluation import children
from llmops.evaluation.observe import DatasetSeen, Seen, build_run
from llmops.evaluation.plan import State, plan
from llmops.evaluation.results import ArmResult, Measured, MetricResult, Results
from llmops.evaluation.rows import form_of
from llmops.evaluation.run import DATASET, FINISHED, RESULTS, Arm, content_key, loads
from llmops.evaluation.source import Source, source_of
from llmops.evaluation.status import status
from llmops.evaluation.targets import Resolved

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SETTINGS = Settings(s3_url="https://s3.{region}.example.org")
SHA = "a" * 64
CLAIM = {"pvc": {"claim": "data", "path": "/qa.csv"}}
WEB = {"http": {"url": "https://example.org/qa.jsonl"}}
BUCKET = {
    "s3": {"uri": "s3://shop/qa.jsonl", "endpoint": "http://minio:9000", "credentialsSecretRef": {"name": "keys"}}
}
ENDED = {"type": "Failed", "status": "True", "reason": "PodFailurePolicy", "message": "exit code 64"}


def seen(dataset=None, turn="", **spec):
    whole = {
        "apiVersion": "llmops.dev/v1alpha1",
        "kind": "EvalJob",
        "metadata": {"name": "quality", "namespace": "shop", "generation": 3},
        "spec": {
            "target": {"serviceRef": {"name": "support"}},
            "dataset": dataset or CLAIM,
            "metrics": [{"name": "exact_match"}],
            "thresholds": [{"metric": "exact_match", "min": "0.90"}],
            **spec,
        },
    }
    job = EvalJob.model_validate(whole)
    source = source_of(job.spec, "shop", SETTINGS)
    arm = Resolved(Arm("http://gateway/v1", "shop/support", "digest", token=True), needs=("country",))
    found = DatasetSeen(source=source, form=form_of(source.address, job.spec.dataset.format))
    one = Seen(whole, job, Settings(), found, arm, turns=Turns(turn))
    return replace(one, run=build_run(one))


def config_map(one, told=None, value=None, errors=0):
    run = one.run
    data = {DATASET: json.dumps({"content": content_key(run, SHA), **told})} if told else {}
    if value is not None:
        metric = MetricResult("exact_match", "proportion", Measured(100, value))
        data |= {RESULTS: Results(run.key, {"target": ArmResult(100, errors, "HTTP 503")}, (metric,)).dumps()}
        data |= {FINISHED: "2026-11-23T11:00:00Z"}
    built = children.build_results("quality", "shop", run)
    return {**built, "data": data, "metadata": {**built["metadata"], "creationTimestamp": "2026-11-23T10:00:00Z"}}


def conditions(one):
    return {c["type"]: c for c in status(one, plan(one), NOW)["conditions"]}


def pod_of(one):
    return next(c for c in plan(one).children if c["kind"] == "Job")["spec"]["template"]["spec"]


def test_a_claim_is_mounted_read_only_into_the_run_s_pod_and_nowhere_else():
    pod = pod_of(seen(CLAIM))
    (volume,) = [one for one in pod["volumes"] if one["name"] == "dataset"]
    assert volume["persistentVolumeClaim"] == {"claimName": "data", "readOnly": True}
    assert {"name": "dataset", "mountPath": "/dataset", "readOnly": True} in pod["containers"][0]["volumeMounts"]
    assert "dataset" not in {one["name"] for one in pod_of(seen(WEB))["volumes"]}


def test_a_bucket_s_key_is_read_by_the_kubelet_and_stands_nowhere_else():
    one = seen(BUCKET)
    env = {item["name"]: item for item in pod_of(one)["containers"][0]["env"]}
    assert env["AWS_SECRET_ACCESS_KEY"]["valueFrom"]["secretKeyRef"] == {
        "name": "keys",
        "key": "AWS_SECRET_ACCESS_KEY",
    }
    assert env["AWS_SESSION_TOKEN"]["valueFrom"]["secretKeyRef"]["optional"]
    assert set(pod_of(seen(WEB))["containers"][0]["env"][0]) == {"name", "value"}


def test_the_job_is_told_where_to_read_what_every_row_needs_and_which_format_it_has():
    data = next(c for c in plan(seen(CLAIM)).children if c["metadata"]["name"].endswith("-in"))["data"]
    run = loads(data["run.json"])
    assert (run.source, run.form, run.needs) == (Source("pvc", "/qa.csv", claim="data"), "CSV", ("country",))
    assert "rows.jsonl" not in data


def test_another_address_version_format_or_key_is_another_run():
    datasets = [
        CLAIM,
        {"pvc": {"claim": "data", "path": "/other.csv"}},
        {"pvc": {"claim": "other", "path": "/qa.csv"}},
        {**CLAIM, "format": "JSONL"},
        {**CLAIM, "limit": 5},
        WEB,
        BUCKET,
        {"s3": {**BUCKET["s3"], "versionId": "7"}},
        {"s3": {**BUCKET["s3"], "endpoint": "http://elsewhere:9000"}},
        {"s3": {**BUCKET["s3"], "credentialsSecretRef": {"name": "the-right-keys"}}},
    ]
    assert len({seen(dataset).run.key for dataset in datasets}) == len(datasets)
    assert seen(BUCKET).run.key == seen(BUCKET).run.key


def test_a_bucket_without_an_endpoint_is_where_models_come_from():
    one = seen({"s3": {"uri": "s3://shop/qa.jsonl"}})
    assert one.run.source.endpoint == "https://s3.{region}.example.org"


def test_what_the_job_found_is_said_while_it_asks():
    one = seen()
    assert "reading the dataset: /qa.csv on claim data" in conditions(one)["Ready"]["message"]
    assert conditions(one)["DatasetValid"]["status"] == "Unknown"
    one = replace(one, results=config_map(one, {"sha256": SHA, "rows": 120}))
    told = status(one, plan(one), NOW)
    assert told["dataset"] == {"sha256": SHA, "rows": 120}
    assert told["progress"]["total"] == 120
    assert told["startedAt"] == "2026-11-23T10:00:00Z"
    assert conditions(one)["DatasetValid"]["message"] == "120 rows"
    assert "asking 120 questions" in conditions(one)["Ready"]["message"]


def test_a_broken_row_is_told_by_number_and_with_what_to_do_next():
    one = seen()
    problem = "/qa.csv on claim data: row 7: 3 cells, where the header has 4"
    failed = {"metadata": {"name": "x"}, "status": {"conditions": [ENDED]}}
    one = replace(one, batch=failed, results=config_map(one, {"problem": problem}))
    told = conditions(one)
    assert (plan(one).state, plan(one).reason) == (State.FAILED, Reason.DATASET_INVALID)
    assert (told["DatasetValid"]["status"], told["DatasetValid"]["reason"]) == ("False", "DatasetInvalid")
    assert problem in told["DatasetValid"]["message"]
    assert f"delete ConfigMap shop/quality-eval-{one.run.short}" in told["Ready"]["message"]
    assert told["Stalled"]["status"] == "True"


def test_a_store_that_does_not_answer_is_said_while_the_job_tries_again():
    one = seen(WEB)
    one = replace(one, results=config_map(one, {"problem": "https://example.org/qa.jsonl answers 503 busy"}))
    assert plan(one).state is State.RUNNING
    assert "answers 503 busy" in conditions(one)["Ready"]["message"]


def test_parquet_is_no_text_and_so_nothing_for_a_config_map():
    one = replace(seen(), dataset=DatasetSeen(form="Parquet"))
    assert plan(one).state is State.UNSUPPORTED
    assert "put the file on a volume, on the web or into a bucket" in conditions(one)["Ready"]["message"]
    assert plan(seen({"pvc": {"claim": "data", "path": "/qa.parquet"}})).state is not State.UNSUPPORTED


def test_a_project_s_token_is_read_by_the_kubelet_and_stands_nowhere_else():
    labels = {"url": "https://labels.example/", "project": 7, "credentialsSecretRef": {"name": "labels"}}
    one = seen({"labelStudio": labels})
    env = pod_of(one)["containers"][0]["env"]
    reference = {"secretKeyRef": {"name": "labels", "key": "LABEL_STUDIO_API_KEY"}}
    assert [each for each in env if "valueFrom" in each] == [{"name": "LABEL_STUDIO_API_KEY", "valueFrom": reference}]
    source = Source("labelStudio", "7", endpoint="https://labels.example", secret="labels")
    assert one.run.source == source


def known_to(one):
    return json.loads(
        next(c for c in plan(one).children if c["metadata"]["name"].endswith("-in"))["data"]["known.json"]
    )


def test_results_over_the_same_rows_go_along_if_all_else_is_alike():
    before = seen(CLAIM)
    done = config_map(before, {"sha256": SHA, "rows": 100}, value=1.0)
    moved = seen({"pvc": {"claim": "archive", "path": "/old/qa.csv"}})
    assert known_to(replace(moved, others=(done,)))[SHA]["name"] == f"quality-eval-{before.run.short}"
    other_metric = seen({"pvc": {"claim": "archive", "path": "/qa.csv"}}, metrics=[{"name": "f1"}], thresholds=[])
    assert known_to(replace(other_metric, others=(done,))) == {}
    erring = config_map(before, {"sha256": SHA, "rows": 100}, value=1.0, errors=50)
    assert known_to(replace(moved, others=(erring,))) == {}
    of_a_schedule = seen({"pvc": {"claim": "archive", "path": "/qa.csv"}}, turn="2026-11-23T03:00:00Z")
    assert known_to(replace(of_a_schedule, others=(done,))) == {}


def test_a_result_that_was_taken_over_says_from_where():
    one = seen()
    told = {"sha256": SHA, "rows": 100, "sameAs": "quality-eval-0123456789"}
    one = replace(one, results=config_map(one, told, value=1.0))
    assert "the results are those of quality-eval-0123456789" in conditions(one)["Complete"]["message"]
    assert status(one, plan(one), NOW)["verdict"] == "Pass"
    assert status(one, plan(one), NOW)["finishedAt"] == "2026-11-23T11:00:00Z"


def test_the_profile_of_the_first_look_goes_along_from_turn_to_turn_of_the_same_target():
    drift = {"name": "drift", "type": "Drift"}
    spec = {"target": {"promptRef": {"name": "a"}}, "metrics": [drift], "thresholds": [], "schedule": "0 3 * * *"}
    dataset = {"traffic": {"sample": 100}}
    before = seen(dataset, turn="2026-11-22T03:00:00Z", **spec)
    done = config_map(before, {"sha256": SHA, "rows": 100})
    profile = {"rows": 100, "parts": {}}
    found = Results(before.run.key, {"target": ArmResult(100, 0)}, (), profiles={"drift": profile})
    done["data"] |= {RESULTS: found.dumps(), FINISHED: "2026-11-22T03:01:00Z"}

    def handed(one):
        built = next(c for c in plan(one).children if c["metadata"]["name"].endswith("-in"))
        return json.loads(built["data"]["profiles.json"])

    later = seen(dataset, turn="2026-11-23T03:00:00Z", **spec)
    assert later.run.key != before.run.key
    assert handed(replace(later, others=(done,))) == {"drift": profile}
    other = Resolved(Arm("http://gateway/v1", "shop/support", "another digest", token=True))
    of_another = replace(later, target=other)
    of_another = replace(of_another, run=build_run(of_another), others=(done,))
    assert handed(of_another) == {}
