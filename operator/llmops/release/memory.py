"""Who met what, across restarts: the leader's union of all reports, saved into a ConfigMap now and then.

Gateways keep their own units for the whole attempt and tell a new leader everything again. The ConfigMap covers what
they cannot: gateways and operator restarting together. What it misses are the last ten seconds.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from llmops.api import names
from llmops.kube.cluster import Cluster
from llmops.kube.resources import CONFIG_MAP
from llmops.rollout.ledger import Ledger

log = logging.getLogger(__name__)
SAVE_EVERY = 10.0
Object = dict[str, Any]


@dataclass
class Kept:
    """The units of one attempt, and when they were saved."""

    attempt: str
    ledger: Ledger = field(default_factory=Ledger)
    saved_at: float = 0.0
    saved: tuple[int, float] = (0, 0.0)

    def extent(self) -> tuple[int, float]:
        """Changes whenever something new came."""
        return sum(1 + len(one.failed) for one in self.ledger.units.values()), self.ledger.latest


_KEPT: WeakKeyDictionary[Cluster, dict[str, Kept]] = WeakKeyDictionary()


async def recall(cluster: Cluster, namespace: str, release: str, digest: str, attempt: int, now: float) -> Kept:
    """The units of this attempt: what is in memory, or was saved, and what the gateways tell."""
    mine, whole = _KEPT.setdefault(cluster, {}), names.qualified(namespace, release)
    kept = mine.get(whole)
    if kept is None or kept.attempt != f"{digest}/{attempt}":
        kept = mine[whole] = Kept(f"{digest}/{attempt}", saved_at=now)
        await _restore(cluster, namespace, release, kept)
    if cluster.reports is not None:
        kept.ledger.add(cluster.reports.units(release=whole, digest=digest, attempt=attempt))
    return kept


def forget(cluster: Cluster, namespace: str, release: str) -> None:
    """The release is gone."""
    _KEPT.get(cluster, {}).pop(names.qualified(namespace, release), None)


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
