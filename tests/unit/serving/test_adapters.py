"""Adapters: how they get into a pod, by which name an engine knows them, and when they are another revision."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.serving.seen import see

from llmops.serving.plan import plan
from llmops.serving.revision import Resolved, frozen

Object = dict[str, Any]
CACHE = {"size": "1Gi", "accessMode": "ReadWriteMany"}
LOCAL = {"name": "local", "uri": "file:///models/local.gguf"}
TONE = {"name": "tone", "uri": "s3://acme/tone.gguf"}
GPU = {"resource": "nvidia.com/gpu", "count": 1}


def model(uri: str = "hf://acme/base/m.gguf", *adapters: Object, **more: Any) -> Object:
    return {"model": {"uri": uri, "adapters": list(adapters), **more}}


def child(spec: Object, kind: str) -> Object:
    made = plan(see(spec))
    assert made.problem is None, made.problem
    return next(one for one in made.children if one["kind"] == kind)


def pod(spec: Object) -> Object:
    found: Object = child(spec, "Deployment")["spec"]["template"]["spec"]
    return found


def also(fetcher: Object) -> list[list[str]]:
    return [shlex.split(one.removeprefix("--also=")) for one in fetcher["args"] if one.startswith("--also=")]


def test_what_lies_in_the_image_or_beside_the_model_is_only_named() -> None:
    found = pod(model("file:///models/m.gguf", LOCAL))
    assert "--adapter=local=/models/local.gguf" in found["containers"][0]["args"]
    assert "initContainers" not in found
    found = pod(model("pvc://weights/m.gguf", {"name": "a", "uri": "pvc://weights/lora/a.gguf"}))
    assert "--adapter=a=/models/lora/a.gguf" in found["containers"][0]["args"]


def test_one_job_downloads_the_model_and_then_its_adapters_from_wherever_they_are() -> None:
    job = child(model("hf://acme/base/m.gguf", TONE, cache=CACHE), "Job")
    fetcher = job["spec"]["template"]["spec"]["containers"][0]
    assert fetcher["args"][1] == "hf://acme/base/m.gguf"
    ((uri, path, hub),) = also(fetcher)
    assert uri == "s3://acme/tone.gguf"
    assert path.startswith("/models/")
    assert path.endswith("/tone.gguf")
    assert hub.startswith("--hub=https://s3")
    assert not path.startswith(fetcher["args"][2].rsplit("/", 1)[0])  # each in a folder of its own


def test_another_adapter_is_another_revision_and_another_download_which_finds_the_model_there() -> None:
    before, after = (see(model("hf://acme/base/m.gguf", *some, cache=CACHE)) for some in ((TONE,), (TONE, LOCAL)))
    assert before.digest != after.digest
    jobs = [next(one for one in plan(seen).children if one["kind"] == "Job") for seen in (before, after)]
    names = {job["metadata"]["name"] for job in jobs}
    places = {job["spec"]["template"]["spec"]["containers"][0]["args"][2] for job in jobs}
    assert len(names) == 2
    assert len(places) == 1


def test_without_a_cache_each_pod_downloads_them() -> None:
    found = pod(model("file:///models/m.gguf", TONE))
    (fetcher,) = found["initContainers"]
    assert fetcher["args"][1] == "s3://acme/tone.gguf"
    assert fetcher["args"][2].startswith("/lora/")
    assert f"--adapter=tone={fetcher['args'][2]}" in found["containers"][0]["args"]
    assert {"name": "adapters", "emptyDir": {}} in found["volumes"]
    mounts = found["containers"][0]["volumeMounts"]
    assert {"name": "adapters", "mountPath": "/lora", "readOnly": True} in mounts


def test_keys_of_two_stores_may_lack_since_one_may_be_public() -> None:
    spec = model("hf://acme/base/m.gguf", TONE, credentialsSecretRef={"name": "keys"})
    env = {one["name"]: one["valueFrom"]["secretKeyRef"] for one in pod(spec)["initContainers"][0]["env"]}
    assert set(env) == {"HF_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
    assert all(one["optional"] for one in env.values())


@pytest.mark.parametrize(
    ("engine", "told"),
    [
        ("vLLM", ["--enable-lora", "--max-loras=1", "--max-lora-rank=64", "--lora-modules"]),
        ("SGLang", ["--enable-lora", "--lora-paths", "tone=/models/lora"]),
    ],
)
def test_engines_that_are_rolled_out_know_adapters_from_their_start(engine: str, told: list[str]) -> None:
    adapter = {"name": "tone", "uri": "pvc://weights/lora"}
    spec = {**model("pvc://weights/m", adapter), "engine": {"type": engine}, "accelerator": GPU, "rollout": {}}
    args = pod(spec)["containers"][0]["args"]
    at = args.index(told[0])
    assert args[at : at + len(told)] == told
    if engine == "vLLM":
        assert json.loads(args[-1]) == {"name": "shop/support:tone", "path": "/models/lora"}


def test_where_adapters_come_from_is_frozen_with_the_revision() -> None:
    seen = see(model("file:///models/m.gguf", TONE))
    revision = next(one for one in plan(seen).children if one["kind"] == "Revision")
    assert Resolved.of(frozen(revision)).hubs == {"s3": "https://s3.{region}.amazonaws.com"}
    elsewhere = replace(seen.settings, s3_url="https://mirror.example")
    again = plan(replace(seen, revision=revision, revisions=[revision], settings=elsewhere))
    deployment = next(one for one in again.children if one["kind"] == "Deployment")
    (fetcher,) = deployment["spec"]["template"]["spec"]["initContainers"]
    assert "--hub=https://s3.{region}.amazonaws.com" in fetcher["args"]
