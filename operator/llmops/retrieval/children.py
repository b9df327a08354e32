"""The query server and the index Job with what it needs, as functions that read like the YAML. The engine's own
children are in engines/."""

from __future__ import annotations

import json
from collections.abc import Sequence

from llmops.api import Settings, VectorIndex, digest, names, short
from llmops.kube.resources import Object
from llmops.retrieval import abroad, replicas
from llmops.retrieval import work as works
from llmops.retrieval.engines import credentials, database
from llmops.retrieval.pods import BUILD, RESTRICTED, RESTRICTED_POD, SERVER, TMP, selector
from llmops.retrieval.work import Questions, Work
from llmops.s3 import VARIABLES

PORT = 8080
DRAIN = 10
"""Seconds that a query server which is to end goes on answering: until every client has forgotten it, and, where it was
the only one, until the next one is ready."""
MEMORY, LANGUAGES = "256Mi", "336Mi"
"""What a Job asks for; telling languages apart takes 75 MiB more."""
TRIES = 6
DEADLINE = 6 * 3600
WORK_KEY, TOLD = f"{names.GROUP}/work-key", f"{names.GROUP}/told"
RULE, TENANTS = f"{names.GROUP}/permissions", f"{names.GROUP}/tenants"
MOUNTED = "/mounted"
INPUT = "work"
"""The Job's volume with what is to be done."""
KEYS: dict[str, tuple[str, ...]] = {"s3": VARIABLES, "git": ("username", "password", "ssh-privatekey", "known_hosts")}
"""What is taken out of a source's Secret."""


def server_name(index: VectorIndex) -> str:
    """Of the query server's Deployment, Service and NetworkPolicy."""
    return f"{index.metadata.name}-index"


def job_name(index: VectorIndex, work: Work) -> str:
    """Of the Job and of the ConfigMap with its outcome."""
    return f"{index.metadata.name}-index-{work.short}"


def told(index: VectorIndex, work: Work) -> str:
    """A digest of what a Job is told beyond its key and a person may change so that it fails no more."""
    return short(digest({
        "most": work.max_delete_percent, "never": work.never_delete, "url": work.embedding.url,
        "batch": work.embedding.batch_size, "credentials": credentials(index),
        "only_there": work.only_there,
    }))  # fmt: skip


def account_name(index: VectorIndex) -> str:
    """The Job's service account, Role and RoleBinding."""
    return f"{index.metadata.name}-index-build"


def build_server(index: VectorIndex, engine: str, settings: Settings, through_door: bool = False) -> list[Object]:
    """Deployment, Service, budget, and who may ask; `through_door`: what embeds a question is asked there."""
    labels, name = selector(index, SERVER), server_name(index)
    asked, many = asked_labels(index), index.spec.query.replicas
    pod = _server_pod(index, engine, settings)
    pod = abroad.with_token(pod, abroad.account_name(index)) if through_door else pod
    door = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": settings.system_namespace}}}
    return [
        *([abroad.build_account(index)] if through_door else []),
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {
                "replicas": many,
                "selector": {"matchLabels": labels},
                # all at once: whoever has a connection to one of before, which may hold to no permissions, keeps it
                # until the last new one is ready
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "100%"}},
                "revisionHistoryLimit": 2,
                "template": {"metadata": {"labels": asked}, "spec": pod},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": asked, "ports": [{"name": "http", "port": PORT, "targetPort": "http"}]},
        },
        *([replicas.build_disruption_budget(name, asked)] if many > 1 else []),
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": name},
            "spec": {
                "podSelector": {"matchLabels": labels},
                "policyTypes": ["Ingress"],
                # the door, which checks spec.access, and this namespace
                "ingress": [{"from": [door, {"podSelector": {}}], "ports": [{"port": PORT, "protocol": "TCP"}]}],
            },
        },
    ]


def asked_labels(index: VectorIndex) -> dict[str, str]:
    """Of the query servers that are asked. With permissions or tenants the Service leads only to pods that hold to
    these: a query server of before, which finds everything for everybody, is asked no more though its successor may
    never start."""
    query = index.spec.query
    rules = {RULE: query.permissions, TENANTS: query.tenants}
    return selector(index, SERVER) | {label: short(digest(rule.essence())) for label, rule in rules.items() if rule}


def _server_pod(index: VectorIndex, engine: str, settings: Settings) -> Object:
    alias = works.alias_of(index.metadata.namespace, index.metadata.name)
    whole = names.qualified(index.metadata.namespace, index.metadata.name)
    below = index.spec.query.poor_below
    # one word: argparse takes what begins with a minus for an option
    poor = [] if below is None else [f"--poor-below={below}"]
    rule = index.spec.query.permissions
    seen = [f"--permissions={rule.field}", f"--permissions-missing={rule.missing}"] if rule else []
    seen += [f"--tenants={index.spec.query.tenants.field}"] if index.spec.query.tenants else []
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": RESTRICTED_POD,
        "terminationGracePeriodSeconds": DRAIN + 20,
        "affinity": replicas.build_apart(selector(index, SERVER)),
        "containers": [
            {
                "name": "query",
                "image": settings.image_retrieval,
                "imagePullPolicy": settings.image_pull_policy,
                "args": [
                    "retrieve", "--index", whole, "--engine", engine, "--engine-type", index.spec.engine.type,
                    "--database", database(index), "--alias", alias, "--port", str(PORT),
                    f"--drain-seconds={DRAIN}", *poor, *seen,
                ],
                "env": credentials(index),
                "ports": [{"name": "http", "containerPort": PORT}],
                "startupProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "failureThreshold": 60,
                                 "periodSeconds": 1},
                "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 2},
                "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 10,
                                  "timeoutSeconds": 5},
                "resources": {"requests": {"cpu": "50m", "memory": "192Mi"}, "limits": {"memory": "512Mi"}},
                "securityContext": RESTRICTED,
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [TMP],
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }  # fmt: skip


