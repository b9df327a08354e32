"""What the chart installs: least rights, restricted pods, and an install.yaml that says the same."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from demo.install import ROOT, render
from tests.cluster.access import Access

Object = dict[str, Any]


@pytest.fixture(scope="module")
def rendered(cluster: Access) -> list[Object]:
    return [one for one in yaml.safe_load_all(render()) if one]


def test_install_yaml_is_the_rendered_chart(cluster: Access) -> None:
    assert (ROOT / "manifests" / "install.yaml").read_text() == render(), "run make manifests"


def test_every_pod_of_the_chart_is_admitted_where_only_restricted_pods_are(
    cluster: Access, namespace: str, rendered: list[Object]
) -> None:
    for deployment in (one for one in rendered if one["kind"] == "Deployment"):
        template = deployment["spec"]["template"]
        spec = {**template["spec"], "serviceAccountName": "default"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": namespace}, "spec": spec}
        cluster.kubectl("create", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(pod))


def test_no_right_is_a_wildcard_and_none_reads_a_secret_or_enters_a_pod(rendered: list[Object]) -> None:
    rules = [rule for one in rendered if one["kind"] in ("Role", "ClusterRole") for rule in one["rules"]]
    assert rules
    for rule in rules:
        assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"], rule
        assert not {"secrets", "pods/exec", "pods/attach", "pods/log"} & set(rule["resources"]), rule
        assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"]), rule
