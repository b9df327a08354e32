"""control/ against the real API server: turns, repairs, faults of a kind's code, a restart that writes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from tests.e2e.widgets import CONTROLLER, WIDGET, child, service, until, widget

from llmops.control import Controller, Key, LookAgain, Refers, SystemClock
from llmops.control.loop import Loop
from llmops.kube.cluster import Cluster
from llmops.kube.resources import CONFIG_MAP, SERVICE


@asynccontextmanager
async def reconciling(seen: Cluster, controller: Controller = CONTROLLER) -> AsyncIterator[Loop]:
    loop = Loop([controller], seen, SystemClock())
    seen.cache.subscribe(loop.changed)
    running = asyncio.create_task(loop.run(workers=2))
    try:
        yield loop
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def holds(seen: Cluster, namespace: str, name: str, data: str) -> Callable[[], bool]:
    return lambda: (seen.get(CONFIG_MAP, namespace, name) or {}).get("data") == {"a": data}


async def test_an_edited_or_deleted_child_is_put_back(seen: Cluster, namespace: str) -> None:
    right = holds(seen, namespace, "one", "right")
    async with reconciling(seen):
        await seen.client.create(WIDGET, widget(namespace, data="right"))
        await until(right)
        for _ in range(5):
            edited = await seen.client.patch(CONFIG_MAP, namespace, "one", {"data": {"a": "wrong"}})
            await until(lambda: right() and version(seen, namespace) > int(edited["metadata"]["resourceVersion"]))  # noqa: B023
            uid = edited["metadata"]["uid"]
            await seen.client.delete(CONFIG_MAP, namespace, "one")
            await until(lambda: right() and seen.get(CONFIG_MAP, namespace, "one")["metadata"]["uid"] != uid)  # type: ignore[index] # noqa: B023


def version(seen: Cluster, namespace: str) -> int:
    return int((seen.get(CONFIG_MAP, namespace, "one") or {})["metadata"]["resourceVersion"])


async def test_a_new_object_costs_its_child_and_its_status_and_a_restart_costs_nothing(
    seen: Cluster, namespace: str, writes: list[str]
) -> None:
    names, looked = {"one", "two", "three"}, set[str]()

    async def noted(key: Key, cluster: Cluster, clock: Any) -> LookAgain:
        again = await CONTROLLER.reconcile(key, cluster, clock)
        looked.add(key.name)
        return again

    def told() -> set[str]:
        widgets = seen.list(WIDGET, namespace)
        return {one["metadata"]["name"] for one in widgets if (one.get("status") or {}).get("seen") == "x"}

    async with reconciling(seen) as loop:
        for name in names:
            await seen.client.create(WIDGET, widget(namespace, name, data="x"))
        await until(lambda: told() == names)
        await until(lambda: idle(loop))
    assert sorted(writes) == ["apply configmaps"] * 3 + ["create widgets"] * 3 + ["patch widgets"] * 3
    writes.clear()
    async with reconciling(seen, replace(CONTROLLER, reconcile=noted)) as loop:
        await until(lambda: looked == names and idle(loop))
    assert writes == []


def idle(loop: Loop) -> bool:
    return not len(loop.queue) and not loop.queue._running


async def test_what_only_a_person_can_mend_is_told_in_the_conditions_and_taken_back(
    seen: Cluster, namespace: str
) -> None:
    await seen.client.create(CONFIG_MAP, child("one", namespace, a="foreign"))
    async with reconciling(seen):
        await seen.client.create(WIDGET, widget(namespace, data="ours"))
        told = await until(lambda: (seen.get(WIDGET, namespace, "one") or {}).get("status", {}).get("conditions"))
        stalled = next(one for one in told if one["type"] == "Stalled")
        assert (stalled["status"], stalled["reason"]) == ("True", "NotOurs")
        assert f"ConfigMap {namespace}/one exists and is not of Widget one: rename" in stalled["message"]
        await seen.client.delete(CONFIG_MAP, namespace, "one")
        await until(holds(seen, namespace, "one", "ours"))


async def test_a_fault_in_one_kinds_code_harms_neither_the_watch_nor_other_objects(
    seen: Cluster, namespace: str
) -> None:
    async def clumsy(key: Any, cluster: Cluster, clock: Any) -> Any:
        if key.name == "broken":
            raise KeyError("a fault of the code")
        return await CONTROLLER.reconcile(key, cluster, clock)

    def whose(obj: Any, cluster: Cluster) -> Any:
        raise TypeError("a fault of the code")

    controller = replace(CONTROLLER, reconcile=clumsy, refers=(Refers(SERVICE, whose),))
    async with reconciling(seen, controller):
        await seen.client.create(WIDGET, widget(namespace, "broken"))
        made = await seen.client.create(WIDGET, widget(namespace, "owner", data="x"))
        await seen.apply([service()], made)
        await until(lambda: seen.get(SERVICE, namespace, "child"))
        await seen.client.create(WIDGET, widget(namespace, "one", data="right"))
        await until(holds(seen, namespace, "one", "right"))
        assert seen.cache.connected
