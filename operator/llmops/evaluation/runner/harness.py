"""lm-evaluation-harness (EleutherAI, 0.4) over one of our arms: its model is our door, its datasets lie on a volume.

The suite has clients of its own for OpenAI's protocol. They want the model's tokenizer on disk to find where a
continuation begins, keep one token for hours, and a failed request ends the run; ours reads off the echo where it
begins (echo.py), reads the token anew, and marks a request that failed for good, so that its row is no wrong answer.

Of a server that does not echo (llama.cpp) a continuation of one token is looked up among the most likely next ones:
enough for questions whose choices are letters, such as MMLU's. Whatever needs more than that is not measured.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import datasets
import openai
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from llmops.evaluation.run import TOKEN_FILE, Arm, Run
from llmops.evaluation.runner import echo
from llmops.evaluation.runner.progress import Progress
from llmops.web import Wrong

TRIES = 6
TIMEOUT = 120.0
GRACE = 30.0
"""Seconds in which a gateway may not yet know a new revision, or the run's own token."""
NOT_YET = frozenset({401, 403, 404})
OPEN_AFTER = 10
"""Requests in a row that failed for good: the rest is tried once each, as a dead target must not cost an hour."""
FAILED = "\0failed"
"""In place of a text; in place of a log-probability it is NaN."""
NEXT = (1000, 20, 5)
"""As many of the most likely next tokens are asked for; a server that refuses so many is asked for fewer."""
MOST_STOPS = 4
"""OpenAI's own bound; the rest is cut off here."""

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
Said = tuple[float, bool]
"""A continuation's log-probability, and whether it is what the model would have said."""


