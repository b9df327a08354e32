"""From the door to a pod: the one with the fewest requests pending, another one if it fails before the first byte.

A request is tried again only while nothing of an answer has reached the caller. What says nothing about the request
itself (a connection that fails or breaks, 502, 503, 504) is tried until the service's timeout; a 500 once more. A pod
that refused is avoided for AVOID seconds, longer than it takes the API server to say that it is gone. Where no pod is
Ready the request is held (hold.py). One deadline covers all of it: limits.timeout, to the first byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import aiohttp

from llmops.api.report import Load
from llmops.gateway.errors import NotReady, TimedOut, UpstreamFailed
from llmops.gateway.hold import Lobby
from llmops.gateway.providers import ask
from llmops.gateway.providers.adapter import Feed, Object
from llmops.gateway.snapshot import Endpoint, Service
from llmops.telemetry import metrics

T = TypeVar("T")
AVOID = 2.0
PAUSE = 0.05
NOT_LOADED = b"not loaded"
RETRIED = frozenset({502, 503, 504})
_HEADERS = {"content-type": "application/json", "accept-encoding": "identity"}


@dataclass(frozen=True, slots=True)
class Whole:
    """A complete answer."""

    status: int
    body: bytes
    retry_after: bytes | None = None


@dataclass(slots=True)
class Opened:
    """A stream whose first bytes are here. It must be closed; `endpoint` counts it until then."""

    first: bytes
    response: aiohttp.ClientResponse
    endpoint: Endpoint
    translate: Feed | None = None

    def close(self, finished: bool) -> None:
        """Give the connection back, or break it off so that the engine stops generating."""
        self.endpoint.pending -= 1
        if finished:
            self.response.release()
        else:
            self.response.close()


class _TryAgain(Exception):
    """This pod did not answer; the message says what it did instead."""

    def __init__(self, message: str, avoid: bool, last: bool = False) -> None:
        super().__init__(message)
        self.avoid, self.last = avoid, last


class Upstream:
    """The client side of the door. `current` finds a service as it is now."""

    def __init__(
        self, session: aiohttp.ClientSession, current: Callable[[Service], Service | None], lobby: Lobby, folder: str
    ) -> None:
        self._session, self._current, self._lobby = session, current, lobby
        self.credentials = ask.Credentials(folder)
        self._asked: dict[str, int] = {}
        self._loop = asyncio.get_running_loop()
        self._turn = 0

    async def whole(self, service: Service, caller: str, path: str, body: bytes, taught: bool = False) -> Whole:
        """The complete answer, whatever its status below 500. `taught`: an adapter is asked that pods have, or get."""

        async def once(one: Endpoint) -> Whole:
            answer = await self._whole(one, one.url + path, _HEADERS, body)
            return _known(answer) if taught else answer

        return await self._within(service, caller, once)

    async def stream(
        self, service: Service, caller: str, path: str, body: bytes, taught: bool = False
    ) -> Opened | Whole:
        """An open stream, or the complete answer if it is an error."""

        async def once(one: Endpoint) -> Opened | Whole:
            answer = await self._opened(one, one.url + path, _HEADERS, body)
            return _known(answer) if taught and isinstance(answer, Whole) else answer

        return await self._within(service, caller, once)

    async def abroad(self, service: Service, caller: str, path: str, body: Object, stream: bool) -> Whole | Opened:
        """The same of somebody's API."""
        assert service.external is not None
        ready = ask.prepare(service, path, body, self.credentials)
        headers, once = {**_HEADERS, **ready.headers}, self._opened if stream else self._whole
        answer: Whole | Opened = await self._within(
            service, caller, lambda one: once(one, ready.url, headers, ready.body)
        )
        if isinstance(answer, Opened):
            answer.translate = ask.translator(service.external)
            return answer
        told = ask.translated(service, answer.status, answer.body, self.credentials)
        return Whole(answer.status, told, answer.retry_after)

    def load(self, services: Mapping[str, Service], tokens: Mapping[str, int]) -> dict[str, Load]:
        """What every service that was ever asked has to do, its candidate's share included, as the operator is told."""
        found = {}
        for name, asked in self._asked.items():
            current = services.get(name)
            running = sum(one.pending for one in _all_endpoints(current)) if current else 0
            held = self._lobby.count(name)
            found[name] = Load(running=running, held=held, asked=asked, tokens=tokens.get(name, 0))
        return found

    async def _within(self, service: Service, caller: str, once: Callable[[Endpoint], Awaitable[T]]) -> T:
        problem, retry_after = "no pod is Ready", service.cold_start
        self._asked[service.name] = self._asked.get(service.name, 0) + 1
        try:
            async with asyncio.timeout(service.timeout):
                tried: set[Endpoint] = set()
                hopeless = 0
                while True:
                    endpoint = await self._choose(service, caller, tried)
                    try:
                        return await once(endpoint)
                    except _TryAgain as failure:
                        problem, retry_after = str(failure), None
                        metrics.GATEWAY_RETRIES.labels(service.name).inc()
                        tried.add(endpoint)
                        hopeless += failure.last
                        if failure.avoid:
                            endpoint.avoid_until = self._loop.time() + AVOID
                        # whoever has somewhere else to go does not wait for better times
                        hopeless += bool(service.external or service.pin) and not failure.last
                        if hopeless > 1:
                            raise UpstreamFailed(
                                f"LLMService {service.name} failed twice: {problem}", code="upstream_failed"
                            ) from None
        except TimeoutError:
            raise TimedOut(
                f"LLMService {service.name} did not answer within its limits.timeout of "
                f"{service.timeout:g} s ({problem}): look at its pods, or raise the limit",
                code="timeout",
                retry_after=retry_after,
            ) from None

    async def _choose(self, service: Service, caller: str, tried: set[Endpoint]) -> Endpoint:
        """A pod not tried yet; when all were, all again after a pause; when there is none, the first that comes."""
        while True:
            current = self._current(service)
            if current is None:
                gone = f"revision {service.pin[:10]} of LLMService" if service.pin else "LLMService"
                raise UpstreamFailed(f"{gone} {service.name} was deleted", code="upstream_failed")
            if not current.endpoints and not current.awaited:
                raise NotReady(
                    f"LLMService {service.name} has no replicas: write spec.replicas: 1 or more",
                    code="no_replicas",
                    retry_after=30,
                )
            left = [one for one in current.endpoints if one not in tried] if tried else current.endpoints
            if left:
                self._turn += 1
                return least_pending(left, self._loop.time(), self._turn)
            if current.endpoints:
                tried.clear()
                await asyncio.sleep(PAUSE)
            else:
                await self._lobby.wait(current, caller)

    async def _whole(self, endpoint: Endpoint, url: str, headers: Mapping[str, str], body: bytes) -> Whole:
        endpoint.pending += 1
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                answer = await response.read()
        except (aiohttp.ClientError, ConnectionError) as problem:
            raise _TryAgain(type(problem).__name__, avoid=True) from None
        finally:
            endpoint.pending -= 1
        _judge(response.status)
        return Whole(response.status, answer, _retry_after(response))

    async def _opened(self, endpoint: Endpoint, url: str, headers: Mapping[str, str], body: bytes) -> Opened | Whole:
        endpoint.pending += 1
        opened = None
        try:
            response = await self._session.post(url, data=body, headers=headers, allow_redirects=False)
            try:
                _judge(response.status)
                if response.status >= 300:
                    return Whole(response.status, await response.read(), _retry_after(response))
                first = await response.content.readany()
                if not first:
                    raise _TryAgain("an empty stream", avoid=False, last=True)
                opened = Opened(first, response, endpoint)
                return opened
            finally:
                if opened is None:
                    response.close()
        except (aiohttp.ClientError, ConnectionError) as problem:
            raise _TryAgain(type(problem).__name__, avoid=True) from None
        finally:
            if opened is None:
                endpoint.pending -= 1


