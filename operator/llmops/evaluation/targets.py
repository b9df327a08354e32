"""What a target is made of right now: a name in the spec -> an Arm whose identity is a digest, or what is missing.

Names move (`stable` is another version tomorrow), so the run's key is made of what they mean at this moment: a prompt's
Revision and its service's, a service's Revision, an index's generation. Reads objects through the function it is given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from llmops.api import digest, names
from llmops.evaluation.run import Arm, Price
from llmops.kube.resources import LLM_SERVICE, PROMPT_RELEASE, REVISION, VECTOR_INDEX, Resource

Raw = Mapping[str, Any]


class Reader(Protocol):
    """What of the cluster is read here."""

    def get(self, resource: Resource, namespace: str | None, name: str) -> dict[str, Any] | None:
        """One object from the cache."""

    def list(
        self, resource: Resource, namespace: str | None = None, labels: dict[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """Objects from the cache."""


@dataclass(frozen=True)
class Missing:
    """Why there is nobody to ask yet."""

    sentence: str


@dataclass(frozen=True)
class Resolved:
    """An arm, and the fields that every row must have because the prompt requires them."""

    arm: Arm
    needs: tuple[str, ...] = ()

    def seeing(self, groups: Sequence[str], tenant: str | None = None) -> Resolved:
        """The same as members of these groups meet it, with this tenant's documents; only prompts find documents."""
        who: dict[str, Any] = {"groups": sorted(groups)} if groups else {}
        who |= {"tenant": tenant} if tenant else {}
        if not who or self.arm.prompt is None:
            return self
        identity = digest({"arm": self.arm.identity, **who})
        return replace(self, arm=replace(self.arm, prompt={**self.arm.prompt, **who}, identity=identity))


def resolve(target: Raw, namespace: str, reader: Reader, url: str, input_field: str = "input") -> Resolved | Missing:
    """The arm for a spec's `target` or `baseline` (as on the wire); `url` is the gateway's."""
    if "serviceRef" in target:
        return _service_arm(target["serviceRef"], namespace, reader, url)
    if "promptRef" in target:
        return _prompt_arm(target["promptRef"], namespace, reader, url, input_field)
    identity = digest({"url": target["url"], "model": target["model"]})
    why = "spec.target is an address, so what an answer costs is not known: name an LLMService with spec.pricing"
    return Resolved(Arm(target["url"], target["model"], identity, unpriced=why))


def _service_arm(reference: Raw, namespace: str, reader: Reader, url: str) -> Resolved | Missing:
    name, revision, adapter = reference["name"], reference.get("revision"), reference.get("adapter")
    lacks = _lacks(name, adapter, namespace, reader) if adapter else None
    if lacks is not None:
        return lacks
    if revision:
        found = _revision_arm(name, adapter, revision, namespace, reader, url)
        return found if isinstance(found, Missing) else _priced(found, name, namespace, reader)
    identity = _service(name, namespace, reader)
    if isinstance(identity, Missing):
        return identity
    return _priced(Resolved(_arm(url, names.qualified(namespace, name), adapter, identity)), name, namespace, reader)


def _priced(found: Resolved, service: str, namespace: str, reader: Reader) -> Resolved:
    """With what its tokens cost, or why nobody knows."""
    spec = (reader.get(LLM_SERVICE, namespace, service) or {}).get("spec") or {}
    pricing = spec.get("pricing")
    if not pricing:
        why = f"LLMService {namespace}/{service} has no spec.pricing, so what an answer costs is not known"
        return replace(found, arm=replace(found.arm, unpriced=why))
    price = Price(
        float(pricing.get("inputPerMillionTokens") or 0),
        float(pricing.get("outputPerMillionTokens") or 0),
        str(pricing.get("currency") or "USD"),
    )
    return replace(found, arm=replace(found.arm, price=price))


def _arm(url: str, model: str, adapter: str | None, identity: str, revision: str = "") -> Arm:
    if adapter is None:
        return Arm(url, f"{model}{revision}", identity, token=True)
    return Arm(url, f"{model}:{adapter}{revision}", digest({"service": identity, "adapter": adapter}), token=True)


def _lacks(name: str, adapter: str, namespace: str, reader: Reader) -> Missing | None:
    """Whether no pods answer as this adapter."""
    status = (reader.get(LLM_SERVICE, namespace, name) or {}).get("status") or {}
    has = {one for arm in ("stable", "candidate") for one in (status.get(arm) or {}).get("adapters") or []}
    if adapter in has:
        return None
    return Missing(f"LLMService {namespace}/{name} has no pods with an adapter {adapter}; name one of its status")


def _revision_arm(
    name: str, adapter: str | None, wanted: str, namespace: str, reader: Reader, url: str
) -> Resolved | Missing:
    """The door knows the two that have pods; which of them that is stands in the service's status."""
    service = reader.get(LLM_SERVICE, namespace, name)
    status = (service or {}).get("status") or {}
    for arm in ("stable", "candidate"):
        found = str((status.get(arm) or {}).get("digest") or "")
        if found.startswith(wanted):
            return Resolved(_arm(url, names.qualified(namespace, name), adapter, found, f"@{found}"))
    return Missing(f"LLMService {namespace}/{name} has no pods of revision {wanted}; name one of its status")


