"""The story of a GatewayKey's turn: count, say, look again in ten seconds. There is nothing to apply."""

from __future__ import annotations

from llmops.access import provider
from llmops.access.observe import observe
from llmops.access.plan import plan
from llmops.access.status import status
from llmops.control import Clock, Controller, Key, LookAgain
from llmops.kube.cluster import Cluster
from llmops.kube.resources import GATEWAY_KEY, PROVIDER


async def reconcile(key: Key, cluster: Cluster, clock: Clock) -> LookAgain:
    """Observe, plan, report. A key that is not used costs no write: its status stays the same."""
    seen = observe(key, cluster)
    if seen is None:
        return LookAgain.never()
    wanted = plan(seen, clock.now())
    await cluster.report(seen.raw, status(seen, wanted, clock.now()))
    return LookAgain.after(wanted.look_seconds)


CONTROLLERS = (
    Controller(resource=GATEWAY_KEY, reconcile=reconcile),
    Controller(resource=PROVIDER, reconcile=provider.reconcile),
)
