"""The turn of a Provider: what is written is accepted and said to wait, for the gateway does not serve any yet."""

from __future__ import annotations

from llmops.api import Reason
from llmops.control import Clock, Condition, Key, LookAgain, merge, summary
from llmops.kube.cluster import Cluster
from llmops.kube.resources import PROVIDER


async def reconcile(key: Key, cluster: Cluster, clock: Clock) -> LookAgain:
    """Observe and report; a Provider has no children."""
    raw = cluster.get(PROVIDER, key.namespace, key.name)
    if raw is None:
        return LookAgain.never()
    said = conditions(key.namespace, cluster.settings.system_namespace)
    old = (raw.get("status") or {}).get("conditions")
    generation = raw["metadata"].get("generation", 0)
    await cluster.report(raw, {"conditions": merge(old, said, generation, clock.now())})
    return LookAgain.never()


def conditions(namespace: str, system_namespace: str) -> list[Condition]:
    """Nobody should wait for what will not happen: Stalled, with what would help."""
    if namespace != system_namespace:
        return summary(
            ready=False,
            available=False,
            stalled=True,
            reason=Reason.REFERENCE_NOT_ALLOWED,
            message=f"Providers are the cluster's admin's: make it in namespace {system_namespace}",
        )
    return summary(
        ready=False,
        available=False,
        stalled=True,
        reason=Reason.UNSUPPORTED,
        message="this version of the gateway does not serve models of providers yet: requests for an "
        "LLMService with spec.external are refused with a sentence that says so",
    )
