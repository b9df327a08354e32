"""Releases that promise a form of their answers: caught by their users, or unseen; as shipped, with a real model."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator

import aiohttp
import pytest
from demo import acts, install, shop
from demo.stage import NAMESPACE, apply, condition, get, kubectl, until
from tests.e2e.test_sleep import Object, service

SCHEMA = {
    "type": "object", "required": ["open"], "additionalProperties": False, "properties": {"open": {"type": "boolean"}},
}  # fmt: skip
ENOUGH, TOO_FEW = 48, 4
"""Tokens: the engine keeps to the schema, and cannot end an answer in so few."""


def release(version: str, tokens: int, **rollout: object) -> Object:
    variables = {"type": "object", "properties": {"question": {"type": "string", "maxLength": 400}}}
    return {
        "apiVersion": "llmops.dev/v1alpha1", "kind": "PromptRelease",
        "metadata": {"name": "open", "namespace": NAMESPACE},
        "spec": {
            "serviceRef": {"name": "support"}, "version": version,
            "messages": [
                {"role": "system", "content": "You are the Larch support desk."},
                {"role": "user", "content": "{{ question }}"},
            ],
            "variables": variables,
            "parameters": {"temperature": 0, "maxTokens": tokens},
            "response": {"schema": SCHEMA, "onInvalid": "Fail"},
            "rollout": {
                "online": [{"signal": "InvalidResponse"}, {"signal": "Latency", "max": "20s"}],
                "steps": [{"weight": 50, "minUnits": 20}], "bake": "3s",
                "margin": {"points": "30"}, "stickyBy": ["Header:x-user-id"], **rollout,
            },
        },
    }  # fmt: skip


class Crowd:
    """New users, each with one question; which version answered whom, with which status and code."""

    def __init__(self, show: acts.Show) -> None:
        self.show = show
        self.met: Counter[tuple[str, int, str]] = Counter()
        self.questions = itertools.cycle(shop.questions())
        self._numbers, self._stop = itertools.count(), asyncio.Event()

    async def __aenter__(self) -> Crowd:
        self.session = aiohttp.ClientSession(headers={"authorization": f"Bearer {self.show.key}"})
        self.tasks = [asyncio.create_task(self._users()) for _ in range(3)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self.tasks)
        await self.session.close()

    async def _users(self) -> None:
        while not self._stop.is_set():
            question, _ = next(self.questions)
            body = {"model": "-", "messages": [], "prompt": {"id": "open", "variables": {"question": question}}}
            headers, met = {"x-user-id": f"user-{next(self._numbers)}"}, self.met  # as it is when they ask
            async with self.session.post(f"{self.show.door}/chat/completions", json=body, headers=headers) as reply:
                code = ((await reply.json()).get("error") or {}).get("code", "")
                met[reply.headers["x-llmops-variant"], reply.status, code] += 1
            await asyncio.sleep(0.05)


JUDGE = """
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Judge(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer = asked["messages"][-1]["content"].rpartition("Answer:")[2].partition(">")[2].rpartition("</")[0].strip()
        whole = answer.endswith((".", "}", "!", "?"))
        message = {"role": "assistant", "content": "5" if whole else "1"}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        body = json.dumps({"id": "c", "object": "chat.completion", "created": 1, "model": asked["model"],
                           "choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
ThreadingHTTPServer(("", 8080), Judge).serve_forever()
"""
"""Somebody's model that judges whether an answer came to its end; the tiny one has no opinions."""


def somebodys_judge() -> list[Object]:
    """Its pod, its address, the admin's offer of it and the team's use."""
    labels = {"app": "judge"}
    metadata = {"name": "judge", "namespace": NAMESPACE}
    container = {
        "name": "judge", "image": "llmops/evaluate:dev", "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", JUDGE],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }  # fmt: skip
    secure = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    pod = {"automountServiceAccountToken": False, "securityContext": secure, "containers": [container]}
    ports = [{"port": 80, "targetPort": 8080}]
    offered = {"type": "OpenAI", "baseURL": f"http://judge.{NAMESPACE}.svc.cluster.local/v1", "access": {"from": "All"}}
    used = {"external": {"providerRef": {"name": "judge"}, "model": "judge-1"}}
    of_ours = "llmops.dev/v1alpha1"
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {**metadata, "labels": labels}, "spec": pod},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"selector": labels, "ports": ports}},
        {"apiVersion": of_ours, "kind": "Provider", "spec": offered,
         "metadata": {"name": "judge", "namespace": install.SYSTEM}},
        {"apiVersion": of_ours, "kind": "LLMService", "metadata": metadata, "spec": used},
    ]  # fmt: skip