class Model(LM):  # type: ignore[misc]
    """An arm, as the suite asks it."""

    def __init__(self, arm: Arm, run: Run, progress: Progress) -> None:
        super().__init__()
        assert run.benchmark is not None
        self._arm, self._progress, self._concurrency, self._chat = arm, progress, run.concurrency, run.benchmark.chat
        self._next: dict[str, Mapping[str, float]] = {}
        self._many = list(NEXT)
        self._began, self._failed_in_a_row = time.monotonic(), 0
        self._echoes: bool | None = None
        self.first_error: str | None = None
        self.note = ""
        """What is to be told of scores that rest on log-probabilities."""

    @property
    def tokenizer_name(self) -> str:
        """For the suite's caches."""
        return self._arm.model

    def loglikelihood(self, requests: Sequence[Instance]) -> list[Said]:
        """How likely each continuation is behind its context."""
        return asyncio.run(self._all([one.args for one in requests], self._likely, (math.nan, False)))

    def loglikelihood_rolling(self, requests: Sequence[Instance]) -> list[float]:
        """How likely each text is, from its second token on."""
        found = asyncio.run(self._all([("", one.args[0]) for one in requests], self._whole, (math.nan, False)))
        return [number for number, _ in found]

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """What the model says to each text, up to the first of the task's stops."""
        return asyncio.run(self._all([one.args for one in requests], self._generate, FAILED))

    async def _all(
        self, asked: Sequence[Asked], ask: Callable[[openai.AsyncOpenAI, Asked], Awaitable[Answer]], failed: Answer
    ) -> list[Answer]:
        self._progress.total += len(asked)
        places = asyncio.Semaphore(self._concurrency)
        token = (lambda: asyncio.to_thread(_token)) if self._arm.token else "none"

        async def one(client: openai.AsyncOpenAI, each: Asked) -> Answer:
            async with places:
                tries = TRIES if self._failed_in_a_row < OPEN_AFTER else 0
                try:
                    answer = await self._soon(lambda: ask(client.with_options(max_retries=tries), each))
                except (openai.APIError, echo.NoEcho) as problem:
                    self._failed_in_a_row += 1
                    self.first_error = self.first_error or str(problem)[:500]
                    self._progress.failed()
                    return failed
                self._failed_in_a_row = 0
                self._progress.answered()
                return answer

        async with openai.AsyncOpenAI(
            base_url=self._arm.url, api_key=token, max_retries=TRIES, timeout=TIMEOUT
        ) as client:
            if ask != self._generate:
                await self._probed(client)
            return list(await asyncio.gather(*(one(client, each) for each in asked)))

    async def _soon(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Asked again for as long as the gateway may not yet know what is asked for."""
        while True:
            try:
                return await ask()
            except openai.APIStatusError as problem:
                if problem.status_code not in NOT_YET or time.monotonic() - self._began > GRACE:
                    raise
                await asyncio.sleep(1)

    async def _probed(self, client: openai.AsyncOpenAI) -> None:
        """Once: whether the server's echo is to be believed. One that cannot be asked at all ends the run."""
        try:
            if self._echoes is None:
                await self._soon(lambda: self._probe(client))
        except (openai.BadRequestError, openai.NotFoundError) as problem:
            raise Wrong(
                f"the target tells no log-probability of a completion, which the task needs: {problem}"
            ) from None

    async def _probe(self, client: openai.AsyncOpenAI) -> None:
        try:
            probes = [await self._read(client, text, 1) for text in echo.PROBES]
            echo.believed(*probes)
            self._echoes = True
        except echo.NoEcho:
            self._echoes = False
            self.note = "choices are looked up among the most likely next tokens, as the server does not echo a prompt"

    async def _read(self, client: openai.AsyncOpenAI, prompt: str, begin: int) -> echo.Read:
        reply = await client.completions.create(model=self._arm.model, prompt=prompt, **echo.ASKED)
        return echo.read(echo.told(reply.choices[0]), prompt, begin)

    async def _likely(self, client: openai.AsyncOpenAI, asked: tuple[str, str]) -> Said:
        context, continuation = asked[0] or "\n", asked[1]
        if self._echoes:
            begin = len(context.rstrip(" "))  # a token holds the space before it
            found = await self._read(client, context + continuation, begin)
            return found.logprob, found.best == found.tokens
        tops = await self._tops(client, context)
        if continuation not in tops:
            raise echo.NoEcho(f"the server does not echo, and {continuation[:40]!r} is none of its likely next tokens")
        return tops[continuation], tops[continuation] == max(tops.values())

    async def _whole(self, client: openai.AsyncOpenAI, asked: tuple[str, str]) -> Said:
        if not self._echoes:
            raise echo.NoEcho("the server does not echo the prompt with its logprobs, which this task needs")
        found = await self._read(client, asked[1], 1)
        return found.logprob, found.best == found.tokens

    async def _tops(self, client: openai.AsyncOpenAI, context: str) -> Mapping[str, float]:
        """The choices of one question share their context, and come one after the other."""
        while context not in self._next:
            many = self._many[0]
            try:
                reply = await client.completions.create(
                    model=self._arm.model, prompt=context, max_tokens=1, temperature=0, logprobs=many
                )
                self._next[context] = echo.next_tokens(reply.choices[0].logprobs)
            except openai.BadRequestError:
                if many == NEXT[-1]:
                    raise
                if many == self._many[0]:  # others may have found out meanwhile
                    self._many.pop(0)
        return self._next[context]

    async def _generate(self, client: openai.AsyncOpenAI, asked: tuple[str, Mapping[str, Any]]) -> str:
        context, given = asked
        until = [given["until"]] if isinstance(given.get("until"), str) else list(given.get("until") or [])
        options: dict[str, Any] = {
            "model": self._arm.model,
            "max_tokens": int(given.get("max_gen_toks") or given.get("max_tokens") or 256),
            "temperature": float(given.get("temperature") or 0) if given.get("do_sample") else 0,
            **({"stop": until[:MOST_STOPS]} if until else {}),
        }
        if self._chat:
            chat = await client.chat.completions.create(messages=[{"role": "user", "content": context}], **options)
            text = chat.choices[0].message.content or ""
        else:
            text = (await client.completions.create(prompt=context, **options)).choices[0].text
        ends = [at for stop in until if stop and (at := text.find(stop)) >= 0]
        return text[: min(ends)] if ends else text


def _token() -> str:
    return TOKEN_FILE.read_text().strip()


def on_volume(folder: Path) -> list[str]:
    """Have datasets that the hub knows by name come from `folder`, where it has a copy of their repository. The list
    has the names of those that it lacks."""
    load, lacking = datasets.load_dataset, list[str]()

    def found(path: str, *more: Any, **options: Any) -> Any:
        if (folder / path).is_dir():
            return load(str(folder / path), *more, **options)
        if "/" in path and not Path(path).exists():
            lacking.append(path)
        return load(path, *more, **options)

    datasets.load_dataset = found
    return lacking
