"""An index in a Milvus that the Milvus Operator runs: what is asked of it, and when it is believed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.retrieval.conftest import finished, seen, work_of
from tests.unit.retrieval.test_index_plan import NOW, condition, message

from llmops.api import Reason, Settings
from llmops.kube.resources import ENDPOINT_SLICE, MILVUS, Object, Resource
from llmops.retrieval.engines import ENGINES, credentials
from llmops.retrieval.engines.cluster import NOT_INSTALLED, of_index, unready
from llmops.retrieval.engines.waits import STARTING, Waits
from llmops.retrieval.observe import Seen
from llmops.retrieval.plan import State, not_installed, plan
from llmops.retrieval.status import status

STORAGE = {"endpoint": "https://s3.example.org", "bucket": "vectors", "credentialsSecretRef": {"name": "bucket"}}
NAME = "faq-index-cluster"
ENGINE = ENGINES["Milvus", "Cluster"]
UPGRADED = Waits(f"Milvus shop/{NAME}: MilvusUpdated is False", answers=True)


def made(storage: dict[str, Any] | None = None, **spec: Any) -> Seen:
    """An index whose Milvus is made for it."""
    cluster = {"storage": {**STORAGE, **(storage or {})}}
    return seen({"engine": {"mode": "Cluster", "cluster": cluster}, **spec})


def shared(name: str = "shared", **more: Any) -> Seen:
    """An index in a Milvus that is there."""
    return seen({"engine": {"mode": "Cluster", "cluster": {"name": name, **more}}})


def child(index: Seen, kind: str, name: str = NAME) -> Object:
    (found,) = [one for one in plan(index).children if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def milvus(name: str = NAME, image: str = "m:2", runs: str = "m:2", observed: int = 2, **said: str) -> Object:
    """As the Milvus Operator says that it is."""
    said = {"MilvusReady": "True", "MilvusUpdated": "True", **said}
    told = [{"type": one, "status": status, "message": f"of {one}"} for one, status in said.items() if status]
    return {
        "apiVersion": MILVUS.api_version, "kind": MILVUS.kind,
        "metadata": {"name": name, "namespace": "shop", "generation": 2}, "spec": {"components": {"image": image}},
        "status": {"observedGeneration": observed, "conditions": told, "currentImage": runs},
    }  # fmt: skip


def behind(name: str = NAME, ready: bool = True) -> Object:
    return {
        "metadata": {"name": f"{name}-milvus-x", "labels": {"kubernetes.io/service-name": f"{name}-milvus"}},
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}],
    }


class There:
    """A cluster's cache that has these."""

    def __init__(self, *objects: Object) -> None:
        self.objects = objects

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        assert namespace == "shop"
        found = [one for one in self.objects if (one.get("kind"), one["metadata"]["name"]) == (resource.kind, name)]
        return found[0] if found else None

    def list(
        self, resource: Resource, namespace: str | None = None, labels: dict[str, str] | None = None
    ) -> list[Object]:
        assert (resource, namespace) == (ENDPOINT_SLICE, "shop")
        return [one for one in self.objects if (labels or {}).items() <= one["metadata"].get("labels", {}).items()]


def test_what_is_asked_of_the_milvus_operator_has_no_minio_and_no_pulsar() -> None:
    assert child(made(), "Milvus")["spec"] == {
        "mode": "cluster",
        "components": {},
        "config": {"minio": {"bucketName": "vectors", "rootPath": f"shop/{NAME}", "useSSL": True}},
        "dependencies": {
            "msgStreamType": "woodpecker",
            "etcd": {"inCluster": {"deletionPolicy": "Retain", "pvcDeletion": False}},
            "storage": {
                "external": True, "type": "S3", "endpoint": "s3.example.org:443", "secretRef": "bucket",
            },
        },
    }  # fmt: skip


@pytest.mark.parametrize(("endpoint", "asked"), [
    ("https://s3.example.org", ("s3.example.org:443", True)),
    ("https://s3.example.org:9000", ("s3.example.org:9000", True)),
    ("http://store.shop:9000", ("store.shop:9000", False)),
    ("http://store", ("store:80", False)),
])  # fmt: skip
def test_the_address_of_the_store_says_whether_it_is_encrypted(endpoint: str, asked: tuple[str, bool]) -> None:
    spec = child(made({"endpoint": endpoint}), "Milvus")["spec"]
    assert (spec["dependencies"]["storage"]["endpoint"], spec["config"]["minio"]["useSSL"]) == asked


def test_query_nodes_are_ours_to_count_only_where_they_are_asked_for() -> None:
    three = seen({"engine": {"mode": "Cluster", "cluster": {"storage": STORAGE, "replicas": 3}}})
    assert child(three, "Milvus")["spec"]["components"] == {"queryNode": {"replicas": 3}}


