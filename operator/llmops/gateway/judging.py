"""A model reads answers that users got (the signal Judge): afterwards, of a share of users, of both versions alike.

Nobody waits for it, and nobody's limits are touched. Which users' answers are read is a hash that knows nothing of the
versions; of each version only a user's first answer is. Where the judge is busy, does not answer or cannot be read,
there is no observation, rather than a guess; that this befalls one version more often than the other is watched, as the
proportion of users is (docs/evidence.md).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import orjson

from llmops import geval
from llmops.gateway import asking, choose
from llmops.gateway.choose import Choice, Share
from llmops.gateway.errors import Refusal
from llmops.gateway.shadow import LONGEST, PATH, busy
from llmops.gateway.snapshot import Judging, Service
from llmops.gateway.upstream import Whole
from llmops.rollout.split import is_judged
from llmops.telemetry import metrics

if TYPE_CHECKING:
    from llmops.gateway.app import Door

AT_ONCE = 4
TOKENS = 256
"""For a judge that thinks aloud before it writes its score."""
MOST = 32_000
"""Characters of an answer, and of what was asked: longer ones are not read."""
TOPS = 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """An answer that is to be read, once it is there."""

    judging: Judging
    release: str
    variant: str
    share: Share


def wanted(door: Door, choice: Choice) -> Wanted | None:
    """Whether this user's answer is read."""
    judging, share = choice.release.judging, choice.share
    if judging is None or share is None or door.draining:
        return None
    name = choice.release.name
    if not is_judged(name, share.digest, share.attempt, share.unit, judging.percent):
        return None
    if door.ledger.was_judged(name, choice.variant, share):
        return None
    return Wanted(judging, name, choice.variant, share)


class Judges:
    """Those under way in this process."""

    def __init__(self, door: Door) -> None:
        self._door, self.running = door, set[asyncio.Task[None]]()

    def begin(self, asked: Wanted, messages: Sequence[Mapping[str, Any]], answer: str) -> None:
        """Of a request that was answered just now; returns at once."""
        service = self._door.snapshot.services.get(asked.judging.service)
        question, given = _split(messages)
        if service is None or not answer.strip() or len(answer) + len(question) + len(given) > MOST:
            return self._count(asked, "unable")
        if len(self.running) >= AT_ONCE or busy(self._door, service):
            return self._count(asked, "busy")
        task = self._door.loop.create_task(self._judge(asked, service, question, given, answer))
        self.running.add(task)
        task.add_done_callback(self.running.discard)
        return None

    async def _judge(self, asked: Wanted, service: Service, question: str, given: str, answer: str) -> None:
        judge = asked.judging.judge
        form = geval.ask_score(judge, "", question, answer, (), given, secrets.token_hex(8))
        try:
            async with asyncio.timeout(LONGEST):
                score = geval.read_score(judge, *await self._ask(asked, service, form))
        except geval.Unreadable:
            return self._count(asked, "unreadable")
        except (TimeoutError, Refusal, LookupError, TypeError, AttributeError, ValueError, OverflowError):
            return self._count(asked, "unable")
        failed = score < asked.judging.least
        self._door.ledger.judged(
            asked.release, cast(Literal["stable", "candidate"], asked.variant), asked.share, failed
        )
        return self._count(asked, "bad" if failed else "good")

    async def _ask(self, asked: Wanted, service: Service, form: str) -> tuple[str, Sequence[Mapping[str, Any]]]:
        """What the judge wrote, and of each token what else it might have been. Who refuses to tell the latter is asked
        for the former."""
        body: dict[str, Any] = {
            "messages": [{"role": "user", "content": form}], "temperature": 0, "max_tokens": TOKENS,
        }  # fmt: skip
        answer = await self._once(asked, service, {**body, "logprobs": True, "top_logprobs": TOPS})
        if answer.status == 400:
            answer = await self._once(asked, service, body)
        if answer.status >= 400:
            raise LookupError
        asking.paid(self._door, service, *asking.usage(answer.body))
        [choice] = orjson.loads(answer.body)["choices"]
        told = (choice.get("logprobs") or {}).get("content") or []
        tokens = [
            {"token": one["token"], "tops": {top["token"]: top["logprob"] for top in one.get("top_logprobs") or ()}}
            for one in told
        ]
        return str(choice["message"]["content"]), tokens

    async def _once(self, asked: Wanted, service: Service, body: dict[str, Any]) -> Whole:
        usable = choose.usable(service, choose.GENERATE)
        answer = await asking.ask(self._door, usable, "", f"judge:{asked.release}", PATH, body, stream=False)
        assert isinstance(answer, Whole)
        return answer

    def _count(self, asked: Wanted, result: str) -> None:
        metrics.GATEWAY_JUDGED.labels(asked.release, asked.variant, result).inc()


def _split(messages: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """What was asked last, and what the model was given besides."""
    texts = [(str(one.get("role")), one.get("content")) for one in messages]
    last = max((at for at, (role, _) in enumerate(texts) if role == "user"), default=-1)
    given = [f"{role}: {text}" for at, (role, text) in enumerate(texts) if at != last and isinstance(text, str)]
    question = texts[last][1] if last >= 0 else ""
    return question if isinstance(question, str) else "", "\n".join(given)


def said(body: bytes) -> str:
    """A whole answer's text."""
    try:
        [choice] = orjson.loads(body)["choices"]
        return str(choice["message"].get("content") or "")
    except (orjson.JSONDecodeError, ValueError, LookupError, TypeError, AttributeError):
        return ""
