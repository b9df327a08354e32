"""Who met what, across restarts: the leader's union of all reports, saved into a ConfigMap now and then.

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

from llmops.api import names
from llmops.api.report import Unit
from llmops.kube.cluster import Cluster
from llmops.kube.resources import CONFIG_MAP
from llmops.rollout.ledger import Ledger, Tally
from llmops.rollout.state import Candidate, Frozen

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
        return sum(1 + len(one.failed) for one in self.ledger.units.values()), self.ledger.latest


_KEPT: WeakKeyDictionary[Cluster, dict[str, Kept]] = WeakKeyDictionary()


async def recall(cluster: Cluster, namespace: str, release: str, moving: Candidate, now: float) -> Kept:
    """The units of this attempt: what is in memory, or was saved, and what the gateways tell."""
    mine, whole = _KEPT.setdefault(cluster, {}), names.qualified(namespace, release)
    attempt = f"{moving.digest}/{moving.attempt}"
    kept = mine.get(whole)
    if kept is None or kept.attempt != attempt:
        kept = mine[whole] = Kept(attempt, saved_at=now)
        await _restore(cluster, namespace, release, kept)
        if cluster.reports is not None:
            cluster.reports.forget(whole, keep=(moving.digest, moving.attempt))
    kept.count(lambda: _told(cluster, whole, moving), moving.frozen, now)
    return kept


def _told(cluster: Cluster, whole: str, moving: Candidate) -> list[Unit]:
    if cluster.reports is None:
        return []
    told: list[Unit] = cluster.reports.units(release=whole, digest=moving.digest, attempt=moving.attempt)
    return told


def forget(cluster: Cluster, namespace: str, release: str) -> None:
    """The release is gone."""
    _KEPT.get(cluster, {}).pop(names.qualified(namespace, release), None)
    if cluster.reports is not None:
        cluster.reports.forget(names.qualified(namespace, release))


async def _restore(cluster: Cluster, namespace: str, release: str, kept: Kept) -> None:
    saved = await cluster.fresh(CONFIG_MAP, namespace, config_map_name(release))
    data = (saved or {}).get("data") or {}
    if data.get("attempt") != kept.attempt:
        return
    try:
        kept.ledger.unpack(data.get("units", ""))
    except ValueError as problem:  # the gateways tell it again; only a restart of all of them would lose something
        log.warning("PromptRelease %s/%s: %s", namespace, release, problem)
    kept.saved = kept.extent()


def due(kept: Kept, now: float, transition: bool) -> bool:
    """Whether to save: something came, and ten seconds have passed or the rollout moved."""
    waited = transition or not 0 <= now - kept.saved_at < SAVE_EVERY
    return waited and kept.extent() != kept.saved


def build_config_map(release: str, kept: Kept, now: float) -> Object:
    """The child; marks the ledger as saved."""
    kept.saved_at, kept.saved = now, kept.extent()
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": config_map_name(release)},
        "data": {"attempt": kept.attempt, "units": kept.ledger.pack()},
    }


def config_map_name(release: str) -> str:
    """Of the saved evidence."""
    return f"{release}-evidence"
