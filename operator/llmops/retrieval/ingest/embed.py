"""Texts -> vectors, a batch a request, a few requests at a time; a text that the model refuses is found."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from llmops.retrieval.door import Purpose
from llmops.retrieval.embedder import Embedder, NotEmbedded

AT_ONCE = 2  # while one batch travels the next is embedded; engines queue by themselves
PATIENCE = 60.0  # seconds for a service that is away or busy; then the Job's own retry


async def embed(
    embedder: Embedder, texts: Sequence[str], batch_size: int, purpose: Purpose = "document"
) -> list[list[float] | str]:
    """Each text's vector, or why there is none, in order. NotEmbedded where the service is away for long."""
    door = asyncio.Semaphore(AT_ONCE)

    async def batch(some: Sequence[str]) -> list[list[float] | str]:
        async with door:
            return await _some(embedder, some, purpose)

    batches = [texts[at : at + batch_size] for at in range(0, len(texts), batch_size)]
    return [one for found in await asyncio.gather(*map(batch, batches)) for one in found]


async def _some(embedder: Embedder, texts: Sequence[str], purpose: Purpose) -> list[list[float] | str]:
    """Halved where the service refuses: too much at once, or one text that spoils its list."""
    try:
        return list(await embedder.embed(texts, PATIENCE, purpose))
    except NotEmbedded as problem:
        if not problem.final or problem.everything:
            raise
        if len(texts) == 1:
            return [str(problem)]
    half = len(texts) // 2
    return [*await _some(embedder, texts[:half], purpose), *await _some(embedder, texts[half:], purpose)]
