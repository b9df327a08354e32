"""Milvus Lite: one small pod that speaks Milvus's protocol; it takes any token."""

from __future__ import annotations

from llmops.api import Settings
from llmops.kube.resources import Object
from llmops.retrieval.engines.server import Server
from llmops.retrieval.pods import RESTRICTED, TMP

PORT = 19530


def _container(settings: Settings) -> Object:
    return {
        "name": "engine",
        "image": settings.image_milvus_lite,  # its STOPSIGNAL is SIGINT: as first process it ignores SIGTERM
        "imagePullPolicy": settings.image_pull_policy,
        "args": ["server", "--data-dir", "/data/milvus", "--host", "0.0.0.0", "--port", str(PORT)],
        "env": [{"name": "OMP_NUM_THREADS", "value": "1"}, {"name": "HOME", "value": "/tmp"}],
        "ports": [{"name": "engine", "containerPort": PORT}],
        "startupProbe": {"tcpSocket": {"port": "engine"}, "periodSeconds": 1, "failureThreshold": 300},
        "readinessProbe": {"tcpSocket": {"port": "engine"}, "periodSeconds": 2},
        "livenessProbe": {"tcpSocket": {"port": "engine"}, "periodSeconds": 10, "failureThreshold": 6},
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "4Gi"}},
        "securityContext": RESTRICTED,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "data", "mountPath": "/data"}, TMP],
    }


SERVER = Server("engine", PORT, _container)
