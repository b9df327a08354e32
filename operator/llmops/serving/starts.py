"""status.scaling: why there are so many pods, and how long one took to start. Pure.

Each pod is measured once, from its creation until it was Ready: what a request that wakes the service waits, less what
the door and the operator take (a fraction of a second). The slowest of the last five starts is what is promised.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from llmops.serving.autoscale import Advice
from llmops.serving.observe import Seen

Object = dict[str, Any]

KEPT = 5


def measured(seen: Seen, advice: Advice | None, before: Object, now: datetime) -> Object:
    """The new status.scaling from the status before; empty where the operator does not scale."""
    if advice is None:
        return {}
    old = before.get("scaling") or {}
    until = old.get("measuredUntil", "")
    new = sorted((created, took) for created, took in _starts(seen.pods) if created > until)
    starts = [*(took for _, took in reversed(new)), *old.get("starts", [])][:KEPT]
    told = {**old, "starts": starts, "coldStart": f"{max(starts)}s", "measuredUntil": new[-1][0]} if new else {**old}
    if advice.count != before.get("replicas") or "explanation" not in old:
        since = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        told |= {"explanation": f"{advice.count} pods: {advice.why}", "since": since}
    return told


def _starts(pods: Any) -> Iterator[tuple[str, int]]:
    """(creation, seconds until Ready) of every pod that is Ready and whose containers never ended."""
    for pod in pods:
        told = pod.get("status") or {}
        again = any(one.get("restartCount") for one in told.get("containerStatuses") or [])
        for one in told.get("conditions") or []:
            if one["type"] == "Ready" and one["status"] == "True" and not again:
                created = pod["metadata"]["creationTimestamp"]
                took = datetime.fromisoformat(one["lastTransitionTime"]) - datetime.fromisoformat(created)
                yield created, max(1, round(took.total_seconds()))
