"""A model as a person at a prompt asks it: at the door where they say so, else its own pods through the API server's
proxy. The API server takes credentials off what it passes on, so a key does not get to the door that way."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any

import aiohttp

from llmops.desk.objects import Unknown
from llmops.desk.reach import service_path
from llmops.kube.client import Client
from llmops.kube.errors import ApiError, Invalid
from llmops.kube.resources import Object

SECONDS = 120.0
KEY = "LLMOPS_KEY"
PATH = "/v1/chat/completions"


class Refused(Exception):
    """It does not take this request, in its own words; others it may."""


class Model:
    """`async with Model(...) as model`: one LLMService that generates."""

    def __init__(self, namespace: str, name: str, door: str | None = None) -> None:
        first, slash, second = name.partition("/")
        self.namespace, self._name = (first, second) if slash else (namespace, name)
        self.whole = f"{self.namespace}/{self._name}"
        self._door = door.rstrip("/").removesuffix("/v1") if door else None
        self._client: Client | None = None

    async def __aenter__(self) -> Model:
        if self._door is None:
            self._client = await Client.connect(timeout=SECONDS)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def ask(self, body: Object) -> str:
        """What it writes. Refused; Unknown where it cannot be asked at all."""
        answer = await (self._at_the_door(body) if self._client is None else self._through(self._client, body))
        try:
            return str(answer["choices"][0]["message"].get("content") or "")
        except (LookupError, TypeError, AttributeError):
            raise Unknown(f"LLMService {self.whole} answered what is no completion: has it task Generate?") from None

    async def _through(self, client: Client, body: Object) -> Any:
        try:
            return await client.raw(service_path(self.namespace, f"{self._name}-llm", 80, PATH), body)
        except Invalid as problem:
            raise Refused(str(problem)) from None
        except ApiError as problem:
            raise Unknown(
                f"LLMService {self.whole} is not reached through the API server ({problem}): is it Ready, and may you "
                "create services/proxy in its namespace? A NetworkPolicy may keep the API server out, a sleeping "
                "service is woken by the door only: kubectl port-forward -n llmops-system svc/llmops-gateway 8080:80, "
                f"and ask again with --door http://localhost:8080 and a key in {KEY}"
            ) from None

    async def _at_the_door(self, body: Object) -> Any:
        headers = {"authorization": f"Bearer {os.environ[KEY]}"} if os.environ.get(KEY) else {}
        url = f"{self._door}{PATH}"
        try:
            timeout = aiohttp.ClientTimeout(total=SECONDS)
            async with aiohttp.request("POST", url, json=body, headers=headers, timeout=timeout) as reply:
                answer = await reply.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as problem:
            raise Unknown(f"no door answers at {url}: {problem or type(problem).__name__}") from None
        if reply.status == 200:
            return answer
        error = answer.get("error") if isinstance(answer, dict) else None
        told = str(error.get("message") if isinstance(error, dict) else f"{url} answered {reply.status}")
        if reply.status in (400, 413, 422):
            raise Refused(told)
        raise Unknown(f"{told}; the key is read from {KEY}" if reply.status in (401, 403) else told)
