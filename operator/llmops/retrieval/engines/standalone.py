"""Milvus Standalone: the real server in one pod, with its etcd inside it and its files on the volume."""

from __future__ import annotations

from llmops.api import Settings
from llmops.kube.resources import Object
from llmops.retrieval.engines.server import Server
from llmops.retrieval.pods import RESTRICTED, TMP

PORT = 19530
HEALTH = 9091
DATA = "/var/lib/milvus"


def _container(settings: Settings) -> Object:
    healthy = {"path": "/healthz", "port": "health"}
    env = {
        "DEPLOY_MODE": "STANDALONE",
        "ETCD_USE_EMBED": "true",  # it listens on localhost only
        "ETCD_DATA_DIR": f"{DATA}/etcd",
        "COMMON_STORAGETYPE": "local",
        "HOME": "/tmp",
    }
    return {
        "name": "engine",
        "image": settings.image_milvus,
        "imagePullPolicy": settings.image_pull_policy,
        "args": ["milvus", "run", "standalone"],
        "env": [{"name": name, "value": value} for name, value in env.items()],
        "ports": [{"name": "engine", "containerPort": PORT}, {"name": "health", "containerPort": HEALTH}],
        "startupProbe": {"httpGet": healthy, "periodSeconds": 1, "failureThreshold": 300},
        "readinessProbe": {"httpGet": healthy, "periodSeconds": 2},
        "livenessProbe": {"httpGet": healthy, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6},
        "resources": {"requests": {"cpu": "200m", "memory": "1Gi"}, "limits": {"memory": "8Gi"}},
        "securityContext": RESTRICTED,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "data", "mountPath": DATA}, TMP],
    }


SERVER = Server("milvus", PORT, _container, grace=60)
