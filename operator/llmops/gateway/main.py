"""`llmops gateway`: the process. In a pod, or on anybody's machine with KUBECONFIG set.

On SIGTERM: not ready from that moment, but answering still (others learn of it a little later) for
`drain_grace_seconds`, every answer asking its client to connect anew elsewhere; then no new connections, and streams
may finish for `drain_seconds`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Generator
from pathlib import Path

import uvicorn
import yaml

from llmops.api import Settings
from llmops.gateway.app import Door, client_session
from llmops.gateway.auth import Tokens
from llmops.gateway.compile import Compiler, Objects
from llmops.gateway.follow import Follower
from llmops.kube.client import Client

log = logging.getLogger(__name__)
IDLE_SECONDS = 75


class Server(uvicorn.Server):
    """uvicorn, with signals left to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Drain comes first."""
        yield


def run(settings: Settings, host: str = "0.0.0.0", port: int | None = None, objects: Path | None = None) -> None:
    """Until SIGTERM or SIGINT."""
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    with asyncio.Runner(loop_factory=_loop()) as runner:
        runner.run(serve(settings, host, settings.gateway_port if port is None else port, objects))


async def serve(settings: Settings, host: str, port: int, objects: Path | None = None) -> None:
    """The whole process: follow the cluster (or read `objects`, a file of YAML), answer requests, drain."""
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(client_session())
        client = None
        if objects is None:
            client = await stack.enter_async_context(await Client.connect(settings.api_timeout_seconds))
        tokens = Tokens(client.raw if client else _no_cluster)
        door = Door(settings, tokens, session, socket.gethostname())
        server = Server(config(door, host, port, settings))
        async with asyncio.TaskGroup() as tasks:
            if client is not None:
                follower = tasks.create_task(Follower(client, door, settings).run())
                tasks.create_task(_warm(tokens))
            else:
                assert objects is not None
                door.swap(Compiler().snapshot(read(objects)))
                follower = tasks.create_task(_always_heard(door))
            drain = tasks.create_task(_drain_on_signal(door, server, settings))
            await server.serve()
            drain.cancel()
            follower.cancel()


def config(door: Door, host: str, port: int, settings: Settings) -> uvicorn.Config:
    """The HTTP server: httptools, no access log, no lifespan, no headers of its own but the date."""
    return uvicorn.Config(
        door,
        host=host,
        port=port,
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=IDLE_SECONDS,
        backlog=2048,
        timeout_graceful_shutdown=round(settings.drain_seconds),
    )


def read(path: Path) -> Objects:
    """A file of objects in YAML, as `kubectl get -o yaml` or a person writes them."""
    found = [one for one in yaml.safe_load_all(path.read_text()) if one]
    flat = [inner for one in found for inner in (one["items"] if one.get("kind") == "List" else [one])]
    by_kind: dict[str, list[dict[str, object]]] = {}
    for one in flat:
        by_kind.setdefault(one["kind"], []).append(one)
    kinds = ("LLMService", "EndpointSlice", "PromptRelease", "Revision", "GatewayKey", "Namespace", "Provider")
    services, slices, releases, revisions, keys, namespaces, providers = (by_kind.get(kind, []) for kind in kinds)
    return Objects(services, slices, releases, revisions, keys, namespaces, providers)


async def _drain_on_signal(door: Door, server: Server, settings: Settings) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    await told.wait()
    log.info("draining")
    door.draining = True
    await asyncio.sleep(settings.drain_grace_seconds)
    server.should_exit = True


async def _warm(tokens: Tokens) -> None:
    """The first token should not wait for the signing keys; a failure is made good by the first token."""
    try:
        await tokens.refresh()
    except Exception as problem:  # noqa: BLE001 - any: it is tried again when needed
        log.warning("the cluster's token keys could not be read yet: %s", problem)


async def _always_heard(door: Door) -> None:
    while True:
        door.heard()
        await asyncio.sleep(1)


async def _no_cluster(path: str) -> dict[str, object]:
    raise RuntimeError("started from a file of objects: there is no cluster to verify tokens with")


def _loop() -> type[asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed: a quarter less CPU a request."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.Loop


def main(argv: list[str]) -> int:
    """`llmops gateway`."""
    parser = argparse.ArgumentParser(prog="llmops gateway", description="The one OpenAI-compatible door.")
    parser.add_argument("--host", default="0.0.0.0", help="default: every address of the pod")
    parser.add_argument("--port", type=int, default=None, help="default: the setting gateway_port")
    parser.add_argument("--objects", type=Path, help="serve these objects, a file of YAML, instead of a cluster's")
    given = parser.parse_args(argv)
    run(Settings.from_env(), given.host, given.port, given.objects)
    return 0