def build_rights(index: VectorIndex, work: Work, pinned: Sequence[int]) -> list[Object]:
    """Who the Job is, and the one thing it may: write its outcome into the one ConfigMap made for it, which tells it
    what may not be removed."""
    name, namespace = account_name(index), index.metadata.namespace
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": job_name(index, work), "annotations": {WORK_KEY: work.parts.key}},
            "data": {works.PINNED: json.dumps(pinned)},
        },
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name},
            "automountServiceAccountToken": False,
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": name},
            "rules": [
                {
                    "apiGroups": [""],
                    "resources": ["configmaps"],
                    "resourceNames": [job_name(index, work)],
                    "verbs": ["get", "patch"],
                }
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        },
    ]


def build_input(index: VectorIndex, work: Work, questions: Questions) -> Object:
    """The work, frozen, and the labelled questions. Its name tells what it has: that of a Job that somebody deleted is
    still there, cannot be changed, and may have had other values of what is in no key."""
    rows = "".join(json.dumps(one.row, ensure_ascii=False) + "\n" for one in questions)
    data = {works.WORK_FILE: work.dumps(), works.QUESTIONS_FILE: rows}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{job_name(index, work)}-in-{short(digest(data))}"},
        "immutable": True,
        "data": data,
    }


def build_job(index: VectorIndex, work: Work, given: str, settings: Settings) -> Object:
    """A disrupted pod does not count; a work that is wrong fails at once, as no retry helps; one writer at a time.
    `given`: the name of its input."""
    pod = _job_pod(index, work, given, settings)
    rules = [
        {"action": "FailJob", "onExitCodes": {"containerName": "index", "operator": "In",
                                              "values": [works.CONFIG_ERROR]}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]  # fmt: skip
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(index, work),
            "annotations": {WORK_KEY: work.parts.key, TOLD: told(index, work)},
        },
        "spec": {
            "backoffLimit": TRIES,
            "activeDeadlineSeconds": DEADLINE,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": rules},
            "template": {
                "metadata": {"labels": selector(index, BUILD)},
                "spec": abroad.with_token(pod, account_name(index)) if work.embedding.provider else pod,
            },
        },
    }


def _job_pod(index: VectorIndex, work: Work, given: str, settings: Settings) -> Object:
    report = names.qualified(index.metadata.namespace, job_name(index, work))
    mounts, volumes = _sources(index, work)
    api = "/var/run/secrets/kubernetes.io/serviceaccount"
    return {
        "restartPolicy": "Never",
        "serviceAccountName": account_name(index),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": RESTRICTED_POD,
        "containers": [
            {
                "name": "index",
                "image": settings.image_retrieval,
                "imagePullPolicy": settings.image_pull_policy,
                "args": ["index", "--work", "/etc/llmops/work", "--mounted", MOUNTED, "--scratch", "/scratch",
                         "--report", report],
                "env": [{"name": "OMP_NUM_THREADS", "value": "1"}, *credentials(index)],
                "resources": {"requests": {"cpu": "100m", "memory": LANGUAGES if work.languages else MEMORY},
                              "limits": {"memory": index.spec.build.memory}},
                "securityContext": RESTRICTED,
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [
                    {"name": INPUT, "mountPath": "/etc/llmops/work"}, *mounts, TMP,
                    {"name": "scratch", "mountPath": "/scratch"},
                    {"name": "api", "mountPath": api, "readOnly": True},
                ],
            }
        ],
        "volumes": [
            {"name": INPUT, "configMap": {"name": given}},
            *volumes,
            {"name": "tmp", "emptyDir": {}},
            {"name": "scratch", "emptyDir": {}},
            {"name": "api", "projected": {"sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            ]}},
        ],
    }  # fmt: skip


def _sources(index: VectorIndex, work: Work) -> tuple[list[Object], list[Object]]:
    """Mounts and volumes of what the kubelet brings: ConfigMaps, claims, and the keys to buckets and repositories."""
    mounts: list[Object] = []
    volumes: list[Object] = []

    def add(name: str, path: str, **volume: Object) -> None:
        mounts.append({"name": name, "mountPath": f"{MOUNTED}/{path}", "readOnly": True})
        volumes.append({"name": name, **volume})

    for at, (source, one) in enumerate(zip(index.spec.sources, work.sources, strict=True)):
        if source.config_map_ref is not None:
            add(f"source-{at}", f"sources/{one.name}", configMap={"name": source.config_map_ref.name})
        if one.kind == "pvc":
            add(f"source-{at}", f"sources/{one.name}", persistentVolumeClaim={"claimName": one.claim, "readOnly": True})
        if one.secret:
            # keys that are not there are not mounted: what the place answers then says it better than a pod that waits
            items = [{"key": key, "path": key} for key in KEYS[one.kind]]
            add(f"secret-{at}", f"secrets/{one.name}", secret={"secretName": one.secret, "items": items,
                                                               "optional": True})  # fmt: skip
    return mounts, volumes
