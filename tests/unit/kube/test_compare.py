"""What counts as "already so", and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from llmops.kube.compare import already


def pod(**container: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "main", **container}]}}


SAME = {
    "a default that the server added": (pod(image="a"), pod(image="a", terminationMessagePath="/dev/log")),
    "a quantity written otherwise": (
        pod(resources={"requests": {"cpu": "1000m", "memory": "1024Mi", "nvidia.com/gpu": 1}}),
        pod(resources={"requests": {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": "1"}}),
    ),
    "an empty field that the server drops": (pod(env=[], stdin=False, resources={}), pod()),
    "a zero that the server drops": ({"minReadySeconds": 0}, {}),
    "a container that somebody's webhook added": (
        pod(image="a"),
        {"spec": {"containers": [{"name": "mesh", "image": "m"}, {"name": "main", "image": "a"}]}},
    ),
    "a variable in another order": (
        pod(env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]),
        pod(env=[{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]),
    ),
    "a label of somebody else's": (
        {"metadata": {"labels": {"a": "1"}}},
        {"metadata": {"labels": {"a": "1", "b": "2"}}},
    ),
    "a volume's empty source": (
        {"volumes": [{"name": "t", "emptyDir": {}}]},
        {"volumes": [{"name": "t", "emptyDir": {}}]},
    ),
}

DIFFERENT = {
    "an image": (pod(image="a"), pod(image="b")),
    "an argument more": (pod(args=["a"]), pod(args=["a", "b"])),
    "arguments in another order": (pod(args=["a", "b"]), pod(args=["b", "a"])),
    "a quantity": (pod(resources={"limits": {"memory": "1Gi"}}), pod(resources={"limits": {"memory": "1G"}})),
    "a limit that was taken away": (pod(resources={"limits": {"memory": "1Gi"}}), pod(resources={})),
    "a switch": ({"hostNetwork": False}, {"hostNetwork": True}),
    "replicas, from some to none": ({"replicas": 0}, {"replicas": 2}),
    "a text that only looks like a quantity": ({"version": "1.10"}, {"version": "1.1"}),
    "one more label in a selector": ({"selector": {"a": "1"}}, {"selector": {"a": "1", "b": "2"}}),
    "one more label in what a policy chooses": (
        {"podSelector": {"matchLabels": {"a": "1"}}},
        {"podSelector": {"matchLabels": {"a": "1", "b": "2"}}},
    ),
    "a policy that lets everybody in": (
        {"ingress": [{"from": [{"podSelector": {"matchLabels": {"a": "1"}}}]}]},
        {"ingress": [{"from": [{"podSelector": {"matchLabels": {"a": "1"}}}]}, {}]},
    ),
    "a policy that shuts nobody out": ({"ingress": [{"from": [{"podSelector": {"a": "b"}}]}]}, {"ingress": [{}]}),
    "a right more": ({"rules": [{"verbs": ["get"]}]}, {"rules": [{"verbs": ["get", "list"]}]}),
    "a missing part": ({"spec": {"a": {"b": "c"}}}, {"spec": None}),
    "another type": ({"a": {"b": 1}}, {"a": [1]}),
}  # fmt: skip


@pytest.mark.parametrize(("wanted", "live"), SAME.values(), ids=SAME)
def test_nothing_is_written_for(wanted: Any, live: Any) -> None:
    assert already(wanted, live)


@pytest.mark.parametrize(("wanted", "live"), DIFFERENT.values(), ids=DIFFERENT)
def test_it_is_put_right(wanted: Any, live: Any) -> None:
    assert not already(wanted, live)
