"""lm-evaluation-harness for real, in its own image: tasks and datasets from a volume, a real engine and model."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet
from tests.e2e import echo
from tests.e2e.test_evaljob import ROWS, Object, client, model, said, status, until, world

from llmops.kube.client import Client
from llmops.kube.cluster import Cluster
from llmops.kube.resources import CONFIG_MAP, EVAL_JOB, POD, PVC

__all__ = ["client", "world"]
ECHO = Path(echo.__file__).read_text()
SUBJECT = "abstract_algebra"
README = f"""---
configs:
- config_name: {SUBJECT}
  data_files:
  - {{split: test, path: {SUBJECT}/test-*}}
  - {{split: dev, path: {SUBJECT}/dev-*}}
---
"""
"""As the hub's repository of MMLU says where its files are."""
SAID = """
task: larch_said
dataset_path: json
dataset_kwargs: {data_files: {test: /dataset/said.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 64}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""
LETTERS = """
task: larch_letters
dataset_path: json
dataset_kwargs: {data_files: {test: /dataset/said.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}\\nAnswer:"
doc_to_choice: [A, B]
doc_to_target: 0
target_delimiter: ""
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""
COLOURS = """
task: larch_colours
dataset_path: json
dataset_kwargs: {data_files: {test: /dataset/colours.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: [green., white.]
doc_to_target: right
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""
TASKS = ("larch_said", "larch_letters")


def mmlu(rows: int) -> bytes:
    """A file of the form that MMLU's have."""
    columns: Object = {
        "question": [f"What is {at} + 1?" for at in range(rows)], "subject": [SUBJECT] * rows,
        "choices": [[str(at), str(at + 1), str(at + 2), "none"] for at in range(rows)], "answer": [1] * rows,
    }  # fmt: skip
    file = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()


async def volume(client: Client, cluster: Cluster, namespace: str) -> None:
    """A claim with two tasks of our own, their rows, and a copy of a hub's dataset repository."""
    said_ = "".join(json.dumps({"question": one["question"], "answer": one["answer"]}) + "\n" for one in ROWS[:20])
    asked = [{"question": f"What colour is {what}?", "right": at} for at, what in enumerate(("grass", "snow"))]
    colours = "".join(json.dumps(one) + "\n" for one in asked)
    repository = f"datasets/cais/mmlu/{SUBJECT}"
    files: dict[str, str | bytes] = {
        "tasks/said.yaml": SAID, "tasks/letters.yaml": LETTERS, "said.jsonl": said_,
        "tasks/colours.yaml": COLOURS, "colours.jsonl": colours,
        "datasets/cais/mmlu/README.md": README,
        f"{repository}/test-00000-of-00001.parquet": mmlu(8), f"{repository}/dev-00000-of-00001.parquet": mmlu(5),
    }  # fmt: skip
    named = {"namespace": namespace, "labels": {"app.kubernetes.io/managed-by": "test"}}
    keys = {name.replace("/", "."): one for name, one in files.items()}
    binary = {
        name: base64.b64encode(one.encode() if isinstance(one, str) else one).decode() for name, one in keys.items()
    }
    await client.create(CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap", "binaryData": binary,
                                     "metadata": {**named, "name": "files"}})  # fmt: skip
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "16Mi"}}}
    await client.create(PVC, {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": claim,
                              "metadata": {**named, "name": "benchmarks"}})  # fmt: skip
    copies = "; ".join(f"install -D /files/{name.replace('/', '.')} /data/{name}" for name in files)
    await client.create(POD, {"apiVersion": "v1", "kind": "Pod", "metadata": {**named, "name": "files"}, "spec": {
        "automountServiceAccountToken": False, "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
                            "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "copy", "image": "llmops/demo-models:dev", "imagePullPolicy": "IfNotPresent",
                        "command": ["sh", "-ec", copies],
                        "volumeMounts": [{"name": "files", "mountPath": "/files"},
                                         {"name": "data", "mountPath": "/data"}],
                        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}],
        "volumes": [{"name": "files", "configMap": {"name": "files"}},
                    {"name": "data", "persistentVolumeClaim": {"claimName": "benchmarks"}}],
    }})  # fmt: skip
    phase = lambda: ((cluster.get(POD, namespace, "files") or {}).get("status") or {}).get("phase")  # noqa: E731
    await until(lambda: phase() == "Succeeded")


