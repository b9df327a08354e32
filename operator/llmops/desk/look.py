"""`llmops status`, `wait` and `explain`: what is so, in a table, as an exit code, in words."""

from __future__ import annotations

import asyncio
from typing import Any

from llmops.api import KINDS, PromptRelease
from llmops.api.common import KubernetesObject
from llmops.desk.explain import explained
from llmops.desk.objects import resource
from llmops.kube.client import Client
from llmops.kube.errors import Expired, NotFound
from llmops.kube.resources import Object

TIME_IS_OVER = 3
FINAL = ("Rejected", "Succeeded", "Failed")
"""Phases that end by somebody's change only."""


async def status(kinds: list[type[KubernetesObject]], namespace: str | None, name: str | None) -> int:
    """A line an object: kind, name, phase, Ready, and the sentence that matters most."""
    async with await Client.connect() as client:
        rows = [("KIND", "NAME", "PHASE", "READY", "AVAILABLE", "WHY")]
        for kind in kinds or [kind for kind in KINDS if kind.SUBRESOURCE]:
            found = (await client.list(resource(kind), namespace))["items"]
            rows += [_row(kind, one) for one in found if name in (None, one["metadata"]["name"])]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        print("  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[5]]))
    return 0 if len(rows) > 1 or name is None else 1


def _row(kind: type[KubernetesObject], one: Object) -> tuple[str, str, str, str, str, str]:
    metadata, reported = one["metadata"], one.get("status") or {}
    ready, available = condition(one, "Ready"), condition(one, "Available")
    return (
        kind.SHORT,
        f"{metadata['namespace']}/{metadata['name']}",
        reported.get("phase") or "-",
        ready.get("status", "Unknown"),
        available.get("status", "-"),
        (ready.get("message") or ready.get("reason") or "nothing reported yet").split("\n")[0],
    )


def condition(one: Object, type_: str) -> dict[str, Any]:
    """The condition of this type, or an empty one."""
    conditions = (one.get("status") or {}).get("conditions") or []
    return next((each for each in conditions if each.get("type") == type_), {})


async def wait(kind: type[KubernetesObject], namespace: str, name: str, wanted: str, seconds: float) -> int:
    """0 once it holds for the generation that is there now; 1 once it is decided that it will not; TIME_IS_OVER."""
    last: Object = {}
    whose = f"{kind.KIND} {namespace}/{name}"
    try:
        async with asyncio.timeout(seconds), await Client.connect() as client:
            while True:
                last = await _until(client, kind, namespace, name, wanted)
                if holds(last, wanted):
                    print(f"{whose}: {wanted}")
                    return 0
                if decided(last, wanted):
                    print(f"{whose}: not {wanted}, and that is decided: {_said(last)}")
                    return 1
    except TimeoutError:
        print(f"{whose}: not {wanted} within {seconds:g} s: {_said(last)}")
        return TIME_IS_OVER


async def _until(client: Client, kind: type[KubernetesObject], namespace: str, name: str, wanted: str) -> Object:
    """The object as soon as it holds, or as it was when the API server ended the watch."""
    try:
        last = await client.get(resource(kind), namespace, name)
    except NotFound:
        last = {}
    if holds(last, wanted) or decided(last, wanted):
        return last
    listed = await client.list(resource(kind), namespace)
    try:
        async for event, one in client.watch(resource(kind), namespace, listed["metadata"]["resourceVersion"]):
            if event != "BOOKMARK" and one["metadata"]["name"] == name:
                last = one if event != "DELETED" else {}
                if holds(last, wanted) or decided(last, wanted):
                    break
    except Expired:
        pass
    return last


def holds(one: Object, wanted: str) -> bool:
    """Whether `Ready`, `Available=False` or `phase=Released` is so, and speaks of the present generation."""
    what, _, value = wanted.partition("=")
    reported = one.get("status") or {}
    if not _current(one):
        return False
    if what.lower() in ("phase", "verdict"):
        return str(reported.get(what.lower(), "")) == value
    return str(condition(one, what).get("status", "")) == (value or "True")


def decided(one: Object, wanted: str) -> bool:
    """Whether what is not so yet will not be by itself: a release was rejected, a run has its verdict."""
    reported = one.get("status") or {}
    return _current(one) and not holds(one, wanted) and reported.get("phase") in FINAL


def _current(one: Object) -> bool:
    reported = one.get("status") or {}
    return bool(reported) and reported.get("observedGeneration") == one["metadata"].get("generation")


def _said(one: Object) -> str:
    """The verdict, where there is one, and the sentence that matters most."""
    verdict = (one.get("status") or {}).get("verdict")
    nothing = "nothing reported" if one else "it does not exist"
    told = condition(one, "ThresholdsMet" if verdict else "Ready").get("message") or nothing
    return f"verdict {verdict}: {told}" if verdict else told


async def explain(kind: type[KubernetesObject], namespace: str, name: str) -> int:
    """Everything the status says, in words."""
    async with await Client.connect() as client:
        one = await client.get(resource(kind), namespace, name)
    print("\n".join(explained(one, releases=kind is PromptRelease)))
    return 0
