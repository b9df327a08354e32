"""The configuration as requests need it: found by name, nothing left to parse, compile or compare.

A Snapshot never changes; a request keeps the one it began with. Only Endpoint counts anything: it lives as long as the
pod's address does, across snapshots, so that "fewest requests pending" is true whenever the configuration changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from llmops.api.report import Serving
from llmops.api.templates import Filter
from llmops.gateway.form import Form
from llmops.gateway.providers.adapter import Adapter
from llmops.geval import Judge

STABLE, CANDIDATE = "stable", "candidate"


class Template(Protocol):
    """Compiled messages (llmops.api.templates)."""

    def render(self, variables: Mapping[str, Any]) -> list[dict[str, str]]:
        """The messages with the variables filled in."""
        ...


@dataclass(slots=True, eq=False)
class Endpoint:
    """One Ready pod. `avoid_until` (monotonic) is set by a failed connection, sooner than the API server can know."""

    url: str
    pending: int = 0
    avoid_until: float = 0.0


@dataclass(frozen=True, slots=True)
class Admission:
    """Who may use something: these namespaces (None: all), and whether service accounts may."""

    namespaces: frozenset[str] | None
    service_accounts: bool

    def admits(self, namespace: str) -> bool:
        """Whether callers of this namespace may."""
        return self.namespaces is None or namespace in self.namespaces


@dataclass(frozen=True, slots=True)
class Budget:
    """Money a period, and what the operator knew to be spent of it when the status was written."""

    amount: float
    currency: str
    period: str
    spent: float
    period_start: str


@dataclass(frozen=True, slots=True)
class External:
    """Somebody's API: the admin's Provider, and the model's name there. `problem` says why it cannot be asked."""

    provider: str
    type: str
    base_url: str
    model: str
    adapter: Adapter | None
    problem: str | None
    budget: Budget | None = None
    price_in: float = 0.0
    price_out: float = 0.0


@dataclass(frozen=True, slots=True)
class Split:
    """A service whose revisions are rolled out: which one is stable, and how many of a hundred users meet the other."""

    subject: str
    stable: str | None
    digest: str | None
    attempt: int
    weight: int
    sticky: tuple[Sticky, ...]
    candidate: Service | None
    """The same service as the candidate's pods answer it; what they cannot answer falls back to stable's."""
    slow: float | None = None
    """The most seconds that an answer may take, where the signal Latency is watched."""

    def serving(self) -> Serving:
        """As it is told to the operator."""
        return Serving(stable=self.stable, candidate=self.digest, attempt=self.attempt, weight=self.weight)


@dataclass(frozen=True, slots=True)
class Service:
    """A model: where it is answered, for whom, within which bounds."""

    name: str
    task: str
    admission: Admission
    endpoints: tuple[Endpoint, ...]
    timeout: float
    max_concurrency: int | None
    currency: str | None
    price_in: float
    price_out: float
    fallbacks: tuple[str, ...]
    external: External | None
    awaited: bool
    """Whether a pod may still come: without one a request waits for it, or is refused at once."""
    cold_start: float | None = None
    """Seconds that a pod took to start, as the operator measured it."""
    split: Split | None = None
    pin: str = ""
    """The digest of the revision that these pods are of, where they are a candidate's or a release asked for it."""
    adapters: frozenset[str] = frozenset()
    """Those that these pods answer as."""
    pinned: Mapping[str, Service] = field(default_factory=dict)
    """By digest: the same service as the pods of a revision answer it that prompts are released together with."""


@dataclass(frozen=True, slots=True)
class Retrieval:
    """The index a version asks, and what becomes of its passages."""

    index: str
    top_k: int
    min_score: float | None
    variable: str
    query: Template | None
    filter: Filter | None = None
    """Which passages it may find, of the variables."""
    generation: int | None = None
    """The one that is asked; None: the active one."""