def _all_endpoints(service: Service) -> tuple[Endpoint, ...]:
    candidate = service.split.candidate if service.split else None
    return (*service.endpoints, *candidate.endpoints) if candidate else service.endpoints


def _retry_after(response: aiohttp.ClientResponse) -> bytes | None:
    told = response.headers.get("retry-after")
    return told.encode() if told and response.status >= 400 else None


def _known(answer: Whole) -> Whole:
    """A pod that just came may not have been given the adapter yet (vLLM says 404, SGLang 400)."""
    if answer.status == 404 or (answer.status == 400 and NOT_LOADED in answer.body):
        raise _TryAgain("its pods have not loaded this adapter", avoid=False)
    return answer


def _judge(status: int) -> None:
    if status in RETRIED:
        raise _TryAgain(f"status {status}", avoid=True)
    if status >= 500:
        raise _TryAgain(f"status {status}", avoid=False, last=True)


def least_pending(endpoints: Sequence[Endpoint], now: float, turn: int) -> Endpoint:
    """Equals take turns; a pod to avoid only when there is no other."""
    count = len(endpoints)
    best = endpoints[turn % count]
    if count == 1:
        return best
    best_rank = (best.avoid_until > now, best.pending)
    for offset in range(1, count):
        one = endpoints[(turn + offset) % count]
        rank = (one.avoid_until > now, one.pending)
        if rank < best_rank:
            best, best_rank = one, rank
    return best
