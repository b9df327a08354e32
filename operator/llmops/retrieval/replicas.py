"""The query servers of one index, where there are several: where they stand, how many may be taken away at once, and
which answer. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from llmops.kube.resources import Object

HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
NEW_ONLY = ["pod-template-hash"]


def build_apart(labels: Mapping[str, str]) -> Object:
    """On different nodes and in different zones where that can be. Not by topologySpreadConstraints: where nodes have
    no zone, one over zones has the scheduler ignore the one over nodes too (1.34: both on one node after each of four
    rollouts)."""

    def term(weight: int, over: str) -> Object:
        # of the same template: those that a rollout is about to end are not kept away from
        chosen = {"labelSelector": {"matchLabels": dict(labels)}, "matchLabelKeys": NEW_ONLY}
        return {"weight": weight, "podAffinityTerm": {"topologyKey": over, **chosen}}

    preferred = [term(100, HOSTNAME), term(50, ZONE)]
    return {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}


def build_disruption_budget(name: str, asked: Mapping[str, str]) -> Object:
    """One at a time, of those that the Service leads to. Those that are not ready hold no node up: before the first
    generation none of them is."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name},
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": dict(asked)},
        },
    }


def ready(pods: Iterable[Object], asked: Mapping[str, str]) -> int:
    """How many answer, of those that the Service leads to."""
    return sum(asked.items() <= pod["metadata"]["labels"].items() and _is_ready(pod) for pod in pods)


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    stays = not pod["metadata"].get("deletionTimestamp")
    return stays and any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)


def told(ready: int, wanted: int, trouble: str | None) -> str:
    """Why not all answer."""
    verb = "is" if ready == 1 else "are"
    return f"{ready} of {wanted} query servers {verb} ready: {trouble or 'more are starting'}"
