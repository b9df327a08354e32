"""Back by hand and on to the next namespace: operator, gateways and command line as shipped, with a real model."""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
import yaml
from demo import acts, install, shop
from demo.stage import NAMESPACE, apply, condition, get, kubectl, until
from tests.e2e.test_sleep import Object, service

from llmops import cli
from llmops.api import PromptRelease
from llmops.release.content import content_digest

PROD = "shop-prod"
SOON = 4.0
"""Seconds: two are promised; this machine is the cluster, the models and the users too. A bake is longer still."""
OBJECT = ["prel", "desk", "-n", NAMESPACE]


def release(version: str, system: str, namespace: str = NAMESPACE, **spec: object) -> Object:
    variables = {"type": "object", "properties": {"question": {"type": "string", "maxLength": 400}}}
    return {
        "apiVersion": "llmops.dev/v1alpha1", "kind": "PromptRelease",
        "metadata": {"name": "desk", "namespace": namespace},
        "spec": {
            "serviceRef": {"name": "support"}, "version": version,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": "{{ question }}"}],
            "variables": variables, "parameters": {"temperature": 0, "maxTokens": 16},
            "rollout": {
                "online": [{"signal": "Errors"}], "steps": [{"weight": 50, "minUnits": 20}], "bake": "8s",
                "margin": {"points": "30"}, "stickyBy": ["Header:x-user-id"],
            },
            **spec,
        },
    }  # fmt: skip


OLD = release("1.0.0", "You are the Larch support desk.")
NEW = release("2.0.0", "Be brief.\nYou are the Larch support desk.", parameters={"temperature": 0, "maxTokens": 12})


class Crowd:
    """New users, one after the other; which version answered, with which status, and when the last one
    asked who met it."""

    def __init__(self, show: acts.Show) -> None:
        self.show = show
        self.met: Counter[tuple[str, int]] = Counter()
        self.last: dict[str, float] = {}
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
            body = {"model": "-", "messages": [], "prompt": {"id": "desk", "variables": {"question": question}}}
            headers, begun = {"x-user-id": f"user-{next(self._numbers)}"}, time.time()
            async with self.session.post(f"{self.show.door}/chat/completions", json=body, headers=headers) as reply:
                await reply.read()
                version = reply.headers.get("x-llmops-prompt-version", "?")
                self.met[version, reply.status] += 1
                self.last[version] = max(self.last.get(version, 0.0), begun)
            await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def show(cluster: object) -> Iterator[acts.Show]:
    shown = install.operator(fresh=True)
    apply(service("support", replicas=2))
    acts.until_true("llmservice", "support")
    apply(OLD)
    acts.until_true("promptrelease", "desk")
    yield shown
    for namespace in (NAMESPACE, PROD):
        kubectl("delete", "namespace", namespace, "--wait=false", "--ignore-not-found")


def status() -> Object:
    found: Object = get("promptrelease", "desk").get("status") or {}
    return found


def for_all(version: str) -> Object | None:
    """The status while this version bakes with everybody."""
    told = status()
    moving = told.get("candidate") or {}
    return told if (moving.get("version"), moving.get("weight")) == (version, 100) else None


async def comes_true(what: str, test: object, seconds: float = 180) -> Object:
    """What the test gave."""
    said = lambda: f"{status().get('phase')}: {condition(get('promptrelease', 'desk'), 'Ready').get('message')}"  # noqa: E731
    found: Object = await asyncio.to_thread(until, what, test, seconds, said)  # type: ignore[arg-type]
    return found


async def goes(version: str) -> None:
    stable = lambda: status().get("phase") == "Released" and status()["stable"]["version"] == version  # noqa: E731
    await comes_true(f"{version} is stable", stable)


async def llmops(*words: str) -> int:
    return await asyncio.to_thread(cli.main, list(words))


