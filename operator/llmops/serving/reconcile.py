"""The story of an LLMService's turn."""

from __future__ import annotations

from typing import Any

from llmops import control
from llmops.api.reasons import Reason
from llmops.control import Clock, Key, LookAgain
from llmops.kube.cluster import Cluster
from llmops.kube.errors import Invalid, NotOurs
from llmops.kube.resources import (
    DEPLOYMENT,
    JOB,
    LLM_SERVICE,
    NETWORK_POLICY,
    PDB,
    POD,
    PVC,
    REVISION,
    SERVICE,
)
from llmops.serving.observe import observe
from llmops.serving.plan import Plan, Problem, plan
from llmops.serving.status import status

PRUNED = (JOB, PVC)  # of downloads that nobody needs any more; the rest has one name for ever


async def reconcile(key: Key, cluster: Cluster, clock: Clock) -> LookAgain:
    """Observe, plan, apply, report."""
    seen = await observe(key, cluster)
    if seen is None:
        return LookAgain.never()
    wanted = plan(seen)
    if wanted.problem is None and not seen.service.spec.suspend:
        try:
            await cluster.apply(wanted.children, owner=seen.raw)
            await cluster.prune(seen.raw, keep=wanted.children, resources=PRUNED)
        except (NotOurs, Invalid) as refusal:
            reason = Reason.NOT_OURS if isinstance(refusal, NotOurs) else Reason.API_REFUSED
            wanted = Plan(problem=Problem(reason, str(refusal)))
    told = status(seen, wanted, clock.now())
    if await cluster.report(seen.raw, told):
        await _tell(seen.raw, told, cluster)
    return _look_again(told)


async def _tell(raw: dict[str, Any], told: dict[str, Any], cluster: Cluster) -> None:
    """An event when Ready changes its mind."""
    before = {one["type"]: one for one in (raw.get("status") or {}).get("conditions") or []}
    ready = next(one for one in told["conditions"] if one["type"] == "Ready")
    old = before.get("Ready") or {}
    if (old.get("status"), old.get("reason")) != (ready["status"], ready["reason"]):
        kind = "Normal" if ready["status"] == "True" or ready["reason"] in ("Starting", "Downloading") else "Warning"
        await cluster.event(raw, ready["reason"], ready["message"], kind)


def _look_again(told: dict[str, Any]) -> LookAgain:
    """Gateways report without an event: ask again while they are behind."""
    waiting = any(one["type"] == "GatewaySynced" and one["status"] != "True" for one in told["conditions"])
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in told["conditions"])
    if not ready or waiting:
        return LookAgain.after(1.0 if told.get("readyReplicas") else 15.0)
    return LookAgain.never()


CONTROLLER = control.Controller(
    resource=LLM_SERVICE,
    reconcile=reconcile,
    owns=(DEPLOYMENT, SERVICE, PDB, NETWORK_POLICY, PVC, JOB, POD, REVISION),
)
