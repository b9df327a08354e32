"""spec.podTemplate over the pod we planned."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.serving.golden import SPECS
from tests.unit.serving.seen import Object, see

from llmops.serving.merge import merged, problem
from llmops.serving.plan import plan

PLANNED = plan(see(SPECS["vllm-on-gpus"])).children[-2]["spec"]["template"]


def spec_with(**fields: Any) -> Object:
    found: Object = merged(PLANNED, {"spec": fields})["spec"]
    return found


def test_an_empty_template_changes_nothing() -> None:
    assert merged(PLANNED, {}) == PLANNED


def test_a_toleration_is_added_to_that_of_the_accelerator() -> None:
    spot = {"key": "spot", "operator": "Exists"}
    assert spec_with(tolerations=[spot])["tolerations"] == [*PLANNED["spec"]["tolerations"], spot]


def test_a_node_selector_is_joined_with_that_of_the_product() -> None:
    assert spec_with(nodeSelector={"zone": "a"})["nodeSelector"] == {
        "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "zone": "a",
    }  # fmt: skip


def test_the_engine_gets_a_mount_beside_its_own_and_another_container_beside_itself() -> None:
    mount = {"name": "models", "mountPath": "/adapters", "subPath": "adapters"}
    spec = spec_with(containers=[{"name": "engine", "volumeMounts": [mount]}, {"name": "sidecar", "image": "x"}])
    engine, sidecar = spec["containers"]
    assert engine["volumeMounts"] == [*PLANNED["spec"]["containers"][0]["volumeMounts"], mount]
    assert engine["args"] == PLANNED["spec"]["containers"][0]["args"]
    assert sidecar == {"name": "sidecar", "image": "x"}


def test_a_variable_of_the_engine_is_replaced_by_name() -> None:
    spec = spec_with(containers=[{"name": "engine", "env": [{"name": "HOME", "value": "/data"}]}])
    env = {one["name"]: one["value"] for one in spec["containers"][0]["env"]}
    assert env["HOME"] == "/data"
    assert env["VLLM_NO_USAGE_STATS"] == "1"


REFUSED: list[tuple[Object, str]] = [
    ({"spec": {"containers": [{"name": "engine", "image": "x"}]}}, "write spec.engine.image"),
    ({"spec": {"containers": [{"name": "engine", "args": []}]}}, "write spec.engine.args"),
    ({"spec": {"containers": [{"name": "engine", "command": []}]}}, "the engine's image decides it"),
    ({"spec": {"containers": [{"name": "engine", "ports": []}]}}, "the engine decides them"),
    ({"spec": {"containers": [{"name": "engine", "resources": {}}]}}, "write spec.resources"),
    ({"metadata": {"labels": {"llmops.dev/owner-name": "x"}}}, "may not set llmops.dev/owner-name"),
    ({"spec": {"restartPolicy": "Never"}}, "restartPolicy must be Always"),
    ({"containers": []}, "spec.podTemplate has containers: it is a partial PodTemplateSpec"),
    ({"spec": "x"}, "spec.podTemplate.spec is no object"),
    ({"spec": {"containers": {"name": "engine"}}}, "spec.podTemplate.spec.containers must be a list"),
    ({"spec": {"volumes": [{"emptyDir": {}}]}}, "whose items each have name"),
]


@pytest.mark.parametrize(("template", "sentence"), REFUSED, ids=[sentence for _, sentence in REFUSED])
def test_what_is_ours_is_refused_with_what_to_write_instead(template: Object, sentence: str) -> None:
    assert sentence in (problem(template) or "")


NAMES = st.sampled_from(["metadata", "spec", "labels", "containers", "name", "engine", "env", "tolerations", "volumes"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(NAMES, ANYTHING, max_size=3))
def test_whatever_is_written_is_refused_or_merged_but_never_a_fault(template: Object) -> None:
    if problem(template) is None:
        made = merged(PLANNED, template)
        assert made["metadata"]["labels"].items() >= PLANNED["metadata"]["labels"].items()
