"""What makes another model of a service: the fields that change its answers or its pods, frozen in a Revision.

Replicas, limits, pricing, access and the like are not among them: they change in place. What the operator resolves (the
image, the number of accelerators, the image that downloads) is resolved once, when the Revision is made, so that an
operator with other defaults rolls nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from llmops.api import LLMService, Settings, names
from llmops.api.digest import digest, short
from llmops.kube.resources import LLM_SERVICE, REVISION
from llmops.serving.engines import ENGINES
from llmops.serving.sizing import Sized, slots
from llmops.serving.sources import scheme

Object = dict[str, Any]

NOTE = "llmops.dev/revision"
"""Annotation of pods: which revision's they are; revisions that differ in adapters only may have the same pods."""
HISTORY = 10
"""Retired revisions kept of a service."""


@dataclass(frozen=True)
class Resolved:
    """What the operator decided where the spec left it open."""

    image: str
    fetch_image: str
    sized: Sized
    hub: str = ""  # the address behind hf://, s3:// or gs://, where the model comes from there
    hubs: Mapping[str, str] = field(default_factory=dict)  # the same of adapters, by scheme
    image_volume: bool = False  # the kubelet mounts the model's image; else its files are downloaded
    slots: int = 0  # adapters that pods have room for; they are loaded into them as they run
    note: str = ""  # what its pods are noted as, if not as its own

    @property
    def accelerators(self) -> int:
        return self.sized.count or 0

    def wire(self) -> Object:
        hub: Object = {"hub": self.hub} if self.hub else {}
        hub |= {"hubs": dict(self.hubs)} if self.hubs else {}
        hub |= {"imageVolume": True} if self.image_volume else {}
        hub |= {"slots": self.slots, "note": self.note} if self.slots else {}
        decided = {"image": self.image, "fetchImage": self.fetch_image, "accelerators": self.accelerators}
        return {**decided, "sizing": self.sized.wire(), **hub}

    @staticmethod
    def of(frozen: Object) -> Resolved:
        """Revisions of before sizing was frozen have the count alone: their pods stay as they were made."""
        count = frozen["accelerators"]
        sized = Sized.of(frozen["sizing"]) if "sizing" in frozen else Sized(count, "as it was made", tensor=count)
        hub, hubs, mounted = frozen.get("hub", ""), frozen.get("hubs", {}), frozen.get("imageVolume", False)
        taught = frozen.get("slots", 0), frozen.get("note", "")
        return Resolved(frozen["image"], frozen["fetchImage"], sized, hub, hubs, mounted, *taught)


def content_digest(service: LLMService) -> str:
    """64 hexadecimal characters over what matters, as written: a default that changes later is not in it."""
    return digest(_content(service))


def _content(service: LLMService) -> Object:
    spec = service.spec
    parts = {"model": spec.model, "external": spec.external, "engine": spec.engine, "accelerator": spec.accelerator}
    content = {name: part.essence() for name, part in parts.items() if part is not None}
    model = content.get("model") or {}
    model.pop("license", None)  # accepting it changes no answer, nor does what is kept of others
    model.get("cache", {}).pop("keepRevisions", None)
    return content | ({"podTemplate": spec.pod_template} if spec.pod_template else {})


def frozen(revision: Object | None) -> Object:
    """What was resolved as the Revision was made; {} without one."""
    found: Object = ((revision or {}).get("spec") or {}).get("content", {}).get("resolved") or {}
    return found


def resolve(service: LLMService, settings: Settings, sized: Sized) -> Resolved:
    """Anew, where there is no Revision yet."""
    engine, model = service.spec.engine, service.spec.model
    assert engine is not None
    assert model is not None
    image = engine.image or str(getattr(settings, ENGINES[engine.type].setting))
    stores = {"hf": settings.hub_url, "s3": settings.s3_url, "gs": settings.gs_url, "oci": settings.oci_url}
    behind = {name: address.rstrip("/") for name, address in stores.items()}
    hubs = {name: behind[name] for name in {scheme(one) for one in model.adapters} if name in behind}
    mounted = settings.image_volumes and scheme(model) == "oci" and model.cache is None
    return Resolved(image, settings.image_operator, sized, behind.get(scheme(model), ""), hubs, mounted)


def note(revisions: Iterable[Object], digest: str) -> str:
    """What the pods of the revision with this digest are noted as."""
    kept = next((one for one in revisions if one["spec"]["digest"] == digest), None)
    return str(frozen(kept).get("note") or digest[:10])


def taught(service: LLMService, resolved: Resolved, revisions: Iterable[Object]) -> Resolved:
    """With adapters that are loaded as pods run: the pods of a revision that differs in nothing else are kept."""
    whole, model = _pods_digest(_content(service)), service.spec.model
    assert model is not None
    for one in sorted(revisions, key=lambda one: str(one["metadata"].get("creationTimestamp")), reverse=True):
        has = frozen(one)
        if has.get("slots") and has["slots"] >= len(model.adapters) and _pods_digest(one["spec"]["content"]) == whole:
            before = Resolved.of(has)
            return replace(before, hubs={**resolved.hubs, **before.hubs})
    room = slots(len(model.adapters))
    return replace(resolved, slots=room, note=short(whole)) if room else resolved


def _pods_digest(content: Object) -> str:
    model = {key: value for key, value in content.get("model", {}).items() if key != "adapters"}
    rest = {key: value for key, value in content.items() if key not in ("model", "resolved")}
    return digest({"kind": "pods with adapters", "model": model, **rest})


def build(service: LLMService, resolved: Resolved | None) -> Object:
    """The Revision of the spec as it is now; nothing is resolved for a model that somebody else serves."""
    whole, name = content_digest(service), service.metadata.name
    content = {**_content(service), **({"resolved": resolved.wire()} if resolved else {})}
    spec = {"ofKind": LLM_SERVICE.kind, "ofName": name, "digest": whole, "content": content}
    return _labelled(f"{name}-llm-{short(whole)}", spec, "stable")


def retired(revisions: Iterable[Object], current: str) -> list[Object]:
    """The others, newest first, no more than HISTORY; who is not among them is pruned."""
    others = [one for one in revisions if one["metadata"]["name"] != current]
    others.sort(key=lambda one: str(one["metadata"].get("creationTimestamp")), reverse=True)
    return [_labelled(one["metadata"]["name"], one["spec"], "retired") for one in others[:HISTORY]]


def again(revision: Object) -> Object:
    """One that exists already, as it was made: its content is immutable, only its label can change."""
    return _labelled(revision["metadata"]["name"], revision["spec"], "stable")


def _labelled(name: str, spec: Object, state: str) -> Object:
    metadata = {"name": name, "labels": {names.STATE: state}}
    return {"apiVersion": REVISION.api_version, "kind": REVISION.kind, "metadata": metadata, "spec": spec}
