"""Objects to a snapshot: what is remembered, what breaks only itself, which pods count."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.unit.gateway.world import World

from llmops.gateway.compile import Compiler


@pytest.fixture
def world() -> World:
    """Objects only: no door is opened."""
    world = World()
    world.add_service("support")
    world.objects["revisions"].clear()
    return world


def compiled(world: World, compiler: Compiler | None = None) -> Any:
    return (compiler or Compiler()).snapshot(world.seen())


def slice_of(world: World, *endpoints: dict[str, Any], port: str = "http") -> None:
    labels = {
        "llmops.dev/owner-kind": "LLMService",
        "llmops.dev/owner-name": "support",
        "kubernetes.io/service-name": "support-llm",
    }
    world.objects["slices"] = [
        {
            "metadata": {
                "name": "support-llm-x",
                "namespace": "shop",
                "resourceVersion": str(id(endpoints)),
                "labels": labels,
            },
            "ports": [{"name": port, "port": 8080}],
            "endpoints": list(endpoints),
        }
    ]


def test_what_did_not_change_is_not_made_again(world: World) -> None:
    compiler = Compiler()
    world.add_version("answer", "1.0.0")
    first = compiled(world, compiler)
    world.add_service("another")
    second = compiled(world, compiler)
    assert second.services["shop/support"] is first.services["shop/support"]
    assert "shop/another" in second.services


def test_a_changed_object_is_made_again(world: World) -> None:
    compiler = Compiler()
    first = compiled(world, compiler)
    changed = copy.deepcopy(world.objects["services"][0])
    changed["metadata"]["resourceVersion"] = "later"
    changed["spec"]["limits"] = {"timeout": "5s"}
    world.objects["services"] = [changed]
    assert first.services["shop/support"].timeout == 60
    assert compiled(world, compiler).services["shop/support"].timeout == 5


@pytest.mark.parametrize(
    ("conditions", "counts"),
    [
        ({"ready": True}, True),
        ({"ready": False}, False),
        ({}, True),
        (None, True),
        ({"ready": True, "terminating": True}, False),
        ({"ready": False, "serving": True, "terminating": True}, False),
    ],
)
def test_only_ready_pods_that_stay_are_asked(world: World, conditions: Any, counts: bool) -> None:
    slice_of(world, {"addresses": ["10.0.0.7"], "conditions": conditions})
    found = [one.url for one in compiled(world).services["shop/support"].endpoints]
    assert found == (["http://10.0.0.7:8080"] if counts else [])


def test_addresses_of_ipv6_are_written_with_brackets(world: World) -> None:
    slice_of(world, {"addresses": ["fd00::7"]})
    assert compiled(world).services["shop/support"].endpoints[0].url == "http://[fd00::7]:8080"


def test_a_port_of_another_name_is_not_the_engines(world: World) -> None:
    slice_of(world, {"addresses": ["10.0.0.7"]}, port="metrics")
    assert compiled(world).services["shop/support"].endpoints == ()


def test_a_pod_keeps_its_count_across_snapshots(world: World) -> None:
    compiler = Compiler()
    slice_of(world, {"addresses": ["10.0.0.7"]})
    compiled(world, compiler).services["shop/support"].endpoints[0].pending = 3
    slice_of(world, {"addresses": ["10.0.0.7"]}, {"addresses": ["10.0.0.8"]})
    assert [one.pending for one in compiled(world, compiler).services["shop/support"].endpoints] == [3, 0]


@pytest.mark.parametrize("kind", ["services", "releases", "revisions", "keys"])
def test_an_object_that_cannot_be_read_breaks_only_itself(world: World, kind: str) -> None:
    broken = {"metadata": {"name": "broken", "namespace": "shop"}, "spec": {"ofKind": "PromptRelease", "ofName": "x"}}
    world.objects[kind].append(broken)
    assert "shop/support" in compiled(world).services


def test_a_status_that_names_a_missing_revision_serves_nothing_of_it(world: World) -> None:
    made = world.add_version("answer", "1.0.0")
    world.put_release("answer", None)
    world.objects["releases"][0]["status"] = {
        "stable": {"digest": made},
        "candidate": {"digest": "f" * 64, "attempt": 1, "weight": 50},
    }
    release = compiled(world).releases["shop/answer"]
    assert release.stable is not None
    assert (release.candidate, release.weight) == (None, 0)
