"""Qdrant's documented HTTP interface over Qdrant's own engine, where its server is not to be had as a package.

The engine (segments, HNSW, conditions) is qdrant-edge-py, which is that of the server as a library; every body is held
against the models that Qdrant's own client generates from the server's OpenAPI description (unknown fields are refused,
as the server does). What is ours: routes, collections, aliases, metadata, statuses. The engine matches no booleans, so
those are looked up. Usage: python qdrant_server.py FOLDER PORT API-KEY.
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import qdrant_edge as edge
from pydantic import BaseModel, TypeAdapter, ValidationError
from qdrant_client.http import models

DISTANCES = {"Cosine": edge.Distance.Cosine, "Euclid": edge.Distance.Euclid, "Dot": edge.Distance.Dot}

INDEXING = FULL_SCAN = 10  # KiB; as a server may be set, so that small collections have an index too


class No(Exception):
    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


class Collection:
    """A shard, and what the server keeps of it."""

    def __init__(self, folder: Path, body: dict[str, Any] | None = None) -> None:
        self.kept, self.looks = folder / "collection.json", 3
        self.indexed: dict[str, Any] = {}
        if body is not None:
            size, distance = body["vectors"]["size"], DISTANCES[body["vectors"]["distance"]]
            hnsw = body.get("hnsw_config") or {}
            graph = edge.HnswIndexConfig(hnsw.get("m", 16), hnsw.get("ef_construct", 100), FULL_SCAN)
            vectors = edge.EdgeVectorParams(size=size, distance=distance)
            optimizers = edge.EdgeOptimizersConfig(indexing_threshold=INDEXING, default_segment_number=1)
            self.shard = edge.EdgeShard.create(
                str(folder / "shard"), edge.EdgeConfig(vectors=vectors, hnsw_config=graph, optimizers=optimizers)
            )
            self.tell(body)
        else:
            self.shard = edge.EdgeShard.load(str(folder / "shard"))
            self.body = json.loads(self.kept.read_text())

    def tell(self, body: dict[str, Any]) -> None:
        self.body = body
        self.kept.write_text(json.dumps(body))

    def info(self) -> dict[str, Any]:
        """The optimizer begins a moment after a write, and then takes its time."""
        self.looks += 1
        if self.looks == 3:
            self.shard.optimize()
        shard, body = self.shard.info(), self.body
        hnsw = {"m": 16, "ef_construct": 100, "full_scan_threshold": FULL_SCAN, **(body.get("hnsw_config") or {})}
        optimizer = {"deleted_threshold": 0.2, "vacuum_min_vector_number": 1000, "default_segment_number": 0,
                     "flush_interval_sec": 5}  # fmt: skip
        config = {"params": {"vectors": body["vectors"]}, "hnsw_config": hnsw, "optimizer_config": optimizer,
                  "metadata": body.get("metadata")}  # fmt: skip
        told = {
            "status": "yellow" if self.looks == 2 else "green", "optimizer_status": "ok",
            "payload_schema": self.indexed, "indexed_vectors_count": shard.indexed_vectors_count,
            "points_count": shard.points_count, "segments_count": shard.segments_count, "config": config,
        }  # fmt: skip
        models.CollectionInfo.model_validate(told)
        return told

    def filter(self, raw: dict[str, Any]) -> edge.Filter:
        parts: dict[str, Any] = {word: [self._condition(one) for one in raw[word]] for word in raw if raw[word]}
        return edge.Filter(**parts)

    def _condition(self, raw: dict[str, Any]) -> Any:
        if "is_empty" in raw:
            return edge.IsEmptyCondition(raw["is_empty"]["key"])
        if "has_id" in raw:
            return edge.HasIdCondition(set(raw["has_id"]))
        if "key" not in raw:
            return self.filter(raw)
        match = raw.get("match")
        if match is None:
            return edge.FieldCondition(raw["key"], range=edge.RangeFloat(**raw["range"]))
        ((how, value),) = match.items()
        if isinstance(value, bool):
            return edge.HasIdCondition({one.id for one in self._all() if _at(one.payload, raw["key"]) is value})
        made = {"value": edge.MatchValue, "prefix": edge.MatchPrefix, "substring": edge.MatchSubstring,
                "any": edge.MatchAny}[how]  # fmt: skip
        return edge.FieldCondition(raw["key"], match=made(value))

    def _all(self) -> Iterator[Any]:
        offset = None
        while True:
            points, offset = self.shard.scroll(edge.ScrollRequest(offset=offset, limit=1000, with_payload=True))
            yield from points
            if offset is None:
                return


def _at(payload: Any, key: str) -> Any:
    for name in key.replace('"', "").split("."):
        payload = payload.get(name) if isinstance(payload, dict) else None
    return payload


class Server(ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, folder: Path, port: int, key: str) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.folder, self.key, self.lock = folder, key, threading.RLock()
        folder.mkdir(exist_ok=True)
        self.aliases_file = folder / "aliases.json"
        self.aliases: dict[str, str] = json.loads(self.aliases_file.read_text()) if self.aliases_file.exists() else {}
        self.names: dict[str, Path] = {}
        self.collections: dict[str, Collection] = {}
        for kept in folder.glob("*/name"):
            self.names[kept.read_text()] = kept.parent
            self.collections[kept.read_text()] = Collection(kept.parent)

    def collection(self, name: str) -> Collection:
        found = self.collections.get(self.aliases.get(name, name))
        if found is None:
            raise No(404, f"Not found: Collection `{name}` doesn't exist!")
        return found

    def listed(self) -> Any:
        return {"collections": [{"name": name} for name in self.collections]}

    def create(self, name: str, body: dict[str, Any]) -> bool:
        if name in self.collections or name in self.aliases:
            raise No(409, f"Wrong input: Collection `{name}` already exists!")
        folder = self.folder / f"c{len(list(self.folder.iterdir()))}"
        folder.mkdir()
        self.collections[name], self.names[name] = Collection(folder, body), folder
        (folder / "name").write_text(name)
        return True

    def delete(self, name: str) -> bool:
        self.collection(name).shard.close()
        del self.collections[name]
        shutil.rmtree(self.names.pop(name))
        self.point({one: to for one, to in self.aliases.items() if to != name})
        return True

    def patch(self, name: str, body: dict[str, Any]) -> bool:
        one = self.collection(name)
        one.tell({**one.body, "metadata": {**(one.body.get("metadata") or {}), **body["metadata"]}})
        return True

    def change(self, body: dict[str, Any]) -> bool:
        """All or nothing."""
        aliases = dict(self.aliases)
        for action in body["actions"]:
            if gone := action.get("delete_alias"):
                aliases.pop(gone["alias_name"], None)
            elif made := action.get("create_alias"):
                if made["alias_name"] in self.collections:
                    raise No(409, "Wrong input: Collection with such a name exists")
                self.collection(made["collection_name"])
                aliases[made["alias_name"]] = made["collection_name"]
        self.point(aliases)
        return True

    def point(self, aliases: dict[str, str]) -> None:
        self.aliases = aliases
        self.aliases_file.write_text(json.dumps(aliases))

    def told_aliases(self) -> Any:
        told = [{"alias_name": alias, "collection_name": name} for alias, name in self.aliases.items()]
        return {"aliases": told}

    def upsert(self, name: str, body: dict[str, Any]) -> Any:
        one = self.collection(name)
        points = [edge.Point(point["id"], point["vector"], point["payload"]) for point in body["points"]]
        one.shard.update(edge.UpdateOperation.upsert_points(points))
        one.shard.flush()
        one.looks = 0
        return {"operation_id": 0, "status": "completed"}

    def index(self, name: str, body: dict[str, Any]) -> Any:
        wanted = body["field_schema"]
        kind = wanted["type"] if isinstance(wanted, dict) else wanted  # is_tenant is the server's own
        schema = getattr(edge.PayloadSchemaType, kind.title())
        params = {"params": wanted} if isinstance(wanted, dict) else {}
        self.collection(name).indexed[body["field_name"]] = {"data_type": kind, "points": 0, **params}
        self.collection(name).shard.update(edge.UpdateOperation.create_field_index(body["field_name"], schema))
        return {"operation_id": 0, "status": "completed"}

    def retrieve(self, name: str, body: dict[str, Any]) -> Any:
        points = self.collection(name).shard.retrieve(
            body["ids"], edge.PayloadSelector.Include(body["with_payload"]), body["with_vector"]
        )
        return [{"id": str(one.id), "payload": one.payload, "vector": one.vector} for one in points]

    def scroll(self, name: str, body: dict[str, Any]) -> Any:
        one = self.collection(name)
        points, offset = one.shard.scroll(edge.ScrollRequest(
            filter=one.filter(body["filter"]) if body.get("filter") else None,
            offset=body.get("offset"), limit=body.get("limit", 10), with_vector=body.get("with_vector", False),
            with_payload=edge.PayloadSelector.Include(body["with_payload"]),
        ))  # fmt: skip
        told = [{"id": str(one.id), "payload": one.payload, "vector": one.vector} for one in points]
        return {"points": told, "next_page_offset": None if offset is None else str(offset)}

    def count(self, name: str, body: dict[str, Any]) -> Any:
        return {"count": self.collection(name).shard.count(edge.CountRequest(exact=body.get("exact", True)))}

    def query(self, name: str, body: dict[str, Any]) -> Any:
        one = self.collection(name)
        found = one.shard.query(edge.QueryRequest(
            limit=body["limit"], query=edge.Query.Nearest(body["query"]),
            filter=one.filter(body["filter"]) if body.get("filter") else None,
            params=edge.SearchParams(hnsw_ef=(body.get("params") or {}).get("hnsw_ef")),
            with_payload=edge.PayloadSelector.Include(body["with_payload"]),
        ))  # fmt: skip
        points = [{"id": str(one.id), "version": 0, "score": one.score, "payload": one.payload} for one in found]
        return {"points": points}


Route = tuple[type[BaseModel] | None, Callable[..., Any]]
PLAIN: dict[tuple[str, str], Route] = {
    ("GET", "/collections"): (None, Server.listed),
    ("GET", "/aliases"): (None, Server.told_aliases),
    ("POST", "/collections/aliases"): (models.ChangeAliasesOperation, Server.change),
}
OF_A_COLLECTION: dict[tuple[str, str], Route] = {
    ("GET", ""): (None, lambda server, name: server.collection(name).info()),
    ("PUT", ""): (models.CreateCollection, Server.create),
    ("PATCH", ""): (models.UpdateCollection, Server.patch),
    ("DELETE", ""): (None, Server.delete),
    ("PUT", "index"): (models.CreateFieldIndex, Server.index),
    ("PUT", "points"): (models.PointsList, Server.upsert),
    ("POST", "points"): (models.PointRequest, Server.retrieve),
    ("POST", "points/scroll"): (models.ScrollRequest, Server.scroll),
    ("POST", "points/count"): (models.CountRequest, Server.count),
    ("POST", "points/query"): (models.QueryRequest, Server.query),
}


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def _do(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            with self.server.lock:
                status, told = 200, json.dumps(self._answer(body))
        except No as no:
            said = {"status": {"error": str(no)}, "time": 0.0}
            status, told = no.status, str(no) if no.status == 401 else json.dumps(said)  # before any of its handlers
        except ValidationError as wrong:
            said = {"status": {"error": f"Format error in JSON body: {wrong.errors()[0]['msg']}"}, "time": 0.0}
            status, told = 400, json.dumps(said)
        except ValueError as wrong:
            status, told = 400, json.dumps({"status": {"error": f"Wrong input: {wrong}"}, "time": 0.0})
        sent = told.encode()
        self.send_response(status)
        self.send_header("content-length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _do

    def _answer(self, body: bytes) -> Any:
        path = urlsplit(self.path).path
        if path == "/":
            return {"title": "qdrant - vector search engine", "version": "1.20.0"}
        if self.server.key and self.headers.get("api-key") != self.server.key:
            raise No(401, "Must provide an API key or an Authorization bearer token")
        if (self.command, path) in PLAIN:
            model, do = PLAIN[self.command, path]
            given: list[Any] = []
        else:
            first, name, *rest = path.lstrip("/").split("/")
            if first != "collections" or (self.command, "/".join(rest)) not in OF_A_COLLECTION:
                raise No(404, "")
            model, do = OF_A_COLLECTION[self.command, "/".join(rest)]
            given = [unquote(name)]
        if model is not None:
            read = json.loads(body)
            TypeAdapter(model).validate_python(read)
            given.append(read)
        return {"result": do(self.server, *given), "status": "ok", "time": 0.0}

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    Server(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]).serve_forever()
