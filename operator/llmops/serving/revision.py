"""What makes another model of a service: the fields that change its answers or its pods, frozen in a Revision.

Replicas, limits, pricing, access and the like are not among them: they change in place. The image is resolved once,
when the Revision is made, so that an operator with another default rolls nothing.
"""

from __future__ import annotations

from typing import Any

from llmops.api import LLMService, Settings, names
from llmops.api.digest import digest, short
from llmops.kube.resources import LLM_SERVICE, REVISION
from llmops.serving.engines import ENGINES

Object = dict[str, Any]


def content_digest(service: LLMService) -> str:
    """64 hexadecimal characters over what matters, as written: a default that changes later is not in it."""
    return digest(_content(service))


def _content(service: LLMService) -> Object:
    spec = service.spec
    parts = {"model": spec.model, "external": spec.external, "engine": spec.engine, "accelerator": spec.accelerator}
    content = {name: part.essence() for name, part in parts.items() if part is not None}
    (content.get("model") or {}).pop("license", None)  # accepting it changes no answer
    return content | ({"podTemplate": spec.pod_template} if spec.pod_template else {})


def build(service: LLMService, settings: Settings) -> Object:
    """The Revision to create; its content has the image resolved."""
    content, whole = _content(service), content_digest(service)
    name = service.metadata.name
    if "engine" in content:
        content["engine"] = {**content["engine"], "image": default_image(service, settings)}
    return {
        "apiVersion": REVISION.api_version,
        "kind": REVISION.kind,
        "metadata": {"name": f"{name}-llm-{short(whole)}", "labels": {names.STATE: "stable"}},
        "spec": {"ofKind": LLM_SERVICE.kind, "ofName": name, "digest": whole, "content": content},
    }


def default_image(service: LLMService, settings: Settings) -> str:
    engine = service.spec.engine
    assert engine is not None
    if engine.image:
        return engine.image
    known = ENGINES.get(engine.type)
    return str(getattr(settings, known.setting)) if known else ""