@dataclass(frozen=True, slots=True)
class Version:
    """One frozen content of a release, compiled. `broken` says why it cannot be used."""

    digest: str
    label: str
    service: str
    adapter: str
    """Of the service; empty: none."""
    template: Template | None
    check: Callable[[Mapping[str, Any]], None]
    parameters: Mapping[str, Any]
    retrieval: Retrieval | None
    broken: str | None
    form: Form | None = None
    """What its answers must be like, where it promises anything."""
    revision: str = ""
    """How the digest of the service's revision begins that answers; empty: whichever users get."""


@dataclass(frozen=True, slots=True)
class Sticky:
    """One way to recognise a user: a header, the body's `user`, or the key."""

    source: str
    header: bytes | None


@dataclass(frozen=True, slots=True)
class Judging:
    """The signal Judge of a rollout that is under way: who judges, by what, and of how many of a hundred users."""

    service: str
    judge: Judge
    least: float
    percent: int


@dataclass(frozen=True, slots=True)
class Capture:
    """How many of a hundred requests are remembered for evaluations, and for how many seconds."""

    percent: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Release:
    """A prompt by name: which version is stable, which is a candidate and for how many of a hundred users."""

    name: str
    admission: Admission
    stable: Version | None
    candidate: Version | None
    attempt: int
    weight: int
    sticky: tuple[Sticky, ...]
    versions: Mapping[str, Version]
    waiting: str
    """Why there is no stable version yet, in words."""
    slow: float | None = None
    """The most seconds that an answer may take, where the signal Latency is watched."""
    judging: Judging | None = None
    """Whose answers are judged, if anybody's."""
    shadow: int = 0
    """Of how many of a hundred users the candidate answers the requests too, unseen."""
    capture: Capture | None = None
    """Whether what users ask and are answered is remembered."""

    def serving(self) -> Serving:
        """As it is told to the operator."""
        told = Serving(
            stable=self.stable.digest if self.stable else None,
            candidate=self.candidate.digest if self.candidate else None,
            attempt=self.attempt,
            weight=self.weight,
        )
        if self.shadow:
            told["shadow"] = self.shadow
        return told


@dataclass(frozen=True, slots=True)
class Hash:
    """SHA-256 of one key, and until when (unix seconds) it is good."""

    sha256: bytes
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class Holder:
    """A GatewayKey. Each of `opens` is `model|prompt`, `namespace|*`, `name|*`."""

    name: str
    namespace: str
    hashes: tuple[Hash, ...]
    disabled: bool
    opens: frozenset[tuple[str, str, str]]
    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrency: int | None
    budget: Budget | None
    groups: frozenset[str] = frozenset()
    tenants: frozenset[str] = frozenset()

    def opens_to(self, kind: str, namespace: str, name: str) -> bool:
        """Whether the key is for this model or prompt; the object's own access is asked besides."""
        opens = self.opens
        return (kind, "*", "*") in opens or (kind, namespace, name) in opens or (kind, namespace, "*") in opens


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything, by `namespace/name`. `gateways` is how many share the limits of a key."""

    services: Mapping[str, Service] = field(default_factory=dict)
    releases: Mapping[str, Release] = field(default_factory=dict)
    holders: Mapping[str, Holder] = field(default_factory=dict)
    indexes: Mapping[str, tuple[Endpoint, ...]] = field(default_factory=dict)
    providers: frozenset[str] = frozenset()
    gateways: int = 1
    complete: bool = False
    """Whether every kind was listed once: before that the door is not ready."""

    def current(self, service: Service) -> Service | None:
        """The same service, or the same candidate of it, as it is now."""
        found = self.services.get(service.name)
        if not service.pin or found is None:
            return found
        split = found.split
        moving = split.candidate if split is not None and split.digest == service.pin else None
        return found.pinned.get(service.pin) or moving

    def rollouts(self) -> dict[str, Serving]:
        """What is done with the users of every rollout, by its subject."""
        told = {name: one.serving() for name, one in self.releases.items()}
        return told | {one.split.subject: one.split.serving() for one in self.services.values() if one.split}
