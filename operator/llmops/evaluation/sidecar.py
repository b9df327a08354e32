"""The container in a run's pod that runs scorers which people brought along, as a function that reads like the YAML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmops.api import Settings

Object = dict[str, Any]
FOLDER = "/scoring"
"""Where both containers find the socket."""


def key_of(metric: str) -> str:
    """The data key of a scorer in the run's input."""
    return f"scorer-{metric}.py"


def build(settings: Settings) -> Object:
    """Where Python runs that people brought along: another user, no token, no key, and only the socket in common. An
    init container that is always restarted is a sidecar (KEP-753): it ends with the run."""
    return {
        "name": "score",
        "image": settings.image_evaluate,
        "imagePullPolicy": settings.image_pull_policy,
        "restartPolicy": "Always",
        "command": ["llmops", "score", "--scorers", "/scorers", "--socket", f"{FOLDER}/socket"],
        "env": [{"name": "HOME", "value": "/tmp"}],
        "securityContext": {
            "runAsUser": 65533,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}},
        "volumeMounts": [
            {"name": "scorers", "mountPath": "/scorers", "readOnly": True},
            {"name": "scoring", "mountPath": FOLDER},
            {"name": "scoring-tmp", "mountPath": "/tmp"},
        ],
    }


def build_volumes(input_name: str, scorers: Sequence[str]) -> list[Object]:
    """What it and the run's container mount of it."""
    items = [{"key": key_of(one), "path": f"{one}.py"} for one in scorers]
    return [
        {"name": "scorers", "configMap": {"name": input_name, "items": items}},
        {"name": "scoring", "emptyDir": {"sizeLimit": "1Mi"}},
        {"name": "scoring-tmp", "emptyDir": {"sizeLimit": "64Mi"}},
    ]
