"""What an LLMService becomes: its children, and the sentence where it cannot become anything."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.serving import golden
from tests.unit.serving.golden import CACHED, GPU, HTTPS, SPECS
from tests.unit.serving.seen import Object, deployment, see

from llmops.api import Settings
from llmops.serving.plan import Plan, plan
from llmops.serving.revision import content_digest

DONE = golden.DOWNLOADED


def child(made: Plan, kind: str) -> Object:
    found = [one for one in made.children if one["kind"] == kind]
    assert len(found) == 1, f"{len(found)} of {kind} in {[one['kind'] for one in made.children]}"
    return found[0]


def pod_template(made: Plan) -> Object:
    template: Object = child(made, "Deployment")["spec"]["template"]
    return template


def engine_of(made: Plan) -> Object:
    container: Object = pod_template(made)["spec"]["containers"][0]
    return container


@pytest.mark.parametrize("name", SPECS)
def test_the_pod_template_is_as_it_was_in_the_last_release(name: str) -> None:
    """A difference here restarts every pod of every user at the next upgrade: change it only if that is worth it."""
    assert golden.built(name) == golden.kept(name), "if it must change: python -m tests.unit.serving.golden"


@pytest.mark.parametrize("name", SPECS)
def test_every_container_is_restricted_and_writes_only_where_it_may(name: str) -> None:
    made = plan(see(SPECS[name]))
    templates = [one["spec"]["template"] for one in made.children if one["kind"] in ("Deployment", "Job")]
    assert templates
    for template in templates:
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        for one in [*spec["containers"], *spec.get("initContainers", [])]:
            assert one["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip
            assert {"name": "tmp", "mountPath": "/tmp"} in one["volumeMounts"]


def test_a_service_in_its_image_needs_no_volume_and_no_download() -> None:
    made = plan(see())
    assert [one["kind"] for one in made.children] == [
        "Revision", "Service", "NetworkPolicy", "Deployment", "PodDisruptionBudget",
    ]  # fmt: skip
    assert {one["metadata"]["name"] for one in made.children[1:]} == {"support-llm"}


def test_one_more_pod_starts_before_one_ends() -> None:
    assert child(plan(see()), "Deployment")["spec"]["strategy"]["rollingUpdate"] == {
        "maxUnavailable": 0, "maxSurge": 1,
    }  # fmt: skip


def test_where_accelerators_are_full_one_ends_before_the_next_starts() -> None:
    made = plan(see(SPECS["vllm-on-gpus"]))
    assert child(made, "Deployment")["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}


@pytest.mark.parametrize("name", SPECS)
def test_a_pod_may_take_as_long_to_start_as_its_probe_allows_before_the_rollout_counts_as_failed(name: str) -> None:
    made = plan(see(SPECS[name], download=DONE))
    probe = engine_of(made)["startupProbe"]
    budget = probe["periodSeconds"] * probe["failureThreshold"]
    assert child(made, "Deployment")["spec"]["progressDeadlineSeconds"] > budget


@pytest.mark.parametrize("name", SPECS)
def test_a_pod_has_longer_to_end_than_its_longest_stream(name: str) -> None:
    template = pod_template(plan(see(SPECS[name], download=DONE)))
    container = template["spec"]["containers"][0]
    slept = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    drains = ("--drain-seconds", "--shutdown-timeout", "--timeout-graceful")
    told = [arg for arg in container["args"] if arg.startswith(drains)]
    drain = float(told[0].split("=")[1]) if told else 60.0
    assert template["spec"]["terminationGracePeriodSeconds"] > slept + drain


def test_while_weights_download_no_pod_is_made_and_the_old_ones_are_left_alone() -> None:
    made = plan(see(SPECS["cached-download"], workload=deployment()))
    assert made.downloading
    assert {one["kind"] for one in made.children} == {
        "Revision", "Service", "NetworkPolicy", "PersistentVolumeClaim", "Job",
    }  # fmt: skip
    assert not plan(see(SPECS["cached-download"], download=DONE)).downloading


def test_a_job_that_exists_stays_as_it_was_made_since_nobody_can_change_it() -> None:
    made = plan(see(SPECS["cached-download"], download=DONE, settings=Settings(image_operator="newer")))
    assert not [one for one in made.children if one["kind"] == "Job"]
    assert DONE in made.keep


def test_a_download_is_not_repeated_for_another_argument_but_for_another_revision_or_a_larger_volume() -> None:
    def job(**changes: Any) -> str:
        spec = {"model": {**CACHED, **changes.pop("model", {})}, **changes}
        return str(child(plan(see(spec)), "Job")["metadata"]["name"])

    first = job()
    assert job(engine={"type": "LlamaCpp", "args": ["--threads=2"]}) == first
    assert job(model={"revision": "sha256:" + "1" * 64}) != first
    assert job(model={"cache": {"size": "8Gi"}}) != first


def test_pods_that_share_a_volume_of_one_node_are_put_on_one_node() -> None:
    near = pod_template(plan(see(SPECS["cached-download"], download=DONE)))["spec"]
    assert near["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    many = {"model": {**CACHED, "cache": {"size": "4Gi", "accessMode": "ReadWriteMany"}}}
    assert "affinity" not in pod_template(plan(see(many, download=DONE)))["spec"]


def test_the_download_runs_where_the_pods_will() -> None:
    spec = {"model": CACHED, "accelerator": GPU, "podTemplate": {"spec": {"nodeSelector": {"zone": "a"}}}}
    made = plan(see(spec))
    assert child(made, "Job")["spec"]["template"]["spec"]["nodeSelector"] == {"zone": "a"}
    assert child(made, "Job")["spec"]["template"]["spec"]["tolerations"][0]["key"] == "nvidia.com/gpu"


def test_vllm_asks_for_its_devices_tolerates_their_taint_and_chooses_their_product() -> None:
    made = plan(see(SPECS["vllm-on-gpus"]))
    spec, container = pod_template(made)["spec"], engine_of(made)
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert spec["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
    assert container["args"][:1] == ["/models/llama"]
    assert "--tensor-parallel-size=2" in container["args"]


def test_only_the_door_evaluations_and_indexes_may_ask_the_engine() -> None:
    (rule,) = child(plan(see()), "NetworkPolicy")["spec"]["ingress"]
    door, ours = rule["from"]
    assert door == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "llmops-system"}}}
    assert ours["podSelector"]["matchExpressions"][0]["values"] == ["EvalJob", "VectorIndex"]


def test_an_operator_with_other_defaults_rolls_nothing() -> None:
    spec = SPECS["download-per-replica"]
    before = plan(see(spec))
    made = child(before, "Revision")
    newer = Settings(image_llamacpp="llamacpp:2", image_operator="operator:2")
    after = plan(see(spec, settings=newer, revision=made, revisions=[made]))
    assert pod_template(after) == pod_template(before)
    assert child(after, "Revision") == made


@pytest.mark.parametrize("change", [
    {"replicas": 5}, {"limits": {"maxConcurrency": 3}}, {"pricing": {"currency": "EUR"}}, {"access": {"from": "All"}},
    {"model": {"uri": "file:///models/support-good.gguf", "license": {"id": "apache-2.0", "accepted": True}}},
    {"model": {"uri": "file:///models/support-good.gguf", "task": "Generate"}},
])  # fmt: skip
def test_what_changes_no_answer_makes_no_revision_and_rolls_no_pod(change: Object) -> None:
    assert see(change).digest == see().digest
    assert pod_template(plan(see(change))) == pod_template(plan(see()))


@pytest.mark.parametrize("change", [
    {"model": {"uri": "file:///models/support-bad.gguf"}},
    {"engine": {"type": "LlamaCpp", "contextLength": 2048}},
    {"engine": {"type": "LlamaCpp", "contextLength": 1024, "args": ["--threads=2"]}},
    {"podTemplate": {"spec": {"nodeSelector": {"zone": "a"}}}},
])  # fmt: skip
def test_what_changes_answers_or_pods_makes_a_revision(change: Object) -> None:
    assert see(change).digest != see().digest


def test_revisions_of_before_are_retired_and_the_oldest_let_go() -> None:
    old = [
        {"metadata": {"name": f"support-llm-{n:010d}", "creationTimestamp": f"2026-01-{n + 1:02d}T00:00:00Z",
                      "labels": {"llmops.dev/state": "stable"}}, "spec": {"digest": str(n)}}
        for n in range(13)
    ]  # fmt: skip
    made = [one for one in plan(see(revisions=old)).keep if one["kind"] == "Revision"]
    states = [one["metadata"]["labels"]["llmops.dev/state"] for one in made]
    assert states == ["stable"] + ["retired"] * 10
    assert [one["spec"]["digest"] for one in made[1:]] == [str(n) for n in range(12, 2, -1)]


def test_a_content_that_comes_back_makes_its_old_revision_stable_again() -> None:
    first = child(plan(see()), "Revision")
    stored = {**first, "metadata": {**first["metadata"], "labels": {"llmops.dev/state": "retired"}}}
    assert child(plan(see(revision=stored, revisions=[stored])), "Revision") == first


REFUSALS: list[tuple[Object, str]] = [
    ({"model": {"uri": "hf://org/name"}}, "LlamaCpp reads one file: write hf://org/name/<file>.gguf"),
    ({"model": {"uri": "hf://o/n/m.gguf"}, "engine": {"type": "vLLM"}}, "is one file, and vLLM reads a folder"),
    (
        {"model": {"uri": "hf://o/n", "revision": "sha256:" + "0" * 64}, "engine": {"type": "vLLM"}},
        "write its commit as revision",
    ),
    ({"model": {"uri": "oci://host/m"}}, "LlamaCpp reads one file: write oci://host/m#<path of the file>"),
    (
        {"model": {"uri": "s3://bucket/m", "revision": "v2"}, "engine": {"type": "vLLM"}},
        "buckets keep no versions of one: remove its revision",
    ),
    ({"model": {"uri": "gs://bucket/m"}}, "LlamaCpp reads one file: write gs://bucket/m/<file>.gguf"),
    (
        {"model": {"uri": "file:///m", "adapters": [{"name": "a", "uri": "hf://acme/tone"}]}},
        "hf://acme/tone is a folder, and LlamaCpp reads one file",
    ),
    (
        {"model": {"uri": "pvc://weights/m", "adapters": [{"name": "a", "uri": "pvc://others/a"}]}},
        "pvc://others/a is on a claim of its own, and a pod mounts one: put it beside the model, on pvc://weights",
    ),
    (
        {"model": {"uri": "file:///m", "adapters": [{"name": "a", "uri": "oci://h/a"}]}},
        "oci://h/a is a folder, and LlamaCpp reads one file: write oci://h/a#",
    ),
    (
        {"model": {"uri": HTTPS, "credentialsSecretRef": {"name": "s"}}},
        "spec.model.credentialsSecretRef with https://: not",
    ),
    ({"autoscaling": {"max": 3, "by": "KEDA"}}, "its admin sets LLMOPS_PROMETHEUS_URL"),
    (
        {"autoscaling": {"max": 3, "metric": {"type": "Prometheus", "query": "up"}}},
        "its admin sets LLMOPS_PROMETHEUS_URL",
    ),
    (
        {"autoscaling": {"max": 3, "by": "HPA", "metric": {"type": "Prometheus", "query": "up"}}},
        "spec.autoscaling.metric.type Prometheus by HPA with LlamaCpp: not",
    ),
    (
        {"autoscaling": {"max": 3, "by": "HPA", "metric": {"type": "KVCache", "target": 80}}},
        "spec.autoscaling.metric.type KVCache by HPA with LlamaCpp: not",
    ),
    (
        {"autoscaling": {"max": 3, "metric": {"type": "KVCache", "target": 80}}},
        "spec.autoscaling.metric.type KVCache by Operator with LlamaCpp: not",
    ),
    ({"rollout": {"shadow": {"percent": 5}}}, "spec.rollout.shadow: not available"),
    (
        {"rollout": {"online": [{"signal": "Judge", "serviceRef": {"name": "j"}, "rubric": "r"}]}},
        "spec.rollout.online Judge: not available",
    ),
    (
        {"rollout": {"online": [{"signal": "Prometheus", "failures": "a", "total": "b"}]}},
        "spec.rollout.online asks Prometheus, and the operator does not know where it is",
    ),
    ({"model": {"uri": HTTPS}, "engine": {"type": "vLLM"}}, "is one file, and vLLM reads a folder"),
    ({"model": {"uri": "file:///m", "license": {"id": "llama3.1"}}}, "set spec.model.license.accepted: true"),
    ({"podTemplate": {"spec": {"restartPolicy": "Never"}}}, "restartPolicy must be Always"),
]


@pytest.mark.parametrize(("spec", "sentence"), REFUSALS, ids=[sentence for _, sentence in REFUSALS])
def test_what_this_version_cannot_do_is_said_and_nothing_is_made_or_taken_away(spec: Object, sentence: str) -> None:
    made = plan(see(spec))
    assert made.problem is not None
    assert sentence in made.problem.message
    assert made.children == ()


def test_a_missing_claim_is_waited_for() -> None:
    seen = replace(see(SPECS["embed-on-volume"]), missing_claim="weights")
    problem = plan(seen).problem
    assert problem is not None
    assert problem.waits
    assert "there is no PersistentVolumeClaim weights" in problem.message


HUB = {"uri": "hf://org/name", "revision": "v1", "cache": {"size": "40Gi"}, "credentialsSecretRef": {"name": "hub"}}


def test_the_hubs_token_goes_to_the_download_and_nowhere_else() -> None:
    spec = {"model": HUB, "engine": {"type": "vLLM"}}
    job = child(plan(see(spec)), "Job")["spec"]["template"]["spec"]["containers"][0]
    assert job["env"] == [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "HF_TOKEN"}}}]
    assert job["args"][1] == "hf://org/name"
    assert job["args"][2].endswith("/name")
    assert job["args"][3:-1] == ["--hub=https://huggingface.co", "--revision=v1"]
    made = plan(see(spec, download=DONE))
    assert engine_of(made)["args"][0] == job["args"][2]
    assert "secretKeyRef" not in str(pod_template(made))


def test_a_buckets_keys_go_to_the_download_and_nowhere_else() -> None:
    spec = {"model": {**HUB, "uri": "s3://bucket/llama/", "revision": None}, "engine": {"type": "vLLM"}}
    job = child(plan(see(spec)), "Job")["spec"]["template"]["spec"]["containers"][0]
    asked = {one["name"]: one["valueFrom"]["secretKeyRef"].get("optional", False) for one in job["env"]}
    assert asked == {"AWS_ACCESS_KEY_ID": False, "AWS_SECRET_ACCESS_KEY": False, "AWS_SESSION_TOKEN": True}
    assert job["args"][2].endswith("/llama")
    assert job["args"][3:-1] == ["--hub=https://s3.{region}.amazonaws.com"]
    assert "secretKeyRef" not in str(pod_template(plan(see(spec, download=DONE))))


def test_another_mirror_in_the_settings_is_for_new_revisions_and_rolls_no_pod() -> None:
    spec = {"model": {"uri": "hf://org/name/m.gguf"}}
    before = plan(see(spec, settings=Settings(hub_url="https://mirror.example/")))
    fetcher = pod_template(before)["spec"]["initContainers"][0]
    assert fetcher["args"][3:] == ["--hub=https://mirror.example"]
    revision = child(before, "Revision")
    after = plan(see(spec, revision=revision, settings=Settings(hub_url="https://other.example")))
    assert pod_template(after) == pod_template(before)


def test_the_digest_of_a_known_service_never_changes() -> None:
    """It names Revisions that exist in clusters: another digest would roll their pods."""
    assert content_digest(see().service)[:10] == "297b002066"
