"""`llmops operator`: one process; standby until it leads, then it reconciles until it stops or loses the lease.

Standbys keep their caches warm, so that a new leader starts at once. The process ends when the lease is lost: a work
that goes on without it could overwrite its successor's.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from llmops.api import Settings
from llmops.control.clock import SystemClock
from llmops.control.follow import follow
from llmops.control.health import serve
from llmops.control.key import Controller, Key
from llmops.control.loop import Loop
from llmops.control.reports import Reports
from llmops.control.watch import watch
from llmops.kube.cache import Cache
from llmops.kube.client import Client
from llmops.kube.cluster import Cluster
from llmops.kube.lease import Lease, LeaseLost, Times
from llmops.telemetry import metrics

log = logging.getLogger(__name__)

LEASE_NAME = "llmops-operator"
ENDING_SECONDS = 10.0  # for work to stop and the lease to be released; then the process ends all the same
FIRST_WORDS_SECONDS = 3.0  # that a new leader gives the gateways to speak before it looks at anything


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    namespaces: tuple[str, ...]
    kinds: tuple[str, ...]
    lease_namespace: str
    elect: bool
    port: int


def run(argv: list[str], controllers: Sequence[Controller]) -> int:
    """The whole life of the process; the exit status."""
    settings = Settings.from_env()
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    options = _options(argv, settings)
    chosen = _chosen(controllers, options.kinds)
    try:
        asyncio.run(_life(settings, options, chosen))
    except LeaseLost as lost:
        log.error("%s: this process ends, and comes back as a standby", lost)  # noqa: TRY400 - no fault of the code
        return 1
    return 0


def _chosen(controllers: Sequence[Controller], kinds: Sequence[str]) -> list[Controller]:
    known = {one.resource.kind for one in controllers}
    if unknown := set(kinds) - known:
        raise SystemExit(f"--kinds: {', '.join(sorted(unknown))} is no kind; write some of {', '.join(sorted(known))}")
    return [one for one in controllers if not kinds or one.resource.kind in kinds]


async def _life(settings: Settings, options: Options, controllers: Sequence[Controller]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with await Client.connect(settings.api_timeout_seconds, count=_count) as client:
        cache = Cache(client)
        cluster = Cluster(client, cache, settings)
        loop = Loop(controllers, cluster, SystemClock())
        cluster.reports = Reports(settings, changed=lambda kind, name: loop.turn(Key(kind, *name.split("/", 1))))
        cache.subscribe(loop.changed)
        follow(cache, controllers, options.namespaces, settings)
        health = await serve(options.port, alive=list, ready=cache.behind)
        kinds = [one.resource for one in controllers]
        tasks = [
            asyncio.create_task(work)
            for work in (
                _work(client, cluster, loop, options),
                watch(kinds, options.namespaces, loop.turn),
                cache.broken(),
                stop.wait(),
            )
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
        finally:
            for one in tasks:
                one.cancel()
            await asyncio.wait(tasks, timeout=ENDING_SECONDS)  # above all for the lease to be released
            await health.cleanup()
            await cache.close()


async def _work(client: Client, cluster: Cluster, loop: Loop, options: Options) -> None:
    """What only a leader does."""

    async def leading() -> None:
        await cluster.cache.synced()
        metrics.LEADING.set(1)
        async with asyncio.TaskGroup() as group:
            group.create_task(cluster.reports.run(cluster.cache))
            await cluster.reports.heard(FIRST_WORDS_SECONDS)
            group.create_task(loop.run(cluster.settings.workers))

    if not options.elect:
        return await leading()
    identity = f"{os.environ.get('POD_NAME') or socket.gethostname()}_{uuid.uuid4().hex[:8]}"
    times = Times.of(cluster.settings.lease_seconds)
    return await Lease(client, options.lease_namespace, LEASE_NAME, identity, times).lead(leading)


def _count(verb: str, plural: str, result: str) -> None:
    metrics.API_CALLS.labels(verb, plural, result).inc()


def _options(argv: list[str], settings: Settings) -> Options:
    parser = argparse.ArgumentParser(prog="llmops operator", description="Reconciles the kinds into cluster objects.")
    parser.add_argument(
        "--namespace", action="append", default=[], help="only this namespace (repeatable); default: all"
    )
    parser.add_argument("--kinds", default="", help="only these kinds, separated by commas")
    parser.add_argument("--lease-namespace", default=settings.system_namespace)
    parser.add_argument(
        "--no-leader-election", action="store_true", help="lead at once: for one process, while developing"
    )
    parser.add_argument("--port", type=int, default=8080, help="of /healthz, /readyz and /metrics")
    given = parser.parse_args(argv)
    kinds = tuple(kind for kind in given.kinds.split(",") if kind)
    return Options(tuple(given.namespace), kinds, given.lease_namespace, not given.no_leader_election, given.port)
