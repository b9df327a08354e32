"""A question's passages, best first: by nearness, by words, or by both, fused; and then perhaps in the order of a model
that has read them. The query server and the Retrieval gate both ask here, so what is measured is what is served.

Fused by us and not by the engine: as fast (both searches run at once), the same order from every engine, and each
passage keeps its place in either list to tell why it is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from llmops.retrieval.fusion import fused
from llmops.retrieval.reranker import NotReranked, Reranker
from llmops.retrieval.stores.base import Asked, Found
from llmops.retrieval.words import CUT, words

DENSE, KEYWORD, HYBRID = MODES = ("Dense", "Keyword", "Hybrid")
DEPTH = 4
"""The fewest passages of either list that are fused; else as many as are asked for, and no more. With 50, a passage
that is 40th in both lists comes before the first of one: of 36 questions with codes and names 29 were answered among
the first four instead of 36, and of 100 in other words 67 instead of 80 (by nearness alone: 12 and 83)."""


Search = Callable[[str, Asked], Awaitable[list[Found]]]
"""In a collection: a Reader's, or what the query server makes of it."""


@dataclass(frozen=True)
class Placed:
    """A passage, with its places by nearness (dense) and by words (keyword); none where only nearness was asked."""

    found: Found
    ranks: Mapping[str, int] = field(default_factory=dict)
    relevance: float | None = None  # by the reranker


@dataclass(frozen=True)
class Way:
    """How a generation's passages are found and put in order."""

    mode: str = DENSE
    reranker: Reranker | None = None
    cut: int = CUT  # how its passages were cut into words


@dataclass(frozen=True)
class Answer:
    """Passages, best first; where they were to be reranked, whether they are, or why not."""

    passages: list[Placed]
    reranked: bool | None = None
    problem: str = ""


async def answer(search: Search, way: Way, collection: str, asked: Asked, question: str) -> Answer:
    """At most asked.top_k; what StoreError the engine has, but never fails of the reranker."""
    if way.reranker is None:
        return Answer(await ranked(search, collection, asked, question, way.mode, way.cut))
    many = replace(asked, top_k=max(asked.top_k, way.reranker.work.candidates))
    found = await ranked(search, collection, many, question, way.mode, way.cut)
    if not found:
        return Answer(found, True)
    try:
        relevance = await way.reranker.relevance(question, [one.found.text for one in found])
    except NotReranked as problem:
        return Answer(found[: asked.top_k], False, str(problem))
    read = [replace(one, relevance=figure) for one, figure in zip(found, relevance, strict=True)]
    best = sorted(read, key=lambda one: -(one.relevance or 0.0))  # of equals, the one found first
    return Answer(best[: asked.top_k], True)


async def ranked(
    search: Search, collection: str, asked: Asked, question: str, mode: str, cut: int = CUT
) -> list[Placed]:
    """At most asked.top_k; what StoreError the engine has."""
    if mode == DENSE:
        return [Placed(one) for one in await search(collection, asked)]
    deep = replace(asked, top_k=max(asked.top_k, DEPTH))
    lists = {"dense": deep} if mode == HYBRID else {}
    if wanted := words(question, cut):
        lists["keyword"] = replace(deep, words=wanted)
    found = await asyncio.gather(*(search(collection, one) for one in lists.values()))
    passages = {one.id: one for one in (each for list_ in found for each in list_)}
    places = fused({name: [one.id for one in list_] for name, list_ in zip(lists, found, strict=True)})
    return [Placed(passages[one.id], one.ranks) for one in places[: asked.top_k]]
