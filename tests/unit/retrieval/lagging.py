"""A cluster's API server as a controller meets it: every answer takes its time, and the watch tells of what happened
later still, of each kind with another delay. Minutes go by in milliseconds, as the clock jumps to what is due next.
"""

from __future__ import annotations

import asyncio
import copy
import random
import selectors
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from llmops.kube.errors import ApiError, Conflict, NotFound
from llmops.kube.resources import EVENT, Object, Resource

T = TypeVar("T")
BEGINNING = datetime(2026, 1, 1, 0, 10, tzinfo=UTC)


class Jumping(asyncio.SelectorEventLoop):
    """An event loop on which nobody waits: where nothing is to be done, it is the time of the next timer."""

    def __init__(self) -> None:
        self.seconds = 0.0
        super().__init__(_Never(self))

    def time(self) -> float:
        return self.seconds


class _Never(selectors.SelectSelector):
    def __init__(self, loop: Jumping) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing will ever happen again: everybody waits for somebody else")
        self._loop.seconds += max(0.0, timeout)
        return super().select(0)


class Clock:
    """The cluster's, by the loop's."""

    def now(self) -> datetime:
        return BEGINNING + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def stamp(self, ahead: float = 0.0) -> str:
        """As objects have times: to the second; `ahead` by the clock of a node that is wrong."""
        return (self.now() + timedelta(seconds=ahead)).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Happened:
    """One event of the watch."""

    version: int
    at: float
    kind: str
    object: Object


Witness = Callable[[str, Resource, Object], None]
"""Called with (ADDED | MODIFIED | DELETED, resource, object) in the moment that it happens."""


