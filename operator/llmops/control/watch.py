"""kopf, for what it does well: watching our own kinds, namespaced or not, and reconnecting. It only brings keys.

Its change handlers are edge-triggered and write into the objects, so none is used: `on.event` puts the key on the
queue, and nothing is posted, scanned or stored by kopf. A deletion that a 410 swallowed is brought by our own cache.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

import kopf
from kopf._core.engines.peering import Identity

from llmops.control.key import Key
from llmops.kube.resources import Resource

IDLE_SECONDS = 2.0  # per-object workers end soon: 5,000 services cost 88 MiB so, 174 MiB with kopf's default
OUTAGE_PAUSES = (0.5, 1, 2, 3, 5)  # else kopf stays blind for up to 18 s after an outage

Turn = Callable[[Key], None]


async def watch(resources: Sequence[Resource], namespaces: Sequence[str], turn: Turn) -> None:
    """Runs until cancelled; raises what ended kopf. With namespaces empty: the whole cluster.

    In a thread and a loop of its own: in ours it would take SIGTERM for itself, and at its end cancel every task that
    began after it, the release of the lease among them (seen with 1.45.2).
    """
    loop, stop = asyncio.get_running_loop(), threading.Event()
    ended: asyncio.Future[None] = loop.create_future()

    def run() -> None:
        problem: BaseException = RuntimeError("kopf stopped watching")
        try:
            kopf.run(
                registry=_registry(resources, lambda key: loop.call_soon_threadsafe(turn, key)),
                settings=_settings(),
                standalone=True,
                # by itself kopf asks for the user's name, and a pod's user has none
                identity=Identity(socket.gethostname()),
                clusterwide=not namespaces,
                namespaces=list(namespaces),
                stop_flag=stop,
            )
        except BaseException as raised:  # noqa: BLE001 - a thread's exceptions are lost unless handed over
            problem = raised
        if not stop.is_set():
            loop.call_soon_threadsafe(ended.set_exception, problem)

    threading.Thread(target=run, name="kopf", daemon=True).start()
    try:
        await ended
    finally:
        stop.set()


def _registry(resources: Sequence[Resource], turn: Callable[[Key], object]) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    for resource in resources:
        _bring_keys(registry, resource, turn)
    kopf.on.login(registry=registry)(_login)
    return registry


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.batching.idle_timeout = IDLE_SECONDS
    settings.watching.server_timeout = 290
    settings.networking.error_backoffs = OUTAGE_PAUSES
    # kopf's own loggers print a line an event
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)  # it warns of having no signals, as meant
    return settings


def _bring_keys(registry: kopf.OperatorRegistry, resource: Resource, turn: Callable[[Key], object]) -> None:
    @kopf.on.event(resource.group, resource.version, resource.plural, registry=registry)
    def came(namespace: str | None, name: str | None, **_: Any) -> None:
        turn(Key(resource.kind, namespace or "", name or ""))


def _login(**kwargs: Any) -> Any:
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)
