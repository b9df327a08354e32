"""Somebody's API behind the door: one file for each way of speaking, pure functions from and to OpenAI's shapes.

    adapter.py     what every one of them answers
    openai.py      OpenAI and everything compatible: next to nothing to do
    anthropic.py   the Messages API
    cohere.py      Chat and Embed, version 2
    gemini.py      generateContent and batchEmbedContents
    shapes.py      OpenAI's answers and chunks, as the others write them
    ask.py         the shell: address and credential, two tries, errors in our own words

The address comes from the admin's Provider, the credential from a file that only this process mounts. What a caller
sends decides neither: of a request only the parsed body goes on, none of its headers, and no redirect is followed.
"""

from llmops.gateway.providers.adapter import Adapter, Unsupported
from llmops.gateway.providers.anthropic import ADAPTER as ANTHROPIC
from llmops.gateway.providers.cohere import ADAPTER as COHERE
from llmops.gateway.providers.gemini import ADAPTER as GEMINI
from llmops.gateway.providers.openai import ADAPTER as OPENAI

ADAPTERS: dict[str, Adapter] = {"OpenAI": OPENAI, "Anthropic": ANTHROPIC, "Cohere": COHERE, "Gemini": GEMINI}
"""By Provider.spec.type. What is missing here is refused with a sentence."""

__all__ = ["ADAPTERS", "Adapter", "Unsupported"]