@pytest.fixture(scope="module")
def show(cluster: object) -> Iterator[acts.Show]:
    """The admin's Secret is there before the gateways start, so that no test waits for the kubelet to bring it."""
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": install.SYSTEM}})
    metadata = {"name": "llmops-providers", "namespace": install.SYSTEM}
    apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"judge": "sk-of-the-judge"}})
    shown = install.operator(fresh=True)
    apply(service("support", replicas=2))
    acts.until_true("llmservice", "support")
    yield shown
    kubectl("delete", "secret", "llmops-providers", "-n", install.SYSTEM)
    kubectl("delete", "llmprov", "judge", "-n", install.SYSTEM, "--ignore-not-found")
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def status() -> Object:
    found: Object = get("promptrelease", "open").get("status") or {}
    return found


def candidate() -> Object:
    found: Object = status().get("candidate") or {}
    return found


async def reaches(wanted: str, seconds: float = 240) -> None:
    said = lambda: f"{status().get('phase')}: {condition(get('promptrelease', 'open'), 'Ready').get('message')}"  # noqa: E731
    await asyncio.to_thread(until, f"open {wanted}", lambda: status().get("phase") == wanted, seconds, said)


async def refused(version: str) -> Object:
    """The rejection of this version."""
    last = lambda: (status().get("rejected") or [{}])[0]  # noqa: E731
    there = lambda: last().get("version") == version  # noqa: E731
    await asyncio.to_thread(until, f"{version} rejected", there, 240, lambda: str(last()))
    found: Object = last()
    return found


async def goes(version: str) -> None:
    stable = lambda: (status().get("stable") or {}).get("version") == version  # noqa: E731
    await asyncio.to_thread(until, f"{version} is stable", stable, 120)


async def test_a_release_that_breaks_its_promise_is_taken_back_by_its_users(show: acts.Show) -> None:
    apply(release("1.0.0", ENOUGH))
    await goes("1.0.0")
    await asyncio.to_thread(acts.until_true, "promptrelease", "open")  # the gateways know it too
    async with Crowd(show) as crowd:
        apply(release("2.0.0", TOO_FEW))
        rejected = await refused("2.0.0")
        crowd.met = Counter()
        enough = lambda: crowd.met.total() > 20  # noqa: E731
        await asyncio.to_thread(until, "twenty more answers", enough, 60)
        after = set(crowd.met)
    assert after == {("stable", 200, "")}
    assert rejected["reason"] == "CandidateWorse"
    assert rejected["message"].startswith("InvalidResponse: ")
    assert condition(get("promptrelease", "open"), "Healthy")["status"] == "False"


async def test_one_that_is_caught_unseen_meets_no_user(show: acts.Show) -> None:
    async with Crowd(show) as crowd:
        apply(release("3.0.0", TOO_FEW - 1, shadow={"percent": 100, "minSamples": 5000}))
        rejected = await refused("3.0.0")
        met = set(crowd.met)
    assert met == {("stable", 200, "")}
    assert rejected["reason"] == "CandidateWorse"
    assert "users answered by both, unseen, only the candidate's answer failed for" in rejected["message"]
    assert candidate()["pairs"] >= 6
    assert candidate()["weight"] == 0


async def test_a_sound_one_is_compared_and_goes_on_whoever_leads(show: acts.Show) -> None:
    async with Crowd(show) as crowd:
        apply(release("4.0.0", ENOUGH + 1, shadow={"percent": 100, "minSamples": 150}))
        await reaches("Shadow")
        begun = crowd.met.total()
        some = lambda: crowd.met.total() > begun + 30  # noqa: E731
        await asyncio.to_thread(until, "some are compared", some, 60)
        leader = get("lease", "llmops-operator", install.SYSTEM)["spec"]["holderIdentity"].split("_")[0]
        kubectl("delete", "pod", leader, "-n", install.SYSTEM, "--grace-period=0", "--force", "--wait=false")
        compared = lambda: (one := candidate()).get("weight") and one["pairs"]  # noqa: E731
        assert await asyncio.to_thread(until, "users meet it", compared, 240) >= 150
        await goes("4.0.0")
        seen = set(crowd.met)
    assert {(code, why) for _, code, why in seen} == {(200, "")}
    assert status()["history"][0]["attempt"] == 1


async def test_a_judge_takes_a_version_back_whose_answers_it_finds_bad(show: acts.Show) -> None:
    """Cut short, which no error tells and no user of these complains of. Stable is what the test before has left."""
    apply(*somebodys_judge())
    await asyncio.to_thread(acts.until_true, "llmservice", "judge")
    asked = {
        "signal": "Judge",
        "serviceRef": {"name": "judge"},
        "rubric": "Did the answer come to its end?",
        "min": "3",
    }
    made = release("5.0.0", TOO_FEW, online=[{"signal": "Errors"}, asked])
    del made["spec"]["response"]
    async with Crowd(show) as crowd:
        apply(made)
        rejected = await refused("5.0.0")
        met = set(crowd.met)
    assert rejected["reason"] == "CandidateWorse"
    assert rejected["message"].startswith("Judge: ")
    assert {(code, why) for _, code, why in met} == {(200, "")}
    assert {variant for variant, _, _ in met} == {"stable", "candidate"}
    assert "users failed with the candidate" in rejected["message"]


