"""oci:// models that the kubelet mounts: where that is wanted, what the pods are made of, and what stays as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.serving.seen import deployment, see
from tests.unit.serving.test_llmservice_status import said

from llmops.api import Settings
from llmops.api.llmservice import ModelSource
from llmops.serving.plan import Plan, plan
from llmops.serving.sources import reference

Object = dict[str, Any]
ON, OFF = Settings(image_volumes=True), Settings()
DIGEST = "sha256:" + "ab" * 32
VLLM: Object = {"engine": {"type": "vLLM"}}


def made(spec: Object, settings: Settings = ON, **more: Any) -> Plan:
    planned = plan(see(spec, settings=settings, **more))
    assert planned.problem is None, planned.problem
    return planned


def pod(planned: Plan) -> Object:
    found: Object = next(one for one in planned.children if one["kind"] == "Deployment")["spec"]["template"]["spec"]
    return found


def volume(spec: Object) -> Object:
    (found,) = [one for one in spec["volumes"] if one["name"] == "models"]
    return {key: value for key, value in found.items() if key != "name"}


def model(uri: str, **more: Any) -> Object:
    return {"model": {"uri": uri, **more}}


@pytest.mark.parametrize(
    ("spec", "mounts"),
    [
        (model("oci://reg.example/models/support:v2#m.gguf"), "reg.example/models/support:v2"),
        (model("oci://reg.example/support#m.gguf", revision=DIGEST), f"reg.example/support@{DIGEST}"),
        (model("oci://reg.example/support:v2#m.gguf", revision=DIGEST), f"reg.example/support@{DIGEST}"),
        (model("oci://localhost:5000/a/b:v2#m.gguf", revision="v3"), "localhost:5000/a/b:v3"),
        (model(f"oci://reg.example/a@{DIGEST}#m.gguf", revision="v3"), "reg.example/a:v3"),
        (model(f"oci://reg.example/a@{DIGEST}#m.gguf"), f"reg.example/a@{DIGEST}"),
        (model("oci://reg.example/a#m.gguf", cache={"size": "9Gi"}), None),
        (model("oci://reg.example/a#m.gguf", cache={"size": "9Gi", "accessMode": "PerReplica"}), None),
        (model("hf://org/name/m.gguf"), None),
        (model("https://w.example/m.gguf"), None),
    ],
    ids=lambda one: one["model"]["uri"] if isinstance(one, dict) else "",
)
def test_a_model_in_a_registry_without_a_cache_is_mounted_by_the_kubelet(spec: Object, mounts: str | None) -> None:
    found = made(spec, download={"status": {"succeeded": 1}})
    if mounts is None:
        assert "image" not in volume(pod(found))
        return
    assert volume(pod(found)) == {"image": {"reference": mounts, "pullPolicy": "IfNotPresent"}}
    assert "initContainers" not in pod(found)
    (mount,) = [one for one in pod(found)["containers"][0]["volumeMounts"] if one["name"] == "models"]
    assert mount == {"name": "models", "mountPath": "/models", "readOnly": True}


@pytest.mark.parametrize(
    ("spec", "argument"),
    [
        (model("oci://r.example/a:1#deep/m.gguf"), "--model=/models/deep/m.gguf"),
        (model("oci://r.example/a:1#/m.gguf"), "--model=/models/m.gguf"),
        (model("oci://r.example/a:1") | VLLM, "/models"),
    ],
)
def test_the_engine_reads_the_fragment_or_the_root(spec: Object, argument: str) -> None:
    assert argument in pod(made(spec))["containers"][0]["args"]


def test_off_it_is_downloaded_as_ever() -> None:
    found = pod(made(model("oci://r.example/a:1#m.gguf"), OFF))
    assert volume(found) == {"emptyDir": {}}
    assert found["initContainers"][0]["name"] == "fetch"


@pytest.mark.parametrize(("before", "after"), [(ON, OFF), (OFF, ON)], ids=["turned off", "turned on"])
def test_turning_it_on_or_off_rolls_no_running_pod(before: Settings, after: Settings) -> None:
    spec = model("oci://r.example/a:1#m.gguf", credentialsSecretRef={"name": "pull"})
    first = made(spec, before)
    (kept,) = [one for one in first.children if one["kind"] == "Revision"]
    again = made(spec, after, revision=kept, revisions=[kept])
    assert pod(again) == pod(first)
    assert [one for one in again.children if one["kind"] == "Revision"] == [kept]


def test_a_private_image_is_pulled_with_the_secret_that_a_download_would_read() -> None:
    private = model("oci://r.example/a:1#m.gguf", credentialsSecretRef={"name": "pull"})
    assert pod(made(private))["imagePullSecrets"] == [{"name": "pull"}]
    assert "imagePullSecrets" not in pod(made(private, OFF))
    assert "imagePullSecrets" not in pod(made(model("oci://r.example/a:1#m.gguf")))
    mine = private | {"podTemplate": {"spec": {"imagePullSecrets": [{"name": "mine"}]}}}
    assert pod(made(mine))["imagePullSecrets"] == [{"name": "pull"}, {"name": "mine"}]


def test_adapters_are_downloaded_beside_the_mounted_model() -> None:
    adapters = [{"name": "tone", "uri": "oci://r.example/tone:1#tone.gguf"}]
    found = pod(made(model("oci://r.example/a:1#m.gguf", adapters=adapters)))
    assert "image" in volume(found)
    (fetch,) = found["initContainers"]
    assert fetch["args"][1] == "oci://r.example/tone:1#tone.gguf"
    assert {one["mountPath"] for one in fetch["volumeMounts"]} == {"/lora", "/tmp"}


def test_the_status_says_that_it_is_mounted_and_downloads_nothing() -> None:
    seen = see(model("oci://r.example/a#m.gguf", revision=DIGEST), settings=ON, workload=deployment(2))
    assert said(seen)["ModelCached"] == (
        "True",
        "OnVolume",
        f"mounted by the kubelet from the image r.example/a@{DIGEST}",
    )
    assert said(replace(seen, settings=OFF))["ModelCached"][1] == "Downloading"


@pytest.mark.parametrize(("volumes", "told"), [([], "Unsupported"), ([{"name": "models"}], "OnVolume")])
def test_an_api_server_that_left_the_volume_out_without_a_word_is_noticed(volumes: list[Object], told: str) -> None:
    live = {**deployment(2), "spec": {"replicas": 2, "template": {"spec": {"volumes": [{"name": "tmp"}, *volumes]}}}}
    found = said(see(model("oci://r.example/a#m.gguf"), settings=ON, workload=live))
    assert found["ModelCached"][1] == told
    if told == "Unsupported":
        assert found["Ready"][2].endswith(
            "have its feature ImageVolume turned on, or write model.cache to have it downloaded"
        )
        assert (found["Ready"][0], found["Stalled"][0]) == ("False", "True")


def test_without_a_revision_the_image_is_called_as_the_uri_calls_it() -> None:
    assert reference(ModelSource(uri="oci://r.example:5000/a/b")) == "r.example:5000/a/b"
