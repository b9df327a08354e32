"""The cluster's objects, made into a Snapshot: pure, and cheap enough to do whole on every change.

`Compiler.snapshot(objects)` goes over everything, but what is expensive is remembered by the resourceVersions it was
made of: a template is compiled once in its life, a service is made anew only when it or its endpoints changed. A broken
object breaks itself only: it is in the snapshot with the sentence that requests for it get.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from pydantic import ValidationError

from llmops.api import GatewayKey, LLMService, PromptRelease, Provider, Revision, VectorIndex, names
from llmops.api import common as api
from llmops.api.common import Pricing
from llmops.api.gatewaykey import GatewayKeyStatus
from llmops.api.llmservice import PinnedStatus
from llmops.api.provider import ProviderStatus
from llmops.api.quantities import seconds
from llmops.api.rollout import CandidateStatus
from llmops.api.selectors import admits
from llmops.gateway.access import Namespaces, admission, opens
from llmops.gateway.providers import ADAPTERS
from llmops.gateway.snapshot import (
    Budget,
    Capture,
    Endpoint,
    External,
    Hash,
    Holder,
    Judging,
    Release,
    Service,
    Snapshot,
    Split,
    Sticky,
    Version,
)
from llmops.gateway.version import compile_version
from llmops.geval import Judge

Object = dict[str, Any]
T = TypeVar("T")
SERVICE_NAME = "kubernetes.io/service-name"
Home = tuple[str, str, str]
"""An owner's kind, its `namespace/name`, and which of its Services."""


@dataclass(frozen=True)
class Objects:
    """What the door follows, as the API server gives it."""

    services: Sequence[Object] = ()
    slices: Sequence[Object] = ()
    releases: Sequence[Object] = ()
    revisions: Sequence[Object] = ()
    keys: Sequence[Object] = ()
    namespaces: Sequence[Object] = ()
    providers: Sequence[Object] = ()
    gateways: int = 1
    complete: bool = True


