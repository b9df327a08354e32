"""The first container of an engine's pod, which makes its volume ready for its image (retrieval/volume/), and what the
cluster says of both.

Its own image is the operator's, and that one changes with every upgrade of the operator, for which no engine is to be
restarted. So while an engine's image stays, its pod keeps the first container that it has: the image and the arguments
of the Deployment that is there, or none where an operator of before made it. The hazard: that older image must still be
had when the pod is started on another node. Where it cannot be pulled, or the container fails by anything else, nothing
runs that a change could disturb, and it is made anew with the operator's image of today.

An image that is refused (no room for a backup) does not end what is served: the Deployment goes back to the image that
the volume is open to, and the refused one is tried again when something is different: the volume's size, spec.engine.
backup, or the annotation llmops.dev/retry. That costs two starts of the engine. No operator can know beforehand what is
free on a volume: only who mounts it can, and to have the kubelet asked would take rights to everything on a node.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from llmops.api import Reason, Settings, VectorIndex, digest, names, short
from llmops.kube.resources import DEPLOYMENT, POD, PVC, Object
from llmops.retrieval.engines.waits import STARTING, Live, Waits
from llmops.retrieval.pods import RESTRICTED, selector

NAME, ENGINE = "volume", "engine"
MOUNT = "/volume"
GIB = 2**30


@dataclass(frozen=True)
class Refusal:
    """`image` was not let open the volume, which is open to `was`; `asked`: what was known then."""

    image: str
    was: str
    sentence: str
    asked: str


@dataclass(frozen=True)
class Standing:
    """What is there of an engine that we run. `opened`, `restored`, `began` and `refusal` outlive their pod in the
    index's status; a refusal is one of the image that is wanted now, by what is known now."""

    name: str = ""  # of its Deployment
    image: str = ""  # which that one runs
    opener: tuple[str, tuple[str, ...]] | None = None  # image and arguments of its first container
    at_work: bool = False
    opened: str = ""  # the image that its volume was last made ready for
    starved: str = ""  # the memory that its engine was ended for wanting more than
    fails: str = ""
    restored: str = ""  # names the last time that its data went back to what they had been
    went_back: bool = False  # since what is served was built
    began: str = ""  # names the last time that its volume was empty
    emptied: bool = False  # since what is served was built
    refusal: Refusal | None = None
    backup: str = ""
    asked: str = ""

    @property
    def lost(self) -> bool:
        """Whether not all that was built is there."""
        return self.went_back or self.emptied

    def told(self) -> dict[str, Any]:
        """For the index's memory."""
        refusal = asdict(self.refusal) if self.refusal else None
        kept = {
            "of": self.name, "opened": self.opened, "restored": self.restored, "began": self.began, "refusal": refusal,
        }  # fmt: skip
        return {name: value for name, value in kept.items() if value}


NOT_OURS = Standing()


def observe(index: VectorIndex, name: str, word: str, wanted: str, live: Live) -> Standing:
    """Of the Deployment `name`, whose pods are labelled `word`, and which is to run the image `wanted`."""
    namespace = index.metadata.namespace
    deployment = live.get(DEPLOYMENT, namespace, name)
    pod = ((((deployment or {}).get("spec") or {}).get("template") or {}).get("spec")) or {}
    image = _container(pod, "containers", ENGINE).get("image", "")
    first = _container(pod, "initContainers", NAME)
    there = [one for one in live.list(POD, namespace, selector(index, word)) if _is_for(one) == image]
    newest = max(there, key=lambda one: str(one["metadata"].get("creationTimestamp")), default={})
    whole = (index.status.memory if index.status else None) or {}
    memory = whole.get("engine") or {}
    memory = memory if memory.get("of") == name else {}
    state, said = _state(newest)
    refusal, asked = _refusal(said, memory), _asked(index, live.get(PVC, namespace, name))
    restored, began = (said.get(one, memory.get(one, "")) for one in ("restored", "began"))
    return Standing(
        name=name, image=image,
        opener=(first["image"], tuple(first.get("args") or ())) if first else None,
        at_work="running" in state,
        opened=image if not first or state["ended"].get("exitCode") == 0 else memory.get("opened", ""),
        starved=_starved(newest), fails=_fails(state, said),
        restored=restored, went_back=restored not in ("", whole.get("restored")),
        began=began, emptied=began not in ("", whole.get("began")),
        refusal=refusal if refusal and (refusal.image, refusal.asked) == (wanted, asked) else None,
        backup=_backup(said), asked=asked,
    )  # fmt: skip


