"""Revisions of a model where there is no room for a second set of pods: real evaluations, users all along."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from demo import acts
from demo.stage import NAMESPACE, apply, condition, get, kubectl, until
from tests.e2e.test_canary import BAD, GOOD, Crowd, phase, pod_uids, reaches, show, status, told
from tests.e2e.test_sleep import Object, service

__all__ = ["show"]  # a fixture
ROLLOUT: Object = {
    "capacity": "Recreate",
    "offline": [{"evalJobRef": {"name": "support-quality"}, "metric": "exact_match", "maxDrop": "0.02"}],
}


def wanted_pods(name: str) -> dict[str, int]:
    """How many its Deployments are told to have."""
    listed = kubectl("get", "deployments", "-n", NAMESPACE, "-l", f"llmops.dev/owner-name={name}", "-o", "json")
    return {one["metadata"]["name"]: one["spec"]["replicas"] for one in json.loads(listed)["items"]}


def ready_pods(name: str) -> int:
    """Of stable's home."""
    return int((get("deployment", f"{name}-llm").get("status") or {}).get("readyReplicas", 0))


def started_pods(name: str) -> int:
    """Of stable's home, those that are up and stay: on a machine without a moment to spare one may miss its readiness
    probe, and that is not what is asked here."""
    which = f"llmops.dev/owner-name={name},llmops.dev/part=engine"
    pods = json.loads(kubectl("get", "pods", "-n", NAMESPACE, "-l", which, "-o", "json"))["items"]
    staying = [one for one in pods if not one["metadata"].get("deletionTimestamp")]
    return sum(all(each["started"] for each in one["status"].get("containerStatuses") or [{"started": False}])
               for one in staying)  # fmt: skip


@asynccontextmanager
async def watched(name: str) -> AsyncIterator[tuple[list[dict[str, int]], list[int]]]:
    """(what its Deployments were told to have, how many pods users had), looked at again and again."""
    counts: list[dict[str, int]] = []
    started: list[int] = []
    stop = asyncio.Event()

    async def watch() -> None:
        while not stop.is_set():
            counts.append(await asyncio.to_thread(wanted_pods, name))
            started.append(await asyncio.to_thread(started_pods, name))

    task = asyncio.create_task(watch())
    try:
        yield counts, started
    finally:
        stop.set()
        await task


async def test_a_model_is_evaluated_in_a_lent_place_and_replaces_the_one_before_where_it_stands(
    show: acts.Show,
) -> None:
    apply(service("tight", model=BAD, rollout=ROLLOUT, replicas=2))
    await asyncio.to_thread(acts.until_true, "llmservice", "tight")
    async with watched("tight") as (counts, started), Crowd(show, "tight") as crowd:
        apply(service("tight", model=GOOD, rollout=ROLLOUT, replicas=2))
        await reaches("tight", "Evaluating")
        said = lambda: "stable lends it one of 2 replicas" in told("tight")  # noqa: E731
        await asyncio.to_thread(until, "told so", said, 60, lambda: told("tight"))
        await reaches("tight", "Released", 400)
        await asyncio.to_thread(acts.until_true, "llmservice", "tight")
    assert {code for _, code in crowd.met} == {200}
    assert crowd.met["candidate", 200] == 0
    own = f"tight-llm-{status('tight')['stable']['digest'][:10]}"
    assert {"tight-llm": 1, own: 1} in counts
    assert all(sum(one.values()) <= 3 and one.get(own, 0) <= 1 for one in counts)
    assert min(started) >= 1, started
    assert wanted_pods("tight") == {"tight-llm": 2}
    assert status("tight")["stable"]["service"] == "tight-llm"
    assert status("tight")["stable"]["version"] == "support-good.gguf"
    assert set(pod_uids("tight").values()) == {"engine"}

    # worse than what users have now: its place goes back, and it is remembered
    apply(service("tight", model=BAD, rollout=ROLLOUT, replicas=2))
    await reaches("tight", "Rejected", 400)
    back = lambda: wanted_pods("tight") == {"tight-llm": 2} and ready_pods("tight") == 2  # noqa: E731
    await asyncio.to_thread(until, "both replicas", back, 180, lambda: str(wanted_pods("tight")))
    assert condition(get("llmservice", "tight"), "Evaluated")["reason"] == "EvaluationFailed"
    assert condition(get("llmservice", "tight"), "Available")["status"] == "True"
    assert "retry with llmops.dev/retry: " in told("tight")
    assert status("tight")["stable"]["version"] == "support-good.gguf"


async def test_one_replica_is_not_lent_and_the_condition_says_what_to_write(show: acts.Show) -> None:
    apply(service("single", model=BAD, rollout=ROLLOUT))
    await asyncio.to_thread(acts.until_true, "llmservice", "single")
    [before] = pod_uids("single")
    apply(service("single", model=GOOD, rollout=ROLLOUT))
    said = lambda: "users would have none left: write replicas: 2" in told("single")  # noqa: E731
    await asyncio.to_thread(until, "told why", said, 120, lambda: f"{phase('single')}: {told('single')}")
    assert condition(get("llmservice", "single"), "Available")["status"] == "True"
    assert pod_uids("single").keys() == {before}
    apply(service("single", model=GOOD, rollout=ROLLOUT, replicas=2))
    await reaches("single", "Released", 400)
