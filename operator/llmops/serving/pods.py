"""What pods, Jobs and autoscalers say of themselves, turned into one sentence for the status. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from llmops.api.reasons import Reason
from llmops.serving.sources import FETCHER

Object = dict[str, Any]

PULLING = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
REFUSED = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
LAST_WORDS = 600


class Trouble(NamedTuple):
    """Why pods do not come up; `overdue` when waiting longer will not help."""

    reason: Reason
    message: str
    overdue: bool = False


def unscheduled(pods: Iterable[Object]) -> Trouble | None:
    """The scheduler's words for the first pod that found no node."""
    for pod in pods:
        for one in (pod.get("status") or {}).get("conditions") or []:
            if one["type"] == "PodScheduled" and one["status"] == "False":
                return Trouble(Reason.UNSCHEDULABLE, f"{_name(pod)}: {one.get('message') or 'no node fits'}")
    return None


def broken(pods: Iterable[Object]) -> Trouble | None:
    """A pod that cannot start: its image, its configuration, or why it ends again and again."""
    for pod in pods:
        for one in _containers(pod):
            waiting, ended = _state(one, "waiting"), _ended(one)
            if waiting.get("reason") in PULLING:
                told = f"{one['image']}: {waiting.get('message') or waiting['reason']}"
                return Trouble(Reason.IMAGE_NOT_PULLED, told)
            if waiting.get("reason") in REFUSED:
                return Trouble(Reason.CRASHING, f"{_name(pod)}: {waiting.get('message') or waiting['reason']}")
            if ended and not one.get("ready") and (one.get("restartCount") or waiting):
                return _ending(pod, ended)
    return None


def refused(deployment: Object | None) -> Trouble | None:
    """What the Deployment says: its pods are refused (quota, Pod Security), or took longer than they may."""
    said = {one["type"]: one for one in ((deployment or {}).get("status") or {}).get("conditions") or []}
    failure, progress = said.get("ReplicaFailure") or {}, said.get("Progressing") or {}
    if failure.get("status") == "True":
        words = str(failure.get("message"))
        if "exceeded quota" in words:
            way_out = "have the namespace's ResourceQuota raised, or lower spec.resources or spec.replicas"
            return Trouble(Reason.QUOTA_EXCEEDED, f"{words}: {way_out}")
        return Trouble(Reason.API_REFUSED, f"pods are refused: {words}")
    if progress.get("reason") == "ProgressDeadlineExceeded":
        told = "the pods did not become ready in time: look at their logs with kubectl logs"
        return Trouble(Reason.CRASHING, told, overdue=True)
    return None


def blind(autoscaler: Object | None) -> str | None:
    """Why an autoscaler cannot see the load: most often nothing in the cluster serves the engine's metrics."""
    for one in ((autoscaler or {}).get("status") or {}).get("conditions") or []:
        if one["type"] == "ScalingActive" and one["status"] == "False" and one.get("reason") != "ScalingDisabled":
            return f"its autoscaler does not see the load: {one.get('message')}"
    return None


def download_failed(job: Object | None, pods: Iterable[Object]) -> str | None:
    """The last words of a Job that gave up, and how to have it tried again."""
    for one in ((job or {}).get("status") or {}).get("conditions") or []:
        if job is not None and one["type"] in ("Failed", "FailureTarget") and one["status"] == "True":
            words = fetch_words(pods) or str(one.get("message") or one.get("reason"))
            return f"{words}; to try again as it is: kubectl delete job {job['metadata']['name']}"
    return None


def fetch_words(pods: Iterable[Object]) -> str:
    """The last line of the newest download that ended badly."""
    for pod in sorted(pods, key=lambda one: str(one["metadata"].get("creationTimestamp")), reverse=True):
        for one in _containers(pod):
            ended = _ended(one)
            if one["name"] == FETCHER and ended and (ended.get("message") or "").strip():
                return str(ended["message"]).strip().splitlines()[-1][-LAST_WORDS:]
    return ""


def fetching(pods: Iterable[Object]) -> bool:
    """A pod is downloading its own copy, or is about to."""
    return any(
        one["name"] == FETCHER and _state(one, "terminated").get("exitCode") != 0
        for pod in pods
        for one in (pod.get("status") or {}).get("initContainerStatuses") or []
    )


def _containers(pod: Object) -> Iterator[Object]:
    stated = pod.get("status") or {}
    yield from stated.get("initContainerStatuses") or []
    yield from stated.get("containerStatuses") or []


def _state(container: Object, word: str) -> Object:
    return (container.get("state") or {}).get(word) or {}


def _ended(container: Object) -> Object:
    """How it last ended, if it ended badly."""
    last = _state(container, "terminated") or (container.get("lastState") or {}).get("terminated") or {}
    return last if last.get("exitCode") else {}


def _ending(pod: Object, ended: Object) -> Trouble:
    if ended.get("reason") == "OOMKilled":
        told = f"{_name(pod)} needed more memory than its limit: raise spec.resources.limits.memory"
        return Trouble(Reason.OUT_OF_MEMORY, told)
    words = (ended.get("message") or "it said nothing").strip()[-LAST_WORDS:]
    return Trouble(Reason.CRASHING, f"{_name(pod)} ended with status {ended.get('exitCode', '?')}: {words}")


def _name(pod: Object) -> str:
    return str(pod["metadata"]["name"])