async def test_in_seconds_everybody_has_what_was_stable_before(
    show: acts.Show, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Crowd(show) as crowd:
        apply(NEW)
        await goes("2.0.0")
        before = crowd.met["2.0.0", 200]
        await comes_true("2.0.0 answers", lambda: crowd.met["2.0.0", 200] > before + 20)
        capsys.readouterr()
        assert await llmops("rollback", *OBJECT) == 0
        written = time.time()
        assert "goes back from 2.0.0" in capsys.readouterr().out
        back = await comes_true("1.0.0 for all", lambda: for_all("1.0.0"))
        assert back["history"][0]["version"] == "2.0.0"
        answered = crowd.met.total()
        await comes_true("fifty more answers", lambda: crowd.met.total() > answered + 50)
        await goes("1.0.0")
        assert crowd.last["2.0.0"] < written + SOON
        print(f"the last user of 2.0.0 asked {crowd.last['2.0.0'] - written:+.2f} s after the write")
    assert {code for _, code in crowd.met} == {200}
    told = await asyncio.to_thread(status)
    assert told["history"][0]["message"].startswith("rolled back by hand; ")
    assert told["lastHandled"]["rollback"] == f"{told['stable']['digest']}/2"
    spec = (await asyncio.to_thread(get, "promptrelease", "desk"))["spec"]
    managers = json.loads(kubectl("get", *OBJECT, "-o", "json", "--show-managed-fields"))["metadata"]["managedFields"]
    owned = {one["manager"] for one in managers if "f:spec" in one["fieldsV1"]}
    assert "llmops" in owned
    assert "llmops-operator" not in owned
    assert spec["parameters"] == {"temperature": 0, "maxTokens": 16}
    assert spec["rollout"]["steps"] == [{"weight": 50, "minUnits": 20, "minDuration": "0s", "maxDuration": "24h"}]


async def test_what_git_keeps_is_written_and_warned_of_and_git_has_the_last_word(
    show: acts.Show, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = "argocd.argoproj.io/tracking-id=shop:llmops.dev/PromptRelease:shop/desk"
    kubectl("annotate", "promptrelease", "desk", "-n", NAMESPACE, mark)
    capsys.readouterr()
    assert await llmops("rollback", *OBJECT) == 0
    said = capsys.readouterr()
    assert "Argo CD (argocd.argoproj.io/tracking-id) keeps this object as it is in Git" in said.err
    assert yaml.safe_load(said.out)["spec"]["version"] == "2.0.0"
    await comes_true("2.0.0 for all", lambda: for_all("2.0.0"))
    apply(OLD)  # as Argo CD does
    await goes("1.0.0")
    assert status()["history"][0]["outcome"] == "Withdrawn"

    patch = tmp_path / "patch.yaml"  # the very same, committed
    patch.write_text(said.out)
    kubectl("patch", "promptrelease", "desk", "-n", NAMESPACE, "--type", "merge", "--patch-file", str(patch))
    await comes_true("2.0.0 for all again", lambda: for_all("2.0.0"))
    apply(OLD)
    await goes("1.0.0")
    kubectl("annotate", "promptrelease", "desk", "-n", NAMESPACE, "argocd.argoproj.io/tracking-id-")


async def test_what_is_released_here_is_promoted_to_the_next_namespace_by_its_patch(
    show: acts.Show, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("promote", *OBJECT, "--to-namespace", PROD)
    await goes("1.0.0")
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PROD, "labels": labels}})
    capsys.readouterr()
    assert await llmops(*words) == 1
    said = capsys.readouterr()
    assert f"LLMService {PROD}/support does not exist" in said.err
    assert said.out == ""
    assert await llmops(*words, "--offline") == 0
    assert yaml.safe_load(capsys.readouterr().out)["spec"]["version"] == "1.0.0"

    home = copy.deepcopy(service("support", replicas=1))
    home["metadata"]["namespace"] = PROD
    apply(home, release("0.9.0", "Hm.", PROD, parameters={"temperature": 0, "stop": ["\n"]}, suspend=True))
    assert await llmops(*words) == 0
    patch = tmp_path / "patch.yaml"
    patch.write_text(capsys.readouterr().out)
    kubectl("patch", "promptrelease", "desk", "-n", PROD, "--type", "merge", "--patch-file", str(patch))
    here, there = (get("promptrelease", "desk", namespace) for namespace in (NAMESPACE, PROD))
    digest = content_digest(PromptRelease.parse(there))
    assert digest == here["status"]["stable"]["digest"]
    assert f"# digest: {digest}\n" in patch.read_text()

    kubectl("patch", "promptrelease", "desk", "-n", PROD, "--type", "merge", "-p", '{"spec": {"suspend": false}}')
    stable = lambda: (get("promptrelease", "desk", PROD).get("status") or {}).get("stable") or {}  # noqa: E731
    await asyncio.to_thread(until, "the same in prod", lambda: stable().get("digest") == digest, 120)
    assert await llmops(*words) == 0
    assert f"({digest[:10]}) is stable there already" in capsys.readouterr().out
