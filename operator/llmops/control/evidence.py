"""Who met what, across restarts: the leader's union of all reports, saved into a ConfigMap now and then.

`subject` is how gateways speak of what is rolled out: of a release its namespace/name, of a service names.subject.

Gateways keep their own units for the whole attempt and tell a new leader everything again. The ConfigMap covers what
they cannot: gateways and operator restarting together. What it misses are the last ten seconds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

from llmops.api.report import Unit
from llmops.api.rollout import Rollout
from llmops.control import prometheus
from llmops.kube.cluster import Cluster
from llmops.kube.resources import CONFIG_MAP
from llmops.rollout.counters import EVERY, SETTLES, SIGNAL, Counters
from llmops.rollout.ledger import Ledger, Tally
from llmops.rollout.state import Candidate, Frozen
from llmops.rollout.world import Gateway, World, behind

log = logging.getLogger(__name__)
SAVE_EVERY = 10.0
DUTY = 10
"""Counting may take one part in so many of the time: with very many users a count is some seconds old instead."""
Object = dict[str, Any]


@dataclass
class Kept:
    """The units of one attempt, and when they were saved."""

    attempt: str
    ledger: Ledger = field(default_factory=Ledger)
    saved_at: float = 0.0
    saved: tuple[int, float] = (0, 0.0)
    tally: Tally = field(default_factory=Tally)
    count_from: float = 0.0  # monotonic
    counters: Counters | None = None
    read_at: float = float("-inf")
    reading: asyncio.Task[None] | None = None

    def count(self, records: Callable[[], Iterable[Unit]], frozen: Frozen, now: float) -> Tally:
        """Take in what came and count; soon after an expensive count, the last one again (valid, only older)."""
        started = time.perf_counter()
        if started < self.count_from:
            return self.tally
        self.ledger.add(records())
        self.tally = self.ledger.tally(frozen.signals, now, {"Feedback": frozen.window})
        if self.counters is not None:
            counts = {**self.tally.signals, SIGNAL: self.counters.counts()}
            self.tally = replace(self.tally, signals=counts)
        ended = time.perf_counter()
        self.count_from = ended + DUTY * (ended - started) if ended - started > 0.02 else 0.0
        return self.tally

    def extent(self) -> tuple[int, float]:
        """Changes whenever something new came."""
        return self.ledger.extent()


_KEPT: WeakKeyDictionary[Cluster, dict[str, Kept]] = WeakKeyDictionary()


async def recall(
    cluster: Cluster, namespace: str, subject: str, config_map: str, moving: Candidate, rollout: Rollout, now: float
) -> Kept:
    """The units of this attempt: what is in memory, or was saved, and what the gateways tell."""
    mine = _KEPT.setdefault(cluster, {})
    attempt = f"{moving.digest}/{moving.attempt}"
    kept = mine.get(subject)
    if kept is None or kept.attempt != attempt:
        kept = mine[subject] = Kept(attempt, saved_at=now)
        await _restore(cluster, namespace, config_map, kept)
        if cluster.reports is not None:
            cluster.reports.forget(subject, keep=(moving.digest, moving.attempt))
    if SIGNAL in moving.frozen.signals:
        world = World(now, gateways=gateways(cluster, subject, now))
        _read(cluster.settings.prometheus_url, kept, rollout, moving, world)
    kept.count(lambda: _told(cluster, subject, moving), moving.frozen, now)
    return kept


def _read(url: str, kept: Kept, rollout: Rollout, moving: Candidate, world: World) -> None:
    """Begin to ask Prometheus what it has counted by now. Nobody waits for its answer: it is there at a later look."""
    if kept.counters is None:
        asked = next((one for one in rollout.online if one.signal == SIGNAL), None)
        if asked is None:  # taken out of the spec, and what it asked was not saved
            return
        kept.counters = Counters(asked.failures or "", asked.total or "")
    counters, now = kept.counters, world.now
    if not moving.weight or not 0 <= moving.since + SETTLES <= now or behind(moving, world):
        counters.last = None  # what Prometheus knows may still be of another weight
        return
    if not url or 0 <= now - kept.read_at < EVERY or (kept.reading is not None and not kept.reading.done()):
        return
    kept.read_at = now

    async def read() -> None:
        counters.add(moving.weight, await asyncio.gather(*(prometheus.number(url, one) for one in counters.queries())))

    kept.reading = asyncio.get_running_loop().create_task(read())


def _told(cluster: Cluster, subject: str, moving: Candidate) -> list[Unit]:
    if cluster.reports is None:
        return []
    told: list[Unit] = cluster.reports.units(release=subject, digest=moving.digest, attempt=moving.attempt)
    return told


def forget(cluster: Cluster, subject: str) -> None:
    """It is gone."""
    _KEPT.get(cluster, {}).pop(subject, None)
    if cluster.reports is not None:
        cluster.reports.forget(subject)


async def _restore(cluster: Cluster, namespace: str, config_map: str, kept: Kept) -> None:
    saved = await cluster.fresh(CONFIG_MAP, namespace, config_map)
    data = (saved or {}).get("data") or {}
    if data.get("attempt") != kept.attempt:
        return
    if "prometheus" in data:
        kept.counters = Counters.unpack(data["prometheus"])
    try:
        kept.ledger.unpack(data.get("units", ""))
    except ValueError as problem:  # the gateways tell it again; only a restart of all of them would lose something
        log.warning("%s/%s: %s", namespace, config_map, problem)
    kept.saved = kept.extent()


def due(kept: Kept, now: float, transition: bool) -> bool:
    """Whether to save: something came, and ten seconds have passed or the rollout moved."""
    waited = transition or not 0 <= now - kept.saved_at < SAVE_EVERY
    return waited and kept.extent() != kept.saved


def build_config_map(name: str, kept: Kept, now: float) -> Object:
    """The child; marks the ledger as saved."""
    kept.saved_at, kept.saved = now, kept.extent()
    counted = {"prometheus": kept.counters.pack()} if kept.counters is not None else {}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {"attempt": kept.attempt, "units": kept.ledger.pack(), **counted},
    }


def gateways(cluster: Cluster, subject: str, now: float) -> tuple[Gateway, ...]:
    """What each Ready gateway does with its users."""
    if cluster.reports is None:
        return ()
    return tuple(_gateway(subject, one, now) for one in cluster.reports.gateways())


def _gateway(subject: str, told: Any, now: float) -> Gateway:
    if told.age == float("inf"):
        return Gateway(told.pod, None)
    serving = told.serving.get(subject) or {}
    return Gateway(
        told.pod,
        now - told.age,
        serving.get("candidate"),
        serving.get("attempt") or 0,
        serving.get("weight") or 0,
        serving.get("stable"),
    )
