"""The children of an LLMService, built by functions that read like their YAML."""

from __future__ import annotations

import shlex
from typing import Any
from urllib.parse import urlsplit

from llmops.api import names
from llmops.api.llmservice import ModelSource
from llmops.kube.resources import EVAL_JOB, LLM_SERVICE, VECTOR_INDEX
from llmops.serving.devices import product_label
from llmops.serving.engines import ENGINES, Engine
from llmops.serving.observe import Seen
from llmops.serving.revision import Resolved
from llmops.serving.sources import (
    ADAPTERS,
    FETCHER,
    MOUNT,
    STORES,
    Download,
    Source,
    download_name,
    every,
    folders,
    scheme,
)

Object = dict[str, Any]

CONTAINER = "engine"
PART = "llmops.dev/part"
RESTRICTED_POD = {
    "runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
    "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip
RESTRICTED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
TMP = {"name": "tmp", "mountPath": "/tmp"}
HOSTNAME = "kubernetes.io/hostname"


def selector(seen: Seen) -> dict[str, str]:
    return {**names.labels(LLM_SERVICE.kind, seen.service.metadata.name), PART: part(seen)}


def part(seen: Seen) -> str:
    """Of the pods that run the model; two revisions side by side must not count one another's."""
    return f"engine{seen.home.removeprefix(seen.child)}"


def claim_name(seen: Seen) -> str:
    return f"{seen.child}-models"


def build_deployment(seen: Seen, source: Source, resolved: Resolved) -> Object:
    # one more and none fewer; where accelerators are full one more cannot start, so one fewer instead
    full = resolved.accelerators > 0
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
        "metadata": {"labels": selector(seen), "annotations": {"llmops.dev/revision": seen.digest[:10]}},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": RESTRICTED_POD,
            "terminationGracePeriodSeconds": engine.pre_stop_seconds + engine.drain_seconds + 15,
            **build_placing(seen, resolved.sized.product),
            **build_spreading(seen, source),
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


def build_placing(seen: Seen, product: str | None) -> Object:
    """Where pods may run: the download's too, so that its volume binds where they will."""
    asked = seen.service.spec.accelerator
    if asked is None:
        return {}
    placing: Object = {"tolerations": [{"key": asked.resource, "operator": "Exists", "effect": "NoSchedule"}]}
    if asked.product or product:
        placing["nodeSelector"] = {product_label(asked.resource): asked.product or product}
    return placing


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


def build_volumes(source: Source, shared_memory: str | None) -> list[Object]:
    volumes: list[Object] = [{"name": "tmp", "emptyDir": {}}]
    if source.volume:
        volumes.append({"name": "models", **source.volume})
    if source.scratch:
        volumes.append({"name": "adapters", "emptyDir": {}})
    if shared_memory:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shared_memory}})
    return volumes


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
        devices = {spec.accelerator.resource: str(resolved.accelerators)}
    needs = resolved.sized.host_memory if engine.shared_memory else None
    host: Object = {"memory": needs} if needs else {}
    env = [{"name": key, "value": value} for key, value in (engine.env or {}).items()]
    stop = {"lifecycle": {"preStop": {"sleep": {"seconds": engine.pre_stop_seconds}}}}
    return {
        "name": CONTAINER,
        "image": resolved.image,
        "imagePullPolicy": seen.settings.image_pull_policy,
        **({"command": list(engine.command)} if engine.command else {}),
        "args": engine.args(seen.service, source.path, resolved.sized, source.adapters),
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


def _probe(path: str, **times: int) -> Object:
    return {"httpGet": {"path": path, "port": "http"}, "timeoutSeconds": 5, **times}


def build_fetcher(seen: Seen, source: Source, resolved: Resolved) -> Object:
    """The container that downloads the weights: in the shared Job, or before each engine."""
    first, *more = source.downloads
    written = {"name": "adapters", "mountPath": ADAPTERS} if source.scratch else {"name": "models", "mountPath": MOUNT}
    hub = resolved.hub if source.download else resolved.hubs.get(urlsplit(first.uri).scheme, "")
    return {
        "name": FETCHER,
        "image": resolved.fetch_image,
        "imagePullPolicy": seen.settings.image_pull_policy,
        "args": [
            "fetch",
            *_fetched(first, hub),
            *(f"--also={_also(one, resolved)}" for one in more),
            *_kept(seen, source),
        ],
        **({"env": env} if (env := build_credentials(seen)) else {}),
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": RESTRICTED,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [written, TMP],
    }


def _fetched(one: Download, hub: str) -> list[str]:
    check = [f"--sha256={one.sha256}"] if one.sha256 else []
    at = [f"--hub={hub}", *([f"--revision={one.revision}"] if one.revision else [])] if hub else []
    return [one.uri, one.path, *check, *at]


def _kept(seen: Seen, source: Source) -> list[str]:
    """Whose weights stay on a shared volume: the newest revisions', and always those that users are served."""
    if not source.shared or seen.model.cache is None:
        return []
    stable = (((seen.raw.get("status") or {}).get("stable")) or {}).get("digest")
    newest = sorted(seen.revisions, key=lambda one: str(one["metadata"].get("creationTimestamp")), reverse=True)
    last = newest[: seen.model.cache.keep_revisions - 1]
    kept = [*last, *(one for one in newest if one["spec"]["digest"] == stable)]
    models = [
        ModelSource.model_validate(one["spec"]["content"]["model"])
        for one in kept
        if one["spec"]["content"].get("model")
    ]
    return [f"--keep={','.join(sorted(set[str]().union(folders(seen.model), *map(folders, models))))}"]


def _also(one: Download, resolved: Resolved) -> str:
    return shlex.join(_fetched(one, resolved.hubs.get(urlsplit(one.uri).scheme, "")))


def build_credentials(seen: Seen) -> list[Object]:
    """Read by the kubelet: neither the operator nor the engine ever sees them."""
    secret = seen.model.credentials_secret_ref
    if secret is None:
        return []
    may_lack: Object = {"optional": True}
    schemes = {scheme(one) for one in every(seen.model)} & set(STORES)
    must: Object = {} if len(schemes) == 1 else may_lack  # with several stores, one may be public
    wanted: dict[str, Object] = {"HF_TOKEN": must} if "hf" in schemes else {}
    if schemes & {"s3", "gs"}:
        wanted |= {"AWS_ACCESS_KEY_ID": must, "AWS_SECRET_ACCESS_KEY": must, "AWS_SESSION_TOKEN": may_lack}
    if "oci" in schemes:
        wanted |= {"OCI_LOGINS": {"key": ".dockerconfigjson", **must}}
    return [
        {"name": key, "valueFrom": {"secretKeyRef": {"name": secret.name, "key": key, **more}}}
        for key, more in wanted.items()
    ]


def build_claim(seen: Seen) -> Object:
    cache = seen.model.cache
    assert cache is not None
    storage = {"storageClassName": cache.storage_class} if cache.storage_class else {}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": claim_name(seen)},
        "spec": {
            "accessModes": [cache.access_mode],
            "resources": {"requests": {"storage": str(cache.size)}},
            **storage,
        },
    }


