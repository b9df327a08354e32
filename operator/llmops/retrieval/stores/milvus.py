"""Milvus through its own client: Lite, Standalone, a cluster, or somebody's. What is told of a generation stands in the
properties of its collection (descriptions do not survive a restart of Milvus Lite; properties do)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
from pymilvus import AsyncMilvusClient, DataType, MilvusClient
from pymilvus.client.types import LoadState
from pymilvus.exceptions import MilvusException

from llmops.retrieval.passage import Passage, kept_text
from llmops.retrieval.stores import keyword
from llmops.retrieval.stores.base import (
    PAGE,
    SEEN_BY,
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
    Row,
    StillServed,
    StoreError,
    Unfit,
    Where,
    nearness,
    patiently,
)
from llmops.retrieval.stores.expressions import dynamic
from llmops.retrieval.stores.restricted import SEEN_BY_BYTES, seen_by, within
from llmops.retrieval.stores.tenants import MARK, TENANT, marked
from llmops.retrieval.words import words

PROPERTY = "llmops"
METRICS = {"Cosine": "COSINE", "L2": "L2", "IP": "IP"}
NO_ALIAS = frozenset({100, 1600})
"""The engine's codes where an alias is not there: Lite's, and Milvus's."""
NOT_TAKEN = frozenset({6, 1100})
"""For an expression or a parameter that it does not take: Lite's, and Milvus's."""
NAMES = 5000  # rows a page where no vector or text is asked for: Milvus Lite looks at all rows for each page
STANDS_STILL = 600.0
FIELDS = ["text", "document", "metadata"]


REFUSED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


def error(problem: MilvusException | grpc.RpcError, filtered: bool = False) -> StoreError:
    """The engine's words, told apart. The client hands some of gRPC's own errors on as they are; and where no
    connection came about, only that one says why."""
    cause = problem.__cause__ if isinstance(problem, MilvusException) else problem
    refused = isinstance(cause, grpc.RpcError) and cause.code() in REFUSED
    if refused or not isinstance(problem, MilvusException):
        code, said = 0, str(cause.details() or cause.code())
    else:
        code, said = problem.code, str(problem.message or problem)
    if code in NOT_TAKEN or "cannot parse expression" in said:
        return FilterRefused(said) if filtered else Unfit(f"Milvus does not take it: {said}")
    if refused or "auth check failure" in said or "missing authorization" in said:
        return NotAllowed(f"Milvus does not take the username, password or token: {said}")
    return Away(said)


@contextmanager
def _in_our_words(filtered: bool = False) -> Iterator[None]:
    try:
        yield
    except (MilvusException, grpc.RpcError) as problem:
        raise error(problem, filtered) from None