def told(waits: Waits | None, standing: Standing) -> Waits | None:
    """Why an engine does not answer, where it is known here better."""
    if waits != STARTING:
        return waits
    if standing.refusal:
        return Waits(standing.refusal.sentence, Reason.ENGINE_REFUSED)
    if standing.fails:
        return Waits(standing.fails)
    if standing.starved:
        return Waits(
            f"it needed more memory than {standing.starved} and was ended: raise spec.engine.resources.limits.memory"
        )
    if standing.at_work:
        return Waits(f"its volume is made ready for image {standing.image}: what another wrote is saved, or put back")
    return STARTING


def build(index: VectorIndex, image: str, standing: Standing, settings: Settings) -> list[Object]:
    """Before an engine of this image; as it is where that image stays."""
    stays = standing.image == image and not standing.fails
    chosen = standing.opener if stays else (settings.image_operator, _arguments(index, image, standing))
    return [_build(*chosen, settings)] if chosen else []


def _build(image: str, arguments: tuple[str, ...], settings: Settings) -> Object:
    return {
        "name": NAME,
        "image": image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["python", "-m", "llmops.retrieval.volume"],
        "args": list(arguments),
        "resources": {"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": RESTRICTED,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "data", "mountPath": MOUNT}],
    }


def _arguments(index: VectorIndex, image: str, standing: Standing) -> tuple[str, ...]:
    before = standing.image if standing.opener is None else _argument(standing.opener[1], "--was")
    return (
        f"--volume={MOUNT}", f"--image={image}", f"--asked={standing.asked}", *([f"--was={before}"] if before else []),
        *(["--without-backup"] if index.spec.engine.backup == "Never" else []),
    )  # fmt: skip


def _argument(given: tuple[str, ...], name: str) -> str:
    return next((one.removeprefix(f"{name}=") for one in given if one.startswith(f"{name}=")), "")


def _asked(index: VectorIndex, claim: Object | None) -> str:
    """What lets a refused image be tried again."""
    room = (((claim or {}).get("status") or {}).get("capacity") or {}).get("storage", "")
    retry = (index.metadata.annotations or {}).get(names.RETRY, "")
    return short(digest({"room": room, "backup": index.spec.engine.backup, "retry": retry}))


def _container(pod: Object, kind: str, name: str) -> Object:
    return next((one for one in pod.get(kind) or [] if one["name"] == name), {})


def _is_for(pod: Object) -> str:
    """The image that a pod is to run, as it was written; what it runs may be called otherwise, where a webhook has
    every image pulled from a mirror."""
    first = _container(pod["spec"], "initContainers", NAME)
    written = _argument(tuple(first.get("args") or ()), "--image")
    return written or str(_container(pod["spec"], "containers", ENGINE).get("image", ""))


def _starved(pod: Object) -> str:
    """The limit of an engine that was ended by it, and has not been ready since."""
    status = _container(pod.get("status") or {}, "containerStatuses", ENGINE)
    ends = [(status.get(one) or {}).get("terminated") or {} for one in ("state", "lastState")]
    if status.get("ready") or not any(one.get("reason") == "OOMKilled" for one in ends):
        return ""
    return str(_container(pod["spec"], "containers", ENGINE)["resources"]["limits"]["memory"])


def _state(pod: Object) -> tuple[Object, Mapping[str, Any]]:
    """Of the pod's first container: its state, and what it said when it last ended."""
    status = _container(pod.get("status") or {}, "initContainerStatuses", NAME)
    state = status.get("state") or {}
    ended = state.get("terminated") or (status.get("lastState") or {}).get("terminated") or {}
    try:
        said = json.loads(ended.get("message") or "{}")
    except ValueError:
        said = {}  # Python's own last words
    return {**state, "ended": ended}, said if isinstance(said, dict) else {}


def _fails(state: Object, said: Mapping[str, Any]) -> str:
    waiting, ended = state.get("waiting") or {}, state["ended"]
    if waiting.get("reason", "PodInitializing") not in ("PodInitializing", "ContainerCreating", "CrashLoopBackOff"):
        return f"its volume cannot be looked at: {waiting['reason']}: {waiting.get('message', '')}"
    if not ended.get("exitCode") or "running" in state:
        return ""
    words = said.get("refused") or said.get("failed")
    return words or f"its volume cannot be looked at: {str(ended.get('message') or ended.get('reason'))[-600:]}"


def _refusal(said: Mapping[str, Any], memory: Mapping[str, Any]) -> Refusal | None:
    if "refused" in said:
        return Refusal(said["image"], said["was"], said["refused"], said["asked"])
    if said.get("image") == (memory.get("refusal") or {}).get("image"):
        return None  # tried again, and let in
    return Refusal(**memory["refusal"]) if memory.get("refusal") else None


def _backup(said: Mapping[str, Any]) -> str:
    one = said.get("backup")
    if not one:
        return ""
    at = datetime.fromtimestamp(one["at"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    whose = f"image {one['image']}" if one["image"] else "an image of before"
    return f"what {whose} wrote until {at} is kept on its volume ({one['bytes'] / GIB:.2f} GiB)"
