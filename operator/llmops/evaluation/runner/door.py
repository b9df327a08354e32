"""Inspect's model provider for our arms: the plain OpenAI client, with a token read anew for each call.

Inspect retries for ever by default. Here a request is tried up to RETRIES times more on what may pass (connection,
timeout, 408, 409, 425, 429, 5xx), 401, 403 and 404 count among these only in the run's first GRACE seconds (a gateway
learns of a new revision a moment after we do), and when OPEN_AFTER requests in a row have failed for good, the rest is
tried once each: a dead target costs a minute, not an hour. A target that asks for fewer requests (429) gets fewer, and
that is none of these tries (pace.py).

What is asked stands in the call's extra_body: `prompt` (a release), `likelihood`, `similarity` or `embedding`
(asking.py), else it is a chat. Seconds are of the attempt that succeeded, without the waits before it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import openai
from inspect_ai.model import ChatMessage, GenerateConfig, ModelAPI, ModelOutput, modelapi
from inspect_ai.tool import ToolChoice, ToolInfo
from tenacity import wait_exponential_jitter
from tenacity.wait import wait_base

from llmops.evaluation.run import TOKEN_FILE as TOKEN_FILE
from llmops.evaluation.runner import asking
from llmops.evaluation.runner.pace import WITHOUT, Pace

RETRIES = 6
GRACE = 30.0
OPEN_AFTER = 10
REQUEST_TIMEOUT = 60.0
PASSING = frozenset({408, 409, 425, 429})
SPENT = frozenset({"insufficient_quota", "budget_spent"})
PATIENCE = 600.0
"""Seconds after which a request that is only ever told to come later counts as failed."""
NOT_YET = frozenset({401, 403, 404})
INVALID = "response_invalid"
"""The door's word for an answer without the form that its release promises: a wrong answer, and no error."""


class Door(ModelAPI):
    """One arm. Parameters beside Inspect's own: `token_file` (empty: send no credential), `stream` (see the first token
    when it comes)."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        token_file: str = "",
        stream: bool = False,
        **_: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        self.token_file, self.stream = token_file, stream
        self.started = time.monotonic()
        self.failed_in_a_row = 0
        self.paid: Callable[[Sequence[int]], None] = lambda tokens: None
        self.pace = Pace(time.monotonic)
        self.client = openai.AsyncOpenAI(base_url=base_url, api_key=self.token, max_retries=0, timeout=REQUEST_TIMEOUT)

    async def token(self) -> str:
        """The credential, as the kubelet last wrote it."""
        return Path(self.token_file).read_text().strip() if self.token_file else "none"  # noqa: ASYNC240 - tmpfs

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        """Ask once."""
        body = dict(config.extra_body or {})
        try:
            output = await self._paced(input, config, body)
        except openai.APIError as error:  # of a stream it comes at its end
            if error.code != INVALID:
                raise
            output = ModelOutput.from_content(self.model_name, "")
        self.failed_in_a_row = 0
        if tokens := (output.metadata or {}).get("tokens"):
            self.paid(tokens)
        return output

    async def _paced(self, input: list[ChatMessage], config: GenerateConfig, body: dict[str, Any]) -> ModelOutput:
        """Asked again, when there is room, as often as it is only told to come later."""
        until = time.monotonic() + PATIENCE
        while True:
            async with self.pace.place() as began:
                try:
                    output = await self._asked(input, config, body)
                except openai.APIStatusError as error:
                    after = come_again(error)
                    if after is None or time.monotonic() >= until:
                        raise
                    self.pace.refused(began, after)
                else:
                    self.pace.answered()
                    return output

    async def _asked(self, input: list[ChatMessage], config: GenerateConfig, body: dict[str, Any]) -> ModelOutput:
        if "similarity" in body:
            return await asking.similarity(self.client, self.model_name, body["similarity"])
        if "embedding" in body:
            return await asking.embedding(self.client, self.model_name, body["embedding"])
        if "likelihood" in body:
            return await asking.likelihood(self.client, self.model_name, body["likelihood"])
        return await asking.chat(self.client, self.model_name, input, config, body, self.stream)

    def should_retry(self, ex: BaseException) -> bool:
        """Whether another attempt could end differently."""
        return self.failed_in_a_row < OPEN_AFTER and passing(ex, time.monotonic() - self.started)

    def gave_up(self) -> None:
        """A request failed for good."""
        self.failed_in_a_row += 1

    def retry_wait(self) -> wait_base:
        """Between attempts: half a second, doubled each time, never more than eight."""
        return wait_exponential_jitter(initial=0.5, max=8, jitter=0.5)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.client.close()


@modelapi(name="llmops")
def _registered() -> type[ModelAPI]:
    return Door  # by a function: the decorator would replace the class by a factory


def come_again(error: openai.APIStatusError) -> float | None:
    """In how many seconds, of a target that has too much to do; None where that is not what it says, or where waiting
    would not help (a quota, a budget)."""
    told = error.response.headers.get("retry-after")
    if error.code in SPENT or not (error.status_code == 429 or (error.status_code == 503 and told)):
        return None
    try:
        return float(told) if told else WITHOUT
    except ValueError:  # a date; nobody's clock is trusted
        return WITHOUT


def passing(error: BaseException, age: float) -> bool:
    """Whether `error`, `age` seconds into the run, may pass by itself."""
    if isinstance(error, openai.APIConnectionError):  # timeouts included
        return True
    if not isinstance(error, openai.APIStatusError):
        return False
    return error.status_code >= 500 or error.status_code in PASSING or (error.status_code in NOT_YET and age < GRACE)
