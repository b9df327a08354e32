"""The ways of asking an OpenAI-compatible server, each one request: a chat (whole or streamed), the probability of a
given text, how near two texts are, what a text is about.

What is no part of an answer's text stands in the output's metadata: `seconds`, `first` (seconds to the first token),
`tokens` in and out, `given` (the messages as the door rendered them), `echo` (a text's tokens with their
log-probabilities), `cosine`, `vector`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import openai
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    Logprob,
    Logprobs,
    ModelOutput,
    ModelUsage,
    TopLogprob,
)

from llmops.evaluation.runner import echo
from llmops.evaluation.runner.drift import projected

MAX_TOKENS = 1024
MOST_PASSAGES = 32_000  # characters of rendered messages that are kept for a judge


async def chat(
    client: openai.AsyncOpenAI,
    model: str,
    messages: Sequence[ChatMessage],
    config: GenerateConfig,
    body: Mapping[str, Any],
    stream: bool,
) -> ModelOutput:
    """A chat. A prompt release brings its own messages and parameters, so none are sent beside `prompt`."""
    asked: dict[str, Any] = {"model": model, "extra_body": dict(body), "messages": []}
    if "prompt" not in body:
        asked["messages"] = [{"role": one.role, "content": one.text} for one in messages]
        asked["temperature"] = config.temperature or 0
        asked["max_tokens"] = config.max_tokens or MAX_TOKENS
    if config.logprobs:
        asked |= {"logprobs": True, "top_logprobs": config.top_logprobs}
    started = time.perf_counter()
    if stream:
        return await _streamed(client, asked, started)
    reply = await client.chat.completions.create(**asked)
    more = reply.model_extra or {}
    metadata = {"seconds": time.perf_counter() - started, **_given(more.get("rendered"))}
    choice = reply.choices[0]
    return _output(model, choice.message.content or "", reply.usage, metadata, _logprobs(choice.logprobs))


async def _streamed(client: openai.AsyncOpenAI, asked: Mapping[str, Any], started: float) -> ModelOutput:
    parts: list[str] = []
    usage, rendered, first = None, None, None
    stream = await client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    async for chunk in stream:
        usage = chunk.usage or usage
        rendered = (chunk.model_extra or {}).get("rendered") or rendered
        text = chunk.choices[0].delta.content if chunk.choices else None
        if text:
            first = first or time.perf_counter() - started
            parts.append(text)
    metadata = {"seconds": time.perf_counter() - started, **_given(rendered)}
    if first is not None:
        metadata["first"] = first
    return _output(str(asked["model"]), "".join(parts), usage, metadata)


def _output(
    model: str, text: str, usage: Any, metadata: dict[str, Any], logprobs: Logprobs | None = None
) -> ModelOutput:
    choice = ChatCompletionChoice(
        message=ChatMessageAssistant(content=text, model=model, source="generate"),
        stop_reason="stop",
        logprobs=logprobs,
    )
    if usage is None:
        return ModelOutput(model=model, choices=[choice], metadata=metadata)
    tokens_in, tokens_out = usage.prompt_tokens or 0, getattr(usage, "completion_tokens", 0) or 0
    return ModelOutput(
        model=model,
        choices=[choice],
        metadata={**metadata, "tokens": [tokens_in, tokens_out]},
        usage=ModelUsage(input_tokens=tokens_in, output_tokens=tokens_out, total_tokens=usage.total_tokens or 0),
    )


def _given(rendered: Any) -> dict[str, str]:
    """What the door says that the model was told, as one text."""
    if not isinstance(rendered, list):
        return {}
    return {"given": "\n\n".join(str(one.get("content", "")) for one in rendered)[:MOST_PASSAGES]}


def _logprobs(told: Any) -> Logprobs | None:
    if told is None or not told.content:
        return None
    return Logprobs(
        content=[
            Logprob(
                token=one.token,
                logprob=one.logprob,
                top_logprobs=[TopLogprob(token=top.token, logprob=top.logprob) for top in one.top_logprobs or []],
            )
            for one in told.content
        ]
    )


async def likelihood(client: openai.AsyncOpenAI, model: str, prompt: str) -> ModelOutput:
    """The tokens of `prompt` itself, with their log-probabilities, by the completions' `echo`.

    A server that does not know `echo` answers all the same, with the logprobs of what it generated: so what comes back
    is looked at, never trusted (echo.py).
    """
    reply = await client.completions.create(model=model, prompt=prompt, **echo.ASKED)
    choice = reply.choices[0]
    return _output(model, choice.text[:200], reply.usage, {"echo": echo.told(choice)})


async def embedding(client: openai.AsyncOpenAI, model: str, text: str) -> ModelOutput:
    """Where the embedding model sees a text, in as many dimensions as a Drift keeps."""
    reply = await client.embeddings.create(model=model, input=[text], encoding_format="float")
    return _output(model, "", reply.usage, {"vector": projected(reply.data[0].embedding)})


async def similarity(client: openai.AsyncOpenAI, model: str, texts: Mapping[str, Any]) -> ModelOutput:
    """The cosine of the answer and the nearest of the targets, as the embedding model sees them."""
    asked = [str(texts["answer"]), *map(str, texts["targets"])]
    reply = await client.embeddings.create(model=model, input=asked, encoding_format="float")
    vectors = [one.embedding for one in sorted(reply.data, key=lambda one: one.index)]
    if len(vectors) != len(asked):
        raise ValueError(f"{len(vectors)} embeddings came for {len(asked)} texts")
    best = max(cosine(vectors[0], other) for other in vectors[1:])
    return _output(model, f"{best:.6f}", reply.usage, {"cosine": best})


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of the angle between two vectors; 0 where one of them is nothing."""
    lengths = math.sqrt(sum(x * x for x in one)) * math.sqrt(sum(y * y for y in other))
    return sum(x * y for x, y in zip(one, other, strict=True)) / lengths if lengths else 0.0
