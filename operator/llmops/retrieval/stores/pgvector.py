"""PostgreSQL with the extension vector, somebody's. A collection is a table; what is told of it, and the aliases, are
rows of two tables of ours beside it, in the schema that its user's search_path begins with. An alias refers to its
collection, so the database itself refuses to drop what is served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import numpy as np
import psycopg
from psycopg import errors

from llmops.retrieval.passage import Passage
from llmops.retrieval.stores import statements
from llmops.retrieval.stores.base import (
    PAGE,
    STARTING,
    Asked,
    Away,
    FilterRefused,
    Found,
    Generation,
    Index,
    NoAlias,
    NotAllowed,
    Page,
    StillServed,
    StoreError,
    Unfit,
    Where,
    nearness,
    patiently,
)
from llmops.retrieval.stores.base import Row as Hashed
from llmops.retrieval.stores.tenants import TENANT

Row = tuple[Any, ...]

CONNECTIONS = 8  # of one query server
SECONDS = 5.0  # for a question of the query server that is not a search
REFUSED = ("password authentication failed", "no password supplied", "pg_hba.conf", "permission denied",
           "is not permitted to log in", "does not exist")  # fmt: skip
TOO_OLD = "PostgreSQL needs its extension vector, version 0.8 or later, for this database's admin to create or update"


def error(problem: psycopg.Error, filtered: bool = False) -> StoreError:
    """The engine's words, told apart. Of a connection that did not come about there is no code, only words."""
    code, said = problem.sqlstate, " ".join(str(problem).split("\n")[0].split())
    if filtered and code and code.startswith("22"):
        return FilterRefused(said)
    unheard = isinstance(problem, psycopg.OperationalError) and not code and any(one in said for one in REFUSED)
    if unheard or (code and (code.startswith("28") or code == "42501")):
        return NotAllowed(f"PostgreSQL does not let us in, or not do this: {said}")
    if isinstance(problem, errors.FeatureNotSupported | errors.UndefinedFile | errors.UndefinedObject):
        return Unfit(f"{TOO_OLD}: {said}")
    if isinstance(problem, errors.InvalidParameterValue):
        return Unfit(f"PostgreSQL does not take an index's parameters: {said}")
    if isinstance(problem, psycopg.ProgrammingError) and not code:
        return Unfit(f"write the address as postgresql://host:5432/database?sslmode=require: {said}")
    return Away(f"PostgreSQL: {said}")


@contextmanager
def _in_our_words(filtered: bool = False) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as problem:
        raise error(problem, filtered) from None


def _login(where: Where) -> dict[str, Any]:
    login = {"user": where.username, "password": where.password or where.token, "dbname": where.database}
    fixed = {
        "conninfo": where.uri, "autocommit": True, "connect_timeout": 5, "tcp_user_timeout": 30_000,
        "prepare_threshold": None,  # between us and the database there may be a pooler, which knows no statements
    }  # fmt: skip
    return {**fixed, **{name: value for name, value in login.items() if value}}


