"""The reconcile loop: takes keys, runs their reconcile, plans the next look.

The only broad `except`s there are: around the functions of the kinds, so that one object's fault is that object's.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Mapping, Sequence

from llmops.api import names
from llmops.api.reasons import Reason
from llmops.control.clock import Clock
from llmops.control.conditions import stalled
from llmops.control.key import Controller, Key, Refers
from llmops.control.queue import WorkQueue
from llmops.kube.cluster import Cluster
from llmops.kube.errors import ApiError, Conflict, Forbidden, Invalid, NotOurs
from llmops.kube.resources import Object, Resource
from llmops.telemetry import metrics

log = logging.getLogger(__name__)


TURN_SECONDS = 120.0  # each call has a deadline of its own; this is for what should not happen: a turn that hangs


class Loop:
    """Joins the queue, the cache's changes and the controllers."""

    def __init__(self, controllers: Sequence[Controller], cluster: Cluster, clock: Clock) -> None:
        self._by_kind: Mapping[str, Controller] = {one.resource.kind: one for one in controllers}
        self._owned = {resource for one in controllers for resource in one.owns}
        self._referred: dict[Resource, list[Refers]] = {}
        for refers in (refers for one in controllers for refers in one.refers):
            self._referred.setdefault(refers.resource, []).append(refers)
        self._cluster, self._clock = cluster, clock
        self.queue: WorkQueue[Key] = WorkQueue()
        self.active = False
        metrics.QUEUE_DEPTH.set_function(lambda: len(self.queue))

    def changed(self, resource: Resource, obj: Object, deleted: bool) -> None:
        """A listener of the cache: gives a turn to the object itself, its owner, and whoever refers to it."""
        if not self.active:
            return
        metadata = obj["metadata"]
        namespace = metadata.get("namespace", "")
        if resource.kind in self._by_kind:
            self.queue.add(Key(resource.kind, namespace, metadata["name"]))
        if resource in self._owned:
            labels = metadata.get("labels") or {}
            kind, name = labels.get(names.OWNER_KIND, ""), labels.get(names.OWNER_NAME, "")
            if kind in self._by_kind and name:
                self.queue.add(Key(kind, namespace, name))
        for refers in self._referred.get(resource, ()):
            self._referrers(refers, obj)

    def _referrers(self, refers: Refers, obj: Object) -> None:
        try:
            for key in refers.keys(obj, self._cluster):
                self.queue.add(key)
        except Exception:
            # a kind's fault must not end the watch that told of the change; the resync makes up for the lost turn
            log.exception("who refers to %s %s?", refers.resource.kind, obj["metadata"]["name"])

    def turn(self, key: Key) -> None:
        """From kopf's events and the gateways' reports; ignored while another leads."""
        if self.active and key.kind in self._by_kind:
            self.queue.add(key)

    async def run(self, workers: int) -> None:
        """Reconciles everything once, then whatever changes, until cancelled."""
        self.active = True
        try:
            for controller in self._by_kind.values():
                for obj in self._cluster.list(controller.resource):
                    metadata = obj["metadata"]
                    self.queue.add(Key(controller.resource.kind, metadata["namespace"], metadata["name"]))
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(self._worker())
        finally:
            self.active = False

    async def _worker(self) -> None:
        while True:
            key = await self.queue.take()
            try:
                await self._turn(key)
            finally:
                self.queue.done(key)

    async def _turn(self, key: Key) -> None:
        started, result = time.perf_counter(), "ok"
        try:
            async with asyncio.timeout(TURN_SECONDS):
                again = await self._by_kind[key.kind].reconcile(key, self._cluster, self._clock)
            self.queue.succeeded(key)
            # the resync heals what no event told of; spread, so that a thousand objects do not come at once
            resync = self._cluster.settings.resync_seconds * random.uniform(0.8, 1.2)
            if self._cluster.get(self._by_kind[key.kind].resource, key.namespace, key.name) is not None:
                self.queue.add_after(key, resync if again.seconds is None else min(again.seconds, resync))
        except Conflict as problem:
            # the cache was a moment behind; the event that it waits for brings the next turn anyway
            result = "conflict"
            log.debug("%s: %s; again in %.1f s", key, problem, self.queue.failed(key))
        except (ApiError, NotOurs) as problem:
            result = "error"
            log.warning("%s: %s; again in %.1f s", key, problem, self.queue.failed(key))
            await self._tell(key, problem)
        except Exception:
            result = "error"
            log.exception("%s: again in %.1f s", key, self.queue.failed(key))
        finally:
            metrics.RECONCILE_SECONDS.labels(key.kind).observe(time.perf_counter() - started)
            metrics.RECONCILES.labels(key.kind, result).inc()

    async def _tell(self, key: Key, problem: Exception) -> None:
        """Writes what only a person can mend into the object's conditions, where people look."""
        reason = {NotOurs: Reason.NOT_OURS, Invalid: Reason.API_REFUSED, Forbidden: Reason.API_REFUSED}.get(
            type(problem)
        )
        obj = self._cluster.get(self._by_kind[key.kind].resource, key.namespace, key.name)
        if reason is None or obj is None:
            return
        status = obj.get("status") or {}
        said = stalled(status.get("conditions"), str(reason), str(problem), obj["metadata"], self._clock.now())
        try:
            await self._cluster.report(obj, {**status, "conditions": said})
            await self._cluster.event(obj, reason, str(problem), "Warning")
        except ApiError as again:
            log.debug("%s: not told: %s", key, again)
