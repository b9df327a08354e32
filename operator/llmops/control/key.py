"""The small values that kinds and machinery exchange."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from llmops.control.clock import Clock
from llmops.kube.cluster import Cluster
from llmops.kube.resources import Object, Resource


class Key(NamedTuple):
    """Which object to look at; everything else is read when its turn comes."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True)
class LookAgain:
    """When to come back without being told: `seconds`, or None for only the regular resync."""

    seconds: float | None

    @classmethod
    def never(cls) -> LookAgain:
        return cls(None)

    @classmethod
    def soon(cls) -> LookAgain:
        return cls(1.0)

    @classmethod
    def after(cls, seconds: float) -> LookAgain:
        return cls(max(0.0, seconds))


Reconcile = Callable[[Key, Cluster, Clock], Awaitable[LookAgain]]


@dataclass(frozen=True)
class Refers:
    """A change of `resource` gives a turn to the keys that `keys(object, cluster)` names: who refers to the object."""

    resource: Resource
    keys: Callable[[Object, Cluster], Iterable[Key]]
    labels: str | None = None
    """Follow only these (a label selector), such as llmops.dev/watch=true for ConfigMaps."""
    keep: Callable[[Object], Object] | None = None
    """Returns the object without what nobody reads; Pods and Nodes are large."""


@dataclass(frozen=True)
class Index:
    """Makes cluster.find(resource, name, key) a look-up instead of a walk; `keys` says what an object is found by."""

    resource: Resource
    name: str
    keys: Callable[[Object], Iterable[Hashable]]


@dataclass(frozen=True)
class Controller:
    """A kind, its reconcile, what it makes and what it refers to."""

    resource: Resource
    reconcile: Reconcile
    owns: tuple[Resource, ...] = ()
    refers: tuple[Refers, ...] = ()
    indexes: tuple[Index, ...] = ()
