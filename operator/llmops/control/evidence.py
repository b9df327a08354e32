"""Who met what, across restarts: the leader's union of all reports, saved into a ConfigMap now and then.

`subject` is how gateways speak of what is rolled out: of a release its namespace/name, of a service names.subject.

Gateways keep their own units for the whole attempt and tell a new leader everything again. The ConfigMap covers what
they cannot: gateways and operator restarting together. What it misses are the last ten seconds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from llmops.api.report import Unit
from llmops.kube.cluster import Cluster
from llmops.kube.resources import CONFIG_MAP
from llmops.rollout.ledger import Ledger, Tally
from llmops.rollout.state import Candidate, Frozen
from llmops.rollout.world import Gateway

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

    def count(self, records: Callable[[], Iterable[Unit]], frozen: Frozen, now: float) -> Tally:
        """Take in what came and count; soon after an expensive count, the last one again (valid, only older)."""
        started = time.perf_counter()
        if started < self.count_from:
            return self.tally
        self.ledger.add(records())
        self.tally = self.ledger.tally(frozen.signals, now, {"Feedback": frozen.window})
        ended = time.perf_counter()
        self.count_from = ended + DUTY * (ended - started) if ended - started > 0.02 else 0.0
        return self.tally

    def extent(self) -> tuple[int, float]:
        """Changes whenever something new came."""
        return self.ledger.extent()


_KEPT: WeakKeyDictionary[Cluster, dict[str, Kept]] = WeakKeyDictionary()


async def recall(
    cluster: Cluster, namespace: str, subject: str, config_map: str, moving: Candidate, now: float
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
    kept.count(lambda: _told(cluster, subject, moving), moving.frozen, now)
    return kept


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
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {"attempt": kept.attempt, "units": kept.ledger.pack()},
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
