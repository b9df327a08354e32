"""Qdrant, somebody's, over its HTTP interface: importing its client library takes 86 MiB, the two HTTP clients that are
here anyway take 35. A passage is a point; what is told of a generation stands in its collection's metadata."""

from __future__ import annotations

import json
import math
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import aiohttp
import numpy as np
import orjson
import urllib3
from yarl import URL

from llmops.api.filters import FilterWrong
from llmops.retrieval.passage import Passage, kept_text
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
from llmops.retrieval.stores.conditions import HAS, OLDEST, Condition, conditions, since
from llmops.retrieval.stores.tenants import TENANT, marked

PROPERTY = "llmops"
METRICS = {"Cosine": "Cosine", "L2": "Euclid", "IP": "Dot"}
PARAMETERS = {"M": "m", "efConstruction": "ef_construct"}
FILTERED = {"id": "keyword", "document": "keyword", "source": "keyword", HAS: "keyword", "place": "integer"}
"""A server in strict mode takes no filter over what has no index."""
OF_TENANTS = {"type": "keyword", "is_tenant": True}
"""Each tenant's points lie together, and have links among themselves."""
DIGITS = 12  # of a hash that are its place: a text cannot be asked for by a range
FIELDS = ["id", "text", "document", "metadata"]
OF_ROWS = ["id", "text", "document", "hash", "metadata"]
BODY = 8 << 20  # bytes of one request; a server takes 32 MiB unless told otherwise
STILL = 3  # looks at an index that has not changed
AGAIN = 10.0  # seconds between two pushes of an optimizer that waits

Request = tuple[str, str, Any]  # method, path, body


def result(status: int, body: bytes, filtered: bool = False, whole: bool = False) -> Any:
    """What a reply has, or its no in our words; the server's own page has no `result` around it."""
    try:
        read = orjson.loads(body)
    except orjson.JSONDecodeError:
        read = None
    if status == 200 and isinstance(read, dict) and (whole or "result" in read):
        return read if whole else read["result"]
    told = read.get("status") if isinstance(read, dict) else None
    said = told.get("error") if isinstance(told, dict) else body[:500].decode(errors="replace")
    if status in (401, 403):
        return _raise(NotAllowed(f"Qdrant wants its API key as `token` of the Secret: {said}"))
    if status == 404:
        return _raise(Away(f"Qdrant does not have it: {said}"))
    if status in (400, 422):
        return _raise(FilterRefused(said) if filtered else Unfit(f"Qdrant does not take it: {said}"))
    return _raise(Away(f"Qdrant answered {status}: {said}"))


def _raise(problem: StoreError) -> Any:
    raise problem


def _of(collection: str, rest: str = "") -> str:
    return f"/collections/{quote(collection, safe='')}{rest}"


def _info(collection: str) -> Request:
    return "GET", _of(collection), None


SERVER: Request = ("GET", "/", None)  # anybody may ask for the version
COLLECTIONS: Request = ("GET", "/collections", None)
ALIASES: Request = ("GET", "/aliases", None)


def _query(collection: str, asked: Asked) -> Request:
    body: dict[str, Any] = {"query": list(asked.vector), "limit": asked.top_k, "with_payload": FIELDS}
    if asked.filter or asked.within:
        body["filter"] = conditions(asked.filter, asked.only, asked.tenant)
    if "ef" in asked.search:
        body["params"] = {"hnsw_ef": max(asked.search["ef"], asked.top_k)}
    return "POST", _of(collection, "/points/query"), body


def _served(aliases: Mapping[str, Any], alias: str) -> str | None:
    return next((one["collection_name"] for one in aliases["aliases"] if one["alias_name"] == alias), None)