async def test_what_users_asked_is_marked_as_it_was_answered_and_asked_again(show: acts.Show) -> None:
    """Both gateways remember, redacted, and only an evaluation of the namespace is told."""
    apply(
        {**release("4.0.0", ENOUGH + 1), "spec": {**release("4.0.0", ENOUGH + 1)["spec"], "capture": {"percent": 100}}}
    )
    await goes("4.0.0")
    attempts = lambda: [(one["version"], one["attempt"]) for one in status()["history"]]  # noqa: E731
    before = attempts()
    async with Crowd(show) as crowd:
        enough = lambda: crowd.met.total() > 60  # noqa: E731
        await asyncio.to_thread(until, "sixty answers", enough, 60)
    form = {"name": "form", "type": "JSONSchema", "schema": SCHEMA}
    target = {"promptRef": {"name": "open"}}
    for name, answers in (("told", "Recorded"), ("again", "Again")):
        dataset = {"traffic": {"sample": 12, "answers": answers}, "slices": ["version"]}
        spec = {"target": target, "dataset": dataset, "metrics": [form, {"name": "refusal"}]}
        spec["thresholds"] = [{"metric": "form", "min": "0.50"}]
        apply({"apiVersion": "llmops.dev/v1alpha1", "kind": "EvalJob", "spec": spec,
               "metadata": {"name": name, "namespace": NAMESPACE}})  # fmt: skip
    for name in ("told", "again"):
        found = lambda name=name: get("evaljob", name).get("status") or {}  # noqa: E731
        ended = lambda found=found: found().get("phase") in ("Succeeded", "Failed")  # noqa: E731
        await asyncio.to_thread(until, f"{name} has ended", ended, 480, lambda found=found: str(found()))  # type: ignore[misc]
        assert found()["verdict"] == "Pass", found()
        assert found()["dataset"]["rows"] == 12
        assert {one["name"]: one["n"] for one in found()["metrics"]} == {"form": 12, "refusal": 12}
        said = condition(get("evaljob", name), "DatasetValid")["message"]
        assert int(said.removeprefix("12 rows of ").split()[0]) > 40
        data = get("configmap", found()["results"])["data"]
        assert "worst.json" not in data  # nobody's words for all to read
    assert attempts() == before  # to remember is no other version
    spec = {"target": target, "schedule": "* * * * *", "metrics": [{"name": "drift", "type": "Drift"}]}
    spec |= {"dataset": {"traffic": {"sample": 200, "answers": "Recorded"}}}
    apply({"apiVersion": "llmops.dev/v1alpha1", "kind": "EvalJob", "spec": spec,
           "metadata": {"name": "watch", "namespace": NAMESPACE}})  # fmt: skip
    note = lambda: ((get("evaljob", "watch").get("status") or {}).get("metrics") or [{}])[0].get("note", "")  # noqa: E731
    await asyncio.to_thread(until, "a second look", lambda: "of the first look" in note(), 600, note)
    kubectl("delete", "evaljob", "watch", "-n", NAMESPACE)


async def test_a_new_leader_writes_nothing_that_was_so_already(show: acts.Show) -> None:
    """It knows what the gateways say before it looks at anything."""
    versions = lambda: {one: get(*one)["metadata"]["resourceVersion"] for one in OBJECTS}  # noqa: E731
    leader = lambda: str(get("lease", "llmops-operator", install.SYSTEM)["spec"].get("holderIdentity", ""))  # noqa: E731
    before, first = versions(), leader()
    kubectl("delete", "pod", first.split("_")[0], "-n", install.SYSTEM, "--wait=false")
    await asyncio.to_thread(until, "another leader", lambda: leader() not in ("", first), 120)
    metrics = f"/api/v1/namespaces/{install.SYSTEM}/pods/{leader().split('_')[0]}:8080/proxy/metrics"
    looked = lambda: 'llmops_reconciles_total{kind="PromptRelease"' in kubectl("get", "--raw", metrics)  # noqa: E731
    await asyncio.to_thread(until, "everything was looked at", looked, 120)
    await asyncio.sleep(8)  # as long as it might take it to write what it should not
    assert versions() == before


OBJECTS = (("llmservice", "support"), ("promptrelease", "open"))
