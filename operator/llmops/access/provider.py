"""The turn of a Provider: whether the gateways can ask it, what its admin has to do where they cannot, what was spent.

The credential itself is nobody's business here: each gateway tells only for which names it has one (report.py).
"""

from __future__ import annotations

from llmops.access.plan import LOOK_SECONDS, count
from llmops.access.status import sums, within
from llmops.api import Provider, Reason
from llmops.api.report import account
from llmops.control import Clock, Condition, Key, LookAgain, merge, summary
from llmops.kube.cluster import Cluster
from llmops.kube.resources import PROVIDER


async def reconcile(key: Key, cluster: Cluster, clock: Clock) -> LookAgain:
    """Observe and report; a Provider has no children."""
    raw = cluster.get(PROVIDER, key.namespace, key.name)
    if raw is None:
        return LookAgain.never()
    provider, reports = Provider.parse(raw), cluster.reports
    held = reports.credential(key.name) if reports is not None else None
    said = conditions(provider, cluster.settings.system_namespace, held)
    old = (raw.get("status") or {}).get("conditions")
    generation, now = raw["metadata"].get("generation", 0), clock.now()
    budget = provider.spec.budget
    if budget is None:
        await cluster.report(raw, {"conditions": merge(old, said, generation, now)})
        return LookAgain.never()
    spent = reports.spent(account(key.name)) if reports is not None else {}
    ledger = count(budget, provider.status, spent, now)
    said.append(within(budget, ledger))
    await cluster.report(raw, {**sums(ledger), "conditions": merge(old, said, generation, now)})
    return LookAgain.after(min(LOOK_SECONDS, (ledger.end - now).total_seconds() + 0.1))


def conditions(provider: Provider, system_namespace: str, held: bool | None) -> list[Condition]:
    """`held`: whether every gateway has a credential for it; None while one has not told."""
    name, namespace, spec = provider.metadata.name, provider.metadata.namespace, provider.spec
    if namespace != system_namespace:
        told = f"Providers are the cluster's admin's: make it in namespace {system_namespace}"
        return _stalled(Reason.REFERENCE_NOT_ALLOWED, told)
    if held is None:
        told = "not every gateway has told yet whether it knows this Provider"
        return summary(ready=None, available=None, reason=Reason.NO_GATEWAY, message=told)
    if not held and spec.base_url.startswith("https://"):
        told = (
            f"not every gateway has a credential: put it into Secret llmops-providers of namespace {system_namespace}, "
            f"data key {name}; the kubelet brings it within about a minute"
        )
        return _stalled(Reason.CREDENTIAL_MISSING, told)
    how = "with the credential of its name" if held else "without a credential"
    return summary(ready=True, available=True, reason=Reason.AS_WANTED, message=f"asked at {spec.base_url}, {how}")


def _stalled(reason: Reason, message: str) -> list[Condition]:
    """Nobody should wait for what will not happen by itself."""
    return summary(ready=False, available=False, stalled=True, reason=reason, message=message)