class PgVectorStore:
    """The generations of one index."""

    def __init__(self, where: Where, alias: str, prefix: str, patience: float = STARTING) -> None:
        self.alias, self.prefix = alias, prefix
        self._connection = patiently(lambda: _opened(where), patience)

    def _ask(self, statement: statements.Statement, *given: Any) -> list[Row]:
        with _in_our_words():
            done = self._connection.execute(statement, given or None, binary=True)
            return done.fetchall() if done.description else []

    def generations(self) -> list[Generation]:
        rows = self._ask(statements.GENERATIONS, self.prefix)
        return sorted((Generation(*row) for row in rows), key=lambda one: one.number)

    def active(self) -> Generation | None:
        return next((Generation(*row) for row in self._ask(statements.ACTIVE, self.alias)), None)

    def create(self, collection: str, dimensions: int, index: Index, told: Mapping[str, Any]) -> Generation:
        if index.keyword:
            raise Unfit("PgVector finds by nearness only: write spec.query.mode Dense")
        made = {"type": index.type, "metric": index.metric, "parameters": dict(index.parameters)}
        index_of_it = statements.index(collection, made, dimensions)
        with _in_our_words(), self._connection.transaction():
            self._ask(statements.table(collection, dimensions, bool(told.get(TENANT))))
            if told.get(TENANT):
                self._ask(statements.of_tenants(collection))
            if (
                index_of_it
            ):  # its parameters are looked at before anything is embedded; it is built when all rows are in
                self._ask(index_of_it)
                self._ask(statements.drop_index(collection))
            self._ask(statements.BEGIN, collection, statements.jsonb(told), statements.jsonb(made))
        return Generation(collection, told)

    def insert(
        self, collection: str, passages: Sequence[Passage], vectors: Sequence[Sequence[float]], again: bool = False
    ) -> None:
        tenants = self._told(collection).get(TENANT, "")
        rows = [statements.row(one, vector, tenants) for one, vector in zip(passages, vectors, strict=True)]
        with _in_our_words(), self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.executemany(statements.insert(collection, again, bool(tenants)), rows)

    def ids(self, collection: str) -> Iterator[tuple[str, str]]:
        for page in self._pages(collection, "id", "hash"):
            yield from ((id_, hash_) for id_, hash_ in page)

    def vectors(self, collection: str, ids: Sequence[str] | None = None) -> Iterator[Page]:
        fields = ["id", "hash", "vector::real[]", "tenant" if self._told(collection).get(TENANT) else "''"]
        for page in self._pages(collection, *fields) if ids is None else self._named(collection, ids, fields):
            names, hashes, vectors, tenants = zip(*page, strict=True)
            yield Page(list(names), list(hashes), np.array(vectors, np.float32), list(tenants))

    def _named(self, collection: str, ids: Sequence[str], fields: list[str]) -> Iterator[list[Row]]:
        for at in range(0, len(ids), PAGE):
            if page := self._ask(statements.of_ids(collection, *fields), [*ids[at : at + PAGE]]):
                yield page

    def documents(self, collection: str) -> set[str]:
        return {document for page in self._pages(collection, "id", "document") for _, document in page}

    def passages(self, collection: str) -> Iterator[Passage]:
        for page in self._pages(collection, "id", "document", "source", "text", "metadata"):
            yield from (Passage(*row) for row in page)

    def _pages(self, collection: str, *fields: str) -> Iterator[list[Row]]:
        asked, last = statements.page(collection, *fields), ""
        while page := self._ask(asked, last):
            yield page
            last = page[-1][0]

    def count(self, collection: str) -> int:
        return int(self._ask(statements.count(collection))[0][0])

    def tell(self, generation: Generation, **news: Any) -> Generation:
        told = {**generation.told, **news}
        self._ask(statements.TELL, statements.jsonb(told), generation.collection)
        return Generation(generation.collection, told)

    def settle(self, collection: str) -> None:
        """Over all rows at once an index is built faster than row by row, and finds more. Then the planner is told what
        there is, without which it may not use it."""
        if self._told(collection).get(TENANT):
            self._ask(statements.together(collection))
        if statement := statements.index(collection, self._made(collection)):
            self._ask(statement)
        self._ask(statements.analyze(collection))

    def loaded(self, collection: str) -> None:
        """Tables are never unloaded."""

    def _made(self, collection: str) -> dict[str, Any]:
        return _first(self._ask(statements.MADE, collection), collection)

    def _told(self, collection: str) -> dict[str, Any]:
        return _first(self._ask(statements.TOLD, collection), collection)

    def point(self, generation: Generation) -> None:
        self._ask(statements.POINT, self.alias, generation.collection)

    def drop(self, generation: Generation) -> None:
        with _in_our_words():
            try:
                with self._connection.transaction():
                    self._connection.execute(statements.FORGET, (generation.collection,))
                    self._connection.execute(statements.drop(generation.collection))
            except errors.ForeignKeyViolation:
                raise StillServed(f"{generation.collection} is what queries see") from None

    def close(self) -> None:
        self._connection.close()