class Compiler:
    """Remembers what it made; what was not asked for in the last compile is forgotten."""

    def __init__(self) -> None:
        self._made: dict[Hashable, Any] = {}
        self._kept: dict[Hashable, Any] = {}
        self._endpoints: dict[str, Endpoint] = {}

    def snapshot(self, objects: Objects) -> Snapshot:
        """Everything that can be served, compiled."""
        self._made = {}
        labels = {o["metadata"]["name"]: o["metadata"].get("labels") or {} for o in objects.namespaces}
        addresses = _by_owner(objects.slices)
        offered = [self._once(raw, _parse_provider) for raw in objects.providers]
        providers = {found.metadata.name: found for found in offered if found is not None}
        services = self._services(objects.services, addresses, providers, labels)
        releases = self._releases(objects.releases, _by_release(objects.revisions), labels)
        holders = {one.name: one for raw in objects.keys if (one := self._once(raw, _holder)) is not None}
        self._kept, self._made = self._made, {}
        indexes = {name: self._pods(urls) for (kind, name, _), urls in addresses.items() if kind == VectorIndex.KIND}
        live = {url for found in addresses.values() for url in found}
        live |= {one.external.base_url for one in services.values() if one.external is not None}
        self._endpoints = {url: one for url, one in self._endpoints.items() if url in live or one.pending}
        known = frozenset(providers)
        return Snapshot(services, releases, holders, indexes, known, max(1, objects.gateways), objects.complete)

    def _pods(self, urls: Iterable[str]) -> tuple[Endpoint, ...]:
        return tuple(self._endpoints.setdefault(url, Endpoint(url)) for url in sorted(urls))

    def _services(
        self,
        raws: Sequence[Object],
        addresses: Mapping[Home, set[str]],
        providers: Mapping[str, Provider],
        labels: Namespaces,
    ) -> dict[str, Service]:
        made = {}
        for raw in raws:
            name = _name(raw)
            parsed = self._once(raw, _parse_service)
            if parsed is not None:
                abroad = _external(parsed, providers, labels)
                urls, new, *pinned = (_answering(addresses, name, one) for one in _homes(parsed))
                urls = urls if abroad is None else (abroad.base_url,) if abroad.problem is None else ()
                access = _selected(parsed.spec.access.from_, labels)
                key = ("service", _version(raw), urls, new, *pinned, abroad, *access)
                made[name] = self._memo(key, partial(self._service, parsed, urls, new, pinned, abroad, labels))
        return made

    def _service(
        self,
        service: LLMService,
        urls: Sequence[str],
        new: Sequence[str],
        pinned: Sequence[Sequence[str]],
        abroad: External | None,
        labels: Namespaces,
    ) -> Service:
        spec, namespace = service.spec, service.metadata.namespace
        pricing = spec.pricing
        scaled = spec.autoscaling is not None and spec.autoscaling.max > 0
        whole = Service(
            name=service.qualified,
            task=spec.task,
            admission=admission(spec.access, namespace, labels),
            endpoints=self._pods(urls),
            timeout=seconds(spec.limits.timeout),
            max_concurrency=spec.limits.max_concurrency,
            currency=pricing.currency if pricing else None,
            price_in=float(pricing.input_per_million_tokens) / 1e6 if pricing else 0.0,
            price_out=float(pricing.output_per_million_tokens) / 1e6 if pricing else 0.0,
            fallbacks=tuple(names.qualified(namespace, ref.name) for ref in spec.fallback_refs),
            external=abroad,
            awaited=spec.external is None and (spec.replicas > 0 or scaled),
            cold_start=_cold_start(service),
        )
        split = _split(service, whole, self._pods(new))
        return replace(
            whole, split=split, adapters=_adapters(service, split), pinned=self._pinned(service, whole, pinned)
        )

    def _pinned(self, service: LLMService, whole: Service, pods: Sequence[Sequence[str]]) -> dict[str, Service]:
        """Who is released with a revision is answered by it or, as a failure, by another service."""
        return {
            one.digest: replace(whole, endpoints=self._pods(urls), pin=one.digest, adapters=frozenset(one.adapters))
            for one, urls in zip(_kept(service), pods, strict=True)
            if one.digest is not None
        }

    def _releases(
        self, raws: Sequence[Object], revisions: Mapping[str, list[Object]], labels: Namespaces
    ) -> dict[str, Release]:
        made = {}
        for raw in raws:
            name = _name(raw)
            parsed = self._once(raw, _parse_release)
            if parsed is None:
                continue
            versions = [v for r in revisions.get(name, ()) if (v := self._once(r, _parse_version)) is not None]
            key = ("release", _version(raw), *map(id, versions), *_selected(parsed.spec.access.from_, labels))
            made[name] = self._memo(key, partial(_release, parsed, versions, labels))
        return made

    def _once(self, raw: Object, make: Callable[[Object], T]) -> T:
        return self._memo((make.__name__, _version(raw)), lambda: make(raw))

    def _memo(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `key` stands for, made at most once while it is in use."""
        found = self._kept.get(key, self)
        if found is self:
            found = self._made[key] if key in self._made else make()
        self._made[key] = found
        return found  # type: ignore[no-any-return]


def _external(service: LLMService, providers: Mapping[str, Provider], labels: Namespaces) -> External | None:
    asked = service.spec.external
    if asked is None:
        return None
    name, namespace = asked.provider_ref.name, service.metadata.namespace
    found = providers.get(name)
    if found is None:
        return External(name, "", "", asked.model, None, f"there is no Provider {name}: its admin makes it")
    spec, problem = found.spec, None
    if not admits(spec.access, found.metadata.namespace, namespace, labels.get(namespace, {})):
        problem = f"Provider {name} does not admit namespace {namespace}: its admin widens spec.access"
    price = spec.price(asked.model) or service.spec.pricing
    problem = problem or _unpriced(found, asked.model, price)
    return External(
        provider=name,
        type=spec.type,
        base_url=spec.base_url.rstrip("/"),
        model=asked.model,
        adapter=ADAPTERS[spec.type],
        problem=problem,
        budget=_budget(spec.budget, found.status),
        price_in=float(price.input_per_million_tokens) / 1e6 if price else 0.0,
        price_out=float(price.output_per_million_tokens) / 1e6 if price else 0.0,
    )


def _unpriced(provider: Provider, model: str, price: Pricing | None) -> str | None:
    """Why a budget could not count this model."""
    name, budget = provider.metadata.name, provider.spec.budget
    if budget is None or (price is not None and price.currency == budget.currency):
        return None
    if price is None:
        return f"Provider {name} has a budget and no price for {model}: its admin adds it to spec.pricing"
    return f"Provider {name} has a budget in {budget.currency}, and {model} a price in {price.currency}: write one"


def _kept(service: LLMService) -> list[PinnedStatus]:
    """Revisions that prompts are released together with, and that have pods."""
    return [one for one in service.status.pinned if one.digest and one.service] if service.status else []


def _homes(service: LLMService) -> tuple[str | None, ...]:
    """The Services of stable's pods, of the candidate's and of revisions that prompts are released with. Where
    revisions are rolled out, nobody meets the first one before it was found good."""
    status = service.status
    stable, moving = (status.stable, status.candidate) if status else (None, None)
    home = f"{service.metadata.name}-llm"
    first = stable is None and status is not None and status.phase is not None
    served = None if first else (stable.service if stable else None) or home
    return served, moving.service if moving else None, *(one.service for one in _kept(service))


def _answering(addresses: Mapping[Home, set[str]], service: str, home: str | None) -> tuple[str, ...]:
    return tuple(sorted(addresses.get((LLMService.KIND, service, home), ()))) if home else ()


def _split(service: LLMService, whole: Service, pods: tuple[Endpoint, ...]) -> Split | None:
    status, rollout = service.status, service.spec.rollout
    if status is None or status.phase is None or rollout is None:
        return None
    stable, moving = status.stable, status.candidate
    digest, candidate = (moving.digest, None) if moving else (None, None)
    if digest is not None and status.phase != "Rejected":
        fallbacks = (whole.name, *whole.fallbacks)
        taught = frozenset(moving.adapters) if moving else frozenset[str]()
        candidate = replace(whole, endpoints=pods, fallbacks=fallbacks, awaited=False, pin=digest, adapters=taught)
    return Split(
        subject=names.subject(service.metadata.namespace, service.metadata.name),
        stable=stable.digest if stable else None,
        digest=digest,
        attempt=(moving.attempt or 1) if moving else 0,
        weight=(moving.weight or 0) if moving else 0,
        sticky=tuple(_sticky(text) for text in rollout.sticky_by),
        candidate=candidate,
        slow=_slow(moving),
    )


def _slow(moving: CandidateStatus | None) -> float | None:
    return seconds(moving.latency) if moving and moving.latency else None


def _adapters(service: LLMService, split: Split | None) -> frozenset[str]:
    """Those of the revision that users are served. Where pods are replaced one by one, only what both have."""
    stable = service.status.stable if service.status else None
    known = frozenset(stable.adapters) if stable else frozenset[str]()
    wanted = service.spec.model.adapters if service.spec.model else []
    return known if split else known & {one.name for one in wanted}


def _cold_start(service: LLMService) -> float | None:
    scaling = service.status.scaling if service.status else None
    return seconds(scaling.cold_start) if scaling and scaling.cold_start else None


def _name(raw: Object) -> str:
    metadata = raw["metadata"]
    return names.qualified(metadata["namespace"], metadata["name"])


def _version(raw: Object) -> Hashable:
    """The identity of an object's content; an object from a file has no resourceVersion and is its own identity."""
    metadata = raw["metadata"]
    return _name(raw), metadata.get("uid"), metadata.get("resourceVersion") or id(raw)


def _selected(from_: str, labels: Namespaces) -> tuple[Hashable, ...]:
    """What an access with a selector depends on besides the object; nothing for the others."""
    if from_ != "Selector":
        return ()
    return (frozenset((name, frozenset(one.items())) for name, one in labels.items()),)


def _by_owner(slices: Sequence[Object]) -> dict[Home, set[str]]:
    """URLs of the pods that are Ready and not going away.

    An index has a second Service, its database's, which is no business of the door's: only `<name>-index` counts.
    """
    found: dict[Home, set[str]] = defaultdict(set)
    for one in slices:
        metadata = one["metadata"]
        labels = metadata.get("labels") or {}
        kind, owner, home = labels.get(names.OWNER_KIND), labels.get(names.OWNER_NAME), labels.get(SERVICE_NAME, "")
        if not kind or not owner or (kind == VectorIndex.KIND and home != f"{owner}-index"):
            continue
        found[kind, names.qualified(metadata["namespace"], owner), home].update(_urls(one))
    return found


def _urls(one: Object) -> Iterator[str]:
    ports = one.get("ports") or ()
    port = next((p["port"] for p in ports if p.get("name") in (None, "", "http")), None)
    for endpoint in one.get("endpoints") or ():
        conditions = endpoint.get("conditions") or {}
        if port and conditions.get("ready", True) is not False and not conditions.get("terminating"):
            yield from (_url(address, port) for address in endpoint.get("addresses") or ())


def _url(address: str, port: int) -> str:
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def _by_release(revisions: Sequence[Object]) -> dict[str, list[Object]]:
    found: dict[str, list[Object]] = defaultdict(list)
    for raw in revisions:
        spec = raw.get("spec") or {}
        if spec.get("ofKind") == PromptRelease.KIND:
            found[names.qualified(raw["metadata"]["namespace"], spec.get("ofName", ""))].append(raw)
    return found


def _parse_service(raw: Object) -> LLMService | None:
    try:
        return LLMService.parse(raw)
    except ValidationError:
        return None


def _parse_provider(raw: Object) -> Provider | None:
    try:
        return Provider.parse(raw)
    except ValidationError:
        return None


def _parse_release(raw: Object) -> PromptRelease | None:
    try:
        return PromptRelease.parse(raw)
    except ValidationError:
        return None


def _parse_version(raw: Object) -> Version | None:
    try:
        return compile_version(Revision.parse(raw))
    except ValidationError:
        return None


def _release(release: PromptRelease, found: Sequence[Version], labels: Namespaces) -> Release:
    spec, status = release.spec, release.status
    versions = {version.digest: version for version in found}
    stable = status.stable if status else None
    moving = status.candidate if status else None
    candidate = versions.get(moving.digest or "") if moving else None
    phase = (status.phase if status else None) or "Pending"
    return Release(
        name=release.qualified,
        admission=admission(spec.access, release.metadata.namespace, labels),
        stable=versions.get(stable.digest or "") if stable else None,
        candidate=candidate,
        attempt=(moving.attempt or 1) if moving else 0,
        weight=(moving.weight or 0) if moving and candidate else 0,
        sticky=tuple(_sticky(text) for text in spec.rollout.sticky_by),
        versions=versions,
        waiting=f"its phase is {phase}",
        slow=_slow(moving),
        judging=_judging(release, moving),
        capture=Capture(spec.capture.percent, seconds(spec.capture.keep)) if spec.capture else None,
        shadow=(moving.shadow or 0) if moving and candidate and stable and not moving.weight else 0,
    )


def _judging(release: PromptRelease, moving: CandidateStatus | None) -> Judging | None:
    """Where the spec asks something else by now than when the attempt began, nobody is judged: it would be compared
    with what another judge said."""
    asked = next((one for one in release.spec.rollout.online if one.signal == "Judge"), None)
    if asked is None or moving is None or not moving.weight or asked.identity != moving.judge:
        return None
    if asked.service_ref is None or asked.min is None:
        return None
    service = names.qualified(release.metadata.namespace, asked.service_ref.name)
    judge = Judge.of("quality", {"rubric": asked.rubric, **({"scale": asked.scale} if asked.scale else {})})
    return Judging(service, judge, float(asked.min), asked.percent or 100)


def _sticky(text: str) -> Sticky:
    source, _, header = text.partition(":")
    return Sticky(text, header.lower().encode() if source == "Header" else None)


def _holder(raw: Object) -> Holder | None:
    try:
        key = GatewayKey.parse(raw)
    except ValidationError:
        return None
    spec, namespace = key.spec, key.metadata.namespace
    return Holder(
        name=key.qualified,
        namespace=namespace,
        hashes=tuple(
            Hash(bytes.fromhex(one.sha256), one.expires_at.timestamp() if one.expires_at else None) for one in spec.keys
        ),
        disabled=spec.disabled,
        opens=opens(spec.models, namespace),
        requests_per_minute=spec.limits.requests_per_minute,
        tokens_per_minute=spec.limits.tokens_per_minute,
        concurrency=spec.limits.concurrency,
        budget=_budget(key.spec.budget, key.status),
        groups=frozenset(spec.groups),
        tenants=frozenset(spec.tenants),
    )


def _budget(budget: api.Budget | None, status: GatewayKeyStatus | ProviderStatus | None) -> Budget | None:
    if budget is None:
        return None
    spent = float(status.spent) if status and status.spent else 0.0
    start = (status.period_start if status else None) or ""
    return Budget(float(budget.amount), budget.currency, budget.period, spent, start)
