"""`llmops index`: one generation from its work to its outcome.

Exit status 0: the outcome is written, served or not. CONFIG_ERROR: the work itself is wrong (a broken row, a passage
that the embedder refuses) and no retry helps. Anything else: try again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from llmops.retrieval import gates, work
from llmops.retrieval.embedder import Embedder, NotEmbedded
from llmops.retrieval.ingest import chunk
from llmops.retrieval.ingest.chunk import Passage
from llmops.retrieval.ingest.read import Wrong, read
from llmops.retrieval.ingest.report import Folder, InConfigMap, Report
from llmops.retrieval.outcome import Outcome
from llmops.retrieval.space import Space
from llmops.retrieval.work import CONFIG_ERROR, FAILURE, OUTCOME, PROGRESS, Questions, Work

if TYPE_CHECKING:
    from llmops.retrieval.ingest.store import Generation, Store

PATIENCE = 60.0  # seconds for an embedder that is away or busy; then the Job's own retry
LETTING_GO = 5.0  # seconds for query servers to leave a collection before it is dropped


def main(argv: list[str]) -> int:
    """Do one work."""
    parser = argparse.ArgumentParser(prog="llmops index", description="One generation of an index, as its Job runs it.")
    parser.add_argument("--work", type=Path, required=True, help=f"the folder with {work.WORK_FILE}")
    parser.add_argument("--sources", type=Path, required=True, help="the folder with a folder for each source")
    parser.add_argument("--report", required=True, help="a ConfigMap's namespace/name, or a folder (/… or .…)")
    given = parser.parse_args(argv)
    folder = given.report.startswith(("/", "."))
    report: Report = Folder(Path(given.report)) if folder else InConfigMap(*given.report.split("/", 1))
    return asyncio.run(_run(given.work, given.sources, report))


async def _run(folder: Path, sources: Path, report: Report) -> int:
    try:
        wanted = work.loads((folder / work.WORK_FILE).read_text())
        questions: Questions = [
            (row["question"], row["documents"]) for row in map(json.loads, _lines(folder / work.QUESTIONS_FILE))
        ]
        await report.write(OUTCOME, (await build(wanted, questions, sources, report)).dumps())
    except Wrong as wrong:
        return await _failed(report, str(wrong))
    except NotEmbedded as problem:
        if problem.final:
            return await _failed(report, f"{problem}; a passage may be too long for it: lower spec.chunking.maxTokens")
        print(problem, file=sys.stderr)
        return 1
    return 0


async def _failed(report: Report, sentence: str) -> int:
    print(f"cannot be built: {sentence}", file=sys.stderr)
    await report.write(FAILURE, sentence)
    return CONFIG_ERROR


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().split("\n") if line.strip()] if path.is_file() else []


async def build(wanted: Work, questions: Questions, sources: Path, report: Report) -> Outcome:
    """Read, chunk, embed, write, measure; serve it if every gate passes."""
    from llmops.retrieval.ingest.store import Store

    started = time.monotonic()
    documents = [one for source in wanted.sources for one in read(source, sources / source.name)]
    count = chunk.counter(wanted.embedding.url, wanted.embedding.model)
    passages = chunk.passages(documents, wanted.chunking, count)
    if not passages:
        raise Wrong("the sources have no text: nothing would be found")
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session:
        embedder = Embedder(session, wanted.embedding.url, wanted.embedding.model)
        space = await embedder.space(wanted.embedding.document_prefix, PATIENCE)
        store = Store(wanted.engine, wanted.alias, wanted.prefix)
        built, embedded = await _generation(wanted, passages, store, embedder, space, report)
        await _progress(report, "Measuring", built.number, len(passages), len(passages))
        asked = [wanted.embedding.query_prefix + question for question, _ in questions]
        vectors = await _embed(asked, wanted.embedding.batch_size, embedder)
    return _decide(wanted, built, _measured(wanted, built, questions, vectors, store), store, space, embedded, started)


async def _generation(
    wanted: Work, passages: Sequence[Passage], store: Store, embedder: Embedder, space: Space, report: Report
) -> tuple[Generation, int]:
    """The generation with this content: found, or built; and how many passages were embedded for it."""
    identity, there, active = wanted.parts.collection, store.generations(), store.active()
    for one in there:
        if one.told.get("identity") == identity and one.complete and one.space and one.space.same(space):
            store.loaded(one.collection)  # Milvus Lite loads nothing by itself after a restart
            return one, 0
    for one in there:
        if not one.complete:
            store.drop(one)  # an earlier try was interrupted
    _not_too_many_gone(wanted, passages, store, active)
    number = max((one.number for one in there), default=0) + 1
    known = _known(store, active, space) if wanted.copy_vectors else {}
    collection = f"{wanted.prefix}{number}_{identity[:8]}"
    index = {
        "index_type": wanted.index_type, "metric_type": _metric(wanted.metric), "params": dict(wanted.parameters),
    }  # fmt: skip
    built = store.create(collection, space.dimensions, index, {"generation": number, "identity": identity})
    embedded = 0
    for at in range(0, len(passages), _STRIDE):
        batch = passages[at : at + _STRIDE]
        missing = [one for one in batch if one.hash not in known]
        texts = [wanted.embedding.document_prefix + one.text for one in missing]
        new = dict(zip((one.hash for one in missing), await _embed(texts, wanted.embedding.batch_size, embedder),
                       strict=True))  # fmt: skip
        store.insert(collection, batch, [known[one.hash] if one.hash in known else new[one.hash] for one in batch])
        embedded += len(missing)
        await _progress(report, "Embedding", number, at + len(batch), len(passages))
    store.settle(collection)
    return store.tell(built, complete=True, space=space.dumps(), rows=len(passages)), embedded


_STRIDE = 512


def _metric(metric: str) -> str:
    from llmops.retrieval.ingest.store import METRICS

    return METRICS[metric]


async def _embed(texts: Sequence[str], batch_size: int, embedder: Embedder) -> list[list[float]]:
    found: list[list[float]] = []
    for at in range(0, len(texts), batch_size):
        found += await embedder.embed(texts[at : at + batch_size], PATIENCE)
    return found


def _known(store: Store, active: Generation | None, space: Space) -> dict[str, list[float]]:
    """The served generation's vectors by their text, if they lie in the same space."""
    if active is None or active.space is None or not active.space.same(space):
        return {}
    return {row["hash"]: row["vector"] for row in store.rows(active.collection, ("id", "hash", "vector"))}


