"""What we follow of the cluster, kept in memory: list, then watch, for ever (the reflector of client-go).

Every list replaces the content whole and tells of what vanished meanwhile: a watch that was cut can lose a deletion,
a list cannot. Objects are kept as the server sent them, less managedFields, or less whatever `keep` drops; they are
shared with everybody who reads, so nobody may change them.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Hashable, Iterable
from contextlib import aclosing

from llmops.api import names
from llmops.kube.client import Client
from llmops.kube.errors import ApiError, Expired, NotFound
from llmops.kube.resources import Object, Resource
from llmops.kube.store import Keys, Name, Store, name_of, version_of

log = logging.getLogger(__name__)

Keep = Callable[[Object], Object]
Listener = Callable[[Resource, Object, bool], None]
"""Called with (resource, object, deleted) for every change, on the event loop; must be quick and must not raise."""

ABSENT_SECONDS = 30.0  # until it is looked again whether an optional kind was installed
LIST_AGAIN = 3  # failures in a row after which history is not trusted: the server may have been restored from a backup


class Cache:
    """Follows resources and answers from memory. follow() what you need, await synced(), then get() and list()."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stores: dict[Resource, Store] = {}
        self._reflectors: dict[Resource, list[_Reflector]] = {}
        self._listeners: list[Listener] = []

    def follow(
        self, resource: Resource, namespace: str | None = None, labels: str | None = None, keep: Keep | None = None
    ) -> None:
        """Starts following; `labels` is a label selector, `keep` returns the object without what nobody reads."""
        group = self._reflectors.setdefault(resource, [])
        store = self._stores.setdefault(resource, Store())
        one = _Reflector(self._client, resource, namespace, labels or "", keep or _slim, store, group, self._tell)
        one.task = asyncio.create_task(one.run(), name=f"follow {resource.plural} {namespace or ''}")
        group.append(one)

    def follows(self, resource: Resource) -> bool:
        return resource in self._stores

    def index(self, resource: Resource, name: str, keys: Keys) -> None:
        """Makes find(resource, name, key) a look-up: `keys(object)` says what the object is found by."""
        self._stores.setdefault(resource, Store()).index(name, keys)

    async def synced(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - names what was late
        """Returns when everything followed so far was listed once; TimeoutError names what was not."""
        try:
            async with asyncio.timeout(timeout):
                for one in self._all():
                    await one.listed.wait()
        except TimeoutError:
            raise TimeoutError(f"not listed yet: {', '.join(self.behind())}") from None

    def behind(self) -> list[str]:
        """What has not been listed, or whose watch is broken now, each with the reason."""
        return [f"{one.resource.plural}: {one.problem or 'being listed'}" for one in self._all() if not one.live]

    @property
    def connected(self) -> bool:
        """False while any watch is broken: what is here may be old."""
        return all(one.live for one in self._all())

    async def broken(self) -> None:
        """Raises what ended a follower: a fault of ours, after which the cache is old in silence. End the process."""
        await asyncio.wait([one.task for one in self._all()], return_when=asyncio.FIRST_COMPLETED)
        for one in self._all():
            if one.task.done() and not one.task.cancelled():
                one.task.result()

    async def close(self) -> None:
        for one in self._all():
            one.task.cancel()
        await asyncio.gather(*(one.task for one in self._all()), return_exceptions=True)
        self._reflectors.clear()

    def subscribe(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        return self._store(resource).get((namespace or "", name))

    def find(self, resource: Resource, index: str, key: Hashable) -> list[Object]:
        """What an index() knows under this key."""
        return list(self._store(resource).find(index, key))

    def list(
        self, resource: Resource, namespace: str | None = None, labels: dict[str, str] | None = None
    ) -> list[Object]:
        """In no order. Both owner labels with a namespace are an indexed look-up; anything else walks."""
        store, labels = self._store(resource), labels or {}
        if namespace and names.OWNER_KIND in labels and names.OWNER_NAME in labels:
            chosen = store.find("owner", (labels[names.OWNER_KIND], namespace, labels[names.OWNER_NAME]))
        elif namespace is not None:
            chosen = store.spaces.get(namespace, {}).values()
        else:
            chosen = store.all()
        return [obj for obj in chosen if labels.items() <= (obj["metadata"].get("labels") or {}).items()]

    def learn(self, resource: Resource, obj: Object) -> None:
        """Takes in the reply to a write of ours at once, so that the next look already sees it."""
        for one in self._reflectors.get(resource, ()):
            if one.covers(obj):
                one.learn(obj)
                return

    def _store(self, resource: Resource) -> Store:
        try:
            return self._stores[resource]
        except KeyError:
            raise LookupError(
                f"{resource.plural} are read here but not followed: add the kind to the controller's owns or refers"
            ) from None

    def _all(self) -> Iterable[_Reflector]:
        return [one for group in self._reflectors.values() for one in group]

    def _tell(self, resource: Resource, obj: Object, deleted: bool) -> None:
        for listener in self._listeners:
            listener(resource, obj, deleted)


class _Reflector:
    """One list-then-watch loop, writing into its resource's store, which others of its `group` may share."""

    def __init__(
        self, client: Client, resource: Resource, namespace: str | None, labels: str, keep: Keep, store: Store,
        group: list[_Reflector], tell: Listener,
    ) -> None:  # fmt: skip
        self.resource, self._namespace, self._labels = resource, namespace, labels
        self._client, self._keep, self._store, self._group, self._tell = client, keep, store, group, tell
        self.versions: dict[Name, int] = {}
        self._since = 0  # up to where we know everything; 0: nothing, list first
        self.listed = asyncio.Event()
        self.live = False
        self.problem = ""
        self.task: asyncio.Task[None]

    async def run(self) -> None:
        failures = 0
        while True:
            try:
                if not self._since:
                    await self._list()
                await self._watch()
                failures = 0
            except Expired:
                self._since = 0
            except NotFound as problem:
                failures = await self._absent(problem, failures)
            except ApiError as problem:
                failures = await self._failed(problem, failures)

    async def _failed(self, problem: ApiError, failures: int) -> int:
        failures = 1 if self.live else failures + 1
        self.live, self.problem = False, _why(self.resource, problem)
        if failures >= LIST_AGAIN:
            self._since = 0
        pause = min(5.0, 0.25 * 2**failures) * random.uniform(0.5, 1.0)
        log.warning("%s: %s; again in %.1f s", self.resource.plural, self.problem, pause)
        await asyncio.sleep(pause)
        return failures

    async def _absent(self, problem: NotFound, failures: int) -> int:
        """The kind is not installed: of another project's there are none, without one of ours nothing works."""
        self._since = 0
        if not self.resource.optional:
            return await self._failed(problem, failures)
        for at in list(self.versions):
            self._remove(at)
        self.live, self.problem = True, ""
        self.listed.set()
        await asyncio.sleep(ABSENT_SECONDS)
        return 0

    async def _list(self) -> None:
        listing = await self._client.list(self.resource, self._namespace, self._labels)
        since = int(listing["metadata"]["resourceVersion"])
        found = {name_of(obj): obj for obj in listing["items"]}
        for at, version in list(self.versions.items()):
            if version > since and max(self.versions.values()) > since and at in found:
                self.versions[at] = 0  # the server was set back: its history counts, not ours
            elif at not in found:
                self._remove(at)
        for obj in found.values():
            # items of a list carry neither of the two
            self._put({"apiVersion": self.resource.api_version, "kind": self.resource.kind, **obj})
        self._since, self.live, self.problem = since, True, ""
        self.listed.set()

    async def _watch(self) -> None:
        async with aclosing(
            self._client.watch(self.resource, self._namespace, str(self._since), self._labels)
        ) as events:
            async for kind, obj in events:
                self.live, self.problem = True, ""
                self._since = version_of(obj)
                if kind == "DELETED":
                    if self.versions.get(name_of(obj), 0) <= self._since:
                        self._remove(name_of(obj))
                elif kind != "BOOKMARK":
                    self._put(obj)

    def covers(self, obj: Object) -> bool:
        """Would this object come to us by the watch? Selectors of equalities are understood, others are not."""
        if self._namespace and obj["metadata"].get("namespace") != self._namespace:
            return False
        wanted = [one.partition("=") for one in self._labels.split(",") if one]
        labels = obj["metadata"].get("labels") or {}
        return all(equals and labels.get(key) == value for key, equals, value in wanted)

    def learn(self, obj: Object) -> None:
        # older than the watch: it may have been deleted since, and no event would come to say so
        if self._since and version_of(obj) > self._since:
            self._put(obj)

    def _put(self, obj: Object) -> None:
        at, version = name_of(obj), version_of(obj)
        if self.versions.get(at, -1) >= version:
            return
        self.versions[at] = version
        kept = self._keep(obj)
        self._store.put(kept)
        self._tell(self.resource, kept, False)

    def _remove(self, at: Name) -> None:
        self.versions.pop(at, None)
        if any(at in one.versions for one in self._group):
            return  # it only left our selector: another one's still has it
        old = self._store.drop(at)
        if old is not None:
            self._tell(self.resource, old, True)


def _slim(obj: Object) -> Object:
    metadata = obj["metadata"]
    metadata.pop("managedFields", None)
    (metadata.get("annotations") or {}).pop("kubectl.kubernetes.io/last-applied-configuration", None)
    return obj


def _why(resource: Resource, problem: ApiError) -> str:
    if isinstance(problem, NotFound):
        return f"{resource.kind} ({resource.api_version}) is not installed in this cluster: kubectl apply -f crds/"
    return str(problem)
