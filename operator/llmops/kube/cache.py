"""What we follow of the cluster, kept in memory: list, then watch, for ever (the reflector of client-go).

Every list replaces the content whole and tells of what vanished meanwhile: a watch that was cut can lose a deletion,
a list cannot. Objects are kept as the server sent them, less managedFields, or less whatever `keep` drops; they are
shared with everybody who reads, so nobody may change them.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from llmops.api import names
from llmops.kube.client import Client
from llmops.kube.errors import ApiError, Expired, NotFound
from llmops.kube.resources import Object, Resource

log = logging.getLogger(__name__)

Keep = Callable[[Object], Object]
Listener = Callable[[Resource, Object, bool], None]
"""Called with (resource, object, deleted) for every change, on the event loop; must be quick and must not raise."""

Name = tuple[str, str]  # namespace ("" where there is none), name


@dataclass
class _Store:
    """One resource's objects, found by name and by the owner their labels tell of."""

    objects: dict[str, dict[str, Object]] = field(default_factory=dict)
    owned: dict[tuple[str, str, str], dict[str, Object]] = field(default_factory=dict)

    def put(self, obj: Object) -> None:
        namespace, name = _name(obj)
        self.drop((namespace, name))
        self.objects.setdefault(namespace, {})[name] = obj
        if owner := _owner(obj):
            self.owned.setdefault(owner, {})[name] = obj

    def drop(self, at: Name) -> Object | None:
        old = self.objects.get(at[0], {}).pop(at[1], None)
        if old is not None and (owner := _owner(old)):
            self.owned[owner].pop(at[1], None)
            if not self.owned[owner]:
                del self.owned[owner]
        return old


class Cache:
    """Follows resources and answers from memory. follow() what you need, await synced(), then get() and list()."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stores: dict[Resource, _Store] = {}
        self._reflectors: list[_Reflector] = []
        self._listeners: list[Listener] = []

    def follow(
        self, resource: Resource, namespace: str | None = None, labels: str | None = None, keep: Keep | None = None
    ) -> None:
        """Starts following; `labels` is a label selector, `keep` returns the object without what nobody reads."""
        store = self._stores.setdefault(resource, _Store())
        reflector = _Reflector(
            self._client, resource, namespace, labels or "", keep or _without_managed, store, self._tell
        )
        reflector.task = asyncio.create_task(reflector.run(), name=f"follow {resource.plural} {namespace or ''}")
        self._reflectors.append(reflector)

    def follows(self, resource: Resource) -> bool:
        return resource in self._stores

    async def synced(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - names what was late
        """Returns when everything followed so far was listed once; TimeoutError names what was not."""
        try:
            async with asyncio.timeout(timeout):
                for one in list(self._reflectors):
                    await one.listed.wait()
        except TimeoutError:
            raise TimeoutError(f"not listed yet: {', '.join(self.behind())}") from None

    def behind(self) -> list[str]:
        """What has not been listed, or whose watch is broken now, each with the reason."""
        return [f"{one.resource.plural} ({one.problem or 'listing'})" for one in self._reflectors if not one.live]

    @property
    def connected(self) -> bool:
        """False while any watch is broken: what is here may be old."""
        return all(one.live for one in self._reflectors)

    async def close(self) -> None:
        for one in self._reflectors:
            one.task.cancel()
        await asyncio.gather(*(one.task for one in self._reflectors), return_exceptions=True)
        self._reflectors.clear()

    def subscribe(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        return self._stores[resource].objects.get(namespace or "", {}).get(name)

    def list(
        self, resource: Resource, namespace: str | None = None, labels: dict[str, str] | None = None
    ) -> list[Object]:
        """In no order. Both owner labels with a namespace are an indexed look-up; anything else walks."""
        store, labels = self._stores[resource], labels or {}
        if namespace and names.OWNER_KIND in labels and names.OWNER_NAME in labels:
            found = store.owned.get((labels[names.OWNER_KIND], namespace, labels[names.OWNER_NAME]), {})
            chosen: Iterable[Object] = found.values()
        elif namespace is not None:
            chosen = store.objects.get(namespace, {}).values()
        else:
            chosen = (obj for space in store.objects.values() for obj in space.values())
        return [obj for obj in chosen if labels.items() <= (obj["metadata"].get("labels") or {}).items()]

    def _tell(self, resource: Resource, obj: Object, deleted: bool) -> None:
        for listener in self._listeners:
            listener(resource, obj, deleted)


class _Reflector:
    """One list-then-watch loop, writing into its resource's store."""

    def __init__(
        self, client: Client, resource: Resource, namespace: str | None, labels: str, keep: Keep,
        store: _Store, tell: Listener,
    ) -> None:  # fmt: skip
        self.resource, self._namespace, self._labels = resource, namespace, labels
        self._client, self._keep, self._store, self._tell = client, keep, store, tell
        self._versions: dict[Name, str] = {}
        self.listed = asyncio.Event()
        self.live = False
        self.problem = ""
        self.task: asyncio.Task[None]

    async def run(self) -> None:
        pause, since = 0.0, ""
        while True:
            try:
                if not since:
                    since = await self._list()
                pause = 0.0
                since = await self._watch(since)
            except Expired:
                since = ""
            except ApiError as problem:
                self.live, self.problem = False, str(problem)
                # a kind that is not installed yet, or a server that is away: half a second, growing to five
                pause = min(5.0, pause * 2 or 0.5)
                if isinstance(problem, NotFound):
                    since = ""
                log.warning("%s: %s; again in %.1f s", self.resource.plural, problem, pause)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))

    async def _list(self) -> str:
        listing = await self._client.list(self.resource, self._namespace, self._labels)
        found = {_name(obj): obj for obj in listing["items"]}
        for at in self._versions.keys() - found.keys():
            self._remove(at)
        for obj in found.values():
            # items of a list carry neither of the two
            self._put({"apiVersion": self.resource.api_version, "kind": self.resource.kind, **obj})
        self.live, self.problem = True, ""
        self.listed.set()
        return str(listing["metadata"]["resourceVersion"])

    async def _watch(self, since: str) -> str:
        async for kind, obj in self._client.watch(self.resource, self._namespace, since, self._labels):
            self.live, self.problem = True, ""
            since = obj["metadata"]["resourceVersion"]
            if kind == "DELETED":
                self._remove(_name(obj))
            elif kind != "BOOKMARK":
                self._put(obj)
        return since

    def _put(self, obj: Object) -> None:
        at, version = _name(obj), obj["metadata"]["resourceVersion"]
        if self._versions.get(at) == version:
            return
        self._versions[at] = version
        kept = self._keep(obj)
        self._store.put(kept)
        self._tell(self.resource, kept, False)

    def _remove(self, at: Name) -> None:
        self._versions.pop(at, None)
        old = self._store.drop(at)
        if old is not None:
            self._tell(self.resource, old, True)


def _without_managed(obj: Object) -> Object:
    obj["metadata"].pop("managedFields", None)
    return obj


def _name(obj: Object) -> Name:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _owner(obj: Object) -> tuple[str, str, str] | None:
    labels = obj["metadata"].get("labels") or {}
    kind, name = labels.get(names.OWNER_KIND), labels.get(names.OWNER_NAME)
    return (kind, obj["metadata"].get("namespace", ""), name) if kind and name else None
