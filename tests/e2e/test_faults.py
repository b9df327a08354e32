"""The installed whole under faults, with users asking all the time: what breaks must not reach them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from demo import acts, install, shop
from demo.stage import NAMESPACE, apply, get, kubectl, until
from demo.users import Crowd
from tests.cluster import choose
from tests.cluster.layout import RUN

RELEASE = acts.RELEASE


@pytest.fixture(scope="module")
def show(cluster: object) -> Iterator[acts.Show]:
    """Services and a first release, as the demo makes them."""
    show = install.operator(fresh=True)
    acts.services(show)
    acts.first_release(show)
    yield show
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


class Patient(Crowd):
    """Keeps its thumbs-down to itself until it may speak: five of them end a canary before anybody has looked at it."""

    def __init__(self, show: acts.Show) -> None:
        super().__init__(show.door, show.key, RELEASE, shop.questions())
        self.may_speak = False

    async def _thumbs_down(self, answer_id: str) -> None:
        if self.may_speak:
            await super()._thumbs_down(answer_id)


async def asked(crowd: Crowd, more: int) -> None:
    """Returns when `more` further users were answered."""
    start = crowd.tally.asked
    async with asyncio.timeout(300):
        while crowd.tally.asked < start + more:
            await asyncio.sleep(0.05)


def pods(label: str, namespace: str) -> list[str]:
    return kubectl("get", "pods", "-n", namespace, "-l", label, "-o", "name").split()


async def test_a_model_pod_killed_under_load_costs_no_user_an_error(show: acts.Show) -> None:
    async with acts.crowd_of(show) as crowd:
        await asked(crowd, 100)
        victim = pods("llmops.dev/owner-name=support,llmops.dev/part=engine", NAMESPACE)[0]
        await asyncio.to_thread(
            kubectl, "delete", victim, "-n", NAMESPACE, "--grace-period=0", "--force", "--wait=false"
        )
        await asked(crowd, 300)
    assert crowd.tally.messages == []
    acts.until_true("llmservice", "support")


async def test_gateways_replaced_under_load_cost_no_user_an_error(show: acts.Show) -> None:
    async with acts.crowd_of(show) as crowd:
        await asked(crowd, 50)
        await asyncio.to_thread(kubectl, "rollout", "restart", "deployment/llmops-gateway", "-n", install.SYSTEM)
        await asyncio.to_thread(
            kubectl, "rollout", "status", "deployment/llmops-gateway", "-n", install.SYSTEM, "--timeout=180s"
        )
        await asked(crowd, 100)
    assert crowd.tally.messages == []


async def test_the_leader_killed_in_a_canary_changes_neither_its_end_nor_an_answer(show: acts.Show) -> None:
    async with acts.crowd_of(show) as crowd:
        acts.change(version="2.0.0", system=acts.BETTER)
        await asyncio.to_thread(until, "the canary", lambda: _phase() == "Canary", 300, lambda: _phase())
        lease = get("lease", "llmops-operator", install.SYSTEM)["spec"]["holderIdentity"]
        leader = lease.split("_")[0]
        await asyncio.to_thread(
            kubectl, "delete", "pod", leader, "-n", install.SYSTEM, "--grace-period=0", "--force", "--wait=false"
        )
        await asyncio.to_thread(until, "the release", lambda: _phase() == "Released", 300, lambda: _phase())
    assert crowd.tally.messages == []
    assert get("promptrelease", RELEASE)["status"]["stable"]["version"] == "2.0.0"


@pytest.mark.parametrize(
    ("version", "tokens", "end", "states"),
    [
        ("3.0.0", 63, "Released", {"Evaluating", "Canary 20", "Canary 50", "Baking"}),
        ("4.0.0", 18, "Rejected", {"Evaluating", "Canary 20"}),
    ],
)
async def test_a_gateway_killed_in_every_state_changes_no_end(
    show: acts.Show, version: str, tokens: int, end: str, states: set[str]
) -> None:
    """What the killed one had counted and had not yet told is lost, for both versions alike; the users' half-read
    answers too, which is all that they may notice."""
    stable = get("promptrelease", RELEASE)["status"]["stable"]["version"]
    killed: dict[str, str] = {}
    crowd = Patient(show)
    async with crowd:
        acts.change(version=version, system=acts.BETTER, max_tokens=tokens)
        async with asyncio.timeout(600):
            while (state := await asyncio.to_thread(_state, version)) != end:
                if state not in killed:
                    killed[state] = await asyncio.to_thread(_kill_a_gateway)
                crowd.may_speak = "Canary 20" in killed
                await asyncio.sleep(0.2)
    assert states <= set(killed), killed
    assert get("promptrelease", RELEASE)["status"]["stable"]["version"] == (version if end == "Released" else stable)
    assert len(crowd.tally.messages) <= 8 * len(killed), crowd.tally.messages  # as many as speak at a time
    assert all("Disconnected" in one or "Connect" in one or "Payload" in one for one in crowd.tally.messages)
    # The last one killed may still have connections led to it; whoever asks next should meet its successor.
    await asyncio.to_thread(
        kubectl, "rollout", "status", "deployment/llmops-gateway", "-n", install.SYSTEM, "--timeout=120s"
    )


def _state(version: str) -> str:
    """The version's phase, and its weight where it has one; Pending until the operator has seen it."""
    status = get("promptrelease", RELEASE)["status"]
    if any(one["version"] == version for one in status.get("rejected") or []):
        return "Rejected"
    phase, candidate = str(status["phase"]), status.get("candidate") or {}
    if (status.get("stable") or {}).get("version") == version:
        return "Released"
    if candidate.get("version") != version:
        return "Pending"
    return f"{phase} {candidate['weight']}" if phase == "Canary" else phase


