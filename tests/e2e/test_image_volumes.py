"""Image volumes on a real API server that has them not: it takes them out without a word, and the service says so."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.cluster import choose
from tests.e2e.test_llmservice import World, client, world

from llmops.kube.resources import DEPLOYMENT

__all__ = ["client", "world"]  # fixtures


async def test_a_cluster_without_image_volumes_is_told_of_instead_of_running_without_a_model(world: World) -> None:
    if choose.choose() != "node":
        pytest.skip("other clusters may have image volumes")
    world.operator.settings = replace(world.operator.settings, image_volumes=True)
    await world.service(model={"uri": "oci://registry.example/support:1#m.gguf"})
    await world.says("Unsupported", "left the image volume out of the pods", "ModelCached")
    await world.says("Unsupported", "or write model.cache to have it downloaded")
    pods = world.get(DEPLOYMENT, "support-llm")["spec"]["template"]["spec"]
    assert [one["name"] for one in pods["volumes"]] == ["tmp"]
