"""EvalJobs on the real cluster: the real Job and image, a real small model, the operator's loop in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.e2e.operate import operating

from llmops.evaluation.reconcile import CONTROLLER
from llmops.kube.client import Client
from llmops.kube.cluster import Cluster
from llmops.kube.resources import CONFIG_MAP, EVAL_JOB, JOB, LLM_SERVICE, POD, Resource

Object = dict[str, Any]
ROWS = [json.loads(line) for line in (Path(__file__).parents[1] / "models/shop-qa.jsonl").read_text().splitlines()]
OURS = "app.kubernetes.io/managed-by=llmops-operator"


@pytest.fixture
async def client(cluster: Any) -> AsyncIterator[Client]:
    async with await Client.connect() as client:
        yield client


@pytest.fixture
async def world(client: Client, namespace: str) -> AsyncIterator[Cluster]:
    """The operator for EvalJobs of one namespace, running."""
    async with operating(client, namespace, CONTROLLER) as seen:
        yield seen


async def until(test: Callable[[], Any], seconds: float = 300) -> Any:
    """Waits until `test` is true, looking twenty times a second; what it gave."""
    async with asyncio.timeout(seconds):
        while not (found := test()):
            await asyncio.sleep(0.05)
    return found


async def model(client: Client, cluster: Cluster, namespace: str, name: str) -> str:
    """A pod that serves one of the small models; its address once it answers."""
    await client.create(POD, {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/managed-by": "test"}},
        "spec": {
            "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "engine", "image": "llmops/demo-models:dev", "imagePullPolicy": "IfNotPresent",
                "args": ["--model", f"/models/support-{name}.gguf", "--alias", "support", "--host", "0.0.0.0",
                         "--port", "8080", "--context-length", "1024", "--parallel", "4"],
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "readinessProbe": {"httpGet": {"path": "/health", "port": 8080}, "periodSeconds": 1},
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
            }],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    })  # fmt: skip

    def ready() -> str | None:
        status = (cluster.get(POD, namespace, name) or {}).get("status") or {}
        conditions = {one["type"]: one["status"] for one in status.get("conditions") or []}
        return str(status["podIP"]) if conditions.get("Ready") == "True" else None

    return f"http://{await until(ready)}:8080/v1"


def evaljob(namespace: str, **spec: Any) -> Object:
    return {
        "apiVersion": EVAL_JOB.api_version, "kind": EVAL_JOB.kind,
        "metadata": {"name": "quality", "namespace": namespace},
        "spec": {
            "dataset": {"configMapRef": {"name": "qa", "key": "qa.jsonl"},
                        "fields": {"input": "question", "target": "answer"}},
            "metrics": [{"name": "exact_match"}, {"name": "f1"}],
            **spec,
        },
    }  # fmt: skip


def dataset(namespace: str, rows: list[Object], more: str = "") -> Object:
    text = "".join(json.dumps(row) + "\n" for row in rows) + more
    return {"apiVersion": "v1", "kind": "ConfigMap", "data": {"qa.jsonl": text},
            "metadata": {"name": "qa", "namespace": namespace, "labels": {"llmops.dev/watch": "true"}}}  # fmt: skip


def names_of(cluster: Cluster, resource: Resource, namespace: str) -> set[str]:
    return {
        one["metadata"]["name"]
        for one in cluster.list(resource, namespace)
        if (one["metadata"].get("labels") or {}).get("llmops.dev/owner-name") == "quality"
    }


def status(cluster: Cluster, namespace: str) -> Object:
    return (cluster.get(EVAL_JOB, namespace, "quality") or {}).get("status") or {}


def said(cluster: Cluster, namespace: str, condition: str) -> tuple[str, str]:
    for one in status(cluster, namespace).get("conditions") or []:
        if one["type"] == condition:
            return one["status"], one["message"]
    return "", ""


async def test_a_better_model_passes_a_threshold_moves_free_and_a_new_row_runs_again(
    client: Client, world: Cluster, namespace: str
) -> None:
    good, bad = await asyncio.gather(model(client, world, namespace, "good"), model(client, world, namespace, "bad"))
    await client.create(CONFIG_MAP, dataset(namespace, ROWS))
    await client.create(EVAL_JOB, evaljob(
        namespace, target={"url": good, "model": "support"}, baseline={"url": bad, "model": "support"},
        thresholds=[{"metric": "exact_match", "min": "0.90"},
                    {"metric": "exact_match", "maxDrop": "0.02", "against": "Baseline"}]))  # fmt: skip
    found = await until(lambda: (s := status(world, namespace)).get("verdict") and s)

    assert (found["phase"], found["verdict"]) == ("Succeeded", "Pass")
    assert found["progress"] == {"done": 200, "total": 200, "errors": 0, "etaSeconds": 0}
    assert found["metrics"][0] == {
        "name": "exact_match",
        "n": 100,
        "value": "1.0000",
        "low": "0.9630",
        "high": "1.0000",
    }
    compared = found["comparisons"][0]  # the bad model is right on 57 rows or so: batching moves the last digits
    assert 0.3 < float(compared["low"]) < float(compared["delta"]) < float(compared["high"]) < 0.6
    assert float(compared["p"]) < 0.001
    jobs = names_of(world, JOB, namespace)
    assert len(jobs) == 1

    # a threshold costs no run
    strict = [{"metric": "exact_match", "min": "0.99"}]
    await client.patch(EVAL_JOB, namespace, "quality", {"spec": {"thresholds": strict}})
    await until(lambda: status(world, namespace).get("verdict") == "Inconclusive")
    assert "rows like these would decide" in said(world, namespace, "ThresholdsMet")[1]
    assert names_of(world, JOB, namespace) == jobs

    # a new row is a new run; the old result is kept
    key = status(world, namespace)["runKey"]
    more = {
        "id": "new",
        "question": "Hi! Do you ship abroad?",
        "answer": "We ship to 27 countries in Europe and to Japan.",
    }
    await client.apply(CONFIG_MAP, dataset(namespace, [*ROWS, more]))
    found = await until(lambda: (s := status(world, namespace)).get("runKey") != key and s.get("verdict") and s)
    assert found["metrics"][0]["n"] == 101
    assert f"quality-eval-{key[:10]}" in names_of(world, CONFIG_MAP, namespace)
    jobs = names_of(world, JOB, namespace)

    # a broken row stops it with its number, and going back to rows that were measured costs no run
    await client.apply(CONFIG_MAP, dataset(namespace, ROWS, more="{oops\n"))
    await until(lambda: "row 101: not JSON" in said(world, namespace, "DatasetValid")[1], 60)
    await client.apply(CONFIG_MAP, dataset(namespace, ROWS))
    await until(lambda: (s := status(world, namespace)).get("runKey") == key and s.get("verdict"), 60)
    assert names_of(world, JOB, namespace) <= jobs


async def test_a_template_runs_nothing_and_a_missing_service_is_waited_for_by_name(
    client: Client, world: Cluster, namespace: str
) -> None:
    await client.create(CONFIG_MAP, dataset(namespace, ROWS))
    await client.create(EVAL_JOB, evaljob(namespace))
    await until(lambda: said(world, namespace, "Ready")[0] == "True", 60)
    assert "template" in said(world, namespace, "Ready")[1]
    assert names_of(world, JOB, namespace) == set()

    await client.patch(EVAL_JOB, namespace, "quality", {"spec": {"target": {"serviceRef": {"name": "nobody"}}}})
    await until(
        lambda: f"LLMService {namespace}/nobody does not exist" in said(world, namespace, "TargetReachable")[1], 60
    )
    assert status(world, namespace)["phase"] == "Pending"


async def test_a_target_that_does_not_answer_is_an_error_and_no_verdict_on_the_answers(
    client: Client, world: Cluster, namespace: str
) -> None:
    await client.create(CONFIG_MAP, dataset(namespace, ROWS[:20]))
    target = {"url": "http://127.0.0.1:9/v1", "model": "m"}
    await client.create(EVAL_JOB, evaljob(namespace, target=target, concurrency=20,
                                          thresholds=[{"metric": "exact_match", "min": "0.90"}]))  # fmt: skip
    found = await until(lambda: (s := status(world, namespace)).get("verdict") and s)
    assert (found["phase"], found["verdict"], found["progress"]["errors"]) == ("Succeeded", "Error", 20)
    assert said(world, namespace, "TargetReachable")[0] == "False"
    assert said(world, namespace, "Stalled")[0] == "True"


async def written(url: str) -> float:
    """Tokens that a model has written so far."""
    async with aiohttp.request("GET", url.removesuffix("/v1") + "/metrics") as reply:
        lines = [line.split() for line in (await reply.text()).splitlines()]
    return next((float(words[1]) for words in lines if words[0] == "llamacpp:tokens_predicted_total"), 0.0)


async def test_a_pod_that_is_lost_resumes_from_the_kept_log(client: Client, world: Cluster, namespace: str) -> None:
    good = await model(client, world, namespace, "good")
    rows = [{**row, "id": f"{at}-{row['id']}"} for at in range(15) for row in ROWS]
    await client.create(CONFIG_MAP, dataset(namespace, rows))
    await client.create(EVAL_JOB, evaljob(namespace, target={"url": good, "model": "support"}, concurrency=2,
                                          keep={"samples": "1d"}))  # fmt: skip
    # some two hundred answers; a fast machine has given them all before the first progress is told
    async with asyncio.timeout(300):
        while await written(good) < 3000:
            await asyncio.sleep(0.05)
    (pod,) = names_of(world, POD, namespace)
    await client.delete(POD, namespace, pod)
    await until(lambda: pod not in names_of(world, POD, namespace))
    resumed = await until(lambda: names_of(world, POD, namespace))
    assert resumed != {pod}
    found = await until(lambda: (s := status(world, namespace)).get("verdict") and s, 300)
    assert found["metrics"][0]["n"] == 1500
    text = world.get(CONFIG_MAP, namespace, found["results"])["data"]["results.json"]  # type: ignore[index]
    assert 0 < json.loads(text)["resumed"] < 1500


JUDGE = """
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Judge(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        said = "4" if "Evaluation form" in asked["messages"][-1]["content"] else "1. Read the answer."
        tops = [{"token": "4", "logprob": -0.6931}, {"token": "5", "logprob": -0.6931}]
        told = {"content": [{"token": said, "logprob": -0.6931, "top_logprobs": tops}]}
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
        choice["logprobs"] = told if asked.get("logprobs") and said == "4" else None
        body = json.dumps({"id": "c", "object": "chat.completion", "created": 1, "model": asked["model"],
                           "choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
ThreadingHTTPServer(("", 8080), Judge).serve_forever()
"""
"""A judge that is always between 4 and 5; the tiny model has no opinions."""


async def judge(client: Client, cluster: Cluster, namespace: str) -> str:
    """A pod that judges; its address once it listens."""
    await client.create(POD, {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "judge", "namespace": namespace, "labels": {"app.kubernetes.io/managed-by": "test"}},
        "spec": {
            "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "judge", "image": "llmops/evaluate:dev", "imagePullPolicy": "IfNotPresent",
                "command": ["python", "-c", JUDGE],
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
            }],
        },
    })  # fmt: skip

    def ready() -> str | None:
        status = (cluster.get(POD, namespace, "judge") or {}).get("status") or {}
        conditions = {one["type"]: one["status"] for one in status.get("conditions") or []}
        return str(status["podIP"]) if conditions.get("Ready") == "True" else None

    return f"http://{await until(ready)}:8080/v1"


async def test_a_judge_scores_the_answers_and_an_edited_rubric_runs_again(
    client: Client, world: Cluster, namespace: str
) -> None:
    good, address = await asyncio.gather(model(client, world, namespace, "good"), judge(client, world, namespace))
    world.settings = replace(world.settings, gateway_url=address)  # in the door's place
    await client.create(CONFIG_MAP, dataset(namespace, ROWS[:40]))
    rubric = {"name": "politeness", "type": "Judge", "serviceRef": {"name": "judge"}, "rubric": "Is it polite?"}
    await client.create(EVAL_JOB, evaljob(
        namespace, target={"url": good, "model": "support"},
        metrics=[{"name": "exact_match"}, {"name": "latency"}, {"name": "cost"}, rubric],
        thresholds=[{"metric": "politeness", "min": "0.70"}, {"metric": "latency", "max": "20"}]))  # fmt: skip
    await until(lambda: f"LLMService {namespace}/judge does not exist" in said(world, namespace, "Ready")[1])

    await client.create(LLM_SERVICE, {
        "apiVersion": LLM_SERVICE.api_version, "kind": LLM_SERVICE.kind,
        "metadata": {"name": "judge", "namespace": namespace},
        "spec": {"model": {"uri": "file:///models/judge.gguf"}, "engine": {"type": "LlamaCpp"}},
    })  # fmt: skip
    available = {"type": "Available", "status": "True", "reason": "AsWanted", "message": "",
                 "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip
    await client.patch(LLM_SERVICE, namespace, "judge", {"status": {"conditions": [available]}}, sub="status")
    found = await until(lambda: (s := status(world, namespace)).get("verdict") and s)
    told = {one["name"]: one for one in found["metrics"]}
    assert (found["verdict"], told["politeness"]["value"], told["politeness"]["n"]) == ("Pass", "0.8750", 40)
    assert "raw mean 4.50 on 1 to 5" in told["politeness"]["note"]
    assert 0 < float(told["latency"]["p50"]) <= float(told["latency"]["p95"])
    assert "value" not in told["cost"]
    assert "is an address" in told["cost"]["note"]
    text = world.get(CONFIG_MAP, namespace, found["results"])["data"]["results.json"]  # type: ignore[index]
    assert json.loads(text)["steps"] == {"politeness": "1. Read the answer."}

    jobs = names_of(world, JOB, namespace)
    kinder = [{"name": "exact_match"}, {**rubric, "rubric": "Is it kind?"}]
    await client.patch(EVAL_JOB, namespace, "quality", {"spec": {"thresholds": [], "metrics": kinder}})
    await until(lambda: names_of(world, JOB, namespace) - jobs)


async def test_a_budget_ends_a_run_and_a_larger_one_goes_on_where_it_was(
    client: Client, world: Cluster, namespace: str
) -> None:
    world.settings = replace(world.settings, gateway_url=await model(client, world, namespace, "good"))
    await client.create(CONFIG_MAP, dataset(namespace, ROWS[:100]))
    service: Object = {
        "apiVersion": LLM_SERVICE.api_version, "kind": LLM_SERVICE.kind,
        "metadata": {"name": "support", "namespace": namespace},
        "spec": {"model": {"uri": "file:///models/support.gguf"}, "engine": {"type": "LlamaCpp"}},
    }  # fmt: skip
    await client.create(LLM_SERVICE, service)
    available = {"type": "Available", "status": "True", "reason": "AsWanted", "message": "",
                 "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip
    await client.patch(LLM_SERVICE, namespace, "support", {"status": {"conditions": [available]}}, sub="status")
    await client.create(EVAL_JOB, evaljob(
        namespace, target={"serviceRef": {"name": "support"}}, budget={"amount": "600"}, keep={"samples": "1h"},
        concurrency=2, thresholds=[{"metric": "exact_match", "min": "0.80"}]))  # fmt: skip
    await until(lambda: "spec.budget cannot be counted" in said(world, namespace, "Ready")[1])

    pricing = {"inputPerMillionTokens": "1000000", "outputPerMillionTokens": "0"}
    await client.patch(LLM_SERVICE, namespace, "support", {"spec": {"pricing": pricing}})
    found = await until(lambda: (s := status(world, namespace)).get("verdict") and s)
    told = said(world, namespace, "ThresholdsMet")[1]
    assert (found["verdict"], found["phase"]) == ("Inconclusive", "Succeeded")
    assert "spec.budget of 600 USD is spent" in told
    assert "of 100 rows, so nothing is judged: raise it, and it goes on where it was" in told
    few = int(told.split(" after ")[1].split()[0])
    assert 0 < few < 100
    assert 600 <= float(found["progress"]["cost"]) < 900

    await client.patch(EVAL_JOB, namespace, "quality", {"spec": {"budget": {"amount": "1000000"}}})
    found = await until(lambda: (s := status(world, namespace)).get("verdict") == "Pass" and s)
    text = world.get(CONFIG_MAP, namespace, found["results"])["data"]["results.json"]  # type: ignore[index]
    assert json.loads(text)["resumed"] == few
    assert {one["n"] for one in found["metrics"]} == {100}