def _told(info: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((info["config"].get("metadata") or {}).get(PROPERTY) or "{}")
    return found


def _older(server: Mapping[str, Any], version: tuple[int, int]) -> bool:
    found = re.match(r"(\d+)\.(\d+)", str(server.get("version")))
    return found is None or (int(found[1]), int(found[2])) < version


def _version(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _metadata(told: Mapping[str, Any]) -> dict[str, str]:
    return {PROPERTY: json.dumps(told)}  # as a text: what Qdrant is given as an object it merges into the old one


class QdrantStore:
    """The generations of one index."""

    def __init__(self, where: Where, alias: str, prefix: str, patience: float = STARTING) -> None:
        self.alias, self.prefix, self._uri = alias, prefix, where.uri.rstrip("/")
        self._http = urllib3.PoolManager(headers=_headers(where), timeout=urllib3.Timeout(connect=5, read=120))
        self._check(patiently(lambda: self._ask(SERVER, whole=True), patience))

    def _check(self, server: Mapping[str, Any]) -> None:
        """Whether we are let in is told by the collections."""
        if _older(server, OLDEST):
            needed = f"Qdrant {_version(OLDEST)} or later is needed, whose collections have metadata"
            raise Unfit(f"{needed}; this is {server.get('version')}")
        self._ask(COLLECTIONS)

    def _ask(self, request: Request, whole: bool = False) -> Any:
        method, path, body = request
        sent = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        try:
            reply = self._http.request(method, self._uri + path, body=sent, retries=False)
        except urllib3.exceptions.LocationValueError as problem:
            raise Unfit(f"write Qdrant's address as http://host:6333: {problem}") from None
        except urllib3.exceptions.HTTPError as problem:
            raise Away(f"Qdrant: {problem}") from None
        return result(reply.status, reply.data, whole=whole)

    def generations(self) -> list[Generation]:
        names = (one["name"] for one in self._ask(COLLECTIONS)["collections"])
        found = [self._generation(name) for name in names if name.startswith(self.prefix)]
        return sorted(found, key=lambda one: one.number)

    def active(self) -> Generation | None:
        served = _served(self._ask(ALIASES), self.alias)
        return self._generation(served) if served else None

    def _generation(self, collection: str) -> Generation:
        return Generation(collection, _told(self._ask(_info(collection))))

    def create(self, collection: str, dimensions: int, index: Index, told: Mapping[str, Any]) -> Generation:
        if index.keyword:
            raise Unfit("Qdrant finds by nearness only here: write spec.query.mode Dense")
        if index.type != "HNSW":
            raise Unfit(f"Qdrant has no index {index.type}: write index.type HNSW")
        if strange := sorted(index.parameters.keys() - PARAMETERS.keys()):
            raise Unfit(f"Qdrant's HNSW has no parameter {strange[0]}: write {' or '.join(PARAMETERS)}")
        body = {
            "vectors": {"size": dimensions, "distance": METRICS[index.metric]},
            "hnsw_config": {PARAMETERS[name]: value for name, value in index.parameters.items()},
            "metadata": _metadata(told),
        }
        self._ask(("PUT", _of(collection), body))
        indexed: dict[str, Any] = {**FILTERED, **({TENANT: OF_TENANTS} if told.get(TENANT) else {})}
        indexed |= {f"metadata.{told[SEEN_BY]}": "keyword"} if told.get(SEEN_BY) else {}
        for field, kind in indexed.items():
            self._ask(("PUT", _of(collection, "/index?wait=true"), {"field_name": field, "field_schema": kind}))
        return Generation(collection, told)

    def insert(
        self, collection: str, passages: Sequence[Passage], vectors: Sequence[Sequence[float]], again: bool = False
    ) -> None:
        """A point's number is made of its passage's id, so that the same is never there twice."""
        field = self._generation(collection).told.get(TENANT, "")
        points = (_point(one, vector, field) for one, vector in zip(passages, vectors, strict=True))
        for body in _bodies(points):
            self._ask(("PUT", _of(collection, "/points?wait=true"), body))

    def ids(self, collection: str) -> Iterator[tuple[str, str]]:
        for page in self._pages(collection, "id", "hash"):
            for point in page:
                yield point["payload"]["id"], point["payload"]["hash"]

    def vectors(self, collection: str, ids: Sequence[str] | None = None) -> Iterator[Page]:
        fields = ["id", "hash", TENANT]
        every = self._pages(collection, *fields, vector=True)
        for page in every if ids is None else self._named(collection, ids, fields):
            yield Page(
                [point["payload"]["id"] for point in page],
                [point["payload"]["hash"] for point in page],
                np.array([point["vector"] for point in page], np.float32),
                [point["payload"].get(TENANT, "") for point in page],
            )

    def _named(self, collection: str, ids: Sequence[str], fields: list[str]) -> Iterator[list[dict[str, Any]]]:
        for at in range(0, len(ids), PAGE):
            some = [_number(one) for one in ids[at : at + PAGE]]
            asked = {"ids": some, "with_payload": fields, "with_vector": True}
            yield self._ask(("POST", _of(collection, "/points"), asked))

    def documents(self, collection: str) -> set[str]:
        return {point["payload"]["document"] for page in self._pages(collection, "document") for point in page}

    def passages(self, collection: str) -> Iterator[Passage]:
        fields = ("id", "document", "source", "text", "metadata")
        for page in self._pages(collection, *fields):
            for point in page:
                yield Passage(*(point["payload"][name] for name in fields))

    def _pages(self, collection: str, *fields: str, vector: bool = False) -> Iterator[list[dict[str, Any]]]:
        asked: dict[str, Any] = {"limit": PAGE, "with_payload": list(fields), "with_vector": vector}
        while True:
            found = self._ask(("POST", _of(collection, "/points/scroll"), asked))
            if found["points"]:
                yield found["points"]
            if found.get("next_page_offset") is None:
                return
            asked["offset"] = found["next_page_offset"]

    def count(self, collection: str) -> int:
        return int(self._ask(("POST", _of(collection, "/points/count"), {"exact": True}))["count"])

    def tell(self, generation: Generation, **news: Any) -> Generation:
        told = {**generation.told, **news}
        self._ask(("PATCH", _of(generation.collection), {"metadata": _metadata(told)}))
        return Generation(generation.collection, told)

    def settle(self, collection: str) -> None:
        """Segments are indexed in the background; until then they are searched one by one, and every recall measured is
        a false 1.0. Right after a write it may not have begun yet: so it has to stay as it is for a few looks."""
        before, still, pushed = None, 0, -math.inf
        while still < STILL:
            info = self._ask(_info(collection))
            if info["status"] == "grey":
                # it was restarted while it indexed, and waits until the collection is written to
                # (qdrant.tech/documentation/concepts/collections, grey collection status)
                if time.monotonic() - pushed >= AGAIN:
                    self._ask(("PATCH", _of(collection), {"optimizers_config": {}}))
                    pushed = time.monotonic()
            elif info["optimizer_status"] != "ok":
                raise Away(f"Qdrant's optimizer failed: {info['optimizer_status']}")
            now = (
                info["indexed_vectors_count"],
                info["segments_count"],
                (info.get("update_queue") or {}).get("length"),
            )
            still = still + 1 if info["status"] == "green" and now == before else 0
            before = now
            time.sleep(0.2)

    def loaded(self, collection: str) -> None:
        """Qdrant loads by itself what it starts with."""

    def point(self, generation: Generation) -> None:
        actions = [
            {"delete_alias": {"alias_name": self.alias}},  # which may not be there
            {"create_alias": {"alias_name": self.alias, "collection_name": generation.collection}},
        ]
        self._ask(("POST", "/collections/aliases", {"actions": actions}))

    def drop(self, generation: Generation) -> None:
        """Qdrant would drop the alias with it."""
        if _served(self._ask(ALIASES), self.alias) == generation.collection:
            raise StillServed(f"{generation.collection} is what queries see")
        self._ask(("DELETE", _of(generation.collection), None))

    def close(self) -> None:
        self._http.clear()


def _headers(where: Where) -> dict[str, str]:
    return {"content-type": "application/json", **({"api-key": where.token} if where.token else {})}


def _number(id_: str) -> str:
    """Of a point, by its passage's id."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, id_))


def _place(hash_: str) -> int:
    return int(hash_[:DIGITS].ljust(DIGITS, "0"), 16)


def _point(one: Passage, vector: Sequence[float], tenants: str = "") -> bytes:
    return orjson.dumps({
        "id": _number(one.id), "vector": [*map(float, vector)],
        "payload": {"id": one.id, "document": one.document, "source": one.source, "hash": one.hash,
                    "text": kept_text(one.text), "metadata": dict(one.metadata), "place": _place(one.hash),
                    HAS: [name for name, value in one.metadata.items() if value is not None],
                    **({TENANT: marked(one.metadata, tenants)} if tenants else {})},
    })  # fmt: skip


def _bodies(points: Iterator[bytes]) -> Iterator[bytes]:
    """Requests of a bounded size."""
    batch: list[bytes] = []
    size = 0
    for point in points:
        if batch and (size + len(point) > BODY or len(batch) == PAGE):
            yield b'{"points":[' + b",".join(batch) + b"]}"
            batch, size = [], 0
        batch.append(point)
        size += len(point)
    if batch:
        yield b'{"points":[' + b",".join(batch) + b"]}"


class QdrantReader:
    """One server, as the query server asks it."""

    def __init__(self, where: Where) -> None:
        self._where = where
        self._session: aiohttp.ClientSession | None = None

    async def _ask(self, request: Request, seconds: float = 5.0, filtered: bool = False, whole: bool = False) -> Any:
        method, path, body = request
        if self._session is None:  # it belongs to the loop that first asks
            self._session = aiohttp.ClientSession(headers=_headers(self._where))
        sent, timeout = None if body is None else orjson.dumps(body), aiohttp.ClientTimeout(total=seconds)
        try:
            url = URL(self._where.uri.rstrip("/") + path, encoded=True)
            async with self._session.request(method, url, data=sent, timeout=timeout) as reply:
                return result(reply.status, await reply.read(), filtered, whole)
        except ValueError as problem:  # aiohttp's InvalidURL too
            raise Unfit(f"write Qdrant's address as http://host:6333: {problem}") from None
        except (aiohttp.ClientError, TimeoutError) as problem:
            raise Away(f"Qdrant: {str(problem) or f'no answer within {seconds:g} s'}") from None

    async def points_to(self, alias: str) -> str:
        served = _served(await self._ask(ALIASES), alias)
        if served is None:
            raise NoAlias(f"there is no alias {alias}")
        return served

    async def told(self, collection: str) -> dict[str, Any]:
        return _told(await self._ask(_info(collection)))

    async def collections(self, prefix: str) -> list[str]:
        names = [one["name"] for one in (await self._ask(COLLECTIONS))["collections"]]
        return [name for name in names if name.startswith(prefix)]

    async def load(self, collection: str) -> None:
        """Qdrant loads by itself."""

    async def release(self, collection: str) -> None:
        """And keeps on disk what is not asked for."""

    async def search(self, collection: str, asked: Asked) -> list[Found]:
        query = _query(collection, asked)
        try:
            found = await self._ask(query, asked.seconds, bool(asked.filter))
        except FilterWrong as problem:
            raise await self._why(problem, query[2]["filter"]) from None
        return [_found(point, asked.metric) for point in found["points"]]

    async def _why(self, problem: FilterWrong, refused: Condition) -> FilterWrong:
        """In our words where the server is only too old for it."""
        needed, what = since(refused)
        try:
            server = await self._ask(SERVER, whole=True)
        except StoreError:
            return problem
        if not what or not _older(server, needed):
            return problem
        return FilterWrong(f"{what} needs Qdrant {_version(needed)} or later; this one is {server.get('version')}")

    async def page(self, collection: str, low: str, high: str, limit: int) -> list[Row]:
        within = {"gte": _place(low), **({"lte": _place(high)} if high else {})}
        body = {"filter": {"must": [{"key": "place", "range": within}]}, "limit": limit, "with_payload": OF_ROWS}
        found = await self._ask(("POST", _of(collection, "/points/scroll"), body))
        rows = [Row(*(point["payload"][name] for name in OF_ROWS)) for point in found["points"]]
        return [one for one in rows if low <= one.hash and (not high or one.hash < high)]

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def _found(point: Mapping[str, Any], metric: str) -> Found:
    payload, score = point["payload"], float(point["score"])
    near = nearness(score**2) if metric == "L2" else round(score, 6)
    return Found(payload["id"], payload["text"], payload["document"], near, payload.get("metadata") or {})
