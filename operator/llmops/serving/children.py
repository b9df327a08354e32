"""The children of an LLMService, built by functions that read like their YAML."""

from __future__ import annotations

from typing import Any

from llmops.api import names
from llmops.kube.resources import EVAL_JOB, VECTOR_INDEX
from llmops.serving import groups, loan
from llmops.serving.engines import ENGINES, Engine
from llmops.serving.fetcher import build_fetcher
from llmops.serving.observe import Seen
from llmops.serving.podspec import (
    GRACE,
    RESTRICTED,
    RESTRICTED_POD,
    TMP,
    build_placing,
    build_volumes,
    selector,
)
from llmops.serving.revision import NOTE, Resolved
from llmops.serving.sources import ADAPTERS, MOUNT, Source

Object = dict[str, Any]

CONTAINER = "engine"
HOSTNAME = "kubernetes.io/hostname"


def build_deployment(seen: Seen, source: Source, resolved: Resolved) -> Object:
    # one more and none fewer; where accelerators are full one more cannot start, so one fewer instead
    full = resolved.accelerators > 0 or loan.recreates(seen.service)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": seen.home},
        "spec": {
            "replicas": seen.service.spec.replicas,
            "selector": {"matchLabels": selector(seen)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 1 if full else 0, "maxSurge": 0 if full else 1},
            },
            "progressDeadlineSeconds": _startup(seen, resolved) + 300,
            "revisionHistoryLimit": 2,
            "template": build_template(seen, source, resolved),
        },
    }


def build_template(seen: Seen, source: Source, resolved: Resolved) -> Object:
    engine = ENGINES[seen.engine.type]
    fetchers = [build_fetcher(seen, source, resolved)] if source.downloads and not source.shared else []
    return {
        "metadata": {"labels": selector(seen), "annotations": {NOTE: resolved.note or seen.digest[:10]}},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": RESTRICTED_POD,
            "terminationGracePeriodSeconds": engine.pre_stop_seconds + engine.drain_seconds + GRACE,
            **build_placing(seen, resolved.sized.product),
            **build_spreading(seen, source),
            **build_pull_secrets(seen, resolved),
            **({"initContainers": fetchers} if fetchers else {}),
            "containers": [build_container(seen, source, resolved)],
            "volumes": build_volumes(source, _shared_memory(engine, resolved)),
        },
    }


def _startup(seen: Seen, resolved: Resolved) -> int:
    """Seconds until a start counts as failed: what the engine takes, or what so many bytes do."""
    return max(ENGINES[seen.engine.type].startup_seconds, resolved.sized.startup_seconds or 0)


def _shared_memory(engine: Engine, resolved: Resolved) -> str | None:
    return engine.shared_memory and (resolved.sized.shared_memory or engine.shared_memory)


def build_spreading(seen: Seen, source: Source) -> Object:
    """Replicas on different nodes where that can be; all on one where their volume is."""
    chosen = {"matchLabels": selector(seen)}
    if source.one_node:
        term = {"topologyKey": HOSTNAME, "labelSelector": chosen}
        return {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}
    spread = {
        "maxSkew": 1, "topologyKey": HOSTNAME, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": chosen,
    }  # fmt: skip
    return {"topologySpreadConstraints": [spread]}


def build_pull_secrets(seen: Seen, resolved: Resolved) -> Object:
    """Where the kubelet pulls the model, it needs what a download would be given."""
    secret = seen.model.credentials_secret_ref
    return {"imagePullSecrets": [{"name": secret.name}]} if secret and resolved.image_volume else {}


def build_container(seen: Seen, source: Source, resolved: Resolved) -> Object:
    spec, engine = seen.service.spec, ENGINES[seen.engine.type]
    mounts: list[Object] = [TMP]
    if source.volume:
        mounts.append({"name": "models", "mountPath": MOUNT, "readOnly": True})
    if source.scratch:
        mounts.append({"name": "adapters", "mountPath": ADAPTERS, "readOnly": True})
    if engine.shared_memory:
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})
    devices: Object = {}
    if spec.accelerator and resolved.accelerators:
        devices = {spec.accelerator.resource: str(resolved.sized.a_pod)}
    needs = resolved.sized.host_memory if engine.shared_memory else None
    host: Object = {"memory": needs} if needs else {}
    env = [{"name": key, "value": value} for key, value in _environment(engine, resolved).items()]
    stop = {"lifecycle": {"preStop": {"sleep": {"seconds": engine.pre_stop_seconds}}}}
    return {
        "name": CONTAINER,
        "image": resolved.image,
        "imagePullPolicy": seen.settings.image_pull_policy,
        **({"command": list(engine.command)} if engine.command else {}),
        "args": build_arguments(seen, source, resolved),
        "env": [*env, *(one.wire() for one in seen.engine.env)],
        "ports": [{"name": "http", "containerPort": engine.port}],
        "startupProbe": _probe(engine.health, periodSeconds=1, failureThreshold=_startup(seen, resolved)),
        "livenessProbe": _probe(engine.health, periodSeconds=10, failureThreshold=6),
        "readinessProbe": _probe(engine.ready, periodSeconds=2, failureThreshold=2),
        **(stop if engine.pre_stop_seconds else {}),
        "resources": {
            "requests": {**engine.requests, **host, **spec.resources.requests, **devices},
            "limits": {**spec.resources.limits, **devices},
        },
        "securityContext": RESTRICTED,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }


def build_arguments(seen: Seen, source: Source, resolved: Resolved) -> list[str]:
    """What people write comes last: of two the engine takes the second."""
    engine, known = ENGINES[seen.engine.type], source.adapters
    room = engine.teaching.args(resolved.slots) if engine.teaching and resolved.slots else []
    own = engine.args(seen.service, source.path, resolved.sized, {} if resolved.slots else known)
    return [*own, *room, *seen.engine.args]


def _environment(engine: Engine, resolved: Resolved) -> Object:
    more = engine.teaching.env if engine.teaching and resolved.slots else {}
    return {**(engine.env or {}), **more}


def _probe(path: str, **times: int) -> Object:
    return {"httpGet": {"path": path, "port": "http"}, "timeoutSeconds": 5, **times}


def build_service(seen: Seen, resolved: Resolved) -> Object:
    leads = groups.LEADER if resolved.sized.nodes > 1 else {}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": seen.home},
        "spec": {"selector": selector(seen) | leads, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }


def build_disruption_budget(seen: Seen) -> Object:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": seen.home},
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",  # a model that cannot start holds no node up
            "selector": {"matchLabels": selector(seen)},
        },
    }


def build_network_policy(seen: Seen, resolved: Resolved) -> Object:
    """Only the door, and the evaluations and indexes of this namespace, may ask the engine; a group is one engine."""
    door = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": seen.settings.system_namespace}}}
    kinds = {"key": names.OWNER_KIND, "operator": "In", "values": [EVAL_JOB.kind, VECTOR_INDEX.kind]}
    port = {"port": ENGINES[seen.engine.type].port, "protocol": "TCP"}
    within = [{"from": [{"podSelector": {"matchLabels": selector(seen)}}]}] if resolved.sized.nodes > 1 else []
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": seen.home},
        "spec": {
            "podSelector": {"matchLabels": selector(seen)},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [door, {"podSelector": {"matchExpressions": [kinds]}}], "ports": [port]}, *within],
        },
    }
