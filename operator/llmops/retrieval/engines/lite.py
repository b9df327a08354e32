"""Milvus Lite: one small pod that speaks Milvus's protocol, its data on a volume."""

from __future__ import annotations

from llmops.api import Settings, VectorIndex, names
from llmops.api.vectorindex import EngineStorage
from llmops.kube.resources import VECTOR_INDEX, Object
from llmops.retrieval.pods import RESTRICTED, RESTRICTED_POD, selector

PORT = 19530
PART = "engine"


def name(index: VectorIndex) -> str:
    """Of the Deployment, Service, volume and NetworkPolicy."""
    return f"{index.metadata.name}-index-engine"


def address(index: VectorIndex, settings: Settings) -> str:
    """As pods in the cluster reach it."""
    return f"http://{name(index)}.{index.metadata.namespace}.svc.{settings.cluster_domain}:{PORT}"


def children(index: VectorIndex, settings: Settings) -> list[Object]:
    """Volume, pod, Service, and who may talk to it."""
    return [_claim(index), _deployment(index, settings), _service(index), _network_policy(index)]


def _claim(index: VectorIndex) -> Object:
    """Without owner reference it outlives the index (deletionPolicy Retain); an index of that name finds it again."""
    storage = index.spec.engine.storage or EngineStorage()
    keeps: Object = {"ownerReferences": []} if index.spec.deletion_policy == "Retain" else {}
    placed = {"storageClassName": storage.storage_class} if storage.storage_class else {}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name(index), **keeps},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": str(storage.size)}}, **placed},
    }


def _deployment(index: VectorIndex, settings: Settings) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name(index)},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},  # two on one volume would corrupt it
            "selector": {"matchLabels": selector(index, PART)},
            "revisionHistoryLimit": 2,
            "template": {
                "metadata": {"labels": selector(index, PART)},
                "spec": {
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": RESTRICTED_POD,
                    "terminationGracePeriodSeconds": 30,
                    "containers": [_container(settings)],
                    "volumes": [
                        {"name": "data", "persistentVolumeClaim": {"claimName": name(index)}},
                        {"name": "tmp", "emptyDir": {}},
                    ],
                },
            },
        },
    }


def _container(settings: Settings) -> Object:
    return {
        "name": "engine",
        "image": settings.image_milvus_lite,  # its STOPSIGNAL is SIGINT: as first process it ignores SIGTERM
        "imagePullPolicy": settings.image_pull_policy,
        "args": ["server", "--data-dir", "/data/milvus", "--host", "0.0.0.0", "--port", str(PORT)],
        "env": [{"name": "OMP_NUM_THREADS", "value": "1"}, {"name": "HOME", "value": "/tmp"}],
        "ports": [{"name": "milvus", "containerPort": PORT}],
        "startupProbe": {"tcpSocket": {"port": "milvus"}, "periodSeconds": 1, "failureThreshold": 300},
        "readinessProbe": {"tcpSocket": {"port": "milvus"}, "periodSeconds": 2},
        "livenessProbe": {"tcpSocket": {"port": "milvus"}, "periodSeconds": 10, "failureThreshold": 6},
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "4Gi"}},
        "securityContext": RESTRICTED,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "tmp", "mountPath": "/tmp"}],
    }


def _service(index: VectorIndex) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name(index)},
        "spec": {
            "selector": selector(index, PART),
            "ports": [{"name": "milvus", "port": PORT, "targetPort": "milvus"}],
        },
    }


def _network_policy(index: VectorIndex) -> Object:
    """Lite takes any token, so only this index's own pods may reach it."""
    own = {"podSelector": {"matchLabels": names.labels(VECTOR_INDEX.kind, index.metadata.name)}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name(index)},
        "spec": {
            "podSelector": {"matchLabels": selector(index, PART)},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [own], "ports": [{"port": PORT, "protocol": "TCP"}]}],
        },
    }
