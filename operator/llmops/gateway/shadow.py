"""The candidate answers real requests too, unseen (spec.rollout.shadow): asked when the user has been answered.

Nobody waits for it: it begins when the user's turn is over, a few at a time, only where the service has room at this
moment, and is left out else. Nobody sees it: the answer is read, judged by the signals and thrown away; what counts is
whether only one of the two answers failed (docs/evidence.md). Nobody's limits are touched: it is no caller's request,
and its tokens are counted by themselves.

Asked afterwards, and where a pod is idle, it has it easier than the user had: a candidate is never called slow for
having waited behind the very request that it repeats, at the price that some slowness shows only in the canary.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from llmops.gateway import asking, choose
from llmops.gateway.choose import Choice
from llmops.gateway.errors import Refusal
from llmops.gateway.form import Form, Heard
from llmops.gateway.outcome import Outcome, failures
from llmops.gateway.render import render
from llmops.gateway.snapshot import CANDIDATE, Service, Version
from llmops.gateway.stream import Events
from llmops.gateway.upstream import Opened, Whole
from llmops.telemetry import metrics

if TYPE_CHECKING:
    from llmops.gateway.app import Door

AT_ONCE = 2
LONGEST = 120.0
"""Seconds after which an unseen answer is given up: it tells nothing then."""
PATH = "/v1/chat/completions"


class Shadows:
    """Those under way in this process."""

    def __init__(self, door: Door) -> None:
        self._door, self.running = door, set[asyncio.Task[None]]()

    def begin(self, choice: Choice, body: dict[str, Any], stable: Outcome) -> None:
        """Of a request that was answered just now; returns at once."""
        version = choice.release.candidate
        service = self._door.snapshot.services.get(version.service) if version is not None else None
        if version is None or service is None:
            return
        if self._door.draining or len(self.running) >= AT_ONCE or busy(self._door, service):
            metrics.GATEWAY_SHADOWS.labels(choice.release.name, "busy").inc()
            return
        task = self._door.loop.create_task(self._compare(choice, version, service, body, stable))
        self.running.add(task)
        task.add_done_callback(self.running.discard)

    async def _compare(
        self, choice: Choice, version: Version, service: Service, body: dict[str, Any], stable: Outcome
    ) -> None:
        share = choice.unseen
        assert share is not None
        result = "unable"
        try:
            async with asyncio.timeout(LONGEST):
                found = await self._ask(replace(choice, version=version, variant=CANDIDATE), service, body)
            if found is not None:
                theirs = failures(stable.release_failed, stable.invalid, stable.seconds, share.slow)
                ours = failures(found.release_failed, found.invalid, found.seconds, share.slow)
                self._door.ledger.paired(choice.release.name, share, theirs, ours)
                result = "compared"
        except TimeoutError:
            result = "given up"
        metrics.GATEWAY_SHADOWS.labels(choice.release.name, result).inc()

    async def _ask(self, choice: Choice, service: Service, body: dict[str, Any]) -> Outcome | None:
        """How it fared; None where that tells nothing about the candidate."""
        began = self._door.loop.time()
        try:
            rendered = await render(choice, body, partial(self._door.search, remember=False))
            answer = await asking.ask(
                self._door,
                choose.answering(service, choice.version),
                choice.version.adapter,
                f"shadow:{choice.release.name}",
                PATH,
                _wanted(rendered.body),
                bool(body.get("stream")),
            )
        except Refusal as refusal:
            current = self._door.snapshot.services.get(service.name)
            if refusal.status < 500 or current is None or not current.endpoints:
                return None  # the caller's part does not fit this version, or nobody could have answered
            return self._outcome(began, failed=True)
        if isinstance(answer, Opened):
            return await self._read(choice, service, answer, self._door.loop.time() - began)
        return self._judge(choice, service, answer, began)

    def _judge(self, choice: Choice, service: Service, answer: Whole, began: float) -> Outcome | None:
        if answer.status == 429:
            return None
        if answer.status >= 400:
            return self._outcome(began, failed=True)
        try:
            self._paid(choice, service, *asking.usage(answer.body))
        except (orjson.JSONDecodeError, AttributeError):
            return self._outcome(began, failed=True)
        form = choice.version.form
        invalid = form is not None and form.wrong_reply(answer.body) is not None
        return self._outcome(began, failed=invalid and not _again(form), invalid=invalid)

    async def _read(self, choice: Choice, service: Service, opened: Opened, waited: float) -> Outcome:
        """A stream, to its end."""
        form, translate, data = choice.version.form, opened.translate, opened.first
        events = Events(None, True, None, Heard(form) if form is not None else None)
        try:
            while data:
                events.feed(translate(data) if translate else data)
                data = await opened.response.content.readany()
        except (OSError, *self._door.CLIENT_ERRORS):
            pass
        finally:
            opened.close(finished=events.done)
            events.count()
            self._paid(choice, service, events.tokens_in, events.tokens_out)
        invalid = events.refusal is not None
        return Outcome(invalid or not events.done, False, invalid, waited)

    def _paid(self, choice: Choice, service: Service, tokens_in: int, tokens_out: int) -> None:
        asking.paid(self._door, service, tokens_in, tokens_out)
        for direction, tokens in (("in", tokens_in), ("out", tokens_out)):
            metrics.GATEWAY_SHADOW_TOKENS.labels(choice.release.name, direction).inc(tokens)

    def _outcome(self, began: float, failed: bool, invalid: bool = False) -> Outcome:
        return Outcome(failed, False, invalid, self._door.loop.time() - began)


def busy(door: Door, service: Service) -> bool:
    """Whether somebody might wait for it. How much a pod can do at a time only limits.maxConcurrency tells; where it is
    not written, a pod that does anything is taken to be full."""
    if service.external is not None:
        return False
    if door.lobby.count(service.name):
        return True
    if service.max_concurrency is not None:
        limit = -(-service.max_concurrency // door.snapshot.gateways)
        return not service.endpoints or door.gate(service.name).running >= limit
    return all(one.pending for one in service.endpoints)


def _wanted(body: dict[str, Any]) -> dict[str, Any]:
    """As the user's own turn asks: a stream tells what it took."""
    return {**body, "stream_options": {"include_usage": True}} if body.get("stream") else body


def _again(form: Form | None) -> bool:
    """Unseen nothing is asked for twice: whether the second answer would have been good is not known."""
    return form is not None and form.again
