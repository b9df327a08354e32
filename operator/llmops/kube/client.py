"""One call each to the API server, as JSON, every one with a deadline. No retries: who calls knows whether to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
import orjson

from llmops.api import names
from llmops.kube import config, fence
from llmops.kube.connection import Connection, Headers, Login
from llmops.kube.errors import Unreachable, error
from llmops.kube.resources import LEASE, Object, Resource

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
WATCH_SECONDS = 290  # the server ends a watch after this
SILENT_SECONDS = 90  # a watch brings a bookmark a minute (once its kind had an event): longer silence may be death
MAX_LINE = 64 * 1024 * 1024  # one object in a watch: an etcd object has 1.5 MiB, its JSON may be longer

Counter = Callable[[str, str, str], None]
"""Called with (verb, plural, result) after every call; `result` is the HTTP status or "error"."""


class Client:
    """Speaks to one API server. `async with await Client.connect() as client`, or close() at the end."""

    def __init__(self, connection: Connection, timeout: float = 10.0, count: Counter | None = None) -> None:
        self._connection, self._timeout = connection, timeout
        self._count = count or (lambda verb, plural, result: None)
        self._write_seconds: Callable[[], float] = lambda: timeout
        self._session = self._open(None)
        self._fenced: aiohttp.ClientSession | None = None

    def limit_writes(self, seconds: Callable[[], float]) -> None:
        """From now on a write may take only `seconds()`, and none is sent when that is not positive (lease.py)."""
        if not isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop):
            raise RuntimeError("a leader must run on asyncio's own event loop: others write past the fence (fence.py)")
        self._write_seconds = seconds
        if self._fenced is None:
            self._fenced = self._open(fence.factory(lambda: self._write_seconds() > 0))

    def _open(self, sockets: Callable[[aiohttp.AddrInfoType], socket.socket] | None) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            ssl=self._connection.trust or True, limit=0, keepalive_timeout=60, socket_factory=sockets
        )
        return aiohttp.ClientSession(connector=connector, read_bufsize=2**18)

    @classmethod
    async def connect(cls, timeout: float = 10.0, count: Counter | None = None) -> Client:  # noqa: ASYNC109 - of each call
        """With the pod's account or the kubeconfig (config.py); raises NoCluster with what to set."""
        return cls(config.load(), timeout, count)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._session.close()
        if self._fenced is not None:
            await self._fenced.close()
        # TLS says goodbye after close() returned, and nothing tells when it has (aiohttp, "Graceful shutdown")
        await asyncio.sleep(0.25)

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        return await self._call("GET", "get", resource, resource.path(namespace, name))

    async def list(self, resource: Resource, namespace: str | None = None, labels: str = "") -> Object:
        """The whole list object: `items`, and `metadata.resourceVersion` to watch from."""
        items: list[Object] = []
        params = {"limit": "500", **({"labelSelector": labels} if labels else {})}
        while True:
            page = await self._call("GET", "list", resource, resource.path(namespace), params=params)
            items += page.get("items") or []
            proceed = page["metadata"].get("continue")
            if not proceed:
                return {**page, "items": items}
            params["continue"] = proceed

    async def create(self, resource: Resource, obj: Object, *, dry_run: bool = False) -> Object:
        params = {"fieldManager": names.FIELD_MANAGER, "fieldValidation": "Strict"} | (
            {"dryRun": "All"} if dry_run else {}
        )
        path = resource.path(obj["metadata"].get("namespace"))
        return await self._call("POST", "create", resource, path, obj, params)

    async def apply(self, resource: Resource, obj: Object) -> Object:
        """Server-side apply (KEP-555) with our field manager; what others set against us is taken back."""
        metadata = obj["metadata"]
        path = resource.path(metadata.get("namespace"), metadata["name"])
        params = {"fieldManager": names.FIELD_MANAGER, "force": "true"}
        return await self._call("PATCH", "apply", resource, path, obj, params, APPLY)

    async def patch(
        self, resource: Resource, namespace: str | None, name: str, patch: Object, sub: str | None = None,
        manager: str = names.FIELD_MANAGER,
    ) -> Object:  # fmt: skip
        """A JSON merge patch (RFC 7386); with metadata.resourceVersion in it a Conflict if somebody wrote meanwhile."""
        params = {"fieldManager": manager}
        return await self._call("PATCH", "patch", resource, resource.path(namespace, name, sub), patch, params, MERGE)

    async def replace(self, resource: Resource, obj: Object) -> Object:
        metadata = obj["metadata"]
        return await self._call(
            "PUT", "update", resource, resource.path(metadata.get("namespace"), metadata["name"]), obj
        )

    async def delete(self, resource: Resource, namespace: str | None, name: str, uid: str | None = None) -> None:
        """In the background (children follow); with `uid` only that very object."""
        body: Object = {"propagationPolicy": "Background"} | ({"preconditions": {"uid": uid}} if uid else {})
        await self._call("DELETE", "delete", resource, resource.path(namespace, name), body)

    async def raw(self, path: str, body: Object | None = None) -> Any:
        """GET of any path, such as /openid/v1/jwks; POST where there is a body, as through a Service's proxy."""
        method = "GET" if body is None else "POST"
        return await self._request(method, path, body, {}, "application/json", self._timeout, self._session)

    async def watch(
        self, resource: Resource, namespace: str | None, since: str, labels: str = ""
    ) -> AsyncGenerator[tuple[str, Object]]:
        """(ADDED | MODIFIED | DELETED | BOOKMARK, object) until the server ends it; Expired if `since` is too old."""
        params = {"watch": "1", "resourceVersion": since, "allowWatchBookmarks": "true"}
        params |= {"timeoutSeconds": str(WATCH_SECONDS)} | ({"labelSelector": labels} if labels else {})
        timeout = aiohttp.ClientTimeout(total=None, connect=self._timeout, sock_read=SILENT_SECONDS)
        url = self._connection.server + resource.path(namespace)
        login = await self._connection.login()
        try:
            async with asyncio.timeout(self._timeout):  # the server answers at once, and then keeps on
                opened = await self._session.get(url, params=params, timeout=timeout, **self._way(login))
            async with opened as reply:
                if reply.status != 200:
                    raise error(reply.status, _sentence(await reply.read()))
                async for line in _lines(reply.content):
                    event = _event(line)
                    if event["type"] == "ERROR":
                        raise error(event["object"].get("code", 500), event["object"].get("message", ""))
                    yield event["type"], event["object"]
        except aiohttp.SocketTimeoutError:
            return  # silent: a kind of which nothing ever happened, or a dead connection; the next watch tells
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            raise Unreachable(f"watch {resource.plural}: {problem!r}") from problem

    async def _call(
        self, method: str, verb: str, resource: Resource, path: str,
        body: Object | None = None, params: Mapping[str, str] | None = None, content: str = "application/json",
    ) -> Object:  # fmt: skip
        result = "error"
        session, seconds = self._session, self._timeout
        if self._fenced is not None and method != "GET" and resource != LEASE:
            session, seconds = self._fenced, min(seconds, self._write_seconds())
        try:
            found: Object = await self._request(method, path, body, params or {}, content, seconds, session)
            result = "ok"
            return found
        finally:
            self._count(verb, resource.plural, result)

    async def _request(
        self, method: str, path: str, body: Object | None, params: Mapping[str, str], content: str, seconds: float,
        session: aiohttp.ClientSession,
    ) -> Any:  # fmt: skip
        data = orjson.dumps(body) if body is not None else None
        headers = (("content-type", content), ("accept", "application/json, */*;q=0.5"))

        async def ask(login: Login) -> tuple[int, bytes]:
            way = self._way(login, headers)
            try:
                async with asyncio.timeout(seconds):
                    async with session.request(
                        method, self._connection.server + path, data=data, params=params, **way
                    ) as reply:
                        return reply.status, await reply.read()
            except (aiohttp.ClientError, TimeoutError, OSError) as problem:
                raise Unreachable(f"{method} {path}: {str(problem) or type(problem).__name__}") from problem

        login = await self._connection.login()
        status, answer = await ask(login)
        if status == 401 and self._connection.log_in is not None:
            status, answer = await ask(await self._connection.login(refused=login))
        if status == 401:
            raise error(status, f"the API server does not accept {self._connection.whose}: {_sentence(answer)}")
        if status >= 300:
            raise error(status, _sentence(answer))
        return orjson.loads(answer)

    def _way(self, login: Login, headers: Headers = ()) -> dict[str, Any]:
        """How a request gets there, as aiohttp's arguments."""
        to = self._connection
        return {
            "headers": [*to.headers, *login.headers, *headers],
            "proxy": to.proxy,
            "server_hostname": to.server_name,
        }


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length: aiohttp's own reader refuses one longer than its buffer."""
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        if len(rest) > MAX_LINE:
            raise Unreachable("a watched object is larger than 64 MiB")
        for line in whole:
            yield line


def _event(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as problem:
        raise Unreachable(f"a watch brought what is not JSON: {line[:100]!r}") from problem


def _sentence(answer: bytes) -> str:
    """The message of a Status object, or of a process of ours behind a proxy, else the beginning of whatever came."""
    with contextlib.suppress(orjson.JSONDecodeError):
        status = orjson.loads(answer)
        told = status.get("error") if isinstance(status, dict) else None
        for one in (status, told):
            if isinstance(one, dict) and one.get("message"):
                return str(one["message"])
    return answer[:300].decode(errors="replace")
