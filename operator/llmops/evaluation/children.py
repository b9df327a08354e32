"""The objects of one run, as functions that read like the YAML: Job, ConfigMaps, service account, role, volume."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmops.api import Settings, names
from llmops.evaluation import run as runs
from llmops.evaluation import sidecar
from llmops.evaluation.run import Run

Object = dict[str, Any]

LONGEST = 63
TRIES = 3
LOGS_SIZE = "1Gi"
EVALUATES = {"requests": {"cpu": "100m", "memory": "384Mi"}, "limits": {"memory": "2Gi"}}
BENCHMARKS = {"requests": {"cpu": "100m", "memory": "768Mi"}, "limits": {"memory": "8Gi"}}
"""All rows of all tasks, with every sample as the suite logs it, are in memory until the end."""


def child(owner: str, ending: str) -> str:
    """A child's name; a long owner's is cut and told apart by a hash, as a Job's name is a label of its pods."""
    if len(owner) + len(ending) <= LONGEST:
        return owner + ending
    mark = hashlib.sha256(owner.encode()).hexdigest()[:8]
    return f"{owner[: LONGEST - len(ending) - 9]}-{mark}{ending}"


def run_name(job: str, run: Run) -> str:
    """The name of a run's Job and of the ConfigMap with its results."""
    return child(job, f"-eval-{run.short}")


def input_name(job: str, run: Run) -> str:
    """The name of the ConfigMap that hands the run over."""
    return child(job, f"-eval-{run.short}-in")


def account_name(job: str) -> str:
    """The pods' service account; gateways know evaluations by the ending."""
    return child(job, "-eval")


def build_input(
    job: str,
    namespace: str,
    run: Run,
    rows: str,
    known: Mapping[str, Any],
    profiles: Mapping[str, Any],
    scorers: Mapping[str, str],
) -> Object:
    """The run and its rows, frozen: what is edited while it runs belongs to the next run.

    Of a source the rows are not known; then `known` results come along, by the SHA-256 of the rows that they are of,
    and the `profiles` of former runs, by Drift. `scorers` are texts by metric.
    """
    more = {runs.ROWS_FILE: rows}
    if run.source:
        more = {runs.KNOWN_FILE: json.dumps(known), runs.PROFILES_FILE: json.dumps(profiles)}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": input_name(job, run), "namespace": namespace},
        "immutable": True,
        "data": {runs.RUN_FILE: run.dumps(), **more, **{sidecar.key_of(name): text for name, text in scorers.items()}},
    }


def build_results(job: str, namespace: str, run: Run) -> Object:
    """Empty at first: the runner may patch this one object and create none."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": run_name(job, run),
            "namespace": namespace,
            "annotations": {RUN_KEY: run.key, **({TURN: run.turn, INPUTS: inputs(run)} if run.turn else {})},
        },
    }


RUN_KEY = f"{names.GROUP}/run-key"
TURN, INPUTS = f"{names.GROUP}/schedule-time", f"{names.GROUP}/run-inputs"


def inputs(run: Run) -> str:
    """The key that the run has in every turn of a schedule."""
    return runs.run_key(replace(run, turn=""))


def inputs_of(config_map: Mapping[str, Any]) -> str:
    """That of the run whose results these are."""
    annotations = config_map["metadata"]["annotations"]
    return str(annotations.get(INPUTS) or annotations[RUN_KEY])


def build_account(job: str, namespace: str) -> Object:
    """Who the pods are."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": account_name(job), "namespace": namespace},
        "automountServiceAccountToken": False,
    }


def build_role(job: str, namespace: str, run: Run) -> Object:
    """What the pods may: write the results of this run."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": account_name(job), "namespace": namespace},
        "rules": [
            {
                "apiGroups": [""],
                "resources": ["configmaps"],
                "resourceNames": [run_name(job, run)],
                "verbs": ["get", "patch"],
            }
        ],
    }


def build_role_binding(job: str, namespace: str) -> Object:
    """The role to the account."""
    name = account_name(job)
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }


def build_logs(job: str, namespace: str) -> Object:
    """The volume on which logs outlive their pod (spec.keep): a pod that was lost resumes there."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": child(job, "-eval-logs"), "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": LOGS_SIZE}}},
    }