def build_download(seen: Seen, source: Source, resolved: Resolved) -> Object:
    """Exit status 2 is a fault of the address: no second try; an evicted pod does not count."""
    given = (seen.service.spec.pod_template or {}).get("spec") or {}
    placing = {key: given[key] for key in ("nodeSelector", "affinity", "tolerations") if key in given}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": download_name(seen.child, seen.model)},
        "spec": {
            "backoffLimit": 6,
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {"action": "FailJob", "onExitCodes": {"containerName": FETCHER, "operator": "In", "values": [2]}},
                ]
            },
            "template": {
                "metadata": {"labels": {**selector(seen), PART: "download"}},
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": RESTRICTED_POD,
                    **build_placing(seen, resolved.sized.product),
                    **placing,
                    "containers": [build_fetcher(seen, source, resolved)],
                    "volumes": build_volumes(source, None),
                },
            },
        },
    }


def build_service(seen: Seen) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": seen.home},
        "spec": {"selector": selector(seen), "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }


def build_disruption_budget(seen: Seen) -> Object:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": seen.home},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector(seen)}},
    }


def build_network_policy(seen: Seen) -> Object:
    """Only the door, and the evaluations and indexes of this namespace, may ask the engine."""
    door = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": seen.settings.system_namespace}}}
    kinds = {"key": names.OWNER_KIND, "operator": "In", "values": [EVAL_JOB.kind, VECTOR_INDEX.kind]}
    port = {"port": ENGINES[seen.engine.type].port, "protocol": "TCP"}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": seen.home},
        "spec": {
            "podSelector": {"matchLabels": selector(seen)},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [door, {"podSelector": {"matchExpressions": [kinds]}}], "ports": [port]}],
        },
    }
