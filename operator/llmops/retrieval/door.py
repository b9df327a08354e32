"""Embedding through somebody else's API, the pods' side: what a request at the door has besides its texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from llmops.api.settings import Settings

Object = dict[str, Any]
Purpose = Literal["document", "query"]
"""What a text is embedded for: some models put a question elsewhere than a passage with the same words."""

MOST = {"OpenAI": 2048, "Cohere": 96, "Gemini": 100}
"""Texts that one request may have, by Provider.spec.type; what is missing here has no embeddings."""
PURPOSES: dict[str, dict[Purpose, Object]] = {
    # what is too long is refused, and named, where Cohere would cut it off in silence; a question may lose its end
    "Cohere": {"document": {"input_type": "search_document", "truncate": "NONE"},
               "query": {"input_type": "search_query"}},
    "Gemini": {"document": {"input_type": "search_document"}, "query": {"input_type": "search_query"}},
}  # fmt: skip
"""Fields of a request that say what it is for; OpenAI's own API has none, and refuses what it does not know."""
CHECK_EVERY = 600.0
"""Seconds between two looks at where such a model puts the probes: each is paid for."""


def fields(provider: str, purpose: Purpose) -> Object:
    """What a request says of its purpose."""
    return PURPOSES.get(provider, {}).get(purpose, {})


def headers(provider: str) -> dict[str, str]:
    """Who asks: the token as the kubelet last wrote it, or OSError; our own services are shown none."""
    if not provider:
        return {}
    return {"authorization": f"Bearer {Path(Settings.from_env().token_file).read_text().strip()}"}
