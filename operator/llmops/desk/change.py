"""`llmops diff` says what applying would start; `approve`, `retry` and `abort` write the annotation that means it."""

from __future__ import annotations

import copy
import difflib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from llmops.api import names
from llmops.api.admission import defaulted, is_ours, judge
from llmops.api.common import KubernetesObject
from llmops.api.crd import root
from llmops.desk.objects import Unknown, kind_named, resource
from llmops.kube.client import Client
from llmops.kube.errors import NotFound
from llmops.kube.resources import Object

CONTENT = {
    "PromptRelease": ("serviceRef", "indexRef", "messages", "steps", "variables", "parameters", "response"),
    "LLMService": ("model", "external", "engine", "accelerator", "podTemplate"),
}
"""The fields whose change makes a new revision."""


async def diff(files: list[str], namespace: str) -> int:
    """0 when nothing would change, 1 when something would, 2 when something would be refused."""
    async with await Client.connect() as client:
        return max([await _diff(client, given, namespace) for given in _ours(files)], default=0)


def _ours(files: list[str]) -> list[Object]:
    texts = [Path(name).read_text(encoding="utf-8") for name in files]
    return [given for text in texts for given in yaml.safe_load_all(text) if is_ours(given)]


async def _diff(client: Client, given: Object, namespace: str) -> int:
    refusals = judge(given)
    for refusal in refusals:
        print(refusal)
    if refusals:
        return 2
    kind, name = kind_named(given["kind"]), given["metadata"]["name"]
    namespace = given["metadata"].get("namespace", namespace)
    wanted = defaulted(copy.deepcopy(given), root(kind))["spec"]
    try:
        present = (await client.get(resource(kind), namespace, name))["spec"]
    except NotFound:
        print(f"{kind.KIND} {namespace}/{name}: new")
        return 1
    lines = list(difflib.unified_diff(_lines(present), _lines(wanted), "cluster", "file", lineterm="", n=2))
    if not lines:
        return 0
    print(f"{kind.KIND} {namespace}/{name}: {consequence(kind.KIND, present, wanted)}", *lines, sep="\n")
    return 1


def consequence(kind: str, present: Object, wanted: Object) -> str:
    """What applying the change would start."""
    content = [field for field in CONTENT.get(kind, ()) if present.get(field) != wanted.get(field)]
    if content:
        return f"a new revision, since {', '.join(content)} changes"
    return "changes in place; no new revision"


def _lines(spec: Any) -> list[str]:
    text: str = yaml.safe_dump(spec, sort_keys=True, allow_unicode=True)
    return text.splitlines()


async def annotate(kind: type[KubernetesObject], namespace: str, name: str, verb: str) -> int:
    """Approve, retry or abort exactly what the status shows now."""
    async with await Client.connect() as client:
        one = await client.get(resource(kind), namespace, name)
        annotation, value = spoken_of(one, verb)
        metadata = {"annotations": {annotation: value}, "resourceVersion": one["metadata"]["resourceVersion"]}
        await client.patch(resource(kind), namespace, name, {"metadata": metadata})
    print(f"{kind.KIND} {namespace}/{name}: {annotation}={value}")
    return 0


def spoken_of(one: Object, verb: str) -> tuple[str, str]:
    """The annotation and its value: digest, attempt and (for an approval) step, so that a stale one does nothing."""
    status = one.get("status") or {}
    if verb == "approve" and status.get("phase") == "AwaitingApproval":  # an index, before it embeds
        return names.APPROVE, status["generation"]["buildingDigest"]
    if verb == "retry" and one.get("kind") == "VectorIndex":  # what failed, was refused or may have changed: look again
        return names.RETRY, datetime.now(UTC).isoformat(timespec="seconds")
    if one.get("kind") == "VectorIndex":
        raise Unknown(
            f"nothing to {verb}: the index waits for no approval (phase {status.get('phase', 'unknown')})"
            if verb == "approve"
            else "an index has no candidate to abort: write spec.suspend: true, which stops a build"
        )
    candidate = status.get("candidate") or {}
    if verb == "retry":
        rejected = max(status.get("rejected") or [{}], key=lambda one: str(one.get("at", "")))
        subject = candidate if candidate.get("digest") else rejected
        if not subject.get("digest"):
            raise Unknown("nothing to retry: no candidate is held and none was rejected")
        return names.RETRY, f"{subject['digest']}/{subject.get('attempt', 1)}"
    if not candidate.get("digest"):
        raise Unknown(f"nothing to {verb}: no candidate is on its way (phase {status.get('phase', 'unknown')})")
    attempt = f"{candidate['digest']}/{candidate.get('attempt', 1)}"
    unseen = "Shadow" in (status.get("phase"), status.get("heldFrom"))
    step = "shadow" if unseen else candidate.get("step", 0)
    return (names.APPROVE, f"{attempt}/{step}") if verb == "approve" else (names.ABORT, attempt)