def test_nobody_but_the_index_and_its_own_pods_reach_a_milvus_that_asks_for_no_password() -> None:
    policy = child(made(), "NetworkPolicy")["spec"]
    among, from_us = policy["ingress"]
    assert among == {"from": [{"podSelector": policy["podSelector"]}]}
    assert policy["podSelector"]["matchLabels"]["app.kubernetes.io/instance"] == NAME
    assert from_us["ports"] == [{"port": 19530, "protocol": "TCP"}]
    (own,) = from_us["from"]
    assert own["podSelector"]["matchLabels"]["llmops.dev/owner-name"] == "faq"


def test_nobody_but_milvus_and_who_looks_after_it_reaches_an_etcd_that_asks_for_no_password() -> None:
    def pods(name: str, **instance: str) -> Object:
        of = {f"app.kubernetes.io/{key}": value for key, value in instance.items()}
        return {"podSelector": {"matchLabels": {"app.kubernetes.io/name": name, **of}}}

    etcd, of_milvus = pods("etcd", instance=f"{NAME}-etcd"), pods("milvus", instance=NAME)
    operator = {"namespaceSelector": {}, **pods("milvus-operator")}
    assert child(made(), "NetworkPolicy", f"{NAME}-etcd")["spec"] == {
        **etcd,
        "policyTypes": ["Ingress"],
        "ingress": [
            {"from": [of_milvus, etcd, operator], "ports": [{"port": 2379, "protocol": "TCP"}]},
            {"from": [etcd], "ports": [{"port": 2380, "protocol": "TCP"}]},
        ],
    }


@pytest.mark.parametrize(("policy", "kept"), [("Retain", True), ("Delete", False)])
def test_deletion_policy_decides_whether_milvus_and_its_etcd_outlive_the_index(policy: str, kept: bool) -> None:
    index = made(deletionPolicy=policy)
    for kind, name in (("Milvus", NAME), ("NetworkPolicy", NAME), ("NetworkPolicy", f"{NAME}-etcd")):
        # without the walls, everybody could ask the Milvus that stays
        assert ("ownerReferences" in child(index, kind, name)["metadata"]) is kept
    etcd = child(index, "Milvus")["spec"]["dependencies"]["etcd"]["inCluster"]
    assert etcd == {"deletionPolicy": policy, "pvcDeletion": not kept}


def test_of_a_milvus_that_is_there_nothing_is_made_and_its_password_reaches_only_the_pods() -> None:
    index = shared(credentialsSecretRef={"name": "milvus"})
    assert not {"Milvus", "PersistentVolumeClaim"} & {one["kind"] for one in plan(index).children}
    assert work_of(index).engine == "http://shared-milvus.shop.svc.cluster.local:19530"
    assert {one["valueFrom"]["secretKeyRef"]["name"] for one in credentials(index.index)} == {"milvus"}
    assert not credentials(made().index)


def test_every_milvus_is_a_place_of_its_own_and_names_in_a_shared_one_do_not_touch() -> None:
    placed = [work_of(one) for one in (seen(), made(), shared(), shared("other"))]
    assert len({one.parts.collection for one in placed}) == 4
    assert work_of(shared()).prefix.startswith(work_of(shared()).alias)


@pytest.mark.parametrize(("change", "told"), [
    ({}, None),
    ({"observed": 1}, "the Milvus Operator has not seen its spec yet: is it running?"),
    ({"MilvusReady": "False"}, "MilvusReady is False (of MilvusReady)"),
    ({"MilvusReady": "False", "StorageReady": "False", "EtcdReady": "True"},
     "MilvusReady is False (StorageReady: of StorageReady; of MilvusReady)"),
    ({"MilvusUpdated": "False"}, "MilvusUpdated is False (of MilvusUpdated)"),
    ({"MilvusUpdated": ""}, "MilvusUpdated is not said yet"),
    ({"runs": "m:1"}, "it still runs m:1 and is to run m:2"),
    ({"runs": ""}, None),
])  # fmt: skip
def test_conditions_are_believed_only_of_the_spec_and_the_image_that_are_asked_for(
    change: dict[str, Any], told: str | None
) -> None:
    assert unready(milvus(**change)) == told


def test_a_milvus_without_a_status_or_about_to_go_is_not_ready() -> None:
    assert unready({**milvus(), "status": {}}) == "the Milvus Operator has not seen its spec yet: is it running?"
    going = milvus()
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert unready(going) == "it is being deleted"


