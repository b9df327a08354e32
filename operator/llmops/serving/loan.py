"""rollout.capacity: Recreate with evaluations. There is no room for more pods, so stable lends the place of one. Pure.

    Pending               nothing is lent before everything else is there, the weights too, and stable is whole
    Pending … Evaluating  stable has one replica fewer; the candidate has one, which only its evaluations ask
    Released              stable's home becomes the candidate's, pod by pod with surge 0, and has all its replicas again
    Holding, Rejected     stable has its replica back: a person may take days

Who meets what is never split, so users' evidence plays no part, and the candidate's one pod is never asked by users.
"""

from __future__ import annotations

from typing import Any

from llmops.api import LLMService

Object = dict[str, Any]
ASKED_FOR = ("Pending", "Validating", "Evaluating")
"""Phases in which the candidate needs a pod."""


def recreates(service: LLMService) -> bool:
    """Whether one more pod than there are finds no room."""
    rollout = service.spec.rollout
    return rollout is not None and rollout.capacity == "Recreate"


def lends(service: LLMService) -> bool:
    """Whether a candidate is evaluated before it replaces stable where that stands."""
    return recreates(service) and service.spec.rollout is not None and bool(service.spec.rollout.offline)


def refused(service: LLMService) -> str | None:
    """Why stable can lend nothing, for ever."""
    spec = service.spec
    if spec.autoscaling is not None:
        return (
            "rollout.capacity: Recreate lends one of a fixed number of replicas to the evaluation, and here an "
            "autoscaler sets it: remove autoscaling or rollout.offline, or write rollout.capacity: Wait"
        )
    if spec.replicas < 2:
        return (
            "rollout.capacity: Recreate lends one replica to the evaluation, and users would have none left: write "
            "replicas: 2, remove rollout.offline (then it is replaced unevaluated), or write rollout.capacity: Wait"
        )
    return None


def count(workload: Object | None) -> int:
    """How many pods it is told to have."""
    return int(((workload or {}).get("spec") or {}).get("replicas") or 0)
