"""`llmops promote prel NAME --to-namespace NAMESPACE`: the patch that makes the other release the same. Writes nothing.

Environments are namespaces, and Git says what is in them: what was released in one is promoted by committing the patch
for the other. The digest is the same on both sides, so what is released there is what was released here. How it reaches
users (rollout, access) is each environment's own, and is not in the patch.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import yaml

from llmops.api import PromptRelease
from llmops.api.common import KubernetesObject
from llmops.desk.change import CONTENT
from llmops.desk.objects import Unknown, resource
from llmops.desk.patch import digest_after, toward, written
from llmops.kube.client import Client
from llmops.kube.errors import Forbidden, NotFound
from llmops.kube.resources import LLM_SERVICE, PROMPT_RELEASE, VECTOR_INDEX, Object, Resource
from llmops.release.content import FIELDS, content, content_digest


async def promote(kind: type[KubernetesObject], namespace: str, name: str, to: str, offline: bool) -> int:
    """0 with the patch on stdout, or where nothing is to be done; 1 where something it refers to is not there."""
    if kind is not PromptRelease:
        raise Unknown(f"promote is for a PromptRelease; the others ({kind.KIND}) are applied in each namespace")
    if to == namespace:
        raise Unknown(f"{name} is in {to} already: write another namespace with --to-namespace, or its own with -n")
    async with await Client.connect() as client:
        one = await client.get(resource(kind), namespace, name)
        digest = proven(one)
        target = None if offline else await _asked(client, PROMPT_RELEASE, to, name)
        if target and ((target.get("status") or {}).get("stable") or {}).get("digest") == digest:
            print(f"PromptRelease {to}/{name}: {one['spec']['version']} ({digest[:10]}) is stable there already")
            return 0
        missing = [] if offline else [found async for found in _missing(client, to, one["spec"])]
    for what in missing:
        print(f"llmops: {what} does not exist: create it first, or write --offline not to ask", file=sys.stderr)
    if missing:
        return 1
    if target == {}:
        print(f"llmops: there is no PromptRelease {to}/{name} yet: its base needs a rollout", file=sys.stderr)
    print(printed(one, digest, to, target), end="")
    return 0


async def _asked(client: Client, what: Resource, namespace: str, name: str) -> Object | None:
    """The object; {} where there is none, None where it cannot be asked for."""
    try:
        return await client.get(what, namespace, name)
    except NotFound:
        return {}
    except Forbidden as refused:
        print(f"llmops: {what.kind} {namespace}/{name} cannot be asked for: {refused}", file=sys.stderr)
        return None


async def _missing(client: Client, namespace: str, spec: Object) -> AsyncIterator[str]:
    for what, name in references(spec):
        if await _asked(client, what, namespace, name) == {}:
            yield f"{what.kind} {namespace}/{name}"


# --- pure


def proven(one: Object) -> str:
    """The digest of the spec's content, if users have exactly that; Unknown says what they have instead."""
    release = PromptRelease.parse(one)
    status, digest = release.status, content_digest(release)
    stable = status.stable if status else None
    current = status is not None and status.observed_generation == release.metadata.generation
    if status is None or not current or status.phase != "Released" or stable is None or stable.digest != digest:
        phase = status.phase if status and current else "not looked at yet"
        has = f"users have {stable.version} ({(stable.digest or '')[:10]})" if stable else "nothing was released"
        raise Unknown(
            f"PromptRelease {release.qualified}: {release.spec.version} ({digest[:10]}) is {phase}, and {has}: "
            f"promote it once it is Released (llmops wait prel {release.metadata.name} -n {release.metadata.namespace} "
            "--for phase=Released)"
        )
    return digest


def references(spec: Object) -> list[tuple[Resource, str]]:
    """What of the namespace the content needs, each once."""
    found = [(what, ref["name"]) for part in _parts(spec) for what, ref in part if ref]
    return list(dict.fromkeys(found))


def _parts(spec: Object) -> Iterator[list[tuple[Resource, Any]]]:
    yield [(LLM_SERVICE, spec.get("serviceRef")), (VECTOR_INDEX, spec.get("indexRef"))]
    for step in spec.get("steps") or []:
        fallback = step.get("fallback") or {}
        yield [(LLM_SERVICE, step.get("serviceRef")), (LLM_SERVICE, fallback.get("serviceRef"))]


def printed(one: Object, digest: str, namespace: str, target: Object | None) -> str:
    """The patch as YAML, with its digest below; read again and tried on the target before it is let out.

    Of a target that is known, what it has besides is set to null. Of one that is not, every field of the content that
    is absent here is: but what somebody wrote there inside variables or response.schema is not known.
    """
    release = PromptRelease.parse(one)
    wanted = content(release)
    if target is None:
        wanted = _with_nulls(release, wanted)
    elif target:
        wanted = toward({name: target["spec"][name] for name in _CONTENT if name in target["spec"]}, wanted)
    patch = {
        "apiVersion": one["apiVersion"],
        "kind": one["kind"],
        "metadata": {"name": release.metadata.name, "namespace": namespace},
        "spec": {"version": release.spec.version, **wanted},
    }
    text = written(patch)
    found = digest_after(target or {}, yaml.safe_load(text))
    if found != digest:
        raise Unknown(
            f"the patch would give {found[:10]}, not {digest[:10]}: this is a fault of llmops, please report it"
        )
    return f"{text}# digest: {digest}\n"


_CONTENT = CONTENT[PromptRelease.KIND]


def _with_nulls(release: PromptRelease, wanted: Object) -> Object:
    """Lists are replaced whole by any patch, so only what is in maps can be left over."""
    every: Object = release.spec.model_dump(include=FIELDS, by_alias=True, mode="json")
    return {name: wanted[name] if isinstance(value, list) else value for name, value in every.items()}
