"""What a failed build tells to do gets it out: a field that is in no digest, another Secret, a retry, another Job."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.retrieval.conftest import finished, seen
from tests.unit.retrieval.test_index_plan import begun, kinds

from llmops.desk.change import spoken_of
from llmops.kube.resources import Object
from llmops.retrieval.observe import Seen
from llmops.retrieval.plan import State, plan
from llmops.retrieval.run import Run
from llmops.retrieval.work import FAILURE


def elsewhere(secret: str = "wrong") -> dict[str, Any]:
    external = {"uri": "http://milvus:19530", "credentialsSecretRef": {"name": secret}}
    return {"mode": "External", "external": external}


def failed(change: dict[str, Any], why: str = "the sources shrank") -> Run:
    """As the Job that is begun for this index ends."""
    job = begun(plan(seen(change)))
    ended = {"conditions": [{"type": "Failed", "status": "True", "message": "BackoffLimitExceeded"}]}
    results = {"kind": "ConfigMap", "metadata": {"name": job["metadata"]["name"]}, "data": {FAILURE: why}}
    return Run(job["metadata"]["annotations"]["llmops.dev/work-key"], {**job, "status": ended}, results)


@pytest.mark.parametrize(
    ("change", "begins"),
    [
        ({"refresh": {"maxDeletePercent": 100}}, True),
        ({"refresh": {"deletePolicy": "Never"}}, True),
        ({"embedding": {"batchSize": 8}}, True),
        ({"engine": elsewhere("right")}, True),
        ({}, False),
        ({"rollout": {"keepGenerations": 5}}, False),
        ({"query": {"replicas": 3}}, False),
    ],
)
def test_a_failed_build_begins_again_where_it_would_be_told_something_else(
    change: dict[str, Any], begins: bool
) -> None:
    first = {"engine": elsewhere()}
    run = failed(first)
    wanted = plan(seen({**first, **change}, runs=(run,)))
    assert "Job" not in kinds(wanted)
    if begins:
        assert (wanted.state, wanted.keep, wanted.look_after) == (State.BUILDING, (), 1.0)
        assert begun(plan(seen({**first, **change})))["metadata"]["name"] == run.job["metadata"]["name"]  # type: ignore[index]
    else:
        assert wanted.state is State.FAILED
        assert "the sources shrank; when that is mended: llmops retry vi faq -n shop" in wanted.sentence


def test_a_build_that_an_operator_of_before_began_is_not_begun_again_by_an_upgrade() -> None:
    run = failed({})
    assert run.job is not None
    annotations = {"llmops.dev/work-key": run.key}
    old = replace(run, job={**run.job, "metadata": {**run.job["metadata"], "annotations": annotations}})
    assert plan(seen({"refresh": {"maxDeletePercent": 100}}, runs=(old,))).state is State.FAILED


def handed(index: Seen) -> tuple[Object, str]:
    """What is handed to its Job, and the name that the Job looks for."""
    wanted = plan(index)
    (given,) = [one for one in wanted.children if one["kind"] == "ConfigMap" and one.get("immutable")]
    volumes = begun(wanted)["spec"]["template"]["spec"]["volumes"]
    return given, next(one["configMap"]["name"] for one in volumes if one["name"] == "work")


def test_a_job_that_somebody_deleted_is_begun_again_with_whatever_is_to_be_told_by_now() -> None:
    (first, _), (same, _), (other, name) = (
        handed(seen({"rollout": {"keepGenerations": most}})) for most in (2, 2, 5)
    )  # fmt: skip
    assert first == same
    assert first["immutable"]
    assert first["data"] != other["data"]
    assert first["metadata"]["name"] != other["metadata"]["name"] == name


def test_what_was_handed_to_a_job_stays_as_long_as_the_job() -> None:
    index = seen()
    given, name = handed(index)
    job = begun(plan(index))
    goes_on = plan(replace(index, runs=(Run(job["metadata"]["annotations"]["llmops.dev/work-key"], job, None),)))
    assert goes_on.state is State.BUILDING
    assert given["kind"] in [one["kind"] for one in goes_on.keep if one["metadata"]["name"] == name]


@pytest.mark.parametrize("phase", ["Failed", "Rejected", "Served"])
def test_whatever_became_of_an_index_it_looks_again_when_asked_to(phase: str) -> None:
    annotation, value = spoken_of({"kind": "VectorIndex", "status": {"phase": phase}}, "retry")
    assert annotation == "llmops.dev/retry"
    first = seen()
    again = replace(first, raw={**first.raw, "metadata": {**first.raw["metadata"], "annotations": {annotation: value}}})
    for run in (failed({}), finished(first, served=False)):
        wanted = plan(replace(again, runs=(run,)))
        assert wanted.state is State.BUILDING