async def echoing(client: Client, cluster: Cluster, namespace: str) -> str:
    """A server that echoes a prompt with its logprobs; its address."""
    secure = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    container = {"name": "echo", "image": "llmops/evaluate:dev", "imagePullPolicy": "IfNotPresent",
                 "command": ["python", "-c", ECHO, "8080"],
                 "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
                 "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}  # fmt: skip
    await client.create(POD, {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "echo", "namespace": namespace, "labels": {"app.kubernetes.io/managed-by": "test"}},
        "spec": {"automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1,
                 "securityContext": secure, "containers": [container]},
    })  # fmt: skip

    def ready() -> str | None:
        told = (cluster.get(POD, namespace, "echo") or {}).get("status") or {}
        conditions = {one["type"]: one["status"] for one in told.get("conditions") or []}
        return str(told["podIP"]) if conditions.get("Ready") == "True" else None

    return f"http://{await until(ready)}:8080/v1"


def evaljob(namespace: str, **spec: Any) -> Object:
    return {"apiVersion": EVAL_JOB.api_version, "kind": EVAL_JOB.kind, "spec": spec,
            "metadata": {"name": "quality", "namespace": namespace}}  # fmt: skip


async def test_a_benchmark_runs_from_a_volume_and_its_thresholds_are_judged(
    client: Client, world: Cluster, namespace: str
) -> None:
    await volume(client, world, namespace)
    good = await model(client, world, namespace, "good")
    bad = await model(client, world, namespace, "bad")
    asked = {"tasks": list(TASKS), "claim": "benchmarks", "chat": True}
    await client.create(EVAL_JOB, evaljob(
        namespace, target={"url": good, "model": "support"}, baseline={"url": bad, "model": "support"}, benchmark=asked,
        thresholds=[{"metric": "larch_said_exact_match", "min": "0.70"},
                    {"metric": "larch_said_exact_match", "maxDrop": "0.05", "against": "Baseline"}]))  # fmt: skip
    found = await until(lambda: (s := status(world, namespace)).get("verdict") and s, 300)
    assert found["verdict"] == "Pass", said(world, namespace, "ThresholdsMet")
    metrics = {one["name"]: one for one in found["metrics"]}
    assert set(metrics) == {"larch_said_exact_match", "larch_letters_acc"}
    assert {one["n"] for one in metrics.values()} == {20}
    assert "among the most likely next tokens" in metrics["larch_letters_acc"]["note"]
    assert "note" not in metrics["larch_said_exact_match"]
    (compared,) = [one for one in found["comparisons"] if one["metric"] == "larch_said_exact_match"]
    assert float(compared["low"]) > 0
    assert found["progress"]["done"] == found["progress"]["total"] == 2 * (20 + 40)
    assert found["dataset"]["rows"] == 40

    # of a server that echoes, choices of any length are compared
    echo_ = {"target": {"url": await echoing(client, world, namespace), "model": "letters"}, "baseline": None}
    change: dict[str, Any] = {**echo_, "benchmark": {"tasks": ["larch_colours"], "chat": None}, "thresholds": []}
    await client.patch(EVAL_JOB, namespace, "quality", {"spec": change})
    named = lambda: (s := status(world, namespace))["metrics"] and s["metrics"][0]["name"] == "larch_colours_acc" and s  # noqa: E731
    found = await until(named, 300)
    assert (found["metrics"][0]["value"], found["metrics"][0]["n"]) == ("1.0000", 2)
    assert "note" not in found["metrics"][0]

    # MMLU by its name, from a copy of the hub's repository: this model's tokens have no letters behind a space
    change = {"benchmark": {"tasks": [f"mmlu_{SUBJECT}"]}, "target": {"url": good, "model": "support"}}
    await client.patch(EVAL_JOB, namespace, "quality", {"spec": change})
    found = await until(lambda: (s := status(world, namespace)).get("verdict") == "Error" and s, 300)
    assert "8 of 8 requests to the target failed" in said(world, namespace, "ThresholdsMet")[1]
    # whichever of the four is asked first
    assert re.search(r"' [A-D]' is none of its likely next tokens", said(world, namespace, "ThresholdsMet")[1])

    # what is not there is said with where to put it
    await client.patch(EVAL_JOB, namespace, "quality", {"spec": {"benchmark": {"tasks": ["gsm8k"]}}})
    await until(
        lambda: "put a copy of its repository into datasets/openai/gsm8k" in said(world, namespace, "Ready")[1], 300
    )
