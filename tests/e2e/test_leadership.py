"""Leaders that are killed, stopped and ended in order, as processes of their own: who writes when, as etcd saw it.

Every write to the cluster has a number in one sequence. So the question has an exact answer without any clock: was
the writer the holder of the lease at that number?
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.e2e import contender

from llmops.kube.client import Client
from llmops.kube.lease import Lease, LeaseLost, Times
from llmops.kube.resources import CONFIG_MAP, LEASE
from llmops.kube.store import version_of

TAKEOVERS = int(os.environ.get("LLMOPS_TAKEOVERS", "9"))
FAULTS = (signal.SIGSTOP, signal.SIGKILL, signal.SIGTERM)


@dataclass
class Contest:
    """What etcd saw: (version, holder) of the lease, and (version, writer) of the journal."""

    namespace: str
    holders: list[tuple[int, str]] = field(default_factory=list)
    writes: list[tuple[int, str]] = field(default_factory=list)
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def holder(self) -> str:
        return self.holders[-1][1] if self.holders else ""

    async def start(self) -> None:
        self.processes.append(
            await asyncio.create_subprocess_exec(
                sys.executable, "-m", contender.__name__, self.namespace,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(["operator", "."])},
                stderr=asyncio.subprocess.DEVNULL,
            )
        )  # fmt: skip

    async def three(self) -> None:
        """As many as there were, whoever ended: a leader that the machine kept waiting does so too."""
        while sum(one.returncode is None for one in self.processes) < 3:
            await self.start()

    async def watch(self, client: Client, resource: Any, since: str, into: list[tuple[int, str]]) -> None:
        async for kind, obj in client.watch(resource, self.namespace, since):
            if kind in ("ADDED", "MODIFIED"):
                async with self.changed:
                    who = obj["spec"].get("holderIdentity") if resource == LEASE else obj.get("data", {}).get("writer")
                    into.append((version_of(obj), who or ""))
                    self.changed.notify_all()

    async def led_by_another_than(self, before: str) -> str:
        """Waits until another one leads and has written."""
        async with asyncio.timeout(120), self.changed:
            await self.changed.wait_for(
                lambda: self.holder not in ("", before) and self.writes and self.writes[-1][1] == self.holder
            )
            return self.holder

    async def struck(self, fault: signal.Signals, before: str) -> tuple[asyncio.subprocess.Process, str]:
        """The next leader whom this befell. One that has lost the lease by itself meanwhile is replaced instead."""
        while True:
            before = await self.led_by_another_than(before)
            process = next(one for one in self.processes if one.pid == int(before.split("-")[0]))
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(fault)
                return process, before
            await self.start()

    def strangers(self) -> list[tuple[int, str, str]]:
        """Writes whose writer did not hold the lease: (version, writer, holder)."""
        holders = iter([*self.holders, (sys.maxsize, "")])
        now, (then, after) = "", next(holders)
        found = []
        for version, writer in self.writes:
            while then < version:
                now, (then, after) = after, next(holders)
            if writer != now:
                found.append((version, writer, now))
        return found


@pytest.fixture
async def contest(cluster: Any, namespace: str) -> AsyncIterator[Contest]:
    contest = Contest(namespace)
    async with await Client.connect(timeout=60) as client:
        journal = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": contender.JOURNAL, "namespace": namespace},
        }
        since = (await client.create(CONFIG_MAP, journal))["metadata"]["resourceVersion"]
        watches = [
            asyncio.create_task(contest.watch(client, LEASE, since, contest.holders)),
            asyncio.create_task(contest.watch(client, CONFIG_MAP, since, contest.writes)),
        ]
        yield contest
        for process in contest.processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        for one in watches:
            one.cancel()
        await asyncio.gather(*watches, return_exceptions=True)


async def test_whoever_writes_holds_the_lease_however_leaders_are_stopped_killed_or_ended(contest: Contest) -> None:
    await contest.three()
    leader = ""
    for fault in itertools.islice(itertools.cycle(FAULTS), TAKEOVERS):
        process, leader = await contest.struck(fault, leader)
        await contest.led_by_another_than(leader)
        if fault == signal.SIGSTOP:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)  # it wakes in the middle of a write, and must not send it
        async with asyncio.timeout(60):
            await process.wait()  # who lost the lease ends by itself
        await contest.three()
    assert contest.strangers() == []
    assert len({who for _, who in contest.writes}) > TAKEOVERS


QUICK = Times(duration=2.5, renew_within=1.0, call=0.5, retry=0.2)


async def test_candidates_take_their_turns_and_never_lead_at_once(client: Client, namespace: str) -> None:
    """Thirty leaderships among three candidates in one process."""
    leading: list[str] = []
    terms = 0

    async def work() -> None:
        nonlocal terms
        terms += 1
        task = asyncio.current_task()
        assert task
        name = task.get_name()
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
    leads, started = asyncio.Event(), asyncio.Event()
    times: dict[str, float] = {}

    async def old() -> None:
        leads.set()
        try:
            await asyncio.Event().wait()
        finally:
            times["old stopped"] = time.monotonic()

    async def new() -> None:
        times["new started"] = time.monotonic()
        started.set()

    async with await Client.connect(timeout=0.4) as cut:
        first = asyncio.create_task(Lease(cut, namespace, "test", "old", QUICK).lead(old))
        await asyncio.wait_for(leads.wait(), 30)
        second = asyncio.create_task(Lease(client, namespace, "test", "new", QUICK).lead(new))
        cut._connection.server = "https://127.0.0.1:1"  # nothing answers there
        with pytest.raises(LeaseLost):
            await first
        await asyncio.wait_for(started.wait(), 30)
        await second
    assert times["old stopped"] < times["new started"]


async def test_a_leader_that_ends_in_order_is_followed_at_once(client: Client, namespace: str) -> None:
    async def nothing() -> None:
        return None

    await Lease(client, namespace, "test", "one", Times()).lead(nothing)
    async with asyncio.timeout(Times().duration / 2):  # who is not told waits the duration out
        await Lease(client, namespace, "test", "two", Times()).lead(nothing)
