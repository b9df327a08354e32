"""The children that bring weights: a claim, the Job that fills it, or a container before each engine."""

from __future__ import annotations

import shlex
from typing import Any
from urllib.parse import urlsplit

from llmops.api.llmservice import ModelSource
from llmops.serving.observe import Seen
from llmops.serving.podspec import (
    PART,
    RESTRICTED,
    RESTRICTED_POD,
    TMP,
    build_placing,
    build_volumes,
    claim_name,
    selector,
)
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


def _also(one: Download, resolved: Resolved) -> str:
    return shlex.join(_fetched(one, resolved.hubs.get(urlsplit(one.uri).scheme, "")))


def _kept(seen: Seen, source: Source) -> list[str]:
    """Whose weights stay on a shared volume: the newest revisions', and always those that somebody is served."""
    if not source.shared or seen.model.cache is None:
        return []
    stable = (((seen.raw.get("status") or {}).get("stable")) or {}).get("digest")
    newest = sorted(seen.revisions, key=lambda one: str(one["metadata"].get("creationTimestamp")), reverse=True)
    last = newest[: seen.model.cache.keep_revisions - 1]
    served = {stable, *(one.digest for one in seen.pins)}
    kept = [*last, *(one for one in newest if one["spec"]["digest"] in served)]
    models = [
        ModelSource.model_validate(one["spec"]["content"]["model"])
        for one in kept
        if one["spec"]["content"].get("model")
    ]
    return [f"--keep={','.join(sorted(set[str]().union(folders(seen.model), *map(folders, models))))}"]


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
