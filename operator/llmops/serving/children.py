"""The children of an LLMService, built by functions that read like their YAML."""

from __future__ import annotations

from typing import Any

from llmops.api import names
from llmops.kube.resources import LLM_SERVICE
from llmops.serving.engines import ENGINES
from llmops.serving.observe import Seen, fetch_name
from llmops.serving.sources import MOUNT, Source

Object = dict[str, Any]

CONTAINER = "engine"
RESTRICTED_POD = {
    "runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
    "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip
RESTRICTED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
TMP = {"name": "tmp", "mountPath": "/tmp"}


def selector(seen: Seen) -> dict[str, str]:
    return {**names.labels(LLM_SERVICE.kind, seen.service.metadata.name), "llmops.dev/part": "engine"}


def build_deployment(seen: Seen, image: str, source: Source, accelerators: int) -> Object:
    spec, engine = seen.service.spec, ENGINES[seen.service.spec.engine.type]  # type: ignore[union-attr]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": seen.child},
        "spec": {
            "replicas": spec.replicas,
            "selector": {"matchLabels": selector(seen)},
            # one more at a time and none fewer; where accelerators are full that cannot start, so one fewer instead
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {
                    "maxUnavailable": 1 if accelerators else 0,
                    "maxSurge": 0 if accelerators else 1,
                },
            },
            "progressDeadlineSeconds": engine.startup_seconds + 300,
            "revisionHistoryLimit": 2,
            "template": build_template(seen, image, source, accelerators),
        },
    }  # fmt: skip


def build_template(seen: Seen, image: str, source: Source, accelerators: int) -> Object:
    spec, engine = seen.service.spec, ENGINES[seen.service.spec.engine.type]  # type: ignore[union-attr]
    volumes: list[Object] = [{"name": "tmp", "emptyDir": {}}]
    if source.volume:
        volumes.append({"name": "models", **source.volume})
    if engine.shared_memory:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": engine.shared_memory}})
    placing: Object = {}
    if spec.accelerator is not None:
        placing["tolerations"] = [{"key": spec.accelerator.resource, "operator": "Exists", "effect": "NoSchedule"}]
        if spec.accelerator.product:
            placing["nodeSelector"] = {"nvidia.com/gpu.product": spec.accelerator.product}
    own_fetch = source.download is not None and not source.shared
    return {
        "metadata": {"labels": selector(seen), "annotations": {"llmops.dev/revision": seen.digest[:10]}},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": RESTRICTED_POD,
            "terminationGracePeriodSeconds": engine.pre_stop_seconds + engine.drain_seconds + 15,
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": "kubernetes.io/hostname",
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": selector(seen)},
                }
            ],
            **placing,
            "initContainers": [build_fetcher(seen, source)] if own_fetch else [],
            "containers": [build_container(seen, image, source, accelerators)],
            "volumes": volumes,
        },
    }


def build_container(seen: Seen, image: str, source: Source, accelerators: int) -> Object:
    spec, engine = seen.service.spec, ENGINES[seen.service.spec.engine.type]  # type: ignore[union-attr]
    assert spec.engine is not None
    mounts = [TMP]
    if source.volume:
        mounts.append({"name": "models", "mountPath": MOUNT, "readOnly": True})  # type: ignore[dict-item]
    if engine.shared_memory:
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})
    devices = {spec.accelerator.resource: str(accelerators)} if spec.accelerator and accelerators else {}
    path = engine.health
    env = [{"name": key, "value": value} for key, value in (engine.env or {}).items()]
    return {
        "name": CONTAINER,
        "image": image,
        "imagePullPolicy": seen.settings.image_pull_policy,
        "args": engine.args(seen.service, source.path, accelerators),
        "env": [*env, *(one.wire() for one in spec.engine.env)],
        "ports": [{"name": "http", "containerPort": engine.port}],
        "startupProbe": _probe(path, periodSeconds=1, failureThreshold=engine.startup_seconds),
        "livenessProbe": _probe(path, periodSeconds=10, failureThreshold=6),
        "readinessProbe": _probe(engine.ready, periodSeconds=2, failureThreshold=2),
        **({"lifecycle": _sleep(engine.pre_stop_seconds)} if engine.pre_stop_seconds else {}),
        "resources": {
            "requests": {**engine.requests, **spec.resources.requests, **devices},
            "limits": {**spec.resources.limits, **devices},
        },
        "securityContext": RESTRICTED,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }


def _probe(path: str, **times: int) -> Object:
    return {"httpGet": {"path": path, "port": "http"}, "timeoutSeconds": 5, **times}


def _sleep(seconds: int) -> Object:
    return {"preStop": {"exec": {"command": ["sleep", str(seconds)]}}}


def build_fetcher(seen: Seen, source: Source) -> Object:
    """The container that downloads the weights: in the shared Job, or before each engine."""
    model = seen.service.spec.model
    assert model is not None
    sha256 = (model.revision or "").removeprefix("sha256:") if (model.revision or "").startswith("sha256:") else ""
    return {
        "name": "fetch",
        "image": seen.settings.image_operator,
        "imagePullPolicy": seen.settings.image_pull_policy,
        "args": ["fetch", str(source.download), source.path, *([f"--sha256={sha256}"] if sha256 else [])],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": RESTRICTED,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "models", "mountPath": MOUNT}, TMP],
    }


def build_claim(seen: Seen) -> Object:
    cache = seen.service.spec.model.cache  # type: ignore[union-attr]
    assert cache is not None
    storage = {"storageClassName": cache.storage_class} if cache.storage_class else {}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": f"{seen.child}-models"},
        "spec": {
            "accessModes": [cache.access_mode],
            "resources": {"requests": {"storage": str(cache.size)}},
            **storage,
        },
    }


def build_fetch_job(seen: Seen, source: Source) -> Object:
    """Exit status 2 is a fault of the address: no second try; an evicted pod does not count."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": fetch_name(seen.child, seen.digest)},
        "spec": {
            "backoffLimit": 6,
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {"action": "FailJob", "onExitCodes": {"containerName": "fetch", "operator": "In", "values": [2]}},
                ]
            },
            "template": {
                "metadata": {"labels": {**selector(seen), "llmops.dev/part": "fetch"}},
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": RESTRICTED_POD,
                    "containers": [build_fetcher(seen, source)],
                    "volumes": [
                        {"name": "models", "persistentVolumeClaim": {"claimName": source.claim}},
                        {"name": "tmp", "emptyDir": {}},
                    ],
                },
            },
        },
    }


def build_service(seen: Seen) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": seen.child},
        "spec": {"selector": selector(seen), "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }


def build_disruption_budget(seen: Seen) -> Object:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": seen.child},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector(seen)}},
    }


def build_network_policy(seen: Seen) -> Object:
    """Only the door, and what we ourselves run in this namespace (evaluations, indexes), may ask the engine."""
    door = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": seen.settings.system_namespace}}}
    ours = {"podSelector": {"matchLabels": {names.MANAGED_BY: names.FIELD_MANAGER}}}
    port = ENGINES[seen.service.spec.engine.type].port  # type: ignore[union-attr]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": seen.child},
        "spec": {
            "podSelector": {"matchLabels": selector(seen)},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [door, ours], "ports": [{"port": port, "protocol": "TCP"}]}],
        },
    }
