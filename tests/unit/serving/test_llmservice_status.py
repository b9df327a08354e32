"""What an LLMService says of itself, sentence by sentence."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.serving.golden import DOWNLOADED, SPECS
from tests.unit.serving.seen import Object, container, deployment, pod, see

from llmops.serving import devices, downloads
from llmops.serving.observe import Seen
from llmops.serving.plan import plan
from llmops.serving.status import status

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
CACHED = SPECS["cached-download"]
PER_REPLICA = SPECS["download-per-replica"]


def said(seen: Seen) -> dict[str, tuple[str, str, str]]:
    """Condition -> (status, reason, message)."""
    listed = status(seen, plan(seen), NOW)["conditions"]
    return {one["type"]: (one["status"], one["reason"], one["message"]) for one in listed}


def ready(seen: Seen) -> tuple[str, str, str]:
    return said(seen)["Ready"]


def test_a_new_service_has_every_condition_from_first_sight() -> None:
    assert list(said(see())) == [
        "Ready", "Available", "Reconciling", "Stalled", "LicenseAccepted", "ModelCached", "Scheduled", "GatewaySynced",
    ]  # fmt: skip
    assert all(message for kind, (_, _, message) in said(see()).items() if kind not in ("Stalled",))


def test_when_all_pods_and_gateways_serve_it_is_ready_and_says_where_to_ask() -> None:
    seen = see(workload=deployment(), pods=[pod(), pod()], gateways=[2, 2])
    found = status(seen, plan(seen), NOW)
    assert ready(seen) == ("True", "AsWanted", "2 of 2 pods serve support")
    assert said(seen)["GatewaySynced"][::2] == ("True", "all 2 gateways serve it")
    assert (found["url"], found["model"]) == ("http://llmops-gateway.llmops-system/v1", "shop/support")
    assert (found["replicas"], found["readyReplicas"]) == (2, 2)
    assert found["stable"]["revision"] == f"support-llm-{seen.digest[:10]}"


@pytest.mark.parametrize("counts", [
    {"readyReplicas": 1}, {"updatedReplicas": 1, "replicas": 3}, {"replicas": 3}, {"observedGeneration": 0},
])  # fmt: skip
def test_it_is_not_ready_before_every_pod_is_of_this_spec_and_serves(counts: Object) -> None:
    seen = see(workload=deployment(**counts), pods=[pod()], gateways=[1])
    assert ready(seen)[:2] == ("False", "Starting")
    assert said(seen)["Available"][0] == "True"
    assert said(seen)["Reconciling"][0] == "True"


def test_the_revision_of_before_is_what_users_are_served_until_the_new_pods_took_over() -> None:
    old = {"stable": {"revision": "support-llm-old", "digest": "old", "since": "2026-01-01T00:00:00Z"}}
    moving = see(status=old, workload=deployment(updatedReplicas=1, replicas=3))
    assert status(moving, plan(moving), NOW)["stable"] == old["stable"]
    there = see(status=old, workload=deployment())
    assert status(there, plan(there), NOW)["stable"]["since"] == "2026-11-23T12:00:00Z"


def test_a_gateway_that_knows_no_pod_keeps_it_from_being_ready() -> None:
    seen = see(workload=deployment(), pods=[pod()], gateways=[2, 0])
    assert ready(seen) == ("False", "GatewaysBehind", "1 of 2 gateways know no ready pod yet")


def test_an_autoscaler_that_does_not_see_the_load_is_told_of() -> None:
    failed = {"type": "ScalingActive", "status": "False", "reason": "FailedGetPodsMetric", "message": "no metrics API"}
    seen = see(workload=deployment(), pods=[pod(), pod()], gateways=[2])
    told = "2 of 2 pods serve support; its autoscaler does not see the load: no metrics API"
    assert ready(replace(seen, autoscaler={"status": {"conditions": [failed]}})) == ("True", "AsWanted", told)
    seeing = {"status": {"conditions": [{**failed, "status": "True"}]}}
    assert ready(replace(seen, autoscaler=seeing))[2] == "2 of 2 pods serve support"


def test_zero_replicas_are_ready_and_serve_nobody() -> None:
    seen = see({"replicas": 0}, workload=deployment(0))
    assert ready(seen)[:2] == ("True", "NoReplicas")
    assert said(seen)["Available"][0] == "False"


def test_what_a_person_must_mend_is_stalled_and_what_runs_still_counts() -> None:
    seen = see({"autoscaling": {"max": 3, "by": "KEDA"}}, workload=deployment(), gateways=[2])
    found = said(seen)
    assert found["Ready"][:2] == ("False", "Unsupported")
    assert found["Stalled"][0] == "True"
    assert found["Reconciling"][0] == "False"
    assert found["Available"][0] == "True"


def test_a_problem_takes_the_stable_revision_out_of_no_status() -> None:
    old = {"stable": {"revision": "support-llm-old", "digest": "old"}}
    seen = see({"autoscaling": {"max": 3, "by": "KEDA"}}, status=old, workload=deployment())
    assert status(seen, plan(seen), NOW)["stable"] == old["stable"]


def test_a_licence_that_was_not_accepted_stalls() -> None:
    seen = see({"model": {"uri": "file:///m", "license": {"id": "llama3.1"}}})
    assert said(seen)["LicenseAccepted"][:2] == ("False", "LicenseNotAccepted")
    assert said(seen)["Stalled"][0] == "True"


def scheduled(message: str) -> Object:
    return {"conditions": [{"type": "PodScheduled", "status": "False", "message": message}]}


WAITING: Object = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}}
CRASHED = {"waiting": {"reason": "CrashLoopBackOff"}}
ENDED = {"terminated": {"exitCode": 1, "reason": "Error", "message": "no such file /models/x.gguf"}}
KILLED = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
TROUBLES: list[tuple[Object, str, str]] = [
    (pod(**scheduled("0/3 nodes: insufficient cpu")), "Unschedulable", "support-llm-1: 0/3 nodes: insufficient cpu"),
    (pod(containerStatuses=[container(**WAITING)]), "ImageNotPulled", "registry/engine:1: not found"),
    (
        pod(containerStatuses=[container(state=CRASHED, last=ENDED, restartCount=3)]),
        "Crashing", "support-llm-1 ended with status 1: no such file /models/x.gguf",
    ),
    (
        pod(containerStatuses=[container(last=KILLED, restartCount=1)]),
        "OutOfMemory", "support-llm-1 needed more memory than its limit: raise spec.resources.limits.memory",
    ),
    (
        pod(containerStatuses=[container(state={"waiting": {"reason": "CreateContainerConfigError",
                                                            "message": 'secret "x" not found'}})]),
        "Crashing", 'support-llm-1: secret "x" not found',
    ),
]  # fmt: skip


@pytest.mark.parametrize(("seen_pod", "reason", "message"), TROUBLES, ids=[one[2] for one in TROUBLES])
def test_a_pod_that_does_not_come_up_says_why_in_the_services_own_status(
    seen_pod: Object, reason: str, message: str
) -> None:
    seen = see(workload=deployment(readyReplicas=1), pods=[pod("support-llm-0"), seen_pod])
    assert ready(seen) == ("False", reason, message)
    assert said(seen)["Reconciling"][0] == "True"


def test_a_restart_of_the_past_does_not_trouble_a_service_that_serves() -> None:
    seen = see(workload=deployment(), pods=[pod(containerStatuses=[container(last=KILLED, restartCount=1)])])
    assert ready(seen)[0] == "True"


def progress(**condition: Any) -> Object:
    return deployment(readyReplicas=0, conditions=[condition])


def test_a_refused_pod_is_told_in_the_servers_words() -> None:
    seen = see(workload=progress(type="ReplicaFailure", status="True", message="exceeded quota: cpu"))
    assert ready(seen)[1:] == (
        "QuotaExceeded",
        "exceeded quota: cpu: have the namespace's ResourceQuota raised, or lower spec.resources or spec.replicas",
    )
    seen = see(workload=progress(type="ReplicaFailure", status="True", message="violates PodSecurity"))
    assert ready(seen)[1:] == ("ApiRefused", "pods are refused: violates PodSecurity")


def test_a_start_that_took_too_long_is_stalled() -> None:
    seen = see(workload=progress(type="Progressing", status="False", reason="ProgressDeadlineExceeded"))
    assert said(seen)["Stalled"][0] == "True"


def test_a_service_on_hold_says_so() -> None:
    assert ready(see({"suspend": True}))[:2] == ("False", "Suspended")
    assert ready(see({"suspend": True}, workload=deployment()))[0] == "True"


def fetched(exit_code: int, words: str = "", *, kind: str = "containerStatuses", created: str = "2026-01-01") -> Object:
    ended = {"terminated": {"exitCode": exit_code, "message": words}}
    return pod("support-llm-fetch-1", created=created, **{kind: [container("fetch", state=ended)]})


FAILED = {**DOWNLOADED, "status": {"conditions": [{"type": "Failed", "status": "True", "message": "BackoffLimit"}]}}


def test_a_download_on_its_way_says_what_went_wrong_so_far() -> None:
    assert said(see(CACHED))["ModelCached"][:2] == ("False", "Downloading")
    seen = see(CACHED, download={**DOWNLOADED, "status": {}}, pods=[
        fetched(1, "first", created="2026-01-01"), fetched(1, "trying\nconnection refused", created="2026-01-02"),
    ])  # fmt: skip
    assert ready(seen)[1] == "Downloading"
    assert ready(seen)[2].endswith("model.gguf; the last try said: connection refused")


def test_a_download_that_gave_up_is_stalled_with_its_last_words_and_the_way_on() -> None:
    seen = see(CACHED, download=FAILED, pods=[fetched(2, "https://x answers 404 Not Found")])
    assert said(seen)["Stalled"][0] == "True"
    assert ready(seen)[1:] == (
        "DownloadFailed",
        "https://x answers 404 Not Found; to try again as it is: kubectl delete job support-llm-fetch-x",
    )


def test_a_download_says_whether_anybody_vouched_for_its_bytes() -> None:
    assert "its SHA-256 is the one" in said(see(CACHED, download=DOWNLOADED))["ModelCached"][2]
    seen = see(PER_REPLICA, pods=[fetched(0, kind="initContainerStatuses")])
    assert said(seen)["ModelCached"][::2] == (
        "True",
        "downloaded from https://weights.example/v1/model.gguf, unchecked: "
        "write spec.model.revision: sha256:<digest> to have it checked",
    )


def test_a_download_before_each_engine_is_told_too() -> None:
    seen = see(PER_REPLICA, workload=deployment(readyReplicas=0), pods=[
        pod(initContainerStatuses=[container("fetch", state=CRASHED, last={"terminated": {
            "exitCode": 2, "message": "https://x answers 404 Not Found: check the address"}}, restartCount=2)]),
    ])  # fmt: skip
    assert said(seen)["ModelCached"][:2] == ("False", "Downloading")
    assert ready(seen)[2].endswith("404 Not Found: check the address")


def test_the_sizing_is_the_one_the_pods_have() -> None:
    seen = see(SPECS["vllm-on-gpus"])
    found = status(seen, plan(seen), NOW)["sizing"]
    assert found["acceleratorsPerReplica"] == found["tensorParallel"] == 2
    assert found["contextLength"] == 8192
    assert found["explanation"] == "2 nvidia.com/gpu a replica, as spec.accelerator.count says"


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"done": 0, "total": 0, "left": None}, ""),
        ({"done": 0, "total": 3 * 2**30, "left": None}, "0.0 of 3.0 GiB"),
        ({"done": 2**29, "total": 15 * 2**30, "left": 241}, "0.5 of 15.0 GiB, about 4 min left"),
        ({"done": 2**20, "total": 2**21, "left": 0}, "1.0 of 2.0 MiB, about 1 s left"),
        ({"done": 1, "total": 2**40, "left": 9000}, "0.0 of 1024.0 GiB, about 2.5 h left"),
    ],
)
def test_a_download_tells_how_far_it_is_in_words(told: Object, words: str) -> None:
    assert downloads.said(told) == words


def holding(owner: str, count: int, namespace: str = "shop", **status: Any) -> Object:
    limits = {"resources": {"limits": {"nvidia.com/gpu": str(count)}}}
    metadata = {"name": f"{owner}-llm-1", "namespace": namespace, "labels": {"llmops.dev/owner-name": owner}}
    return {"metadata": metadata, "spec": {"nodeName": "n", "containers": [limits]}, "status": status}


def test_who_holds_the_accelerators_is_named_but_not_in_other_namespaces() -> None:
    waiting = holding("late", 8)
    del waiting["spec"]["nodeName"]
    every = [
        holding("a", 2), holding("b", 4), holding("b", 4), holding("secret", 3, "bank"), holding("c", 0), waiting,
        holding("gone", 8, phase="Succeeded"),
    ]  # fmt: skip
    told = devices.held("nvidia.com/gpu", every, "shop")
    assert told == "of nvidia.com/gpu, 8 by LLMService b, 3 by other namespaces, 2 by LLMService a are held"
    assert devices.held("amd.com/gpu", every, "shop") == ""
    seen = see(pods=[pod(**scheduled("0/1 nodes: insufficient nvidia.com/gpu"))], holders=told)
    assert said(seen)["Scheduled"][2].endswith(f"insufficient nvidia.com/gpu; {told}")


def test_what_is_still_downloaded_serves_nobody_yet() -> None:
    old = {"stable": {"revision": "support-llm-old", "digest": "old"}}
    seen = see(CACHED, status=old, workload=deployment())
    assert plan(seen).downloading
    assert status(seen, plan(seen), NOW)["stable"] == old["stable"]


def test_how_far_a_download_is_stands_in_the_status() -> None:
    seen = see(CACHED, pods=[pod("support-llm-fetch-1")], progress={"support-llm-fetch-1": "1.0 of 2.0 GiB"})
    assert said(seen)["ModelCached"][2] == "downloading https://weights.example/v1/model.gguf: 1.0 of 2.0 GiB"
