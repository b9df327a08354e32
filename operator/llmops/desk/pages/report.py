"""`llmops report KIND NAME…`: a page about an object, from what the cluster has of it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from llmops.api import EvalJob, LLMService, PromptRelease
from llmops.api.common import KubernetesObject
from llmops.desk.objects import Unknown, resource
from llmops.desk.pages import evaluation, rollout
from llmops.kube.client import Client
from llmops.kube.resources import EVENT, Object


def report(kind: type[KubernetesObject], namespace: str, names: list[str], output: str | None) -> int:
    """Write it; several EvalJobs become a matrix."""
    page = asyncio.run(made(kind, namespace, names))
    if output is None:
        print(page)
        return 0
    Path(output).write_text(page, encoding="utf-8")
    print(f"written: {output}", file=sys.stderr)
    return 0


async def made(kind: type[KubernetesObject], namespace: str, names: list[str]) -> str:
    """The page."""
    if kind not in (EvalJob, LLMService, PromptRelease):
        raise Unknown(f"there is no page about a {kind.KIND}: llmops explain says how it stands")
    if len(names) > 1 and kind is not EvalJob:
        raise Unknown(f"several {kind.KIND}s have no page together: write one name")
    async with await Client.connect() as client:
        found = [await client.get(resource(kind), namespace, name) for name in names]
        events = await _events(client, found[0]) if kind is not EvalJob else []
    if kind is not EvalJob:
        return rollout.page(found[0], events)
    return evaluation.page(found[0]) if len(found) == 1 else evaluation.matrix(found)


async def _events(client: Client, one: Object) -> list[Object]:
    metadata = one["metadata"]
    listed = await client.list(EVENT, metadata.get("namespace"))
    return [each for each in listed["items"] if (each.get("regarding") or {}).get("uid") == metadata["uid"]]
