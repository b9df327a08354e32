"""`llmops report KIND NAME…`: a page about an object, from what the cluster has of it."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from llmops.api import EvalJob, LLMService, PromptRelease
from llmops.api.common import KubernetesObject
from llmops.desk.objects import Unknown, resource
from llmops.desk.pages import evaluation, rollout
from llmops.evaluation.run import WORST
from llmops.kube.client import Client
from llmops.kube.errors import Forbidden, NotFound
from llmops.kube.resources import CONFIG_MAP, EVENT, Object


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
        worst = await _worst(client, found[0]) if kind is EvalJob and len(found) == 1 else []
    if kind is not EvalJob:
        return rollout.page(found[0], events)
    return evaluation.page(found[0], worst) if len(found) == 1 else evaluation.matrix(found)


async def _worst(client: Client, one: Object) -> list[Object]:
    """What its results tell of single rows; nothing where there are none yet, or none that this person may read."""
    name, metadata = (one.get("status") or {}).get("results"), one["metadata"]
    try:
        found = await client.get(CONFIG_MAP, metadata.get("namespace"), name) if name else {}
    except (NotFound, Forbidden):
        return []
    told: list[Object] = json.loads((found.get("data") or {}).get(WORST) or "[]")
    return told


async def _events(client: Client, one: Object) -> list[Object]:
    metadata = one["metadata"]
    listed = await client.list(EVENT, metadata.get("namespace"))
    return [each for each in listed["items"] if (each.get("regarding") or {}).get("uid") == metadata["uid"]]