def _not_too_many_gone(wanted: Work, passages: Sequence[Passage], store: Store, active: Generation | None) -> None:
    """A source that suddenly lost most of its documents is more often an accident than meant."""
    if active is None:
        return
    before = {row["document"] for row in store.rows(active.collection, ("id", "document"))}
    gone = before - {one.document for one in passages}
    if before and len(gone) * 100 > wanted.max_delete_percent * len(before):
        raise Wrong(
            f"{len(gone)} of {len(before)} documents are gone (such as {min(gone)}), more than "
            f"spec.refresh.maxDeletePercent {wanted.max_delete_percent} allows: bring them back, or raise it"
        )


def _measured(
    wanted: Work, built: Generation, questions: Questions, vectors: list[list[float]], store: Store
) -> tuple[gates.Figures, dict[str, int]]:
    from llmops.retrieval.ingest.measure import Asked, figures

    asked = Asked(questions, vectors)
    return figures(store, built.collection, wanted.metric, wanted.search, wanted.gates, asked, wanted.auto_tune)


def _decide(
    wanted: Work, built: Generation, measured: tuple[gates.Figures, dict[str, int]], store: Store, space: Space,
    embedded: int, started: float,
) -> Outcome:  # fmt: skip
    """Serve it, or leave it lying; either way remove what nobody needs any more."""
    found, search = measured
    results = gates.judge(wanted.gates, found)
    before = store.active()
    served = all(gate.passed for gate in results)
    now = datetime.now(UTC)
    if served:
        built = store.tell(
            built, key=wanted.parts.key, search=search, metric=wanted.metric, served=now.timestamp(),
            embedding=asdict(wanted.embedding),
        )  # fmt: skip
        store.point(built)
    kept = _prune(store, built, wanted, moved=served and before is not None)
    return Outcome(
        key=wanted.parts.key, generation=built.number, collection=built.collection, served=served, rows=found.rows,
        dimensions=space.dimensions, fingerprint=space.fingerprint, measured=found.told(), gates=results,
        parts=asdict(wanted.parts), embedded=embedded, seconds=round(time.monotonic() - started, 1),
        previous=before.collection if before and before.collection != built.collection else None,
        at=now.strftime("%Y-%m-%dT%H:%M:%SZ"), kept=tuple(one.number for one in kept if one.served),
    )  # fmt: skip


def _prune(store: Store, built: Generation, wanted: Work, moved: bool) -> list[Generation]:
    """Keep what queries see, the newest of what they saw, those that releases name, and the one just built; it may be
    looked at."""
    active, there = store.active(), store.generations()
    seen = sorted((one for one in there if one.served), key=lambda one: one.served, reverse=True)
    newest = {one.collection for one in seen[: wanted.keep_generations]}
    kept = {built.collection, active.collection if active else "", *newest}
    kept |= {one.collection for one in there if one.number in wanted.pinned}
    gone = [one for one in there if one.collection not in kept]
    if gone and moved:
        time.sleep(LETTING_GO)
    for one in gone:
        store.drop(one)
    return [one for one in there if one.collection in kept]


async def _progress(report: Report, stage: str, generation: int, done: int, total: int) -> None:
    """Only shown: a build never fails of it."""
    try:
        told: dict[str, Any] = {"stage": stage, "generation": generation, "done": done, "total": total}
        await report.write(PROGRESS, json.dumps(told))
    except Exception as problem:  # noqa: BLE001 - progress is a courtesy
        print(f"progress not written: {problem}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
