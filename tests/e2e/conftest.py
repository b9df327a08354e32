"""What tests of the machinery stand on: a client that counts its writes, and a cluster as a reconcile sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.e2e import widgets

from llmops.api import Settings
from llmops.kube.cache import Cache
from llmops.kube.client import Client
from llmops.kube.cluster import Cluster
from llmops.kube.resources import CONFIG_MAP, SERVICE

LAST = (
    "test_main_job",
    "test_sleep",
    "test_keda",
    "test_canary",
    "test_adapters",
    "test_recreate",
    "test_ci",
    "test_external",
    "test_faults",
    "test_signals",
    "test_joint",
    "test_rollback",
    "test_transitions",
)  # they install the operator, which would join in whatever follows


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that drive a room by themselves first, the installed whole last; those whose fixtures do not lead to the
    cluster may run side by side."""
    for one in items:
        if "cluster" in getattr(one, "fixturenames", ()):
            one.add_marker("cluster")
    items.sort(key=lambda item: LAST.index(item.path.stem) + 1 if item.path.stem in LAST else 0)


@pytest.fixture(scope="session")
def taught(cluster: Any) -> Any:
    """The cluster knows Widgets."""
    cluster.apply(widgets.DEFINITION)
    cluster.kubectl(
        "wait", "--for=condition=Established", "--timeout=60s", f"crd/{widgets.DEFINITION['metadata']['name']}"
    )
    return cluster


@pytest.fixture
def writes() -> list[str]:
    """What the client wrote, as `verb plural`."""
    return []


@pytest.fixture
async def client(cluster: Any, writes: list[str]) -> AsyncIterator[Client]:
    def count(verb: str, plural: str, result: str) -> None:
        if verb not in ("get", "list"):
            writes.append(f"{verb} {plural}")

    async with await Client.connect(timeout=60, count=count) as client:
        yield client


@pytest.fixture
async def seen(taught: Any, client: Client, namespace: str) -> AsyncIterator[Cluster]:
    cache = Cache(client)
    for resource in (widgets.WIDGET, CONFIG_MAP, SERVICE):
        cache.follow(resource, namespace)
    try:
        await cache.synced(60)
        yield Cluster(client, cache, Settings())
    finally:
        await cache.close()
