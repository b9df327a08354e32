"""Synthetic users who behave like people: each asks one of the shop's questions and says thumbs-down to a wrong answer.

They speak to the door as any client does (OpenAI's protocol, one key, a user id in a header) and know the right
answer, so their feedback is honest evidence about the answers they were really given. Nothing here knows which
variant a user met; that is the door's affair.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from dataclasses import dataclass, field

import aiohttp

PARALLEL = 8  # users speaking at the same time
WHO = "person"
"""Which version a user meets is drawn from the name. By chance one sound rollout in some thousands is held for a split
that looks broken; with these names none of the demo's is, whoever of them comes first."""
THINKING = 0.08  # seconds between two of them: about 60 a second, which leaves two small CPUs some air


@dataclass
class Tally:
    """What the users experienced. `errors` counts everything that was not a whole, successful answer."""

    asked: int = 0
    wrong: int = 0
    errors: int = 0
    by_version: Counter[str] = field(default_factory=Counter)
    messages: list[str] = field(default_factory=list)


class Crowd:
    """An endless stream of new users for one release, until told to stop."""

    def __init__(self, door: str, key: str, prompt: str, questions: list[tuple[str, str]]) -> None:
        self.tally = Tally()
        self._door, self._key, self._prompt = door, key, prompt
        self._questions = questions
        self._numbers = itertools.count(1)
        self._stopped = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Crowd:
        self._session = aiohttp.ClientSession(headers={"authorization": f"Bearer {self._key}"})
        self._tasks = [asyncio.create_task(self._users()) for _ in range(PARALLEL)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopped.set()
        await asyncio.gather(*self._tasks)
        await self._session.close()

    async def _users(self) -> None:
        while not self._stopped.is_set():
            number = next(self._numbers)
            question, answer = self._questions[number % len(self._questions)]
            try:
                await self._one(f"{WHO}-{number}", question, answer)
            except (aiohttp.ClientError, TimeoutError, KeyError, ValueError) as problem:
                self._failed(repr(problem))
            await asyncio.sleep(THINKING)

    async def _one(self, user: str, question: str, answer: str) -> None:
        body = {"model": "support", "messages": [], "prompt": {"id": self._prompt, "variables": {"question": question}}}
        async with self._session.post(
            f"{self._door}/chat/completions", json=body, headers={"x-user-id": user}
        ) as reply:
            self.tally.asked += 1
            content = await reply.json()
            if reply.status != 200:
                return self._failed(f"{reply.status} {content}")
            self.tally.by_version[reply.headers.get("x-llmops-prompt-version", "?")] += 1
        if content["choices"][0]["message"]["content"].strip() != answer:
            self.tally.wrong += 1
            await self._thumbs_down(content["id"])
        return None

    async def _thumbs_down(self, answer_id: str) -> None:
        async with self._session.post(f"{self._door}/feedback", json={"id": answer_id, "rating": "down"}) as reply:
            if reply.status >= 300:
                self._failed(f"feedback: {reply.status} {await reply.text()}")

    def _failed(self, message: str) -> None:
        self.tally.errors += 1
        if len(self.tally.messages) < 5:
            self.tally.messages.append(message[:300])
