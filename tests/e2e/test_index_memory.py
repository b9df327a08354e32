"""An engine that the kernel ends for its memory, on a cluster."""

from __future__ import annotations

from tests.e2e.test_vectorindex import client, given, index, ready, said, until, world

from llmops.kube.client import Client
from llmops.kube.cluster import Cluster
from llmops.kube.resources import VECTOR_INDEX

__all__ = ["client", "world"]


async def test_an_engine_that_needs_more_memory_says_what_to_raise_and_goes_on_when_it_is_raised(
    client: Client, world: Cluster, namespace: str
) -> None:
    wanted = index(namespace)
    wanted["spec"]["engine"]["resources"] = {"requests": {"memory": "32Mi"}, "limits": {"memory": "64Mi"}}
    await given(client, namespace, wanted)
    told = "it needed more memory than 64Mi and was ended: raise spec.engine.resources.limits.memory"
    await until(lambda: told in said(world, namespace, "EngineReady")[1], 180)
    assert not ready(world, namespace)
    more = {"engine": {"resources": {"requests": {"memory": "128Mi"}, "limits": {"memory": "2Gi"}}}}
    await client.patch(VECTOR_INDEX, namespace, "faq", {"spec": more})
    await until(lambda: ready(world, namespace), 180)
    assert told not in said(world, namespace, "EngineReady")[1]
