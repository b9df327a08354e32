"""Who leads: one Lease, renewed by the leader, taken by another only after it was silent for its whole duration.

Two leaders at once cannot be, as long as a process stops acting in time. All times are this machine's monotonic clock:
a follower counts the silence it saw itself, so clocks need not agree. The leader gives up `renew_within` after its
last successful renewal, measured from before that request was sent; every call has a deadline `call`; so the last
moment it may act is renew_within + call after the server stamped the lease, and `duration` exceeds that by a retry:

    duration > renew_within + 2 x call + retry         (checked when built)

A process that lost the lease must end: work in flight cannot be trusted to stop otherwise.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from llmops.kube.client import Client
from llmops.kube.errors import ApiError, Conflict, NotFound
from llmops.kube.resources import LEASE, Object

log = logging.getLogger(__name__)


class LeaseLost(Exception):
    """This process led and may not any more; it must end now."""


@dataclass(frozen=True)
class Times:
    """In seconds."""

    duration: float = 15.0
    renew_within: float = 8.0
    call: float = 2.0
    retry: float = 1.0

    def __post_init__(self) -> None:
        if self.duration <= self.renew_within + 2 * self.call + self.retry:
            raise ValueError("a lease must last longer than renew_within + 2 x call + retry, or two could lead at once")


class Lease:
    """One process's view of the Lease `namespace/name`; `identity` must be this process's alone."""

    def __init__(self, client: Client, namespace: str, name: str, identity: str, times: Times | None = None) -> None:
        self._client, self._namespace, self._name, self.identity = client, namespace, name, identity
        self._times = times or Times()
        self._seen: tuple[str, float] = ("", 0.0)  # the resourceVersion, and when we saw it first
        self.leading = False

    async def lead(self, work: Callable[[], Awaitable[None]]) -> None:
        """Waits for the lease, runs `work` under it, releases it when `work` ends or this task is cancelled.

        LeaseLost if it could not be renewed; `work` is cancelled first.
        """
        while not await self._acquired():  # noqa: ASYNC110 - the event is on the server
            await asyncio.sleep(self._times.retry)
        self.leading = True
        log.info("leading as %s", self.identity)
        tasks = [asyncio.ensure_future(work()), asyncio.ensure_future(self._renewing())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
        finally:
            for one in tasks:
                one.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.leading = False
            await self._release()

    async def _acquired(self) -> bool:
        """One attempt. Conflict means that another was quicker."""
        try:
            lease = await self._read()
            now = time.monotonic()
            if lease is None:
                await self._timed(self._client.create(LEASE, self._object({}, 0)))
                return True
            version = lease["metadata"]["resourceVersion"]
            if version != self._seen[0]:
                self._seen = (version, now)
            spec = lease.get("spec") or {}
            held = spec.get("holderIdentity") or ""
            silent = now - self._seen[1]
            if (
                held
                and held != self.identity
                and silent <= float(spec.get("leaseDurationSeconds") or self._times.duration)
            ):
                return False
            await self._timed(self._client.replace(LEASE, self._object(lease, spec.get("leaseTransitions") or 0)))
            return True
        except Conflict:
            return False
        except (ApiError, TimeoutError) as problem:
            log.warning("lease %s/%s: %s", self._namespace, self._name, problem)
            return False

    async def _renewing(self) -> None:
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(self._times.retry)
            asked = time.monotonic()
            try:
                lease = await self._read()
                if lease is None or lease["spec"].get("holderIdentity") != self.identity:
                    raise LeaseLost(f"the lease {self._namespace}/{self._name} is held by another")
                await self._timed(
                    self._client.replace(LEASE, self._object(lease, lease["spec"].get("leaseTransitions") or 0))
                )
                renewed = asked
            except (ApiError, TimeoutError) as problem:
                log.warning("lease not renewed: %s", problem)
            if time.monotonic() - renewed > self._times.renew_within:
                raise LeaseLost(f"the lease could not be renewed for {self._times.renew_within:g} s")

    async def _release(self) -> None:
        """Lets the next one in at once; if that fails, it waits the duration out."""
        try:
            lease = await self._read()
            if lease is not None and lease["spec"].get("holderIdentity") == self.identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._timed(self._client.replace(LEASE, lease))
        except (ApiError, TimeoutError) as problem:
            log.warning("lease not released: %s", problem)

    async def _read(self) -> Object | None:
        try:
            return await self._timed(self._client.get(LEASE, self._namespace, self._name))
        except NotFound:
            return None

    async def _timed(self, call: Awaitable[Object]) -> Object:
        async with asyncio.timeout(self._times.call):
            return await call

    def _object(self, old: Object, transitions: int) -> Object:
        """The lease as ours; the resourceVersion of `old` goes along, so that one of two takers gets Conflict."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # for people: nobody computes with it
        before = old.get("spec") or {}
        ours = before.get("holderIdentity") == self.identity
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": old.get("metadata") or {"namespace": self._namespace, "name": self._name},
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": round(self._times.duration),
                "acquireTime": before.get("acquireTime", now) if ours else now,
                "renewTime": now,
                "leaseTransitions": transitions if ours else transitions + 1,
            },
        }
