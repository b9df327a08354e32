"""Who leads: one Lease, renewed by the leader, taken by another only after it was silent for its whole duration.

Two leaders at once cannot be. All times are of a clock that never jumps and that counts while the machine sleeps; a
follower counts the silence it saw itself, so clocks of machines need not agree. From before a renewal was sent, the
leader may write for `duration` less `retry`, no longer: each of its writes gets what is left of that as its deadline
(Client.limit_writes), so also a process that was stopped and wakes up later writes nothing more. It gives up, and
the process ends, when it could not renew for `renew_within`. So, with `call` the deadline of a call for the lease:

    duration > renew_within + 2 x call + retry         (checked when built)
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from llmops.kube.client import Client
from llmops.kube.errors import ApiError, Conflict, NotFound
from llmops.kube.resources import LEASE, Object, Resource

log = logging.getLogger(__name__)

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux: goes on while a virtual machine is suspended


def _now() -> float:
    return time.clock_gettime(_CLOCK)


class LeaseLost(Exception):
    """This process led and may not any more; it must end now."""


@dataclass(frozen=True)
class Times:
    """In seconds."""

    duration: float = 15.0
    renew_within: float = 8.0
    call: float = 2.0
    retry: float = 2.0

    def __post_init__(self) -> None:
        if self.duration <= self.renew_within + 2 * self.call + self.retry:
            raise ValueError("a lease must last longer than renew_within + 2 x call + retry, or two could lead at once")

    @classmethod
    def of(cls, duration: float) -> Times:
        """The same proportions for another duration."""
        return cls(duration, duration * 8 / 15, duration * 2 / 15, duration * 2 / 15)


class Lease:
    """One process's view of the Lease `namespace/name`; `identity` must be this process's alone."""

    def __init__(self, client: Client, namespace: str, name: str, identity: str, times: Times | None = None) -> None:
        self._client, self._namespace, self._name, self.identity = client, namespace, name, identity
        self._times = times or Times()
        self._seen: tuple[str, float] = ("", 0.0)  # the resourceVersion, and when we saw it first
        self._renewed = float("-inf")  # when the renewal that succeeded last was sent
        self._met = False  # whether the Lease was ever there
        self._held: Object = {}
        self.leading = False

    def left(self) -> float:
        """How long this process may still write without another renewal; not positive when it does not lead."""
        return self._renewed + self._times.duration - self._times.retry - _now()

    async def lead(self, work: Callable[[], Awaitable[None]]) -> None:
        """Waits for the lease, runs `work` under it, releases it when `work` ends or this task is cancelled.

        LeaseLost if it could not be renewed; `work` is cancelled first.
        """
        self._client.limit_writes(self.left)
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
            self.leading, self._renewed = False, float("-inf")
            await self._release()

    async def _acquired(self) -> bool:
        """One attempt. Conflict means that another was quicker."""
        try:
            lease = await self._read()
            if self._silent_for(lease) <= self._lasts(lease):
                return False
            await self._write(self._client.create if lease is None else self._client.replace, lease or {})
            return True
        except Conflict:
            return False
        except (ApiError, TimeoutError) as problem:
            log.warning("lease %s/%s: %s", self._namespace, self._name, problem)
            return False

    def _silent_for(self, lease: Object | None) -> float:
        """Since when we have seen no renewal."""
        version = lease["metadata"]["resourceVersion"] if lease else ""
        if version != self._seen[0]:
            self._seen = (version, _now())
            self._met = True
        return _now() - self._seen[1]

    def _lasts(self, lease: Object | None) -> float:
        """How long it is respected without renewal: not at all when released, or left by ourselves."""
        if lease is None:
            # deleted under a leader, who learns of it at its next renewal; or there never was one
            return self._times.duration if self._met else -1.0
        spec = lease.get("spec") or {}
        if (spec.get("holderIdentity") or "") in ("", self.identity):
            return -1.0
        return max(float(spec.get("leaseDurationSeconds") or 0), self._times.duration)

    async def _renewing(self) -> None:
        while True:
            await asyncio.sleep(self._times.retry)
            try:
                await self._write(self._client.replace, self._held)
            except (Conflict, NotFound):
                await self._look()
            except (ApiError, TimeoutError) as problem:
                log.warning("lease not renewed: %s", problem)
            if _now() - self._renewed > self._times.renew_within:
                raise LeaseLost(f"the lease could not be renewed for {self._times.renew_within:g} s")

    async def _look(self) -> None:
        """Somebody wrote the lease: another leader, or a renewal of ours whose reply was lost, or a person."""
        try:
            lease = await self._read()
        except (ApiError, TimeoutError) as problem:
            log.warning("lease not read: %s", problem)
            return
        if lease is None or (lease.get("spec") or {}).get("holderIdentity") != self.identity:
            raise LeaseLost(f"the lease {self._namespace}/{self._name} is held by another")
        self._held = lease

    async def _release(self) -> None:
        """Lets the next one in at once; if that fails, it waits the duration out."""
        try:
            lease = await self._read()
            if lease is not None and (lease.get("spec") or {}).get("holderIdentity") == self.identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._timed(self._client.replace(LEASE, lease))
        except (ApiError, TimeoutError) as problem:
            log.warning("lease not released: %s", problem)

    async def _write(self, how: Callable[[Resource, Object], Awaitable[Object]], old: Object) -> None:
        """Makes the lease ours from now on; what we may do is counted from before the request left."""
        asked = _now()
        self._held = await self._timed(how(LEASE, self._object(old)))
        self._renewed = asked

    async def _read(self) -> Object | None:
        try:
            return await self._timed(self._client.get(LEASE, self._namespace, self._name))
        except NotFound:
            return None

    async def _timed(self, call: Awaitable[Object]) -> Object:
        async with asyncio.timeout(self._times.call):
            return await call

    def _object(self, old: Object) -> Object:
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
                "leaseDurationSeconds": math.ceil(self._times.duration),
                "acquireTime": before.get("acquireTime", now) if ours else now,
                "renewTime": now,
                "leaseTransitions": (before.get("leaseTransitions") or 0) + (0 if ours else 1),
            },
        }
