"""A replica over two nodes, on nodes that pretend to have accelerators; scheduler, quotas and admission are real.

LeaderWorkerSet's controller cannot be had here: the test makes the pods it would make, of the templates as they are.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.access import Access
from tests.e2e.test_llmservice import World, client, gpu_nodes, world

from llmops.kube.resources import DEPLOYMENT, ENDPOINT_SLICE, LEADER_WORKER_SET, LLM_SERVICE, POD

__all__ = ["client", "world"]  # fixtures
Object = dict[str, Any]
KIND = Path(__file__).parents[1] / "cluster" / "manifests" / "leaderworkerset.yaml"
INDEX = "leaderworkerset.sigs.k8s.io/worker-index"


@pytest.fixture
def kind(cluster: Access) -> Iterator[Access]:
    """The cluster; whatever the test installed goes."""
    yield cluster
    cluster.kubectl("delete", "--ignore-not-found", "-f", str(KIND))


async def make_group(world: World, made: Object) -> list[str]:
    """The pods of its first group, as the controller names and labels them, with the environment it adds."""
    template, name = made["spec"]["leaderWorkerTemplate"], made["metadata"]["name"]
    names = [f"{name}-0", *(f"{name}-0-{index}" for index in range(1, template["size"]))]
    for index, pod in enumerate(names):
        each = copy.deepcopy(template["leaderTemplate" if index == 0 else "workerTemplate"])
        told = {"LWS_LEADER_ADDRESS": f"{name}-0.{name}-0.{world.namespace}", "LWS_WORKER_INDEX": str(index)}
        env = each["spec"]["containers"][0].setdefault("env", [])
        env += [{"name": key, "value": value} for key, value in told.items()]
        metadata = {**each["metadata"], "labels": {**each["metadata"]["labels"], INDEX: str(index)}}
        owner = {key: made[key] for key in ("apiVersion", "kind")} | {"name": name, "uid": made["metadata"]["uid"]}
        metadata["ownerReferences"] = [{**owner, "controller": True}]
        await world.create(POD, pod, metadata=metadata, spec=each["spec"])
    return names


async def addresses(world: World) -> list[str]:
    """The pods behind its Service."""
    slices = (await world.client.list(ENDPOINT_SLICE, world.namespace))["items"]
    return [one["targetRef"]["name"] for each in slices for one in each["endpoints"] or []]


async def test_a_replica_over_two_nodes_is_scheduled_and_only_its_leader_is_asked(world: World, kind: Access) -> None:
    fake = await gpu_nodes(world)
    kind.kubectl("delete", "--ignore-not-found", "-f", str(KIND))
    await world.service(
        replicas=1, engine={"type": "vLLM"}, model={"uri": "file:///models/llama"}, accelerator={"count": 16},
        resources={"requests": {"cpu": "1", "memory": "1Gi"}},
    )  # fmt: skip
    await world.says("ReferenceMissing", "LeaderWorkerSet (leaderworkerset.x-k8s.io/v1) is not installed")

    kind.kubectl("apply", "-f", str(KIND))
    found = lambda: world.get(LEADER_WORKER_SET, "support-llm")  # noqa: E731
    await world.until(found, "a LeaderWorkerSet")
    assert found()["spec"]["leaderWorkerTemplate"]["size"] == 2
    assert world.get(LLM_SERVICE, "support")["status"]["sizing"]["nodes"] == 2
    names = await make_group(world, found())
    ran = lambda: {one["spec"].get("nodeName") for one in world.mine(POD)}  # noqa: E731
    await world.until(lambda: ran() == fake.keys(), "one pod on each node")

    async with asyncio.timeout(60):
        while not (reached := await addresses(world)):
            await asyncio.sleep(0.2)
    assert reached == names[:1]

    # as the controller says that its group is ready
    counts = {"replicas": 1, "readyReplicas": 1, "updatedReplicas": 1, "observedGeneration": 1}
    patch = {"status": counts}
    await world.client.patch(LEADER_WORKER_SET, world.namespace, "support-llm", patch, sub="status")
    await world.ready()

    # a smaller model: a node is enough, and the group goes
    await world.change(accelerator={"count": 4})
    await world.until(lambda: world.get(DEPLOYMENT, "support-llm"), "a Deployment")
    await world.until(lambda: not found(), "no LeaderWorkerSet")
    await world.until(lambda: len(world.mine(POD)) == 1, "the pod of the Deployment alone")
    await world.ready()
    assert "nodes" not in world.get(LLM_SERVICE, "support")["status"]["sizing"]
