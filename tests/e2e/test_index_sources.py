"""An index whose documents are on a volume, on the web, in a bucket and in git, read by the clock, on a cluster."""

from __future__ import annotations

import asyncio
from typing import Any

from demo.stage import kubectl
from tests.e2e.places import CLAIM, CONTAINER, repository, secret, serve
from tests.e2e.test_vectorindex import client, given, index, ready, said, search, status, until, world

from llmops.kube.client import Client
from llmops.kube.cluster import Cluster
from llmops.kube.resources import JOB, VECTOR_INDEX

__all__ = ["client", "world"]
PAGE = "<html><body><nav>Menu</nav><main><h1>Skis</h1><p>Skis are waxed every autumn.</p></main></body></html>"
FILL = (
    f"mkdir -p /files/notes /claim/en && echo '{PAGE}' > /files/skis.html && "
    "echo 'Sledges have steel runners.' > /files/notes/sledges.md && "
    "echo 'Crampons have twelve points.' > /claim/en/crampons.md && echo junk > /claim/en/broken.pdf && "
    "echo 'Les raquettes se louent neuf euros par jour, avec une caution.' > /claim/en/raquettes.md"
)


async def test_documents_come_from_a_volume_the_web_a_bucket_and_git_by_the_clock(
    client: Client, world: Cluster, namespace: str
) -> None:
    await secret(client, namespace, "bucket")
    git = await repository(client, world, namespace, "ropes.md", "Ropes are sixty metres long.")
    host = await serve(client, world, namespace, {"emptyDir": {}}, FILL)
    await given(client, namespace)
    sources: list[Any] = [
        {"name": "manuals", "pvc": {"claim": CLAIM, "path": "/en"}},
        {"name": "site", "http": {"url": f"http://{host}:8000/skis.html"}},
        {"name": "notes", "s3": {"uri": "s3://models/notes", "endpoint": f"http://{host}:9000",
                                 "credentialsSecretRef": {"name": "bucket"}}},
        {"name": "shop", "git": {"url": git, "credentialsSecretRef": {"name": "deploy"}}},
    ]  # fmt: skip
    spec = {**index(namespace)["spec"], "sources": sources, "rollout": {"gates": [{"type": "RowCount", "min": 3}]},
            "cleaning": {"languages": ["en"]},
            "refresh": {"schedule": "* * * * *", "maxDeletePercent": 50}}  # fmt: skip
    await client.patch(VECTOR_INDEX, namespace, "faq", {"spec": spec})
    await until(lambda: ready(world, namespace) and status(world, namespace)["rows"] == 4, 180)
    first = status(world, namespace)["generation"]["active"]

    async def found(text: str) -> str:
        passages = (await search(world, namespace, text)).get("passages") or [{}]
        return str(passages[0].get("id"))

    async def until_found(text: str, passage: str) -> None:
        async with asyncio.timeout(150):
            while await found(text) != passage:
                await asyncio.sleep(0.5)

    await until_found("How many points do crampons have?", "manuals/crampons.md#0")
    await until_found("When are skis waxed?", "site/skis.html#0")
    await until_found("What are the runners of sledges made of?", "notes/sledges.md#0")
    await until_found("How long are the ropes?", "shop/ropes.md#0")
    english = await search(world, namespace, "How small does it fold?", filter='metadata["language"] == "en"', topK=9)
    assert {"manuals/crampons.md#0", "site/skis.html#0"} <= {one["id"] for one in english["passages"]}
    # one that cannot be read is named, and stops nothing
    assert said(world, namespace, "SourcesRead")[0] == "False"
    assert "source manuals, broken.pdf: no PDF that can be read" in status(world, namespace)["unread"][0]

    # a turn that finds nothing new builds nothing
    turn = status(world, namespace).get("lastScheduleTime", "")
    await until(lambda: status(world, namespace).get("lastScheduleTime", "") > turn, 180)
    await until(lambda: ready(world, namespace), 120)
    assert status(world, namespace)["generation"]["active"] == first

    # a new file, and the broken one gone: the next turn finds both, and embeds no more than the one
    write = "echo 'Snow shovels fold to forty centimetres.' > /claim/en/shovels.md; rm /claim/en/broken.pdf"
    kubectl("exec", "-n", namespace, "places", "-c", CONTAINER, "--", "sh", "-c", write)
    await until_found("How small does a snow shovel fold?", "manuals/shovels.md#0")
    await until(lambda: ready(world, namespace), 120)
    assert "1 of 5 passages were embedded" in said(world, namespace, "Built")[1]
    left_out = "spec.cleaning.languages leaves out 1 in fr (such as manuals/raquettes.md)"
    assert said(world, namespace, "SourcesRead") == ("True", f"5 passages of 4 sources; {left_out}")
    assert status(world, namespace)["unread"] == []
    jobs = [one for one in world.list(JOB, namespace) if one["metadata"]["name"].startswith("faq-index-")]
    assert len(jobs) <= 3  # a turn leaves no heap behind
