"""What the turn of a GatewayKey needs to know, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llmops.api import GatewayKey
from llmops.api.report import Spend
from llmops.control import Key
from llmops.kube.cluster import Cluster
from llmops.kube.resources import GATEWAY_KEY, Object


@dataclass(frozen=True)
class Seen:
    """The key, and what came with it: for each gateway's instance the sums since that began."""

    raw: Object
    key: GatewayKey
    spent: Mapping[str, Spend]


def observe(key: Key, cluster: Cluster) -> Seen | None:
    """None when the object is gone."""
    raw = cluster.get(GATEWAY_KEY, key.namespace, key.name)
    if raw is None:
        return None
    parsed = GatewayKey.parse(raw)
    spent = cluster.reports.spent(parsed.qualified) if cluster.reports is not None else {}
    return Seen(raw, parsed, spent)
