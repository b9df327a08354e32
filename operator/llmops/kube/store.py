"""One resource's objects in memory, found by name, by owner, and by whatever an index says of them.

Objects come from several streams (two watches with different selectors, and our own writes' replies), each of which
may be behind the others, so versions are compared: what is older than what we hold is ignored. Kubernetes promises
since 1.35 that resource versions are numbers that grow; before, it was so everywhere and unwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

from llmops.api import names
from llmops.kube.resources import Object

Name = tuple[str, str]  # namespace ("" where there is none), name
Keys = Callable[[Object], Iterable[Hashable]]
"""What an index finds an object by, such as the names that its spec refers to."""


def name_of(obj: Object) -> Name:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def version_of(obj: Object) -> int:
    return int(obj["metadata"]["resourceVersion"])


@dataclass
class _Index:
    keys: Keys
    found: dict[Hashable, dict[Name, Object]] = field(default_factory=dict)

    def put(self, at: Name, obj: Object) -> None:
        for key in self.keys(obj):
            self.found.setdefault(key, {})[at] = obj

    def drop(self, at: Name, obj: Object) -> None:
        for key in self.keys(obj):
            held = self.found.get(key, {})
            held.pop(at, None)
            if not held:
                self.found.pop(key, None)


class Store:
    """Whole objects by namespace and name, and the indexes over them."""

    def __init__(self) -> None:
        self.spaces: dict[str, dict[str, Object]] = {}
        self._indexes: dict[str, _Index] = {"owner": _Index(_owner)}

    def index(self, name: str, keys: Keys) -> None:
        """Adds an index over what is here and what comes."""
        self._indexes[name] = _Index(keys)
        for obj in self.all():
            self._indexes[name].put(name_of(obj), obj)

    def all(self) -> Iterable[Object]:
        return (obj for space in self.spaces.values() for obj in space.values())

    def get(self, at: Name) -> Object | None:
        return self.spaces.get(at[0], {}).get(at[1])

    def find(self, index: str, key: Hashable) -> Iterable[Object]:
        return self._indexes[index].found.get(key, {}).values()

    def put(self, obj: Object) -> None:
        at = name_of(obj)
        self.drop(at)
        self.spaces.setdefault(at[0], {})[at[1]] = obj
        for index in self._indexes.values():
            index.put(at, obj)

    def drop(self, at: Name) -> Object | None:
        space = self.spaces.get(at[0], {})
        old = space.pop(at[1], None)
        if old is not None:
            for index in self._indexes.values():
                index.drop(at, old)
            if not space:
                del self.spaces[at[0]]
        return old


def _owner(obj: Object) -> Iterable[Hashable]:
    labels = obj["metadata"].get("labels") or {}
    kind, name = labels.get(names.OWNER_KIND), labels.get(names.OWNER_NAME)
    return [(kind, obj["metadata"].get("namespace", ""), name)] if kind and name else []
