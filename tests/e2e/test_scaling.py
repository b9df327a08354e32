"""The count of a scaled service on the real API server: handed to an autoscaler and taken back without a jump.

No node here has an accelerator, so its pods wait: what is looked at is who sets the count. The autoscaler's move is
made by hand, by the same subresource, and the API server judges the HorizontalPodAutoscaler itself.
"""

from __future__ import annotations

from tests.e2e.test_llmservice import World, client, world

from llmops.kube.resources import DEPLOYMENT, HPA
from llmops.serving.scaling import SENT

__all__ = ["client", "world"]  # fixtures


def count(world: World) -> int:
    return int(world.get(DEPLOYMENT, "support-llm").get("spec", {}).get("replicas", -1))


def note(world: World) -> str | None:
    found: str | None = world.get(DEPLOYMENT, "support-llm")["metadata"]["annotations"].get(SENT)
    return found


async def test_the_count_is_handed_over_and_back_without_a_jump(world: World) -> None:
    accelerator = {"resource": "nvidia.com/gpu", "count": 1}
    await world.service(engine={"type": "vLLM"}, accelerator=accelerator, replicas=3)
    await world.until(lambda: count(world) == 3, "three, as the spec says")

    await world.change(autoscaling={"max": 8, "by": "HPA", "metric": {"type": "KVCache", "target": 80}})
    await world.until(lambda: world.mine(HPA) and note(world) == "3", "carried, and an autoscaler")
    assert count(world) == 3
    await world.client.patch(DEPLOYMENT, world.namespace, "support-llm", {"spec": {"replicas": 5}}, sub="scale")
    await world.until(lambda: note(world) == "none", "left to the autoscaler")
    assert count(world) == 5
    live = await world.client.get(DEPLOYMENT, world.namespace, "support-llm")
    assert live["spec"]["replicas"] == 5

    await world.change(autoscaling=None, replicas=5)
    await world.until(lambda: not world.mine(HPA) and note(world) is None, "fixed again")
    assert count(world) == 5