def build_job(job: str, namespace: str, run: Run, settings: Settings) -> Object:
    """The Job. A disrupted pod does not count as a failure; a wrong run fails at once, as no retry can help."""
    name = run_name(job, run)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "backoffLimit": TRIES,
            "activeDeadlineSeconds": max(1, int(run.timeout_seconds)),
            "podReplacementPolicy": "Failed",  # never two runners on one log folder
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": "evaluate", "operator": "In", "values": [runs.CONFIG_ERROR]},
                    },
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ]
            },
            "template": {
                "metadata": {"labels": names.labels("EvalJob", job)},
                "spec": _build_pod(job, namespace, run, settings),
            },
        },
    }


def _build_pod(job: str, namespace: str, run: Run, settings: Settings) -> Object:
    scorers = [one.name for one in run.of_type("Custom")]
    logs: Mapping[str, Any] = {"emptyDir": {}}
    claim = run.source.claim if run.source else run.benchmark.claim if run.benchmark else ""
    if run.keep_seconds is not None:
        logs = {"persistentVolumeClaim": {"claimName": child(job, "-eval-logs")}}
    return {
        "restartPolicy": "Never",
        "serviceAccountName": account_name(job),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **({"initContainers": [sidecar.build(settings)]} if scorers else {}),
        "containers": [
            {
                "name": "evaluate",
                "image": settings.image_benchmark if run.benchmark else settings.image_evaluate,
                "imagePullPolicy": settings.image_pull_policy,
                "command": [
                    "llmops",
                    "evaluate",
                    "--run",
                    "/etc/llmops/run",
                    "--logs",
                    "/logs",
                    "--report",
                    names.qualified(namespace, run_name(job, run)),
                ],
                "env": [{"name": "HOME", "value": "/tmp"}, *_build_credentials(run), *_build_hub(run, settings)],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "resources": BENCHMARKS if run.benchmark else EVALUATES,
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [
                    {"name": "run", "mountPath": "/etc/llmops/run", "readOnly": True},
                    {"name": "logs", "mountPath": "/logs"},
                    {"name": "tmp", "mountPath": "/tmp"},
                    {"name": "api", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True},
                    {"name": "token", "mountPath": "/var/run/llmops", "readOnly": True},
                    *([{"name": "dataset", "mountPath": "/dataset", "readOnly": True}] if claim else []),
                    *([{"name": "scoring", "mountPath": sidecar.FOLDER}] if scorers else []),
                ],
            }
        ],
        "volumes": [
            *([{"name": "dataset", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}] if claim else []),
            {"name": "run", "configMap": {"name": input_name(job, run)}},
            {"name": "logs", **logs},
            {"name": "tmp", "emptyDir": {}},
            *(sidecar.build_volumes(input_name(job, run), scorers) if scorers else []),
            {
                "name": "api",
                "projected": {
                    "sources": [
                        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
                        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                        {
                            "downwardAPI": {
                                "items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]
                            }
                        },
                    ]
                },
            },
            {
                "name": "token",
                "projected": {
                    "sources": [
                        {
                            "serviceAccountToken": {
                                "path": "token",
                                "audience": names.AUDIENCE,
                                "expirationSeconds": 3600,
                            }
                        },
                    ]
                },
            },
        ],
    }


def _build_credentials(run: Run) -> list[Object]:
    """Read by the kubelet: the operator never sees them, and no other pod does."""
    if run.source is None or not run.source.secret:
        return []
    return [
        {
            "name": one,
            "valueFrom": {
                "secretKeyRef": {
                    "name": run.source.secret,
                    "key": one,
                    **({"optional": True} if one == "AWS_SESSION_TOKEN" else {}),
                }
            },
        }
        for one in run.source.credentials
    ]


def _build_hub(run: Run, settings: Settings) -> list[Object]:
    """Where a benchmark's datasets come from that lie on no volume; NLTK's, which IFEval reads, only ever do."""
    if run.benchmark is None:
        return []
    if run.benchmark.claim:
        return [{"name": "NLTK_DATA", "value": "/dataset/nltk_data"}]
    return [{"name": "HF_ENDPOINT", "value": settings.hub_url}]
