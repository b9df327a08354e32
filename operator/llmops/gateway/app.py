"""The ASGI application: paths to functions, errors to answers. No framework: routing and middleware of one cost 110 us.

`Door` holds what lives longer than a request: the snapshot of this moment, the clients, the accounts, the evidence.
"""

from __future__ import annotations

import asyncio
import datetime
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, ClassVar

import aiohttp
import orjson
from prometheus_client import generate_latest

from llmops.api import Settings
from llmops.api.report import PATH as REPORT
from llmops.api.report import Poll
from llmops.gateway import feedback, report
from llmops.gateway.auth import Caller, Tokens, authenticate
from llmops.gateway.capture import PATH as TRAFFIC
from llmops.gateway.capture import Captures, may_read
from llmops.gateway.disliked import Disliked
from llmops.gateway.errors import BadRequest, NotAllowed, Refusal, Unknown
from llmops.gateway.hold import Lobby
from llmops.gateway.judging import Judges
from llmops.gateway.limits import Accounts, Gate
from llmops.gateway.meter import Meter
from llmops.gateway.request import Gone, Receive, Request, Send
from llmops.gateway.retrieve import Retriever
from llmops.gateway.shadow import Shadows
from llmops.gateway.snapshot import Snapshot
from llmops.gateway.turn import CHAT, COMPLETIONS, EMBEDDINGS, Turn
from llmops.gateway.upstream import Upstream
from llmops.telemetry import metrics

log = logging.getLogger(__name__)
Handler = Callable[[Request], Awaitable[None]]
TEXT = (b"content-type", b"text/plain; charset=utf-8")
CLOSE = (b"connection", b"close")
CONNECT_SECONDS = 3.0


