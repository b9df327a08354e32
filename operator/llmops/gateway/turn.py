"""One request for an answer, from who asks to what is counted. Read `take` first: it is the story.

What its outcome means for a rollout stands in outcome.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from llmops.gateway import asking, choose, judging, marks, outcome
from llmops.gateway.auth import Caller
from llmops.gateway.capture import Asked
from llmops.gateway.choose import Choice, Draw
from llmops.gateway.errors import BadRequest, BudgetSpent, NotReady, Refusal, TimedOut, UpstreamFailed
from llmops.gateway.form import Form, Heard
from llmops.gateway.limits import Account, same_currency
from llmops.gateway.render import render
from llmops.gateway.request import JSON, SSE, Gone, Request
from llmops.gateway.snapshot import Holder, Service
from llmops.gateway.stream import Events, error_event
from llmops.gateway.upstream import Opened, Whole
from llmops.telemetry import metrics

if TYPE_CHECKING:
    from llmops.gateway.app import Door

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
OVERLOADED = 429
WATCH_AFTER = 0.1
"""Seconds after which it is watched whether the caller still listens; a task for that costs 8 us, a timer 1."""

_FALLS_BACK = (UpstreamFailed, NotReady, BudgetSpent)


class Turn:
    """The state of one request; its parts are filled in as they become known."""

    __slots__ = (
        "account",
        "adapter",
        "asked",
        "body",
        "caller",
        "captured",
        "choice",
        "citations",
        "cost",
        "door",
        "draw",
        "fell_back",
        "gone",
        "holder",
        "id",
        "invalid",
        "judged",
        "outcome",
        "request",
        "rescued",
        "service",
        "tokens",
        "waited",
    )

    def __init__(self, door: Door, request: Request) -> None:
        self.door, self.request = door, request
        self.service: Service
        self.account: Account
        self.caller: Caller
        self.holder: Holder | None = None
        self.body: dict[str, Any] = {}
        self.choice: Choice | None = None
        self.asked: dict[str, Any] | None = None
        self.judged: judging.Wanted | None = None
        self.captured: Asked | None = None
        self.outcome: outcome.Outcome | None = None
        self.draw: Draw | None = None
        self.id: str | None = None
        self.citations: dict[str, Any] = {}
        self.adapter = ""
        self.tokens, self.cost, self.waited = 0, 0.0, 0.0
        self.fell_back = self.rescued = self.gone = self.invalid = False

    async def take(self) -> None:
        """Who is it, what is asked, is it allowed; then the answer."""
        door, request = self.door, self.request
        self.caller = caller = await door.caller(request)
        self.body = await request.json()
        snapshot = door.snapshot
        if request.path == CHAT and self.body.get("prompt") is not None:
            self.choice = choose.version(snapshot, caller, self.body, request.headers, door.split_leased())
            self._tell_version(self.choice)
        else:
            task = choose.EMBED if request.path == EMBEDDINGS else choose.GENERATE
            self.service = choose.service(snapshot, caller, self.body.get("model"), task)
            self.adapter = choose.adapter(self.service, self.body.get("model"))
        self.holder = caller.holder
        self.account = door.accounts.of(caller.holder, caller.identity)
        self.account.enter(caller.holder, snapshot.gateways, door.loop.time(), door.today())
        try:
            async with self._while_heard():
                await self._answer()
        finally:
            self.account.leave(self.tokens, self.cost)
            if self.asked is not None and self.outcome is not None and self.choice is not None:
                self.door.shadows.begin(self.choice, self.asked, self.outcome)

    async def _answer(self) -> None:
        try:
            if self.choice is not None:
                await self._prepare(self.choice)
            self._draw_revision()
            same_currency(self.holder, self.service)
            async with self._place():
                if self.body.get("stream") and self.request.path != EMBEDDINGS:
                    await self._streamed()
                else:
                    await self._whole()
        except Refusal as refusal:
            if refusal.status >= 500:
                self._failed()
            raise

    async def _prepare(self, choice: Choice) -> None:
        """The version's service, and the body that it is sent."""
        found = self.door.snapshot.services.get(choice.version.service)
        if choice.unseen is not None:
            self.asked = self.body
        measured = choose.measures(self.caller)
        search = partial(self.door.search, remember=False) if measured else self.door.search
        rendered = await render(choice, self.body, search)
        if found is None:
            raise NotReady(
                f"PromptRelease {choice.release.name} refers to LLMService {choice.version.service}, which "
                "does not exist: create it",
                code="service_missing",
                retry_after=5,
            )
        if choice.release.judging is not None:
            self.judged = judging.wanted(self.door, choice)
        asked = self.body
        self.service = choose.answering(found, choice.version)
        self.adapter = choice.version.adapter
        if self.adapter:
            choose.has_adapter(self.service, self.adapter, NotReady, "adapter_not_ready")
        self.body = rendered.body
        self.id = marks.new(choice.release.name, choice.version.digest, choice.variant, choice.share)
        if rendered.question is not None and choice.version.retrieval is not None and not measured:
            self.door.disliked.remember(self.id, choice.version.retrieval.index, rendered.question)
        if choice.release.capture is not None:
            self.captured = self.door.captures.wanted(choice, self.id, asked)
        if rendered.citations is not None:
            self.citations["citations"] = rendered.citations
        if rendered.echo is not None:
            self.citations["rendered"] = rendered.echo

    def _draw_revision(self) -> None:
        """Of a model that is being rolled out; who asks for a version of a prompt by name is no evidence of it."""
        if self.service.split is None or (self.choice is not None and self.choice.unit_source == "pinned"):
            return
        leased = self.door.split_leased()
        draw = choose.revision(self.service, self.adapter, self.body, self.request.headers, self.caller, leased)
        if draw is None:
            return
        self.draw, self.service = draw, draw.service
        self.request.extra.append((b"x-llmops-model-variant", draw.variant.encode()))
        if self.choice is None:
            self.request.extra.append((b"x-llmops-unit-source", draw.unit_source.encode()))
            self.id = marks.new(draw.subject, draw.digest, draw.variant, draw.share)

    async def _whole(self) -> None:
        answer = await self._ask(stream=False)
        assert isinstance(answer, Whole)
        form = self.choice.version.form if self.choice is not None else None
        if form is not None and answer.status < 400:
            answer = await self._in_form(answer, form)
        await self._pass_on(answer)

    async def _in_form(self, answer: Whole, form: Form) -> Whole:
        """This answer, or where the release says so the next; both are paid for."""
        tries, wrong = 1, form.wrong_reply(answer.body)
        while wrong is not None:
            self.invalid = True
            self._used(*asking.usage(answer.body))
            if not form.again or tries > 1:
                raise form.refusal(wrong, tries)
            metrics.GATEWAY_RETRIES.labels(self.service.name).inc()
            again = await self._ask(stream=False)
            assert isinstance(again, Whole)
            tries, answer = tries + 1, again
            wrong = form.wrong_reply(answer.body) if answer.status < 400 else None
        return answer

    async def _pass_on(self, answer: Whole) -> None:
        """A complete answer, the engine's errors included; only a prompt's answer is changed on its way."""
        body = answer.body
        if answer.status < 400:
            try:
                reply = orjson.loads(body)
                usage = reply.get("usage") or {}
            except (orjson.JSONDecodeError, AttributeError):
                raise UpstreamFailed(
                    f"LLMService {self.service.name} answered something that is not JSON", code="upstream_failed"
                ) from None
            self._used(usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0)
            if self.id is not None:
                reply["id"] = self.id
                reply.update(self.citations)
                body = orjson.dumps(reply)
            self._served()
            if self._is_read and not self.fell_back:
                self._read(judging.said(answer.body))
        elif answer.status != OVERLOADED:
            self._failed()
        if answer.retry_after is not None:
            self.request.extra.append((b"retry-after", answer.retry_after))
        await self.request.answer(answer.status, body)
        self._count(answer.status)

    async def _streamed(self) -> None:
        usage = bool((self.body.get("stream_options") or {}).get("include_usage"))
        self.body["stream_options"] = {"include_usage": True}
        opened = await self._ask(stream=True)
        if isinstance(opened, Whole):
            return await self._pass_on(opened)
        form = self.choice.version.form if self.choice is not None else None
        heard = Heard(form) if form is not None or self._is_read else None
        events = Events(self.id, usage, self.citations or None, heard)
        try:
            await self._flow(opened, events)
            if self._is_read and heard is not None and events.done and not (self.fell_back or self.invalid):
                self._read(heard.text)
        finally:
            opened.close(finished=events.done)
            events.count()
            self._used(events.tokens_in, events.tokens_out)
            self._count(200)
        return None

    @property
    def _is_read(self) -> bool:
        """Whether somebody besides the user reads the answer."""
        return self.judged is not None or self.captured is not None

    def _read(self, answer: str) -> None:
        if self.judged is not None:
            self.door.judges.begin(self.judged, self.body["messages"], answer)
        if self.captured is not None:
            self.door.captures.keep(self.captured, self.body["messages"], answer)

    async def _flow(self, opened: Opened, events: Events) -> None:
        """From here on the caller has bytes: what breaks now is told in the stream, and is a failure."""
        request, read, translate = self.request, opened.response.content.readany, opened.translate
        await request.begin(200, SSE)
        self.waited = self.door.loop.time() - request.started
        metrics.GATEWAY_FIRST_BYTE_SECONDS.labels(self.service.name).observe(self.waited)
        data = opened.first
        problem = ""
        try:
            while data:
                passed = events.feed(translate(data) if translate else data)
                if passed:
                    await request.chunk(passed)
                data = await read()
        except OSError as broken:  # aiohttp's ClientPayloadError and ClientOSError, and plain connection errors
            problem = type(broken).__name__
        except self.door.CLIENT_ERRORS as broken:
            problem = type(broken).__name__
        if events.refusal is not None:  # too late for another answer
            self.invalid = True
            self._failed()
        elif events.done:
            self._served()
        else:
            self._failed()
            broke = UpstreamFailed(
                f"LLMService {self.service.name} broke off in the middle of its answer "
                f"({problem or 'no end'}): ask again",
                code="stream_broken",
            )
            await request.chunk(error_event(broke.body()))
        await request.end()

    async def _ask(self, stream: bool) -> Whole | Opened:
        """The service, then its fallbacks in order; the first problem is told if none helps."""
        service, snapshot = self.service, self.door.snapshot
        try:
            answer = await self._ask_one(service, stream)
            if not (isinstance(answer, Whole) and answer.status == OVERLOADED and service.fallbacks):
                return answer
            problem: Refusal | None = None
        except _FALLS_BACK as refusal:
            problem = refusal
        for name in service.fallbacks:
            other = snapshot.services.get(name)
            if other is None or other.task != service.task:
                continue
            try:
                answer = await self._ask_one(other, stream)
            except (*_FALLS_BACK, BadRequest):  # a provider may not know what was asked of the service
                continue
            if isinstance(answer, Opened) or answer.status < 400:
                self.rescued = other.name == service.name
                self.fell_back, self.service = True, other
                metrics.GATEWAY_FALLBACKS.labels(service.name, name).inc()
                self.request.extra.append((b"x-llmops-fallback", name.encode()))
                return answer
        if problem is not None:
            raise problem
        return answer

    async def _ask_one(self, service: Service, stream: bool) -> Whole | Opened:
        return await asking.ask(
            self.door, service, self.adapter, self.account.name, self.request.path, self.body, stream
        )

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """A place within the service's limits.maxConcurrency (this gateway's share)."""
        service = self.service
        if service.max_concurrency is None:
            yield
            return
        gate = self.door.gate(service.name)
        limit = -(-service.max_concurrency // self.door.snapshot.gateways)
        try:
            async with asyncio.timeout(service.timeout):
                await gate.enter(limit)
        except TimeoutError:
            raise TimedOut(
                f"LLMService {service.name} has limits.maxConcurrency {service.max_concurrency} and no "
                f"place became free within {service.timeout:g} s: raise it, or add replicas",
                code="concurrency",
            ) from None
        try:
            yield
        finally:
            gate.leave()

    @asynccontextmanager
    async def _while_heard(self) -> AsyncIterator[None]:
        """Break off when the caller hangs up, so that no engine generates for nobody."""
        task = asyncio.current_task()
        assert task is not None
        watcher: list[asyncio.Task[None]] = []
        timer = self.door.loop.call_later(
            WATCH_AFTER, lambda: watcher.append(self.door.loop.create_task(self._listen(task)))
        )
        try:
            yield
        except asyncio.CancelledError:
            if not self.gone:
                raise
            task.uncancel()
            raise Gone from None
        finally:
            timer.cancel()
            for one in watcher:
                one.cancel()

    async def _listen(self, task: asyncio.Task[Any]) -> None:
        await self.request.hung_up()
        self.gone = True
        task.cancel()

    def _tell_version(self, choice: Choice) -> None:
        self.request.extra += (
            (b"x-llmops-prompt", choice.release.name.encode()),
            (b"x-llmops-prompt-version", choice.version.label.encode()),
            (b"x-llmops-digest", choice.version.digest.encode()),
            (b"x-llmops-variant", choice.variant.encode()),
            (b"x-llmops-unit-source", choice.unit_source.encode()),
        )

    def _served(self) -> None:
        """Answered; but by another service, or by stable for its candidate, is a failure of who was asked."""
        self._evidence(release_failed=self.fell_back and not self.rescued, model_failed=self.fell_back)

    def _failed(self) -> None:
        self._evidence(release_failed=True, model_failed=True)

    def _evidence(self, release_failed: bool, model_failed: bool) -> None:
        choice = self.choice
        if self.draw is not None or (choice is not None and (choice.share is not None or choice.unseen is not None)):
            seconds = self.waited or self.door.loop.time() - self.request.started
            self.outcome = outcome.Outcome(release_failed, model_failed, self.invalid, seconds)
            outcome.tell(self.door.ledger, choice, self.draw, self.outcome)

    def _used(self, tokens_in: int, tokens_out: int) -> None:
        self.tokens += tokens_in + tokens_out
        self.cost += asking.paid(self.door, self.service, tokens_in, tokens_out)

    def _count(self, status: int) -> None:
        seconds = self.door.loop.time() - self.request.started
        variant = self.draw.variant if self.draw else ""
        self.door.meter.answered(self.request.path, self.service, self.choice, variant, status, seconds)


__all__ = ["CHAT", "COMPLETIONS", "EMBEDDINGS", "JSON", "Turn"]
