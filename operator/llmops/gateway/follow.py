"""Follows the cluster's objects and swaps a new Snapshot in when something changed.

Changes are gathered for GATHER seconds, so that a burst costs one compile. Whether the API server is there is asked
outright every PROBE seconds besides: a watch whose server has been stopped looks like one with nothing to say, and keys
and splits must age from that moment on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from llmops.api import LLMService, Settings, VectorIndex, names
from llmops.gateway.app import Door
from llmops.gateway.compile import Compiler, Objects
from llmops.kube.cache import Cache
from llmops.kube.client import Client
from llmops.kube.errors import ApiError
from llmops.kube.resources import (
    ENDPOINT_SLICE,
    GATEWAY_KEY,
    LLM_SERVICE,
    NAMESPACE,
    PROMPT_RELEASE,
    PROVIDER,
    REVISION,
    Object,
    Resource,
)
from llmops.telemetry import metrics

log = logging.getLogger(__name__)
GATHER = 0.02
PROBE = 2.0
PROBE_PATH = "/version"
FOLLOWED = (LLM_SERVICE, PROMPT_RELEASE, REVISION, GATEWAY_KEY)
PODS = f"{names.OWNER_KIND} in ({LLMService.KIND},{VectorIndex.KIND})"
SERVICE_NAME = "kubernetes.io/service-name"


class Follower:
    """Keeps a Door's snapshot up to date. `run` never returns."""

    def __init__(self, client: Client, door: Door, settings: Settings) -> None:
        self._client, self._door, self._settings = client, door, settings
        self._cache = Cache(client)
        self._compiler = Compiler()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Follow, compile, swap."""
        self._cache.subscribe(self._note)
        for resource in FOLLOWED:
            self._cache.follow(resource, keep=_keep)
        # of the admin's namespace only: whoever can write there may say where credentials are sent
        self._cache.follow(PROVIDER, self._settings.system_namespace, keep=_keep)
        self._cache.follow(ENDPOINT_SLICE, labels=PODS, keep=_keep)
        self._cache.follow(
            ENDPOINT_SLICE,
            self._settings.system_namespace,
            f"{SERVICE_NAME}={self._settings.gateway_service}",
            keep=_keep,
        )
        await self._cache.synced()
        self._changed.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen())
                tasks.create_task(self._compile())
        finally:
            await self._cache.close()

    def _note(self, resource: Resource, obj: Object, deleted: bool) -> None:
        self._changed.set()

    async def _compile(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(GATHER)
            self._changed.clear()
            objects = self._objects()
            if _needs_namespaces(objects) and not self._cache.follows(NAMESPACE):
                self._cache.follow(NAMESPACE, keep=_keep)
                await self._cache.synced()
                objects = self._objects()
            started = time.perf_counter()
            self._door.swap(self._compiler.snapshot(objects))
            metrics.GATEWAY_COMPILE_SECONDS.observe(time.perf_counter() - started)

    def _objects(self) -> Objects:
        every = self._cache.list
        slices = every(ENDPOINT_SLICE)
        return Objects(
            services=every(LLM_SERVICE),
            slices=slices,
            releases=every(PROMPT_RELEASE),
            revisions=every(REVISION),
            keys=every(GATEWAY_KEY),
            providers=every(PROVIDER),
            namespaces=every(NAMESPACE) if self._cache.follows(NAMESPACE) else (),
            gateways=self._gateways(slices),
        )

    def _gateways(self, slices: list[Object]) -> int:
        """How many doors are Ready, this one counted in any case."""
        mine = [
            one
            for one in slices
            if (one["metadata"].get("labels") or {}).get(SERVICE_NAME) == self._settings.gateway_service
            and one["metadata"]["namespace"] == self._settings.system_namespace
        ]
        ready = [e for one in mine for e in one.get("endpoints") or () if (e.get("conditions") or {}).get("ready")]
        return max(1, len(ready))

    async def _listen(self) -> None:
        while True:
            try:
                await self._client.raw(PROBE_PATH)
                if self._cache.connected:
                    self._door.heard()
            except ApiError as problem:
                log.warning(
                    "the API server does not answer (%s); serving what was known %.0f s ago",
                    problem,
                    self._door.silence(),
                )
            metrics.GATEWAY_CONTACT_AGE.set(self._door.silence())
            await asyncio.sleep(PROBE)


def _needs_namespaces(objects: Objects) -> bool:
    """Namespaces are followed only from when some access asks for their labels."""
    return any(
        ((one.get("spec") or {}).get("access") or {}).get("from") == "Selector"
        for one in (*objects.services, *objects.releases, *objects.providers)
    )


def _keep(obj: Object) -> Object:
    """Without what no snapshot reads: a fifth of the memory."""
    metadata: dict[str, Any] = obj["metadata"]
    kept = {key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion", "labels") if key in metadata}
    return {**obj, "metadata": kept}
