"""A replica over several nodes: a LeaderWorkerSet. Users ask its leaders; its workers hold the other layers. Pure.

Its controller makes one StatefulSet of leaders and, for each leader, one of workers, gives every pod the leader's
address in LWS_LEADER_ADDRESS and its place in LWS_WORKER_INDEX, and makes a whole group anew when one of its pods
fails: an engine that lost a part of itself cannot go on. Where it is told to stop, so are all pods of the group at
once; a worker therefore waits for as long as its leader's last requests may take.

Each group has a headless Service of its own (subdomainPolicy), since a shared one would have the name of ours.

Source: https://lws.sigs.k8s.io/docs/reference/leaderworkerset.v1/ (v0.8).
"""

from __future__ import annotations

import copy
from typing import Any

from llmops.kube.resources import DEPLOYMENT, LEADER_WORKER_SET, Resource
from llmops.serving.engines import ENGINES
from llmops.serving.observe import WORKER_INDEX, Seen
from llmops.serving.podspec import GRACE
from llmops.serving.revision import Resolved

Object = dict[str, Any]

LEADER = {WORKER_INDEX: "0"}
LONGEST = 49  # characters of its name: the workers' StatefulSet adds -<group>, and a pod's label 11 more, to 63
MISSING = (
    "a replica needs more accelerators than a node has, and LeaderWorkerSet (leaderworkerset.x-k8s.io/v1) is not "
    "installed in this cluster: install it, or lower accelerator.count"
)


def workload(resolved: Resolved) -> Resource:
    """The kind that has the pods."""
    return LEADER_WORKER_SET if resolved.sized.nodes > 1 else DEPLOYMENT


def build_group(seen: Seen, template: Object, resolved: Resolved) -> Object:
    """`template` is a Deployment's: what leaders and workers have in common."""
    rolling = {"maxUnavailable": 1, "maxSurge": 0}
    return {
        "apiVersion": LEADER_WORKER_SET.api_version,
        "kind": LEADER_WORKER_SET.kind,
        "metadata": {"name": seen.home},
        "spec": {
            "replicas": seen.service.spec.replicas,
            "startupPolicy": "LeaderCreated",
            "rolloutStrategy": {"type": "RollingUpdate", "rollingUpdateConfiguration": rolling},
            "networkConfig": {"subdomainPolicy": "UniquePerReplica"},
            "leaderWorkerTemplate": {
                "size": resolved.sized.nodes,
                "restartPolicy": "RecreateGroupOnPodRestart",
                "leaderTemplate": _leader(seen, template, resolved),
                "workerTemplate": _worker(seen, template, resolved),
            },
        },
    }


def _leader(seen: Seen, template: Object, resolved: Resolved) -> Object:
    made = copy.deepcopy(template)
    engine = made["spec"]["containers"][0]
    engine["args"] = [*engine["args"], *_joined(seen, resolved)[0]]
    return made


def _worker(seen: Seen, template: Object, resolved: Resolved) -> Object:
    """It has no door of its own, so nothing can be asked of it; what ails it ends it."""
    made = copy.deepcopy(template)
    engine, pod = made["spec"]["containers"][0], made["spec"]
    for part in ("ports", "startupProbe", "livenessProbe", "readinessProbe"):
        engine.pop(part, None)
    engine["args"] = [*engine["args"], *_joined(seen, resolved)[1]]
    engine["lifecycle"] = {"preStop": {"sleep": {"seconds": pod["terminationGracePeriodSeconds"] - GRACE}}}
    return made


def _joined(seen: Seen, resolved: Resolved) -> tuple[list[str], list[str]]:
    joined = ENGINES[seen.engine.type].joined
    assert joined is not None
    return joined(resolved.sized.nodes)
