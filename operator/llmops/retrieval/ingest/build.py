"""One generation, from what its sources have today to a decision about the alias."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from llmops.retrieval import gates
from llmops.retrieval.embedder import Embedder
from llmops.retrieval.ingest import read
from llmops.retrieval.ingest.embed import PATIENCE, embed
from llmops.retrieval.ingest.making import Making, Progress
from llmops.retrieval.ingest.report import Report
from llmops.retrieval.ingest.spool import Spool
from llmops.retrieval.outcome import GateResult, Outcome
from llmops.retrieval.rank import Way
from llmops.retrieval.reranker import Reranker
from llmops.retrieval.space import Space
from llmops.retrieval.work import PINNED, EmbeddingWork, Questions, Work
from llmops.web import Wrong

if TYPE_CHECKING:
    from llmops.retrieval.stores.base import Generation, Reader, Store

LETTING_GO = 5.0  # seconds for query servers to leave a collection before it is dropped


async def build(wanted: Work, questions: Questions, mounted: Path, scratch: Path, report: Report) -> Outcome:
    """Look, read what changed, chunk, embed, write, measure; serve it if every gate passes."""
    from llmops.retrieval.stores import open_reader, open_store, where
    from llmops.retrieval.stores.base import StoreError

    started, progress = time.monotonic(), Progress(report)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session:
        embedding = wanted.embedding
        embedder = Embedder(session, embedding.url, embedding.model, embedding.provider)
        space = await _space(embedder, embedding)
        engine = where(wanted.engine_type, wanted.engine, wanted.database)
        store = await asyncio.to_thread(open_store, engine, wanted.alias, wanted.prefix)
        active = store.active()
        listings = await asyncio.to_thread(read.look, wanted, mounted, _versions(active))
        made = Making(wanted, listings, space, embedder, store, active, Spool(scratch / "spool"), progress)
        built = made.there() or await made.build()
        await progress.tell("Measuring", built.number, made.rows, made.rows, now=True)
        measured = measured_before(made, built)
        if measured is None:
            asked = [wanted.embedding.query_prefix + question for question, *_ in questions]
            vectors = await _vectors(embedder, asked, wanted.embedding.batch_size)
            reranker = Reranker(session, wanted.rerank) if wanted.rerank else None
            reader = open_reader(engine)
            try:
                measured = await _measured(made, built, questions, vectors, reader, Way(wanted.mode, reranker))
                if not measured.passed and (active is None or active.collection != built.collection):
                    with suppress(StoreError):  # it only lies in the memory
                        await reader.release(built.collection)
            finally:
                await reader.close()
    return await _decide(made, built, measured, report, time.monotonic() - started)


async def _space(embedder: Embedder, embedding: EmbeddingWork) -> Space:
    """Where the probes lie. Somebody's API is asked twice, before all is paid for: where the same sentence lies
    elsewhere each time, query servers would refuse what is built."""
    space = await embedder.space(embedding.document_prefix, PATIENCE)
    if embedding.provider and (differs := space.differs(await embedder.space(embedding.document_prefix, PATIENCE))):
        raise Wrong(
            f"{embedding.model} embeds the same text differently each time, so nothing would be found: {differs}"
        )
    return space


def _versions(active: Generation | None) -> dict[str, str]:
    return dict(active.told.get("versions") or {}) if active else {}


async def _vectors(embedder: Embedder, texts: Sequence[str], batch_size: int) -> list[list[float]]:
    found = await embed(embedder, texts, batch_size, "query")
    refused = next((one for one in found if isinstance(one, str)), None)
    if refused is not None:
        raise Wrong(f"a question of the Retrieval gate: {refused}")
    return [one for one in found if not isinstance(one, str)]


@dataclass(frozen=True)
class Measured:
    """What a generation is worth, and the search parameters that it holds for."""

    told: Mapping[str, str | int]
    results: tuple[GateResult, ...]
    search: Mapping[str, int]
    curve: tuple[Mapping[str, str | int], ...] = ()
    scores: Mapping[str, Any] | None = None

    @property
    def passed(self) -> bool:
        """Every gate."""
        return all(gate.passed for gate in self.results)


def measured_before(made: Making, built: Generation) -> Measured | None:
    """Of the generation that is served, if nothing about it or its gates has changed since."""
    old = built.told.get("measured")
    served = made.active is not None and made.active.collection == built.collection
    if not served or not old or built.told.get("asked") != made.wanted.parts.search:
        return None
    results = tuple(GateResult(**one) for one in built.told["results"])
    return Measured(old, results, built.told["search"], tuple(built.told.get("curve") or ()), built.told.get("scores"))


async def _measured(
    made: Making, built: Generation, questions: Questions, vectors: list[list[float]], reader: Reader, way: Way
) -> Measured:
    from llmops.retrieval.ingest.measure import Asked, figures

    asked = Asked(questions, vectors, reader, way)
    found = await figures(made.store, built, made.active, made.wanted, asked)
    curve = tuple(one.told() for one in found.figures.tried)
    results = gates.judge(made.wanted.gates, found.figures)
    return Measured(found.figures.told(), results, found.search, curve, found.scores.told() if found.scores else None)


async def _decide(made: Making, built: Generation, measured: Measured, report: Report, seconds: float) -> Outcome:
    """Serve it, or leave it lying; either way remove what nobody needs any more."""
    wanted, store, results = made.wanted, made.store, measured.results
    before = store.active()
    served = measured.passed
    now = datetime.now(UTC)
    if served:
        built = store.tell(
            built, key=wanted.parts.key, search=dict(measured.search), metric=wanted.metric, served=now.timestamp(),
            embedding=asdict(wanted.embedding), mode=wanted.mode,
            rerank=asdict(wanted.rerank) if wanted.rerank else None, asked=wanted.parts.search,
            measured=dict(measured.told), results=[asdict(one) for one in results], curve=[*measured.curve],
            scores=measured.scores,
        )  # fmt: skip
        store.point(built)
    kept = await _prune(store, built, wanted.keep_generations, report, moved=served and before is not None)
    reading, active = made.reading, store.active()
    others = [one for one in kept if one.served and active is not None and one.collection != active.collection]
    return Outcome(
        key=wanted.parts.key, generation=built.number, collection=built.collection, served=served, rows=made.rows,
        dimensions=made.space.dimensions, fingerprint=made.space.fingerprint, measured=measured.told, gates=results,
        parts=asdict(wanted.parts), embedded=made.embedded, seconds=round(seconds, 1),
        previous=max(others, key=lambda one: one.served).collection if others else None,
        at=now.strftime("%Y-%m-%dT%H:%M:%SZ"), kept=tuple(one.number for one in kept if one.served),
        problems=tuple(reading.problems), skipped=reading.skipped, carried=made.carried, removed=made.removed,
        curve=measured.curve, pace=made.pace, left_out=tuple(made.left_out),
    )  # fmt: skip


async def _prune(store: Store, built: Generation, most: int, report: Report, moved: bool) -> list[Generation]:
    """Keep what queries see, the newest of what they saw, those that releases name, and the one just built; it may be
    looked at."""
    active, there = store.active(), store.generations()
    seen = sorted((one for one in there if one.served), key=lambda one: one.served, reverse=True)
    newest = {one.collection for one in seen[:most]}
    kept = {built.collection, active.collection if active else "", *newest}
    gone = [one for one in there if one.collection not in kept]
    if gone and moved:
        await asyncio.sleep(LETTING_GO)
    pinned = json.loads(await report.read(PINNED) or "[]")  # not before: a release may have named one meanwhile
    gone = [one for one in gone if one.number not in pinned]
    for one in gone:
        store.drop(one)
    return [one for one in there if one not in gone]