def _kill_a_gateway() -> str:
    """The one that has been ready the longest, so that in every state another one answers."""
    found = json.loads(
        kubectl("get", "pods", "-n", install.SYSTEM, "-l", "app.kubernetes.io/name=llmops-gateway", "-o", "json")
    )["items"]
    alive = [one for one in found if "deletionTimestamp" not in one["metadata"]]
    victim = str(min(alive, key=lambda one: one["metadata"]["creationTimestamp"])["metadata"]["name"])
    kubectl("delete", "pod", victim, "-n", install.SYSTEM, "--grace-period=0", "--force", "--wait=false")
    return victim


async def test_a_revoked_key_finishes_its_stream_and_then_opens_nothing(show: acts.Show) -> None:
    from llmops.desk import keys

    key = keys.new_key(NAMESPACE, "leaver")
    manifest = keys.manifest(key, "leaver", NAMESPACE, ["*"])
    apply(manifest)
    leaver = acts.Show(show.door, key).client().with_options(max_retries=2)
    ask: dict[str, Any] = {"model": "support", "messages": [{"role": "user", "content": "How do I reset my password?"}]}

    def known() -> bool:
        return leaver.models.list().data != []

    await asyncio.to_thread(until, "the key is known", lambda: _works(known), 60)
    stream = await asyncio.to_thread(
        lambda: leaver.chat.completions.create(**ask, stream=True, max_tokens=400, extra_body={"ignore_eos": True})
    )
    pieces = iter(stream)
    next(pieces)
    manifest["spec"]["disabled"] = True
    apply(manifest)
    await asyncio.to_thread(until, "the key is refused", lambda: not _works(known), 60)
    rest = await asyncio.to_thread(lambda: sum(1 for _ in pieces))
    assert rest > 0


@pytest.mark.skipif(choose.choose() != "node", reason="stops the own node's API server")
async def test_the_door_goes_on_for_thirty_seconds_without_an_api_server(show: acts.Show) -> None:
    pid = int(json.loads((RUN / "pids" / "kube-apiserver.json").read_text())["pid"])
    async with acts.crowd_of(show) as crowd:
        await asked(crowd, 50)
        os.kill(pid, signal.SIGSTOP)
        try:
            stopped = time.monotonic()
            while time.monotonic() - stopped < 30:
                await asked(crowd, 20)
        finally:
            os.kill(pid, signal.SIGCONT)
        await asked(crowd, 50)
    assert crowd.tally.messages == []
    await asyncio.to_thread(
        until,
        "an operator leads again",
        lambda: acts.condition(get("llmservice", "support"), "Ready")["status"] == "True",
        120,
    )


def _phase() -> str:
    return str(get("promptrelease", RELEASE).get("status", {}).get("phase"))


def _works(test: object) -> bool:
    from openai import AuthenticationError, PermissionDeniedError

    try:
        return bool(test())  # type: ignore[operator]
    except (AuthenticationError, PermissionDeniedError):
        return False