def client_session() -> aiohttp.ClientSession:
    """Connections to pods: no limit (limits are the services'), no cookies, no total timeout (the turn has one)."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30, use_dns_cache=True),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("user-agent", "accept"),
        read_bufsize=2**18,
    )


class Door:
    """The gateway of one process."""

    CLIENT_ERRORS: ClassVar = (aiohttp.ClientError,)

    def __init__(self, settings: Settings, tokens: Tokens, session: aiohttp.ClientSession, pod: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.settings, self.tokens, self.pod = settings, tokens, pod
        self.snapshot = Snapshot()
        self.heard_at = self.loop.time()
        self.draining = False
        self.instance = report.new_instance()
        self.ledger = report.Ledger(time.time)
        self.accounts, self.meter = Accounts(), Meter()
        self.lobby = Lobby(settings.held_requests, self.ledger.urgent)
        self.upstream = Upstream(
            session, lambda service: self.snapshot.current(service), self.lobby, settings.credentials_folder
        )
        self.search = Retriever(session, lambda: self.snapshot).search
        self.disliked = Disliked(session, lambda: self.snapshot)
        self.shadows, self.judges, self.captures = Shadows(self), Judges(self), Captures()
        self._gates: dict[str, Gate] = {}
        self._numbers = itertools.count(1)
        self._routes: dict[tuple[str, str], Handler] = {
            ("POST", CHAT): self._answer,
            ("POST", COMPLETIONS): self._answer,
            ("POST", EMBEDDINGS): self._answer,
            ("GET", "/v1/models"): self._models,
            ("POST", "/v1/feedback"): self._feedback,
            ("POST", REPORT): self._report,
            ("POST", TRAFFIC): self._traffic,
            ("GET", "/healthz"): self._healthz,
            ("GET", "/readyz"): self._readyz,
            ("GET", "/metrics"): self._metrics,
        }

    def swap(self, snapshot: Snapshot) -> None:
        """From here on this configuration; requests under way keep theirs."""
        self.snapshot = snapshot
        self.ledger.follow(snapshot)
        self.captures.follow(snapshot)
        self.lobby.follow(snapshot)

    def heard(self) -> None:
        """The API server was reached, and everything that is followed is live."""
        self.heard_at = self.loop.time()

    def silence(self) -> float:
        """Seconds since the API server was heard."""
        return self.loop.time() - self.heard_at

    def split_leased(self) -> bool:
        """Whether the split is fresh enough; a gateway that hears nothing must not hold a rollback up."""
        return self.loop.time() - self.heard_at <= self.settings.split_stale_seconds

    def today(self) -> datetime.datetime:
        """Now, for budgets."""
        return datetime.datetime.now(datetime.UTC)

    def gate(self, service: str) -> Gate:
        """The places of a service."""
        return self._gates.setdefault(service, Gate())

    async def caller(self, request: Request) -> Caller:
        """Who is asking, or Unauthenticated."""
        return await authenticate(
            request.headers.get(b"authorization"),
            self.snapshot,
            self.tokens,
            time.time(),
            self.silence(),
            self.settings.keys_stale_seconds,
        )

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive, send, self.loop.time())
        request.extra.append((b"x-llmops-request-id", b"%s-%d" % (self.instance.encode(), next(self._numbers))))
        if self.draining:
            request.extra.append(CLOSE)
        metrics.GATEWAY_RUNNING.inc()
        try:
            await self._route(request)
        except Gone:
            pass
        finally:
            metrics.GATEWAY_RUNNING.dec()

    async def _route(self, request: Request) -> None:
        handler = self._routes.get((request.method, request.path))
        try:
            if handler is None:
                raise Unknown(
                    f"there is no {request.method} {request.path[:200]}: the door has /v1/chat/completions, "
                    "/v1/completions, /v1/embeddings, /v1/models and /v1/feedback",
                    code="path_not_found",
                )
            await handler(request)
        except Refusal as refusal:
            metrics.GATEWAY_REFUSED.labels(refusal.code).inc()
            await request.refuse(refusal)
        except Exception:
            log.exception("%s %s", request.method, request.path)
            if request.status:
                raise  # an answer has begun: the server cuts the connection
            await request.refuse(Refusal("the gateway failed; its log has the details", code="internal"))

    async def _answer(self, request: Request) -> None:
        await Turn(self, request).take()

    async def _models(self, request: Request) -> None:
        caller = await self.caller(request)
        found = []
        for one in self.snapshot.services.values():
            namespace, _, name = one.name.partition("/")
            allowed = (
                caller.holder.opens_to("model", namespace, name) if caller.holder else one.admission.service_accounts
            )
            if allowed and one.admission.admits(caller.namespace):
                ids = (one.name, *(f"{one.name}:{adapter}" for adapter in one.adapters))
                found += [{"id": name, "object": "model", "created": 0, "owned_by": namespace} for name in ids]
        found.sort(key=lambda one: str(one["id"]))
        await request.answer(200, orjson.dumps({"object": "list", "data": found}))

    async def _feedback(self, request: Request) -> None:
        caller = await self.caller(request)
        reply = feedback.take(await request.json(), caller, self.snapshot, self.ledger, self.disliked)
        self.captures.rated(reply["id"], reply["rating"])
        await request.answer(200, orjson.dumps(reply))

    async def _traffic(self, request: Request) -> None:
        caller = await self.caller(request)
        await request.answer(200, self.captures.told(may_read(await request.json(), caller)))

    async def _report(self, request: Request) -> None:
        caller = await self.caller(request)
        operator = (self.settings.system_namespace, self.settings.operator_service_account)
        if caller.holder is not None or (caller.namespace, caller.name) != operator:
            raise NotAllowed("/internal is for the operator's service account only", code="internal_only")
        poll = _poll(await request.json())
        cursor = await self.ledger.since(poll, self.instance)
        serving = self.snapshot.rollouts()
        if not self.split_leased():
            for one in serving.values():
                one["weight"] = 0
                one.pop("shadow", None)
        spend, load = self.accounts.spend(), self.upstream.load(self.snapshot.services, self.meter.generated)
        held = {name: self.upstream.credentials.of(name) is not None for name in self.snapshot.providers}
        reply = report.report(self.ledger, self.snapshot, serving, cursor, self.instance, self.pod, spend, load, held)
        await request.answer(200, orjson.dumps(reply))

    async def _healthz(self, request: Request) -> None:
        await request.answer(200, b"ok\n", TEXT)

    async def _readyz(self, request: Request) -> None:
        if self.draining:
            await request.answer(503, b"draining: being replaced\n", TEXT)
        elif not self.snapshot.complete:
            await request.answer(503, b"the configuration has not been read yet: is the API server reachable?\n", TEXT)
        else:
            await request.answer(200, b"ok\n", TEXT)

    async def _metrics(self, request: Request) -> None:
        metrics.GATEWAY_CONTACT_AGE.set(self.silence())
        for name, load in self.upstream.load(self.snapshot.services, self.meter.generated).items():
            metrics.GATEWAY_SERVICE_REQUESTS.labels(name, "running").set(load["running"])
            metrics.GATEWAY_SERVICE_REQUESTS.labels(name, "held").set(load["held"])
        await request.answer(200, generate_latest(), TEXT)


def _poll(body: dict[str, Any]) -> Poll:
    instance, cursor, wait = body.get("instance"), body.get("cursor", 0), body.get("wait", 0)
    if not isinstance(cursor, int) or not isinstance(wait, int | float) or not isinstance(instance, str | None):
        raise BadRequest("a poll is {instance: text or null, cursor: number, wait: seconds}", code="poll_invalid")
    return Poll(instance=instance, cursor=cursor, wait=float(wait))