class _Told:
    """Milvus's client, whose every no is in our words."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)

        def told(*given: Any, **named: Any) -> Any:
            with _in_our_words():
                return call(*given, **named)

        return told


def _login(where: Where) -> dict[str, Any]:
    login = {"token": where.token, "user": where.username, "password": where.password, "db_name": where.database}
    return {"uri": where.uri, **{name: value for name, value in login.items() if value}}


class MilvusStore:
    """The generations of one index."""

    def __init__(self, where: Where, alias: str, prefix: str, patience: float = STARTING) -> None:
        self.alias, self.prefix = alias, prefix
        self._more: dict[str, tuple[Mapping[str, Any], bool, bool]] = {}  # by collection: see _columns
        self.client = patiently(lambda: _connected(where), patience)

    def generations(self) -> list[Generation]:
        found = [self._generation(name) for name in self.client.list_collections() if name.startswith(self.prefix)]
        return sorted(found, key=lambda one: one.number)

    def active(self) -> Generation | None:
        if self.alias not in self.client.list_aliases()["aliases"]:
            return None
        return self._generation(self.client.describe_alias(self.alias)["collection_name"])

    def _generation(self, collection: str) -> Generation:
        return Generation(collection, _told_in(self.client.describe_collection(collection)))

    def create(self, collection: str, dimensions: int, index: Index, told: Mapping[str, Any]) -> Generation:
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=True)
        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=1024)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimensions)
        schema.add_field("text", DataType.VARCHAR, max_length=65_535)
        schema.add_field("document", DataType.VARCHAR, max_length=1024)
        schema.add_field("source", DataType.VARCHAR, max_length=255)
        schema.add_field("hash", DataType.VARCHAR, max_length=64)
        schema.add_field("metadata", DataType.JSON)
        if told.get(SEEN_BY):
            schema.add_field(SEEN_BY, DataType.VARCHAR, max_length=2 * SEEN_BY_BYTES)
        if told.get(TENANT):
            schema.add_field(TENANT, DataType.VARCHAR, max_length=MARK, is_partition_key=True)
        wanted = self.client.prepare_index_params()
        self._more[collection] = (told, index.keyword, True)
        if index.keyword:
            keyword.add(self.client, schema, wanted)
        given = dict(index.parameters)
        twice = {**given, "params": given}  # Milvus Lite reads them there only, where this client no longer puts them
        wanted.add_index("vector", index_type=index.type, metric_type=METRICS[index.metric], params=given and twice)
        self.client.create_collection(
            collection, schema=schema, index_params=wanted, properties={PROPERTY: json.dumps(told)}
        )
        return Generation(collection, told)

    def insert(
        self, collection: str, passages: Sequence[Passage], vectors: Sequence[Sequence[float]], again: bool = False
    ) -> None:
        told, by_words, by_key = self._columns(collection)
        rows = [
            {
                "id": one.id, "vector": vector, "text": kept_text(one.text), "document": one.document,
                "source": one.source, "hash": one.hash, "metadata": dict(one.metadata),
                **(dynamic(one.metadata) if by_key else {}),
                **({SEEN_BY: seen_by(one.metadata.get(told[SEEN_BY]))} if told.get(SEEN_BY) else {}),
                **({TENANT: marked(one.metadata, told[TENANT])} if told.get(TENANT) else {}),
            }
            for one, vector in zip(passages, vectors, strict=True)
        ]  # fmt: skip
        if by_words:
            rows = [{**row, keyword.WORDS: words(one.text)} for row, one in zip(rows, passages, strict=True)]
        # Milvus 2.3.5 puts what is upserted into any partition, where no search within a tenant finds it
        apart = again and bool(told.get(TENANT))
        write = self.client.upsert if again and not apart else self.client.insert
        for at in range(0, len(rows), PAGE):
            if apart:
                gone = _listed([one.id for one in passages[at : at + PAGE]])
                self.client.delete(collection, filter=f"id in {gone}")
            write(collection, rows[at : at + PAGE])

    def _columns(self, collection: str) -> tuple[Mapping[str, Any], bool, bool]:
        """What was told of a collection, of which only the fields that have columns of their own are wanted, and
        whether words have one, and keys of metadata; asked once, since a collection keeps what it was made with."""
        if collection not in self._more:
            described = self.client.describe_collection(collection)
            self._more[collection] = (_told_in(described), keyword.has(described), _by_key(described))
        return self._more[collection]

    def ids(self, collection: str) -> Iterator[tuple[str, str]]:
        for page in self._pages(collection, "id", "hash", rows=NAMES):
            for row in page:
                yield row["id"], row["hash"]

    def vectors(self, collection: str, ids: Sequence[str] | None = None) -> Iterator[Page]:
        told, *_ = self._columns(collection)
        fields = ["id", "hash", "vector", *([TENANT] if told.get(TENANT) else [])]
        for page in self._pages(collection, *fields) if ids is None else self._named(collection, ids, fields):
            yield Page(
                [row["id"] for row in page],
                [row["hash"] for row in page],
                np.array([row["vector"] for row in page], np.float32),
                [row.get(TENANT, "") for row in page],
            )

    def _named(self, collection: str, ids: Sequence[str], fields: list[str]) -> Iterator[list[dict[str, Any]]]:
        for at in range(0, len(ids), PAGE):
            # not `ids=`: the client puts single quotes around each, and names have some
            some = _listed(ids[at : at + PAGE])
            yield self.client.query(
                collection, filter=f"id in {some}", output_fields=fields, consistency_level="Strong"
            )

    def documents(self, collection: str) -> set[str]:
        pages = self._pages(collection, "id", "document", rows=NAMES)
        return {row["document"] for page in pages for row in page}

    def passages(self, collection: str) -> Iterator[Passage]:
        for page in self._pages(collection, "id", "document", "source", "text", "metadata"):
            for row in page:
                yield Passage(row["id"], row["document"], row["source"], row["text"], row["metadata"] or {})

    def _pages(self, collection: str, *fields: str, rows: int = PAGE) -> Iterator[list[dict[str, Any]]]:
        """The client's own iterator puts a name between quotes as it is, and breaks at a quote or backslash in it."""
        self.count(collection)  # Milvus 2.3 goes through what was there when it last caught up: this makes it
        last = ""
        while page := self.client.query(
            collection, filter=f"id > {json.dumps(last, ensure_ascii=False)}", limit=rows, output_fields=list(fields),
            consistency_level="Strong", iterator="True", reduce_stop_for_best=True,
        ):  # fmt: skip
            yield page
            last = page[-1]["id"]

    def count(self, collection: str) -> int:
        self.client.load_collection(collection)
        (row,) = self.client.query(collection, output_fields=["count(*)"], consistency_level="Strong")
        return int(row["count(*)"])

    def tell(self, generation: Generation, **news: Any) -> Generation:
        told = {**generation.told, **news}
        for _ in range(2):  # Milvus up to 2.3.5 writes to disk what was told before (its issue 30144)
            self.client.alter_collection_properties(generation.collection, {PROPERTY: json.dumps(told)})
        return Generation(generation.collection, told)

    def settle(self, collection: str) -> None:
        """Until it is loaded anew, a search of fresh rows goes through them one by one, and every recall measured is a
        false 1.0."""
        self.client.flush(collection)
        self._indexed(collection)
        self.client.release_collection(collection)
        patiently(lambda: self.client.load_collection(collection), STARTING)  # Milvus Lite may still write its file

    def _indexed(self, collection: str) -> None:
        """A real Milvus indexes in the background; what it has not come to is searched through a makeshift index, which
        finds half of the nearest whatever ef is. Counted are whole segments, so it may stand still for minutes."""
        before, since = -1, time.monotonic()
        while left := int(self.client.describe_index(collection, "vector").get("pending_index_rows") or 0):
            if left != before:
                before, since = left, time.monotonic()
            elif time.monotonic() - since > STANDS_STILL:
                return  # measured as it is: a gate says so
            time.sleep(0.5)

    def loaded(self, collection: str) -> None:
        self.client.load_collection(collection)

    def point(self, generation: Generation) -> None:
        active = self.active()
        if active is None:
            self.client.create_alias(generation.collection, self.alias)
        elif active.collection != generation.collection:
            self.client.alter_alias(generation.collection, self.alias)

    def drop(self, generation: Generation) -> None:
        """Only newer engines refuse by themselves to drop what an alias points to."""
        active = self.active()
        if active is not None and active.collection == generation.collection:
            raise StillServed(f"{generation.collection} is what queries see")
        self.client.drop_collection(generation.collection)

    def close(self) -> None:
        self.client.close()


