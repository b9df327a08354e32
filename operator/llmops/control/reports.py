"""What the gateways tell the leader: one long poll each, merged into who met what (llmops/api/report.py).

A unit that meets two gateways counts once, where it came first; a failure keeps the variant and the weight of the
answer that failed. Whoever counts (rollout/ledger.py) leaves out failures of units whose exposure nobody knows, so
feedback with an invented id changes nothing. Everything is kept per attempt and bounded; a new leader, or a
gateway that restarted, tells everything again from the start, so nothing here needs to be stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import orjson

from llmops.api import Settings, names
from llmops.api.report import MAX_UNITS, PATH, Load, Poll, Report, Serving, Spend, Unit
from llmops.kube.cache import Cache
from llmops.kube.resources import ENDPOINT_SLICE, LLM_SERVICE, PROMPT_RELEASE, PROVIDER
from llmops.telemetry import metrics

log = logging.getLogger(__name__)

WAIT = 4.0  # seconds of a poll without news; a report that is much older is of a gateway that does not answer
PAUSE = 0.5  # after a poll that failed; doubling
LONGEST_PAUSE = 4.0
SILENT = WAIT + 6  # seconds after which what a gateway said last is not believed any more


@dataclass
class GatewayState:
    """One gateway as of its last report; `age` in seconds is infinite before the first."""

    pod: str
    serving: dict[str, Serving] = field(default_factory=dict)
    services: dict[str, int] = field(default_factory=dict)
    load: dict[str, Load] | None = None  # None: never reported, or of a version that tells none
    providers: dict[str, bool] = field(default_factory=dict)
    reported: float = float("-inf")
    ready: bool = True
    """False while it ends: it is still asked for what its last streams count, and nobody waits for it."""

    @property
    def age(self) -> float:
        return time.monotonic() - self.reported


@dataclass(frozen=True)
class Demand:
    """What all gateways together have to do for one service: requests at its pods, requests held, tokens generated so
    far. `idle` is for how many seconds nobody asked, as far as this leader saw; None while a gateway is silent."""

    running: int
    held: int
    tokens: int
    idle: float | None


Attempt = tuple[str, str, int]  # release as namespace/name, candidate's digest, attempt


class Reports:
    """`changed(kind, "ns/name")` is called for each release and each service of which something new came."""

    def __init__(self, settings: Settings, changed: Callable[[str, str], None]) -> None:
        self._settings, self._changed, self._token = settings, changed, Path(settings.token_file)
        self._units: dict[Attempt, dict[Hashable, Unit]] = {}
        self._gateways: dict[str, GatewayState] = {}
        self._spend: dict[str, dict[str, Spend]] = {}  # instance -> key -> spend
        self._polls: dict[str, asyncio.Task[None]] = {}
        self._began = time.monotonic()
        self._active: dict[str, float] = {}  # service -> when it was last seen to be asked
        self._followed = False

    def demand(self, service: str) -> Demand:
        """The sum over the gateways; one that ends still counts for what it finishes."""
        fresh = [one.load for one in self._gateways.values() if one.load is not None and one.age < SILENT]
        told = [load[service] for load in fresh if service in load]
        ready = self.gateways()
        known = bool(ready) and all(one.load is not None and one.age < SILENT for one in ready)
        return Demand(
            running=sum(one["running"] for one in told),
            held=sum(one["held"] for one in told),
            tokens=sum(one["tokens"] for one in told),
            idle=time.monotonic() - self._active.get(service, self._began) if known else None,
        )

    def credential(self, provider: str) -> bool | None:
        """Whether every ready gateway has a credential for it; None while one does not know the Provider."""
        told = [one.providers.get(provider) for one in self.gateways()]
        return None if not told or None in told else all(told)

    def units(self, release: str, digest: str, attempt: int) -> list[Unit]:
        """First meetings and first failures, as the gateways told them, each once."""
        return list(self._units.get((release, digest, attempt), {}).values())

    def gateways(self) -> list[GatewayState]:
        """Every gateway that is ready to serve, also those that never reported."""
        return [one for one in self._gateways.values() if one.ready]

    def spend(self, key: str) -> Spend:
        """Of all gateways together since each began."""
        parts = self.spent(key).values()
        return Spend(
            key=key,
            requests=sum(p["requests"] for p in parts),
            tokens=sum(p["tokens"] for p in parts),
            cost=sum(p["cost"] for p in parts),
        )

    def spent(self, key: str) -> dict[str, Spend]:
        """By gateway instance, since each began; instances that ended are among them."""
        return {instance: spent[key] for instance, spent in self._spend.items() if key in spent}

    def forget(self, release: str, keep: tuple[str, int] | None = None) -> None:
        """Drops the units of a release's other attempts."""
        for attempt in [a for a in self._units if a[0] == release and (a[1], a[2]) != keep]:
            del self._units[attempt]

    async def heard(self, seconds: float) -> None:
        """Until every ready gateway has spoken, or so long: a leader that knows less than the one before would take
        back what that one wrote of the gateways, only to write it again a moment later."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._followed or any(one.age == float("inf") for one in self.gateways()):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)

    async def run(self, cache: Cache) -> None:
        """Polls whatever gateways the Service has, until cancelled."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SILENT)) as session:
            try:
                while True:
                    self._follow(_addresses(cache, self._settings), session)
                    await asyncio.sleep(PAUSE)
            finally:
                for task in self._polls.values():
                    task.cancel()
                await asyncio.gather(*self._polls.values(), return_exceptions=True)

    def _follow(self, addresses: dict[str, GatewayState], session: aiohttp.ClientSession) -> None:
        for address in self._polls.keys() - addresses.keys():
            self._polls.pop(address).cancel()
            self._gone(self._gateways.pop(address))
        for address, found in addresses.items():
            if address not in self._polls:
                self._gateways[address] = found
                self._polls[address] = asyncio.create_task(self._poll(address, session))
            self._gateways[address].ready = found.ready
        self._followed = True
        metrics.GATEWAYS.set(sum(one.age < WAIT + 1 for one in self.gateways()))

    def _gone(self, state: GatewayState) -> None:
        """Who waited for this one need not any more."""
        for release in state.serving:
            self._changed(PROMPT_RELEASE.kind, release)
        for service in state.services:
            self._changed(LLM_SERVICE.kind, service)

    async def _poll(self, address: str, session: aiohttp.ClientSession) -> None:
        ask, pause, told = Poll(instance=None, cursor=0, wait=0.0), PAUSE, ""
        while True:
            try:
                report = await self._ask(address, ask, session)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as problem:
                if str(problem) != told:
                    log.warning("gateway %s: %s", address, told := str(problem) or repr(problem))
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE, 2 * pause)
                continue
            self.take(address, report)
            ask, pause, told = Poll(instance=report["instance"], cursor=report["cursor"], wait=WAIT), PAUSE, ""

    async def _ask(self, address: str, ask: Poll, session: aiohttp.ClientSession) -> Report:
        body, headers = orjson.dumps(ask), self._headers()
        async with session.post(f"http://{address}{PATH}", data=body, headers=headers) as reply:
            answer = await reply.read()
        if reply.status != 200:
            raise ValueError(f"{reply.status} {answer[:300].decode(errors='replace')}")
        report: Report = orjson.loads(answer)
        return report

    def _headers(self) -> dict[str, str]:
        token = self._token.read_text().strip() if self._token.exists() else ""
        return {"authorization": f"Bearer {token}", "content-type": "application/json"}

    def take(self, address: str, report: Report) -> None:
        """Merges one report."""
        state = self._gateways.setdefault(address, GatewayState(report["pod"]))
        releases = {unit["release"] for unit in report["units"]} | _differ(state.serving, report["serving"])
        load = report.get("load")
        services = _differ(state.services, report["services"]) | self._asked(state.load or {}, load or {})
        state.load = load
        providers = _differ(state.providers, report.get("providers", {}))
        state.providers = report.get("providers", {})
        state.serving, state.services, state.pod = report["serving"], report["services"], report["pod"]
        state.reported = time.monotonic()
        self._spend[report["instance"]] = {one["key"]: one for one in report["spend"]}
        for unit in report["units"]:
            self._merge(unit)
        for subject in releases:
            of_service, name = names.of_subject(subject)
            self._changed(LLM_SERVICE.kind if of_service else PROMPT_RELEASE.kind, name)
        for service in services:
            self._changed(LLM_SERVICE.kind, service)
        for provider in providers:
            self._changed(PROVIDER.kind, f"{self._settings.system_namespace}/{provider}")

    def _asked(self, old: Mapping[str, Load], new: Mapping[str, Load]) -> set[str]:
        """Notes who was asked; returns the services that somebody waits for since this report."""
        begun = set()
        for name, now in new.items():
            before = old.get(name)
            if before is None or now["running"] or now["held"] or now["asked"] != before["asked"]:
                self._active[name] = time.monotonic()
            if now["held"] and not (before and before["held"]):
                begun.add(name)
        return begun

    def _merge(self, unit: Unit) -> None:
        known = self._units.setdefault((unit["release"], unit["digest"], unit["attempt"]), {})
        what = (unit["unit"], unit["signal"] or unit["variant"], unit["kind"])
        before = known.get(what)
        if (before is None and len(known) < 2 * MAX_UNITS) or (before is not None and unit["at"] < before["at"]):
            known[what] = unit


def _differ(old: Mapping[str, object], new: Mapping[str, object]) -> set[str]:
    return {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


def _addresses(cache: Cache, settings: Settings) -> dict[str, GatewayState]:
    """host:port of every gateway that serves, ready or draining."""
    service = {"kubernetes.io/service-name": settings.gateway_service}
    found: dict[str, GatewayState] = {}
    for piece in cache.list(ENDPOINT_SLICE, settings.system_namespace, service):
        ports = {port.get("name") or "http": port["port"] for port in piece.get("ports") or []}
        for endpoint in piece.get("endpoints") or []:
            said = endpoint.get("conditions") or {}
            ready = said.get("ready") is not False
            if ready or said.get("serving"):
                pod = str((endpoint.get("targetRef") or {}).get("name", ""))
                for ip in endpoint["addresses"]:
                    found[f"{_host(ip)}:{ports.get('http', settings.gateway_port)}"] = GatewayState(pod, ready=ready)
    return found


def _host(ip: str) -> str:
    return f"[{ip}]" if ":" in ip else ip