def _service(name: str, namespace: str, reader: Reader) -> str | Missing:
    """The digest of what answers for a service: that of its stable Revision."""
    service = reader.get(LLM_SERVICE, namespace, name)
    if service is None:
        return Missing(f"LLMService {namespace}/{name} does not exist; create it or name another")
    if not _is(service, "Available"):
        return Missing(f"LLMService {namespace}/{name} is not Available yet{_why(service, 'Available')}")
    stable = (service.get("status") or {}).get("stable") or {}
    if revision := reader.get(REVISION, namespace, stable.get("revision", "")):
        return str(revision["spec"]["digest"])
    spec = service["spec"]
    return str(stable.get("digest") or digest({part: spec.get(part) for part in ("model", "engine", "external")}))


def _prompt_arm(reference: Raw, namespace: str, reader: Reader, url: str, input_field: str) -> Resolved | Missing:
    name, version = reference["name"], reference.get("version") or "stable"
    release = reader.get(PROMPT_RELEASE, namespace, name)
    if release is None:
        return Missing(f"PromptRelease {namespace}/{name} does not exist; create it or name another")
    revision = _revision(release, version, namespace, reader)
    if isinstance(revision, Missing):
        return revision
    content, prompt = revision["spec"].get("content") or {}, str(revision["spec"]["digest"])
    service = _service(content["serviceRef"]["name"], namespace, reader) if content.get("serviceRef") else ""
    index = _index(content["indexRef"]["name"], namespace, reader) if content.get("indexRef") else ""
    for part in (service, index):
        if isinstance(part, Missing):
            return part
    schema = content.get("variables") or {}
    declared, required = schema.get("properties") or {}, schema.get("required") or []
    retrieved = (content.get("indexRef") or {}).get("variable")
    asked = _input_variable(required, declared, input_field, retrieved)
    model = names.qualified(namespace, name)
    arm = Arm(
        url,
        model,
        digest({"prompt": prompt, "service": service, "index": index}),
        prompt={"id": model, "version": prompt},
        variables=tuple(sorted(set(declared) - {asked, retrieved})),
        input_variable=asked,
        token=True,
    )
    resolved = Resolved(arm, tuple(sorted(set(required) - {asked, retrieved})))
    asks = (content.get("serviceRef") or {}).get("name")
    return _priced(resolved, asks, namespace, reader) if asks else resolved


def _input_variable(required: Sequence[str], declared: Raw, input_field: str, retrieved: str | None) -> str | None:
    """The variable that takes a row's input: its field's name, or input, or the only required one."""
    for name in (input_field, "input"):
        if name in declared:
            return name
    others = [name for name in required if name != retrieved]
    return others[0] if len(others) == 1 else None


def _revision(release: Raw, version: str, namespace: str, reader: Reader) -> Raw | Missing:
    """The Revision that a version means: stable, candidate, a digest or the beginning of one, or people's label."""
    name, status = release["metadata"]["name"], release.get("status") or {}
    if version in ("stable", "candidate"):
        wanted = (status.get(version) or {}).get("digest")
        if not wanted:
            return Missing(f"PromptRelease {namespace}/{name} has no {version} version yet")
        version = str(wanted)
    revisions = reader.list(REVISION, namespace, names.labels("PromptRelease", name))
    found = [one for one in revisions if _is_version(one["spec"], version)]
    if len({one["spec"]["digest"] for one in found}) > 1:
        return Missing(
            f"{len(found)} revisions of PromptRelease {namespace}/{name} are called {version}; write the digest instead"
        )
    return found[0] if found else Missing(f"PromptRelease {namespace}/{name} has no version {version}")


def _is_version(spec: Raw, version: str) -> bool:
    beginning = re.fullmatch("[0-9a-f]{8,64}", version) is not None and str(spec["digest"]).startswith(version)
    return beginning or spec.get("version") == version


def _index(name: str, namespace: str, reader: Reader) -> str | Missing:
    """The generation that answers queries."""
    index = reader.get(VECTOR_INDEX, namespace, name)
    if index is None:
        return Missing(f"VectorIndex {namespace}/{name} does not exist; create it or remove indexRef")
    generation = (index.get("status") or {}).get("generation") or {}
    if not generation.get("active"):
        return Missing(f"VectorIndex {namespace}/{name} has no active generation yet")
    return str(generation["active"])


def _is(thing: Raw, condition: str) -> bool:
    return any(one["type"] == condition and one["status"] == "True" for one in _conditions(thing))


def _why(thing: Raw, condition: str) -> str:
    told = next((one.get("message") for one in _conditions(thing) if one["type"] == condition), None)
    return f": {told}" if told else ""


def _conditions(thing: Raw) -> Sequence[Raw]:
    return (thing.get("status") or {}).get("conditions") or []
