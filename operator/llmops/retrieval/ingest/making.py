"""A generation while it is made: read, cut, taken over, embedded, written, and checked row by row."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from llmops.api import digest, short
from llmops.redact import redact, redact_all
from llmops.retrieval.embedder import Embedder
from llmops.retrieval.estimate import Estimate
from llmops.retrieval.ingest import chunk, read, tenants
from llmops.retrieval.ingest.embed import embed
from llmops.retrieval.ingest.read import Reading
from llmops.retrieval.ingest.report import Report
from llmops.retrieval.ingest.spool import BATCH, Spool
from llmops.retrieval.passage import Passage
from llmops.retrieval.space import Space
from llmops.retrieval.words import CUT
from llmops.retrieval.work import PROGRESS, Work
from llmops.web import Passing, Wrong

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmops.retrieval.ingest.places import Listing
    from llmops.retrieval.stores.base import Generation, Store

COUNTED = 100  # texts of which the tokens are counted; those of the others are told from their length
TELL_EVERY = 2.0  # seconds between two words of progress


class Unapproved(Exception):
    """More is to be embedded than may be before a person has said so."""

    def __init__(self, estimate: Estimate) -> None:
        super().__init__(f"{estimate.passages} passages wait to be embedded")
        self.estimate = estimate


class Progress:
    """Only shown: a build never fails of it, and it is not told more often than anybody looks."""

    def __init__(self, report: Report) -> None:
        self._report, self._told = report, 0.0

    async def tell(
        self, stage: str, generation: int, done: int, total: int, now: bool = False, estimate: Estimate | None = None
    ) -> None:
        moment = time.monotonic()
        if not now and moment - self._told < TELL_EVERY:
            return
        self._told = moment
        told: dict[str, Any] = {"stage": stage, "generation": generation, "done": done, "total": total}
        if estimate is not None:
            told["estimate"] = asdict(estimate)
        try:
            await self._report.write(PROGRESS, json.dumps(told))
        except Exception as problem:  # noqa: BLE001 - progress is a courtesy
            print(f"progress not written: {problem}", file=sys.stderr)


@dataclass
class Making:
    """A generation while it is made."""

    wanted: Work
    listings: dict[str, Listing]
    space: Space
    embedder: Embedder
    store: Store
    active: Generation | None
    spool: Spool
    progress: Progress
    rows: int = 0
    placed: int = 0  # passages that the generation has, or will have
    embedded: int = 0
    carried: int = 0
    removed: int = 0
    pace: float = 0.0

    def __post_init__(self) -> None:
        self.reading = Reading()
        self.left_out: list[str] = []  # documents in other languages than those wanted, in words
        self.count: chunk.Count = chunk.estimate
        self.versions = {name: one.version for name, one in self.listings.items()}

    @property
    def identity(self) -> str:
        return self.wanted.read(self.versions).parts.collection

    def there(self) -> Generation | None:
        """The generation with this content, where it was built before: then nothing has to be read."""
        found = self._complete()
        if found is not None:
            self.reading.problems += found.told.get("problems") or []
            self.reading.skipped = int(found.told.get("skipped") or 0)
            self.left_out = list(found.told.get("left_out") or [])
        return found

    def _complete(self) -> Generation | None:
        for one in self.store.generations():
            if one.told.get("identity") == self.identity and one.complete and one.space and one.space.same(self.space):
                self.store.loaded(one.collection)  # Milvus Lite loads nothing by itself after a restart
                self.rows = int(one.told["rows"])
                return one
        return None

    async def build(self) -> Generation:
        """Another one, or the one that an earlier try left unfinished; or none, where what could not be read before
        still cannot, and nothing else has changed."""
        await asyncio.to_thread(self._read)
        if self.reading.again and (found := self._complete()) is not None:
            return found
        if self.wanted.only_there:
            raise Wrong(
                "spec.suspend is true, and what is asked for is not in the vector database any more: "
                "set it to false to have that built"
            )
        generation, again = self._begun()
        if self.wanted.copy_vectors:
            self._remember()
        estimate = self._estimate()
        if estimate.above(self.wanted.ask_above):
            raise Unapproved(estimate)  # what is there of this generation is gone on with when it is approved
        await self._fill(generation, again, estimate)
        await self.progress.tell("Indexing", generation.number, len(self.spool), len(self.spool), now=True)
        self._check(generation)
        self.rows = len(self.spool)
        return self.store.tell(
            generation, complete=True, rows=self.rows, versions=self.versions, problems=self.reading.problems,
            skipped=self.reading.skipped, left_out=self.left_out,
        )  # fmt: skip

    def _read(self) -> None:
        """Every passage into the spool: of what can be read, and of what stays though it was not seen."""
        wanted, documents = self.wanted, read.documents(self.wanted, self.listings, self.reading)
        embedding = wanted.embedding
        self.count = chunk.estimate if embedding.provider else chunk.counter(embedding.url, embedding.model)
        self.spool.add(chunk.passages(documents, wanted.chunking, self.count), wanted.deduplicate, wanted.tenants)
        self.left_out = self.reading.left_out_told()
        for source, missed in self.reading.again.items():  # what is asked for next time is not what there is
            self.versions[source] += f" without {short(digest({'missed': sorted(missed)}))}"
        if self.active is not None:
            self._carry(self.active)
        if not len(self.spool):
            partly = "; ".join(self.reading.problems)
            if self.reading.again:
                raise Passing(partly)
            others = f"but in other languages than spec.cleaning.languages: {', '.join(self.left_out)}"
            told = "; ".join(one for one in (self.left_out and others, partly) if one)
            raise Wrong(f"the sources have no text: nothing would be found{f' ({told})' if told else ''}")

    def _carry(self, active: Generation) -> None:
        """A source that suddenly lost most of its documents is more often an accident than meant."""
        before = self.store.documents(active.collection)
        unseen = {one: one.partition("/")[0] for one in before if not self.spool.saw_document(one)}
        # what a person took out of the spec goes, whatever spec.refresh.deletePolicy says of what vanished by itself
        named, never = {one.name for one in self.wanted.sources}, self.wanted.never_delete
        staying = {one for one, source in unseen.items() if source in named and self.reading.stays(one, source, never)}
        gone = unseen.keys() - staying
        self._not_too_many(active, gone, len(before))
        self.carried, self.removed = len(staying), len(gone - self.reading.left_out.keys())
        if staying:
            self.spool.add(self._carried(active, staying))

    def _carried(self, active: Generation, staying: set[str]) -> Iterator[Passage]:
        """Not seen this time, but who may see them, and whose they are, is what the spec says by now."""
        from llmops.retrieval.stores.tenants import TENANT

        told = {one.name: one.metadata for one in self.wanted.sources}
        field = self.wanted.tenants
        believed = not self.wanted.redact or active.told.get(TENANT) == field
        for one in self.store.passages(active.collection):
            if one.document not in staying:
                continue
            given = told.get(one.source, {})
            kept = _redacted(one, field) if self.wanted.redact else one  # it may be from before anybody asked for that
            whole = replace(kept, metadata={**kept.metadata, **given})
            owned = tenants.carried(whole, given, field, believed) if field else whole
            if owned is not None:
                yield owned

    def _not_too_many(self, active: Generation, gone: set[str], before: int) -> None:
        """Those that go since a person has named other languages are no accident; in other languages by themselves,
        as of a site that answers each country in its own, they may be."""
        if tuple(active.told.get("languages") or ()) != self.wanted.languages:
            gone = gone - self.reading.left_out.keys()
        most = self.wanted.max_delete_percent
        if before and len(gone) * 100 > most * before:
            how = "gone or in another language than before" if gone & self.reading.left_out.keys() else "gone"
            raise Wrong(
                f"{len(gone)} of {before} documents are {how} (such as {min(gone)}), more than "
                f"spec.refresh.maxDeletePercent {most} allows: bring them back, or raise it"
                + "".join(f"; {one}" for one in self.reading.problems[:1] if self.reading.nobodys)
            )

    def _begun(self) -> tuple[Generation, bool]:
        """Where the passages go, and whether some may be there."""
        from llmops.retrieval.stores.base import SEEN_BY, Index
        from llmops.retrieval.stores.tenants import TENANT

        there, identity = self.store.generations(), self.identity
        found = None
        for one in there:
            if one.complete:
                continue
            same = one.told.get("identity") == identity and one.space is not None and one.space.same(self.space)
            if same and found is None:
                found = one
            else:
                self.store.drop(one)  # of a try that was interrupted, and is not wanted any more
        if found is not None:
            if not self.spool.stored(self.store.ids(found.collection)):
                return found, True
            self.store.drop(found)
            self.spool.forget_stored()
        number = max([self.wanted.after, *(one.number for one in there)]) + 1
        told: dict[str, Any] = {"generation": number, "identity": identity, "space": self.space.dumps()}
        wanted = self.wanted
        told |= {"keyword": True, "cut": CUT} if wanted.keyword else {}
        told |= {"languages": list(wanted.languages)} if wanted.languages else {}
        told |= {SEEN_BY: wanted.seen_by} if wanted.seen_by else {}
        told |= {TENANT: wanted.tenants} if wanted.tenants else {}
        index = Index(wanted.index_type, wanted.metric, wanted.parameters, wanted.keyword)
        name = f"{wanted.prefix}{number}_{identity[:8]}"
        return self.store.create(name, self.space.dimensions, index, told), False

    def _remember(self) -> None:
        """Vectors of the served generation, where they lie in the same space."""
        active = self.active
        if active is None or active.space is None or not active.space.same(self.space):
            return
        for page in self.store.vectors(active.collection):
            self.spool.remember(dict(zip(page.hashes, page.vectors, strict=True)))

    def _estimate(self) -> Estimate:
        """Tokens by those of a hundred of the texts."""
        passages, size = self.spool.unknown()
        some = self.spool.some_unknown(COUNTED)
        tokens = sum(self.count(self.wanted.embedding.document_prefix + one) for one in some)
        return Estimate(passages, round(tokens * size / max(1, sum(map(len, some)))))

    async def _fill(self, generation: Generation, again: bool, estimate: Estimate) -> None:
        """While a batch is written the next is embedded. One writer at a time: Milvus Lite loses rows of two."""
        writing: asyncio.Task[None] | None = None
        started = time.monotonic()
        done, total = self.spool.count_stored(), len(self.spool)
        self.placed = done
        many = max(BATCH, self.wanted.embedding.batch_size)
        for batch in self.spool.missing(many):
            passages, vectors = await self._embedded(batch)
            if writing is not None:
                await writing
            if passages:
                insert = asyncio.to_thread(self.store.insert, generation.collection, passages, vectors, again)
                writing = asyncio.create_task(insert)
            done += len(batch)
            await self.progress.tell("Embedding", generation.number, done, total, done <= many, estimate)
        if writing is not None:
            await writing
        if self.embedded >= BATCH:  # fewer say little of how long many take
            self.pace = round(self.embedded / (time.monotonic() - started), 3)

    async def _embedded(self, batch: list[Passage]) -> tuple[list[Passage], list[list[float]]]:
        known = self.spool.known(one.hash for one in batch)
        texts = {one.hash: self.wanted.embedding.document_prefix + one.text for one in batch if one.hash not in known}
        found = await embed(self.embedder, list(texts.values()), self.wanted.embedding.batch_size)
        new = {hash_: one for hash_, one in zip(texts, found, strict=True) if not isinstance(one, str)}
        refused = {hash_: one for hash_, one in zip(texts, found, strict=True) if isinstance(one, str)}
        whole = {**known, **new}
        kept = [one for one in batch if one.hash in whole]
        self.placed += len(kept)
        if not self.placed:
            raise Wrong(
                f"{next(iter(refused.values()))}; a passage may be too long for it: lower spec.chunking.maxTokens"
            )
        for one in batch:
            if one.hash in refused:
                self.reading.skip(f"passage {one.id}: {refused[one.hash]}")
        self.spool.drop(one.id for one in batch if one.hash in refused)
        self.spool.remember(new)
        self.embedded += len(new)
        return kept, [whole[one.hash] for one in kept]

    def _check(self, generation: Generation) -> None:
        """Every passage is there once, with the text that it should have; else this try was for nothing."""
        self.store.settle(generation.collection)
        self.spool.forget_stored()
        strange = self.spool.stored(self.store.ids(generation.collection))
        missing = len(self.spool) - self.spool.count_stored()
        if strange or missing:
            self.store.drop(generation)
            raise Passing(f"{generation.collection} has {strange} rows too many and {missing} too few: built again")


def _redacted(one: Passage, tenants: str) -> Passage:
    """Whose it is stays: two customers called by their e-mail addresses would become one."""
    whose = {tenants: one.metadata[tenants]} if tenants in one.metadata else {}
    return replace(one, text=redact(one.text), metadata={**redact_all(dict(one.metadata)), **whose})
