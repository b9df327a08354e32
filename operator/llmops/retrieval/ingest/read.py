"""The sources, looked at and read: which version each has, and its documents one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from llmops.redact import redact, redact_all
from llmops.retrieval.ingest import language, tenants
from llmops.retrieval.ingest.parse import Document, parse
from llmops.retrieval.ingest.places import LOOK, Listing
from llmops.retrieval.ingest.places.listing import Unreadable
from llmops.retrieval.passage import storable
from llmops.retrieval.work import SourceWork, Work
from llmops.web import Passing, Wrong

TOLD = 20  # problems that are told in words; the others are counted
TOLD_LANGUAGES = 10
MOST_NAME = 1000  # bytes: Milvus takes 1,024 of a passage's name, which is its document's and a number


@dataclass
class Reading:
    """What came of it. A source in `partly` was not read as a whole: what the index has of it stays where it was not
    seen this time; so do the documents in `unread`."""

    problems: list[str] = field(default_factory=list)
    skipped: int = 0
    partly: set[str] = field(default_factory=set)
    again: dict[str, set[str]] = field(default_factory=dict)
    """By source, what another look may find, though nothing has changed."""
    unread: set[str] = field(default_factory=set)
    left_out: dict[str, str] = field(default_factory=dict)  # documents in languages that are not wanted, and which
    nobodys: set[str] = field(default_factory=set)  # documents of no tenant, which goes for what the index has of them

    def skip(self, told: str) -> None:
        self.skipped += 1
        if len(self.problems) < TOLD:
            self.problems.append(storable(told[:1000]))

    def missed(self, source: str, what: str, told: str) -> None:
        self.partly.add(source)
        self.again.setdefault(source, set()).add(what)
        self.skip(told)

    def stays(self, document: str, source: str, never_delete: bool) -> bool:
        """Whether passages of a document that was not seen are taken over from the served generation."""
        if document in self.nobodys or document in self.left_out:  # it was seen
            return False
        return never_delete or source in self.partly or document in self.unread

    def left_out_told(self) -> list[str]:
        """How many documents are left out, language by language, each with one of them."""
        ranked = Counter(self.left_out.values()).most_common()
        first = {code: one for one, code in reversed(self.left_out.items())}
        told = [f"{many} in {code} (such as {first[code][:100]})" for code, many in ranked[:TOLD_LANGUAGES]]
        others = sum(many for _, many in ranked[TOLD_LANGUAGES:])
        return [*told, f"{others} in other languages"] if others else told


def look(wanted: Work, folder: Path, before: Mapping[str, str]) -> dict[str, Listing]:
    """Each source's listing; `before`: versions of the served generation, by source."""
    return {
        one.name: LOOK[one.kind](
            replace(one, version=before.get(one.name, "")), folder / "sources" / one.name, folder / "secrets" / one.name
        )
        for one in wanted.sources
    }


def documents(wanted: Work, listings: Mapping[str, Listing], reading: Reading) -> Iterator[Document]:
    """Every document that can be read, each name once; a broken one never stops the rest."""
    for source in wanted.sources:
        listing, seen = listings[source.name], set[str]()
        for told in listing.missing:
            reading.missed(source.name, told, f"source {source.name}: {told}")
        for one in _of(source, listing, reading):
            if len(one.id.encode()) > MOST_NAME:
                told = f"a document's name has more than {MOST_NAME} bytes, give it a shorter id: {one.id[:100]}…"
                reading.skip(f"source {source.name}: {told}")
                reading.unread.add(one.id)  # an engine that takes such names has it
                continue
            if one.id in seen:
                reading.skip(f"source {source.name}: a second document is called {one.id!r}; give each its own id")
                continue
            seen.add(one.id)
            whole = _owned(wanted, source, one, reading)
            if whole is None:
                continue
            codes = language.languages_of(whole.text, whole.metadata) if wanted.languages else ()
            if not language.takes(wanted.languages, codes):
                reading.left_out[one.id] = "/".join(codes)
                continue
            whole = _with_language(whole, codes)
            yield replace(whole, text=redact(one.text)) if wanted.redact else whole


def _owned(wanted: Work, source: SourceWork, one: Document, reading: Reading) -> Document | None:
    """With its metadata as the index has them; None where it is no tenant's."""
    metadata = redact_all(dict(one.metadata)) if wanted.redact else one.metadata
    whole = replace(one, metadata={**metadata, **source.metadata})
    if not wanted.tenants:
        return whole
    owned = tenants.owned(whole, one.metadata, source.metadata, wanted.tenants)
    if isinstance(owned, Document):
        return owned
    reading.skip(f"source {source.name}: {owned}")
    reading.nobodys.add(one.id)
    return None


def _with_language(one: Document, codes: Sequence[str]) -> Document:
    """As metadata, where it says none itself."""
    if not codes or one.metadata.get(language.FIELD):
        return one
    return replace(one, metadata={**one.metadata, language.FIELD: codes[0]})


def _of(source: SourceWork, listing: Listing, reading: Reading) -> Iterator[Document]:
    for file in listing.files():
        try:
            data = file.read()
        except Unreadable as problem:
            reading.skip(f"source {source.name}, {file.name}: {problem}")
            reading.partly.add(source.name)  # there may have been many documents in it
            continue
        except (Passing, Wrong, OSError) as problem:
            reading.missed(source.name, file.name, f"source {source.name}, {file.name}: {problem}")
            continue
        for one in parse(source, file.name, data):
            if isinstance(one, Document):
                yield one
                continue
            reading.skip(one.told)
            if one.id is None:
                reading.partly.add(source.name)
            else:
                reading.unread.add(one.id)
