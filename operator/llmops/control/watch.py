"""kopf, for what it does well: watching our own kinds, namespaced or not, and reconnecting. It only brings keys.

Its change handlers are edge-triggered and write into the objects, so none is used: `on.event` puts the key on the
queue, and nothing is posted, scanned or stored by kopf. A deletion that a 410 swallowed is brought by our own cache.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import kopf

from llmops.control.key import Key
from llmops.kube.resources import Resource

IDLE_SECONDS = 2.0  # per-object workers end soon: 5,000 services cost 88 MiB so, 174 MiB with kopf's default
OUTAGE_PAUSES = (0.5, 1, 2, 3, 5)  # else kopf stays blind for up to 18 s after an outage


async def watch(
    resources: Sequence[Resource], namespaces: Sequence[str], turn: Callable[[Key], None], stop: asyncio.Event
) -> None:
    """Runs until `stop` is set. With namespaces empty: the whole cluster."""
    registry = kopf.OperatorRegistry()
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.batching.idle_timeout = IDLE_SECONDS
    settings.watching.server_timeout = 290
    settings.networking.error_backoffs = OUTAGE_PAUSES

    for resource in resources:
        _bring_keys(registry, resource, turn)
    kopf.on.login(registry=registry)(_login)
    # kopf's own logger prints a line an event
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    logging.getLogger("kopf").setLevel(logging.WARNING)
    await kopf.operator(
        registry=registry,
        settings=settings,
        standalone=True,
        clusterwide=not namespaces,
        namespaces=list(namespaces),
        stop_flag=stop,
    )


def _bring_keys(registry: kopf.OperatorRegistry, resource: Resource, turn: Callable[[Key], None]) -> None:
    @kopf.on.event(resource.group, resource.version, resource.plural, registry=registry)
    def came(namespace: str | None, name: str | None, **_: Any) -> None:
        turn(Key(resource.kind, namespace or "", name or ""))


def _login(**kwargs: Any) -> Any:
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)
