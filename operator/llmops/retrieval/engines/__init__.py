"""Vector databases, one file an engine. An engine is an address and the children that make it answer there; how it is
talked to is in stores/.

What is not in ENGINES is said in a condition of the index, and nothing of it is begun.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from llmops.api import Settings, VectorIndex
from llmops.kube.resources import Object
from llmops.retrieval.engines import cluster, lite, standalone
from llmops.retrieval.engines.external import External
from llmops.retrieval.engines.opener import Standing
from llmops.retrieval.engines.waits import Live, Waits
from llmops.retrieval.stores import CREDENTIALS


class Engine(Protocol):
    """One way to have a vector database."""

    def waits(self, index: VectorIndex, live: Live) -> Waits | None:
        """Why it cannot be built in now, by the objects that are there; None where it can."""

    def standing(self, index: VectorIndex, settings: Settings, live: Live) -> Standing:
        """What is there of it, where we run it."""

    def address(self, index: VectorIndex, settings: Settings) -> str:
        """As pods in the cluster reach it."""

    def children(self, index: VectorIndex, settings: Settings, standing: Standing) -> list[Object]:
        """In the order they are applied."""


ENGINES: Mapping[tuple[str, str], Engine] = {
    ("Milvus", "Lite"): lite.SERVER,
    ("Milvus", "Standalone"): standalone.SERVER,
    ("Milvus", "Cluster"): cluster.MilvusCluster(),
    ("Milvus", "External"): External(),
    ("PgVector", "External"): External(),
    ("Qdrant", "External"): External(),
}


def place(index: VectorIndex) -> str:
    """Which engine an index's generations are in; empty for Lite, the default."""
    engine = index.spec.engine
    if engine.mode == "Lite":
        return ""
    at = [engine.external.uri, engine.external.database or ""] if engine.external else []
    at += [engine.cluster.name or ""] if engine.cluster else []
    return " ".join([engine.type, engine.mode, *at]).strip()


def database(index: VectorIndex) -> str:
    """The database in it; empty for the engine's default one."""
    external = index.spec.engine.external
    return (external.database if external else None) or ""


def credentials(index: VectorIndex) -> list[Object]:
    """Environment of the Job and the query server, filled by the kubelet: the operator never sees it. A Secret has a
    token, or a username and a password; what is wrong with it is told by the engine."""
    there = index.spec.engine.external or index.spec.engine.cluster
    if there is None or there.credentials_secret_ref is None:
        return []
    name = there.credentials_secret_ref.name
    return [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": key, "optional": True}}}
        for key, variable in CREDENTIALS.items()
    ]


def unavailable(index: VectorIndex) -> str | None:
    """What this version does not run, and what to write instead."""
    engine = index.spec.engine
    if (engine.type, engine.mode) in ENGINES:
        return cluster.refused(index) if engine.mode == "Cluster" else None
    has = sorted(mode for type_, mode in ENGINES if type_ == engine.type)
    return f"engine {engine.type} in mode {engine.mode} is not available yet: write spec.engine.mode {' or '.join(has)}"
