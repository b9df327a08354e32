"""The shared machinery against the real API server, with a controller of ConfigMaps in place of a kind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from llmops.api import Settings
from llmops.control import Controller, Key, LookAgain, SystemClock
from llmops.control.loop import Loop
from llmops.kube.cache import Cache
from llmops.kube.client import Client
from llmops.kube.cluster import Cluster
from llmops.kube.errors import Conflict, NotFound, NotOurs
from llmops.kube.lease import Lease, LeaseLost, Times
from llmops.kube.resources import CONFIG_MAP, EVAL_JOB, SERVICE

pytestmark = pytest.mark.cluster

Object = dict[str, Any]


class Counting:
    """Counts what the client writes."""

    def __init__(self) -> None:
        self.writes: list[str] = []

    def __call__(self, verb: str, plural: str, result: str) -> None:
        if verb not in ("get", "list"):
            self.writes.append(f"{verb} {plural}")


@pytest.fixture
def counted() -> Counting:
    return Counting()


@pytest.fixture
async def client(cluster: Any, counted: Counting) -> AsyncIterator[Client]:
    async with await Client.connect(count=counted) as client:
        yield client


@pytest.fixture
async def seen(client: Client, namespace: str) -> AsyncIterator[Cluster]:
    cache = Cache(client)
    for resource in (EVAL_JOB, CONFIG_MAP, SERVICE):
        cache.follow(resource, namespace)
    await cache.synced(10)
    yield Cluster(client, cache, Settings())
    await cache.close()


async def until(test: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Waits until `test` is true, looking fifty times a second; what it gave."""
    async with asyncio.timeout(seconds):
        while not (found := test()):
            await asyncio.sleep(0.02)
    return found


def owner(namespace: str, name: str = "template") -> Object:
    return {
        "apiVersion": EVAL_JOB.api_version,
        "kind": EVAL_JOB.kind,
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"dataset": {"inline": [{"input": "a", "target": "b"}]}, "metrics": [{"name": "exact_match"}]},
    }


def child(name: str = "child", **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data or {"a": "1"}}


