"""Passages and vectors on the pod's scratch (SQLite): a hundred thousand of them take disk and not memory."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmops.retrieval.passage import Passage

if TYPE_CHECKING:
    import numpy as np

SCHEMA = """
CREATE TABLE passages (n INTEGER PRIMARY KEY, id TEXT UNIQUE, document TEXT, source TEXT, hash TEXT, text TEXT,
                       metadata TEXT, stored INTEGER DEFAULT 0);
CREATE INDEX by_hash ON passages (hash);
CREATE INDEX by_document ON passages (document);
CREATE TABLE doubles (document TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE vectors (hash TEXT PRIMARY KEY, vector BLOB) WITHOUT ROWID;
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
"""
UNKNOWN = "passages WHERE stored = 0 AND NOT EXISTS (SELECT 1 FROM vectors WHERE vectors.hash = passages.hash)"
STRIDE = 512
BATCH = 128  # embedded and written at once, at least: what a kill can cost


class Spool:
    """What a generation is to have. Not for two threads; gone with the Job."""

    def __init__(self, path: Path | str) -> None:
        Path(path).unlink(missing_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.executescript(SCHEMA)

    def add(self, passages: Iterable[Passage], deduplicate: bool = False, tenants: str = "") -> int:
        """In their order; with `deduplicate` a text that is there already is left out, for the same tenant where they
        have one in this field of their metadata. How many were left out."""
        out, stream = 0, iter(passages)
        while batch := list(islice(stream, STRIDE)):
            self._db.execute("BEGIN")
            for one in batch:
                if deduplicate and self._has(one.hash, tenants, one.metadata.get(tenants)):
                    out += 1
                    self._db.execute("INSERT OR IGNORE INTO doubles VALUES (?)", (one.document,))
                    continue
                row = (one.id, one.document, one.source, one.hash, one.text, json.dumps(dict(one.metadata)))
                self._db.execute(
                    "INSERT INTO passages (id, document, source, hash, text, metadata) VALUES (?,?,?,?,?,?)", row
                )
            self._db.execute("COMMIT")
        return out

    def _has(self, hash_: str, field: str, tenant: str | None) -> bool:
        there = "SELECT 1 FROM passages WHERE hash = ? AND (? = '' OR json_extract(metadata, '$.' || ?) = ?) LIMIT 1"
        return self._db.execute(there, (hash_, field, field, tenant)).fetchone() is not None

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM passages").fetchone()[0])

    def saw_document(self, document: str) -> bool:
        """Whether it has passages, or had some that others say as well."""
        asked = "SELECT 1 FROM passages WHERE document = ? UNION ALL SELECT 1 FROM doubles WHERE document = ? LIMIT 1"
        return self._db.execute(asked, (document, document)).fetchone() is not None

    def remember(self, vectors: Mapping[str, Sequence[float] | np.ndarray[Any, Any]]) -> None:
        """Vectors by the hash of their text; an equal text needs no other."""
        import numpy

        rows = [(hash_, numpy.asarray(one, "<f4").tobytes()) for hash_, one in vectors.items()]
        self._db.execute("BEGIN")
        self._db.executemany("INSERT OR REPLACE INTO vectors VALUES (?,?)", rows)
        self._db.execute("COMMIT")

    def known(self, hashes: Iterable[str]) -> dict[str, list[float]]:
        """Those that there are."""
        import numpy

        asked = list(dict.fromkeys(hashes))
        marks = ",".join("?" * len(asked))
        rows = self._db.execute(f"SELECT hash, vector FROM vectors WHERE hash IN ({marks})", asked)
        return {hash_: numpy.frombuffer(vector, "<f4").tolist() for hash_, vector in rows}

    def unknown(self) -> tuple[int, int]:
        """How many texts have no vector yet, and how many characters those have."""
        each = f"SELECT max(length(text)) AS size FROM {UNKNOWN} GROUP BY hash"
        many, size = self._db.execute(f"SELECT count(*), coalesce(sum(size), 0) FROM ({each})").fetchone()
        return int(many), int(size)

    def some_unknown(self, many: int) -> list[str]:
        """Some of these texts, evenly."""
        step = max(1, self.unknown()[0] // many)
        each = f"SELECT text, row_number() OVER (ORDER BY min(n)) AS k FROM {UNKNOWN} GROUP BY hash"
        rows = self._db.execute(f"SELECT text FROM ({each}) WHERE k % ? = 0 LIMIT ?", (step, many))
        return [text for (text,) in rows]

    def stored(self, rows: Iterable[tuple[str, str]]) -> int:
        """Marks (id, hash) pairs that the engine has; how many it has that are not wanted, or twice."""
        strange, stream = 0, iter(rows)
        while batch := list(islice(stream, STRIDE)):
            self._db.execute("BEGIN")
            for id_, hash_ in batch:
                changed = self._db.execute(
                    "UPDATE passages SET stored = 1 WHERE id = ? AND hash = ? AND stored = 0", (id_, hash_)
                ).rowcount
                strange += changed == 0
            self._db.execute("COMMIT")
        return strange

    def missing(self, many: int = BATCH) -> Iterator[list[Passage]]:
        """Those that the engine has not, so many at a time; each is handed out once."""
        last = 0
        fields = "n, id, document, source, text, metadata"
        asked = f"SELECT {fields} FROM passages WHERE stored = 0 AND n > ? ORDER BY n LIMIT ?"
        while rows := self._db.execute(asked, (last, many)).fetchall():
            last = rows[-1][0]
            yield [Passage(row[1], row[2], row[3], row[4], json.loads(row[5])) for row in rows]

    def forget_stored(self) -> None:
        """As if the engine had nothing."""
        self._db.execute("UPDATE passages SET stored = 0")

    def drop(self, ids: Iterable[str]) -> None:
        self._db.executemany("DELETE FROM passages WHERE id = ?", [(one,) for one in ids])

    def count_stored(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM passages WHERE stored = 1").fetchone()[0])

    def close(self) -> None:
        self._db.close()
