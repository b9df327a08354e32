"""A model that somebody else serves: no pods, only a Revision, and what stands in the way of asking it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from llmops.api import LLMService, Provider
from llmops.api.reasons import ConditionType, Reason
from llmops.api.selectors import admits
from llmops.control import Condition, conditions
from llmops.kube.cluster import Cluster
from llmops.kube.resources import NAMESPACE, PROVIDER

if TYPE_CHECKING:
    from llmops.serving.observe import Seen

Object = dict[str, Any]


@dataclass(frozen=True)
class Offer:
    """The Provider that a service refers to, as its namespace may see it; None where there is none of that name."""

    name: str
    raw: Object | None
    admits: bool = False


async def offer(service: LLMService, cluster: Cluster) -> Offer | None:
    """None for a service with pods of its own."""
    asked, namespace, system = service.spec.external, service.metadata.namespace, cluster.settings.system_namespace
    if asked is None:
        return None
    raw = cluster.get(PROVIDER, system, asked.provider_ref.name)
    if raw is None:
        return Offer(asked.provider_ref.name, None)
    access = Provider.parse(raw).spec.access
    labels: dict[str, str] = {}
    if access.from_ == "Selector":
        found = await cluster.fresh(NAMESPACE, None, namespace)
        labels = ((found or {}).get("metadata") or {}).get("labels") or {}
    return Offer(asked.provider_ref.name, raw, admits(access, system, namespace, labels))


def problem(offered: Offer) -> tuple[Reason, str] | None:
    """Why it cannot be asked; time or the admin mends it."""
    if offered.raw is None:
        return Reason.REFERENCE_MISSING, f"there is no Provider {offered.name}: the cluster's admin makes it"
    if not offered.admits:
        told = f"Provider {offered.name} does not admit this namespace: the cluster's admin widens its spec.access"
        return Reason.REFERENCE_NOT_ALLOWED, told
    listed = (offered.raw.get("status") or {}).get("conditions") or []
    ready: Object = next((one for one in listed if one["type"] == "Ready"), {})
    if ready.get("status") != "True":
        why = ready.get("message") or "nothing is known of it yet"
        return Reason.REFERENCE_NOT_READY, f"Provider {offered.name} is not ready: {why}"
    return None


def status(seen: Seen, trouble: tuple[Reason, str] | None, now: datetime) -> Object:
    """The whole status of such a service."""
    asked, old, metadata = seen.service.spec.external, seen.raw.get("status") or {}, seen.service.metadata
    assert asked is not None
    behind = sum(reached == 0 for reached in seen.gateways)
    if trouble is None and behind:
        trouble = Reason.GATEWAYS_BEHIND, f"{behind} of {len(seen.gateways)} gateways do not know it yet"
    reason, told = trouble or (Reason.AS_WANTED, f"Provider {asked.provider_ref.name} answers, as {asked.model}")
    good = trouble is None
    listed = [
        *conditions.summary(ready=good, available=good, reason=reason, message=told),
        Condition(ConditionType.GATEWAY_SYNCED, not behind if seen.gateways else None, reason, told),
    ]
    stable = old.get("stable") or {}
    if good and stable.get("digest") != seen.digest:
        since = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        stable = {"revision": f"{seen.child}-{seen.digest[:10]}", "digest": seen.digest, "since": since}
    return {
        "url": seen.settings.gateway_url,
        "model": f"{metadata.namespace}/{metadata.name}",
        **({"stable": stable} if stable else {}),
        "conditions": conditions.merge(old.get("conditions"), listed, metadata.generation or 0, now),
    }