def _told_in(described: Mapping[str, Any]) -> dict[str, Any]:
    properties = described.get("properties") or {}
    found: dict[str, Any] = json.loads(properties.get(PROPERTY) or "{}")
    return found


def _by_key(described: Mapping[str, Any]) -> bool:
    """Not of generations of before, which may be unfinished, or served."""
    return bool(described.get("enable_dynamic_field"))


def _listed(ids: Sequence[str]) -> str:
    return json.dumps(list(ids), ensure_ascii=False)


def _connected(where: Where) -> Any:
    with _in_our_words():
        return _Told(MilvusClient(**_login(where), timeout=30))


class MilvusReader:
    """One engine, as the query server asks it."""

    def __init__(self, where: Where) -> None:
        self._client = AsyncMilvusClient(**_login(where), timeout=5)  # connects at the first call
        self._by_key = set[str]()  # loaded collections that have dynamic fields

    async def points_to(self, alias: str) -> str:
        try:
            return str((await self._client.describe_alias(alias))["collection_name"])
        except MilvusException as problem:
            if problem.code in NO_ALIAS:
                raise NoAlias(f"there is no alias {alias}") from None
            raise error(problem) from None
        except grpc.RpcError as problem:
            raise error(problem) from None

    async def told(self, collection: str) -> dict[str, Any]:
        with _in_our_words():
            return _told_in(await self._client.describe_collection(collection))

    async def collections(self, prefix: str) -> list[str]:
        with _in_our_words():
            return [one for one in await self._client.list_collections() if one.startswith(prefix)]

    async def load(self, collection: str) -> None:
        with _in_our_words():
            if (await self._client.get_load_state(collection))["state"] != LoadState.Loaded:
                await self._client.load_collection(collection)
            if _by_key(await self._client.describe_collection(collection)):
                self._by_key.add(collection)

    async def release(self, collection: str) -> None:
        self._by_key.discard(collection)
        with _in_our_words():
            await self._client.release_collection(collection)

    async def search(self, collection: str, asked: Asked) -> list[Found]:
        if asked.words:
            return await self._by_words(collection, asked)
        search = dict(asked.search)
        if "ef" in search:
            search["ef"] = max(search["ef"], asked.top_k)  # the engine refuses less
        kept = within(asked, collection in self._by_key)
        with _in_our_words(bool(asked.filter)):
            found = (await self._client.search(
                collection, [list(asked.vector)], anns_field="vector", limit=asked.top_k, filter=kept,
                output_fields=FIELDS, search_params={"params": search}, timeout=asked.seconds,
            ))[0]  # fmt: skip
        return [_found(one, _score(one, asked.metric)) for one in found]

    async def _by_words(self, collection: str, asked: Asked) -> list[Found]:
        kept = within(asked, collection in self._by_key)
        with _in_our_words(bool(asked.filter)):
            found = (await self._client.search(
                collection, [asked.words], anns_field=keyword.SPARSE, limit=asked.top_k, filter=kept,
                output_fields=[*FIELDS, "vector"], search_params={"metric_type": "BM25"}, timeout=asked.seconds,
            ))[0]  # fmt: skip
        near = keyword.nearness_of([one["entity"]["vector"] for one in found], asked.vector, asked.metric)
        return [_found(one, score) for one, score in zip(found, near, strict=True)]

    async def page(self, collection: str, low: str, high: str, limit: int) -> list[Row]:
        within = f'hash >= "{low}"' + (f' and hash < "{high}"' if high else "")
        fields = ["id", "text", "document", "hash", "metadata"]
        with _in_our_words():
            found = await self._client.query(collection, filter=within, output_fields=fields, limit=limit)
        return [Row(*(one[name] for name in fields)) for one in found]

    async def close(self) -> None:
        await self._client.close()


def _score(one: Any, metric: str) -> float:
    distance = float(one["distance"])
    return nearness(distance) if metric == "L2" else round(distance, 6)


def _found(one: Any, score: float) -> Found:
    entity = one["entity"]
    return Found(one["id"], entity["text"], entity["document"], score, entity.get("metadata") or {})