def _opened(where: Where) -> psycopg.Connection[Row]:
    with _in_our_words():
        connection = psycopg.connect(**_login(where))
        try:
            connection.execute(statements.OURS)
            ((version,),) = connection.execute(statements.VERSION).fetchall()
        except psycopg.Error:
            connection.close()
            raise
    if tuple(int(one) for one in version.split(".")[:2]) < (0, 8):
        raise Unfit(f"{TOO_OLD}: it has {version}")
    return connection


def _first(rows: list[Row], collection: str) -> dict[str, Any]:
    if not rows:
        raise Away(f"there is no collection {collection}")
    found: dict[str, Any] = rows[0][0]
    return found


def _nearest_first(rows: list[Row]) -> list[Row]:
    """An iterative scan of ivfflat may give them slightly out of order."""
    return sorted(rows, key=lambda row: float(row[1]))


class PgVectorReader:
    """One database, as the query server asks it."""

    def __init__(self, where: Where) -> None:
        self._where = where
        self._idle: list[psycopg.AsyncConnection[Row]] = []
        self._places = asyncio.Semaphore(CONNECTIONS)

    @asynccontextmanager
    async def _connection(self, seconds: float) -> AsyncIterator[psycopg.AsyncConnection[Row]]:
        """One that nobody else uses. Where anything goes wrong on it, it is not used again; where it was lost or does
        not answer, neither are the idle ones: the server was restarted, or is behind a network that is cut."""
        try:
            async with asyncio.timeout(seconds), self._places:
                one = self._idle.pop() if self._idle else await psycopg.AsyncConnection.connect(**_login(self._where))
                try:
                    yield one
                except BaseException:
                    await one.close()
                    raise
                self._idle.append(one)
        except TimeoutError:
            await self.close()
            raise Away(f"PostgreSQL did not answer within {seconds:g} s") from None
        except psycopg.OperationalError:
            await self.close()
            raise

    async def _ask(self, statement: statements.Statement, *given: Any) -> list[Row]:
        async with self._connection(SECONDS) as one:
            return await (await one.execute(statement, given)).fetchall()

    async def points_to(self, alias: str) -> str:
        with _in_our_words():
            try:
                rows = await self._ask(statements.ACTIVE, alias)
            except errors.UndefinedTable:  # no Job was here yet
                rows = []
        if not rows:
            raise NoAlias(f"there is no alias {alias}")
        return str(rows[0][0])

    async def told(self, collection: str) -> dict[str, Any]:
        with _in_our_words():
            return _first(await self._ask(statements.TOLD, collection), collection)

    async def collections(self, prefix: str) -> list[str]:
        with _in_our_words():
            return [collection for collection, _ in await self._ask(statements.GENERATIONS, prefix)]

    async def load(self, collection: str) -> None:
        """Tables are never unloaded."""

    async def release(self, collection: str) -> None:
        """They stay where they are."""

    async def search(self, collection: str, asked: Asked) -> list[Found]:
        statement, given = statements.search(collection, asked)
        with _in_our_words(bool(asked.filter)):
            async with self._connection(asked.seconds) as one, one.transaction():
                await one.execute(statements.SETTINGS, statements.settings(asked))
                rows = await (await one.execute(statement, given)).fetchall()
                # the scan of the index may have given up
                if (asked.filter or asked.within) and len(rows) < asked.top_k:
                    await one.execute(statements.EXACTLY)
                    rows = await (await one.execute(statement, given)).fetchall()
        return [_found(row, asked.metric) for row in _nearest_first(rows)]

    async def page(self, collection: str, low: str, high: str, limit: int) -> list[Hashed]:
        with _in_our_words():
            rows = await self._ask(statements.of_hashes(collection), low, high, high, limit)
        return [Hashed(*row) for row in rows]

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().close()


def _found(row: Row, metric: str) -> Found:
    id_, distance, document, text, metadata = row
    score = {"Cosine": 1 - distance, "IP": -distance, "L2": nearness(distance**2)}[metric]
    return Found(id_, text, document, round(score, 6), metadata)