class Server:
    """One namespace of a cluster. `lags` says how late the watch of a kind may be, in seconds."""

    def __init__(self, dice: random.Random, clock: Clock, lags: Callable[[Resource], float]) -> None:
        self._dice, self._clock, self._lags = dice, clock, lags
        self._objects: dict[tuple[Resource, str], Object] = {}
        self._happened: dict[Resource, list[Happened]] = {}
        self._news: dict[Resource, asyncio.Event] = {}
        self._version = 100
        self.witnesses: list[Witness] = []
        self.writes = asyncio.Event()
        self.written: list[str] = []  # by the operator, whether it changed something or not; not what it says of it

    # what happens at once: what other controllers and people do

    def find(self, resource: Resource, name: str) -> Object | None:
        found = self._objects.get((resource, name))
        return copy.deepcopy(found)

    def all(self, resource: Resource) -> list[Object]:
        return [copy.deepcopy(one) for (of, _), one in self._objects.items() if of == resource]

    def put(self, resource: Resource, obj: Object) -> Object:
        """Creates it, or puts it in the place of what is there; what changes nothing does not happen."""
        name = obj["metadata"]["name"]
        old, new = self._objects.get((resource, name)), copy.deepcopy(obj)
        first = {"namespace": "shop", "uid": f"u{self._version}", "creationTimestamp": self._clock.stamp()}
        was: Object = old["metadata"] if old else {**first, "generation": 1}
        new["metadata"] = {**{field: was[field] for field in (*first, "generation")}, **new["metadata"]}
        if old is not None and _content(new) == _content(old):
            return copy.deepcopy(old)
        if old is not None and new.get("spec") != old.get("spec"):
            new["metadata"]["generation"] = was["generation"] + 1
        self._objects[resource, name] = new
        self._tell("MODIFIED" if old else "ADDED", resource, new)
        return copy.deepcopy(new)

    def change(self, resource: Resource, name: str, change: Mapping[str, Any]) -> Object:
        """Merges; NotFound where there is nothing to change."""
        found = self.find(resource, name)
        if found is None:
            raise NotFound(f"{resource.plural} {name} not found", 404)
        return self.put(resource, merged(found, change))

    def remove(self, resource: Resource, name: str, uid: str | None = None) -> None:
        found = self._objects.get((resource, name))
        if found is None:
            raise NotFound(f"{resource.plural} {name} not found", 404)
        if uid not in (None, found["metadata"]["uid"]):
            raise Conflict(f"{resource.plural} {name} has another uid", 409)
        del self._objects[resource, name]
        self._tell("DELETED", resource, copy.deepcopy(found))

    def _tell(self, kind: str, resource: Resource, obj: Object) -> None:
        self._version += 1
        obj["metadata"]["resourceVersion"] = str(self._version)
        happened = Happened(self._version, self._clock.monotonic(), kind, copy.deepcopy(obj))
        self._happened.setdefault(resource, []).append(happened)
        if news := self._news.pop(resource, None):
            news.set()
        for one in self.witnesses:
            one(kind, resource, copy.deepcopy(obj))

    # what kube's Client offers to the Cache and to the Cluster

    async def list(self, resource: Resource, namespace: str | None = None, labels: str = "") -> Object:
        def listed() -> Object:
            items = [one for one in self.all(resource) if _chosen(one, labels)]
            return {"metadata": {"resourceVersion": str(self._version)}, "items": items}

        return await self._answered(listed)

    async def watch(
        self, resource: Resource, namespace: str | None, since: str, labels: str = ""
    ) -> AsyncGenerator[tuple[str, Object]]:
        loop, last = asyncio.get_running_loop(), int(since)
        told = self._happened.setdefault(resource, [])
        at = next((at for at, one in enumerate(told) if one.version > last), len(told))
        while True:
            while at < len(told):
                one, at = told[at], at + 1
                await asyncio.sleep(max(0.0, one.at + self._dice.uniform(0, self._lags(resource)) - loop.time()))
                if _chosen(one.object, labels):
                    yield one.kind, copy.deepcopy(one.object)
            await self._news.setdefault(resource, asyncio.Event()).wait()

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        def got() -> Object:
            found = self.find(resource, name)
            if found is None:
                raise NotFound(f"{resource.plural} {name} not found", 404)
            return found

        return await self._answered(got)

    async def create(self, resource: Resource, obj: Object) -> Object:
        if resource == EVENT:  # a courtesy that nobody waits for
            return obj

        def created() -> Object:
            self._note("create", resource, obj["metadata"]["name"])
            if (resource, obj["metadata"]["name"]) in self._objects:
                raise Conflict(f"{resource.plural} {obj['metadata']['name']} already exists", 409)
            return self.put(resource, obj)

        return await self._answered(created)

    async def apply(self, resource: Resource, obj: Object) -> Object:
        def applied() -> Object:
            name = obj["metadata"]["name"]
            self._note("apply", resource, name)
            return self.put(resource, merged(self.find(resource, name) or {}, obj))

        return await self._answered(applied)

    async def patch(
        self, resource: Resource, namespace: str | None, name: str, patch: Object, sub: str | None = None,
        manager: str = "",
    ) -> Object:  # fmt: skip
        if resource == EVENT:
            return patch

        def patched() -> Object:
            self._note("patch", resource, name)
            found = self.find(resource, name) or {"metadata": {}}
            wanted = (patch.get("metadata") or {}).get("resourceVersion")
            if wanted not in (None, found["metadata"].get("resourceVersion")):
                raise Conflict(f"{resource.plural} {name} was changed meanwhile", 409)
            return self.change(resource, name, patch)

        return await self._answered(patched)

    async def delete(self, resource: Resource, namespace: str | None, name: str, uid: str | None = None) -> None:
        def deleted() -> None:
            self._note("delete", resource, name)
            self.remove(resource, name, uid)

        await self._answered(deleted)

    def _note(self, verb: str, resource: Resource, name: str) -> None:
        self.written.append(f"{verb} {resource.kind} {name}")
        self.writes.set()

    async def _answered(self, act: Callable[[], T]) -> T:
        """There and back. What was sent is done, though whoever sent it may have ended before the answer."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(self._dice.uniform(0.0005, 0.01), _do, act, done)
        answer = await done
        await asyncio.sleep(self._dice.uniform(0.0005, 0.01))
        return answer


def _do(act: Callable[[], T], done: asyncio.Future[T]) -> None:
    try:
        answer = act()
    except ApiError as problem:
        if not done.done():
            done.set_exception(problem)
        return
    if not done.done():
        done.set_result(answer)


def merged(old: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """As by a JSON merge patch (RFC 7386)."""
    whole = dict(old)
    for name, value in change.items():
        if value is None:
            whole.pop(name, None)
        elif isinstance(value, Mapping):
            inner = whole.get(name)
            whole[name] = merged(inner if isinstance(inner, Mapping) else {}, value)
        else:
            whole[name] = value
    return whole


def _content(obj: Object) -> Object:
    metadata = {name: one for name, one in obj["metadata"].items() if name not in ("resourceVersion", "generation")}
    return {**obj, "metadata": metadata}


def _chosen(obj: Object, labels: str) -> bool:
    has = obj["metadata"].get("labels") or {}
    return all(has.get(name) == value for name, _, value in (one.partition("=") for one in labels.split(",") if one))