def service() -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "child"},
        "spec": {"selector": {"app": "x"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    }


async def test_an_apply_of_what_is_already_so_writes_nothing(seen: Cluster, namespace: str, counted: Counting) -> None:
    made = await seen.client.create(EVAL_JOB, owner(namespace))
    assert (await seen.apply([child(), service()], made)).written == 2
    await until(lambda: seen.get(SERVICE, namespace, "child") and seen.get(CONFIG_MAP, namespace, "child"))
    counted.writes.clear()
    assert (await seen.apply([child(), service()], made)).skipped == 2
    assert counted.writes == []


async def test_a_field_that_we_no_longer_set_is_removed(seen: Cluster, namespace: str) -> None:
    made = await seen.client.create(EVAL_JOB, owner(namespace))
    await seen.apply([child(a="1", b="2")], made)
    await until(lambda: seen.get(CONFIG_MAP, namespace, "child"))
    await seen.apply([child(a="1")], made)
    assert (await seen.client.get(CONFIG_MAP, namespace, "child"))["data"] == {"a": "1"}


async def test_somebody_elses_object_of_that_name_is_not_taken_over(seen: Cluster, namespace: str) -> None:
    made = await seen.client.create(EVAL_JOB, owner(namespace))
    foreign = child()
    foreign["metadata"]["namespace"] = namespace
    await seen.client.create(CONFIG_MAP, foreign)
    with pytest.raises(NotOurs, match=r"ConfigMap .*/child exists and is not of EvalJob template: rename"):
        await seen.apply([child(a="ours")], made)
    assert (await seen.client.get(CONFIG_MAP, namespace, "child"))["data"] == {"a": "1"}


async def test_what_is_no_longer_wanted_is_pruned_and_only_that(seen: Cluster, namespace: str) -> None:
    made = await seen.client.create(EVAL_JOB, owner(namespace))
    await seen.apply([child("one"), child("two")], made)
    await until(lambda: seen.get(CONFIG_MAP, namespace, "one") and seen.get(CONFIG_MAP, namespace, "two"))
    assert await seen.prune(made, keep=[child("one")], resources=[CONFIG_MAP]) == 1
    await until(lambda: seen.get(CONFIG_MAP, namespace, "two") is None)
    assert seen.get(CONFIG_MAP, namespace, "one")


async def test_a_status_is_written_once_and_never_over_a_newer_object(
    seen: Cluster, namespace: str, counted: Counting
) -> None:
    made = await seen.client.create(EVAL_JOB, owner(namespace))
    assert await seen.report(made, {"phase": "Pending"})
    fresh = await seen.client.get(EVAL_JOB, namespace, "template")
    counted.writes.clear()
    assert not await seen.report(fresh, {"phase": "Pending"})
    assert counted.writes == []
    with pytest.raises(Conflict):
        await seen.report(made, {"phase": "Running"})


async def test_a_status_field_that_is_gone_is_removed(seen: Cluster, namespace: str) -> None:
    made = await seen.client.create(EVAL_JOB, owner(namespace))
    await seen.report(made, {"phase": "Running", "progress": {"done": 1, "total": 2}})
    fresh = await seen.client.get(EVAL_JOB, namespace, "template")
    await seen.report(fresh, {"phase": "Succeeded"})
    status = (await seen.client.get(EVAL_JOB, namespace, "template"))["status"]
    assert status["phase"] == "Succeeded"
    assert "progress" not in status


async def test_a_deletion_that_the_watch_lost_is_told_by_the_list_that_follows(client: Client, namespace: str) -> None:
    """The server answers 410 to a watch from the first version there ever was, as it does after a long outage."""
    cache, gone = Cache(client), []
    cache.subscribe(lambda _, obj, deleted: gone.append(obj["metadata"]["name"]) if deleted else None)
    cache.follow(CONFIG_MAP, namespace)
    await cache.synced(10)
    one = child("vanishes")
    one["metadata"]["namespace"] = namespace
    await client.create(CONFIG_MAP, one)
    await until(lambda: cache.get(CONFIG_MAP, namespace, "vanishes"))
    (reflector,) = cache._reflectors[CONFIG_MAP]
    reflector.task.cancel()
    await client.delete(CONFIG_MAP, namespace, "vanishes")
    reflector._since = 1
    reflector.task = asyncio.create_task(reflector.run())
    await until(lambda: gone == ["vanishes"])
    await cache.close()


async def test_an_edited_or_deleted_child_is_put_back_within_two_seconds(seen: Cluster, namespace: str) -> None:
    async def reconcile(key: Key, cluster: Cluster, _: Any) -> LookAgain:
        found = cluster.get(EVAL_JOB, key.namespace, key.name)
        if found is not None:
            await cluster.apply([child(a="right")], owner=found)
        return LookAgain.never()

    loop = Loop([Controller(EVAL_JOB, reconcile, owns=(CONFIG_MAP,))], seen, SystemClock())
    seen.cache.subscribe(loop.changed)
    running = asyncio.create_task(loop.run(workers=2))
    await seen.client.create(EVAL_JOB, owner(namespace))
    await until(lambda: seen.get(CONFIG_MAP, namespace, "child"))

    def right() -> bool:
        return (seen.get(CONFIG_MAP, namespace, "child") or {}).get("data") == {"a": "right"}

    for damage in ("edit", "delete"):
        started = time.monotonic()
        if damage == "edit":
            await seen.client.patch(CONFIG_MAP, namespace, "child", {"data": {"a": "wrong"}})
        else:
            await seen.client.delete(CONFIG_MAP, namespace, "child")
        await until(lambda: not right() or time.monotonic() - started > 0.5)
        await until(right)
        assert time.monotonic() - started < 2, damage
    running.cancel()


QUICK = Times(duration=2.5, renew_within=1.0, call=0.5, retry=0.2)


async def test_two_candidates_never_lead_at_once_however_often_one_fails(client: Client, namespace: str) -> None:
    """Thirty leaderships among three candidates; every third leader is cut off from the API server instead of ending."""
    leading: list[str] = []
    terms = 0

    async def work() -> None:
        nonlocal terms
        terms += 1
        name = asyncio.current_task().get_name()  # type: ignore[union-attr]
        leading.append(name)
        assert len(leading) == 1, leading
        try:
            await asyncio.sleep(0.3)
        finally:
            leading.remove(name)

    async def candidate(name: str) -> None:
        while terms < 30:
            lease = Lease(client, namespace, "test", f"{name}-{terms}", QUICK)
            await lease.lead(work)

    async with asyncio.timeout(120):
        await asyncio.gather(*(candidate(name) for name in "abc"))
    assert terms >= 30


async def test_a_leader_cut_off_stops_before_another_starts(client: Client, namespace: str) -> None:
    cut = await Client.connect(timeout=0.4)
    stopped, started = asyncio.Event(), asyncio.Event()
    times: dict[str, float] = {}

    async def old() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            times["old stopped"] = time.monotonic()
            stopped.set()

    async def new() -> None:
        times["new started"] = time.monotonic()
        started.set()

    first = asyncio.create_task(Lease(cut, namespace, "test", "old", QUICK).lead(old))
    await asyncio.sleep(0.5)
    second = asyncio.create_task(Lease(client, namespace, "test", "new", QUICK).lead(new))
    cut._connection.server = "https://127.0.0.1:1"  # nothing answers there
    with pytest.raises(LeaseLost):
        await first
    await asyncio.wait_for(started.wait(), 10)
    await second
    assert times["old stopped"] < times["new started"]
    await cut.close()


async def test_a_leader_that_ends_in_order_is_followed_at_once(client: Client, namespace: str) -> None:
    async def nothing() -> None:
        return None

    await Lease(client, namespace, "test", "one", Times()).lead(nothing)
    started = time.monotonic()
    await asyncio.wait_for(Lease(client, namespace, "test", "two", Times()).lead(nothing), 5)
    assert time.monotonic() - started < 3


async def test_a_missing_object_is_not_found_and_says_which(client: Client, namespace: str) -> None:
    with pytest.raises(NotFound, match="absent"):
        await client.get(CONFIG_MAP, namespace, "absent")