@pytest.mark.parametrize(("there", "waits"), [
    ([milvus(), behind()], None),
    ([milvus()], Waits(f"Milvus shop/{NAME}: no pod behind its Service {NAME}-milvus is ready")),
    ([milvus(), behind(ready=False)], Waits(f"Milvus shop/{NAME}: no pod behind its Service {NAME}-milvus is ready")),
    ([milvus(), behind("other")], Waits(f"Milvus shop/{NAME}: no pod behind its Service {NAME}-milvus is ready")),
    ([milvus(MilvusUpdated="False"), behind()], replace(UPGRADED, sentence=f"{UPGRADED.sentence} (of MilvusUpdated)")),
    ([], Waits(f"Milvus shop/{NAME} is being made")),
])  # fmt: skip
def test_nothing_is_built_before_its_operator_and_a_pod_of_it_say_so(there: list[Object], waits: Waits | None) -> None:
    assert ENGINE.waits(made().index, There(*there)) == waits


def test_a_milvus_that_is_not_there_is_named_with_what_to_do() -> None:
    waits = ENGINE.waits(shared().index, There(milvus()))
    assert waits is not None
    assert (waits.reason, waits.answers) == (Reason.REFERENCE_MISSING, False)
    assert waits.sentence.startswith("Milvus shop/shared does not exist: create it")
    told = status(*_told(replace(shared(), engine_waits=waits)), NOW)
    assert message(told, "EngineReady") == message(told, "Ready") == waits.sentence


def test_an_upgrade_of_milvus_holds_builds_back_and_no_answers() -> None:
    first = made()
    index = replace(first, runs=(finished(first),))
    index = replace(index, raw={**index.raw, "status": status(*_told(index), NOW)}, engine_waits=UPGRADED)
    told = status(*_told(index), NOW)
    assert {one: condition(told, one) for one in ("Ready", "Available", "EngineReady")} == {
        "Ready": "True", "Available": "True", "EngineReady": "False",
    }  # fmt: skip
    waits = plan(replace(first, engine_waits=UPGRADED))
    assert (waits.state, waits.sentence) == (State.STARTING, UPGRADED.sentence)
    assert "Job" not in {one["kind"] for one in waits.children}
    gone = replace(index, engine_waits=replace(UPGRADED, answers=False))
    assert condition(status(*_told(gone), NOW), "Available") == "False"


def test_without_the_milvus_operator_it_is_said_what_to_install_and_looked_again_soon() -> None:
    index = replace(made(), engine_waits=NOT_INSTALLED)
    wanted = not_installed(plan(index), NOT_INSTALLED)
    assert wanted.look_after is not None
    assert wanted.look_after <= 30
    assert wanted.children == plan(index).children  # so that none of them is taken for a remainder
    told = status(index, wanted, NOW)
    assert "install its chart milvus-operator" in message(told, "Ready")
    assert message(told, "EngineReady") == message(told, "Ready")
    assert condition(told, "Stalled") == "False"


@pytest.mark.parametrize(("name", "cluster", "said"), [
    ("faq", None, "engine Milvus in mode Cluster needs spec.engine.cluster"),
    ("faq", {"name": NAME}, f"spec.engine.cluster: Milvus {NAME} was made for this index: write storage as it was"),
    ("f" * 34, {"storage": STORAGE}, "metadata.name leaves room for 33 characters"),
])  # fmt: skip
def test_what_no_rule_can_see_is_said_and_nothing_is_begun(name: str, cluster: Any, said: str) -> None:
    index = seen({"engine": {"mode": "Cluster", **({"cluster": cluster} if cluster else {})}})
    named = index.index.metadata.model_copy(update={"name": name})
    wanted = plan(replace(index, index=index.index.model_copy(update={"metadata": named})))
    assert (wanted.state, wanted.children) == (State.UNSUPPORTED, ())
    assert wanted.sentence.startswith(said)


@pytest.mark.parametrize(("index", "name"), [(made(), NAME), (shared(), "shared"), (seen(), None)])
def test_a_change_of_a_milvus_is_brought_to_the_indexes_in_it(index: Seen, name: str | None) -> None:
    assert of_index(index.raw) == name


def test_no_upgrade_of_ours_moves_a_cluster_to_another_milvus() -> None:
    index = made()
    newer = replace(index, settings=Settings(image_milvus="milvusdb/milvus:v9"))
    assert child(newer, "Milvus") == child(index, "Milvus")


@pytest.mark.parametrize(("mode", "name"), [("Lite", "faq-index-engine"), ("Standalone", "faq-index-milvus")])
def test_a_server_of_one_pod_is_waited_for_by_its_own_deployment(mode: str, name: str) -> None:
    def there(of: str, **told: int) -> There:
        return There({"kind": "Deployment", "metadata": {"name": of, "namespace": "shop"}, "status": told})

    engine, index = ENGINES["Milvus", mode], seen({"engine": {"mode": mode}}).index
    assert engine.waits(index, there(name, availableReplicas=1)) is None
    assert engine.waits(index, there(name, replicas=1)) == STARTING
    assert engine.waits(index, there("faq-index", availableReplicas=1)) == STARTING


def _told(index: Seen) -> tuple[Seen, Any]:
    return index, plan(index)
