"""The engines of an index as Kubernetes sees them: what is ours, what is somebody else's, and who knows a password."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.retrieval.conftest import seen, work_of

from llmops.retrieval.plan import Rebuild, cheapest, plan
from llmops.retrieval.stores import where

EXTERNAL = {"uri": "http://milvus.data:19530", "credentialsSecretRef": {"name": "milvus"}, "database": "shop"}
STANDALONE, ELSEWHERE = {"mode": "Standalone"}, {"mode": "External", "external": EXTERNAL}


def pods(engine: dict[str, Any]) -> dict[str, Any]:
    """The pods of everything that is begun, by the names of their owners' last words."""
    made = plan(seen({"engine": engine})).children
    return {
        one["metadata"]["name"] if one["kind"] == "Deployment" else "job": one["spec"]["template"]["spec"]
        for one in made
        if one["kind"] in ("Deployment", "Job")
    }


def test_milvus_standalone_is_one_pod_that_nobody_but_its_index_reaches() -> None:
    made = plan(seen({"engine": STANDALONE})).children
    (policy,) = [
        one for one in made if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == "faq-index-milvus"
    ]
    (rule,) = policy["spec"]["ingress"]
    assert rule["ports"] == [{"port": 19530, "protocol": "TCP"}]  # and not the port of its health and metrics
    (container,) = pods(STANDALONE)["faq-index-milvus"]["containers"]
    assert container["args"] == ["milvus", "run", "standalone"]
    assert work_of(seen({"engine": STANDALONE})).engine == "http://faq-index-milvus.shop.svc.cluster.local:19530"


@pytest.mark.parametrize(
    ("wanted", "requests", "limits"),
    [
        (None, {"cpu": "200m", "memory": "1Gi"}, {"memory": "8Gi"}),
        ({"limits": {"memory": "16Gi"}}, {"cpu": "200m", "memory": "1Gi"}, {"memory": "16Gi"}),
        ({"limits": {"memory": "512Mi"}}, {"cpu": "200m", "memory": "512Mi"}, {"memory": "512Mi"}),
        ({"requests": {"memory": "12Gi"}}, {"cpu": "200m", "memory": "12Gi"}, {"memory": "12Gi"}),
        ({"requests": {"cpu": 2}, "limits": {"cpu": 4}}, {"cpu": 2, "memory": "1Gi"}, {"memory": "8Gi", "cpu": 4}),
        # both are a person's: the API server refuses them in its own words
        ({"requests": {"cpu": 4}, "limits": {"cpu": 2}}, {"cpu": 4, "memory": "1Gi"}, {"memory": "8Gi", "cpu": 2}),
    ],
)
def test_an_engine_has_the_resources_that_are_wanted_and_ours_for_the_rest(
    wanted: dict[str, Any] | None, requests: dict[str, Any], limits: dict[str, Any]
) -> None:
    engine = {**STANDALONE, **({"resources": wanted} if wanted else {})}
    (container,) = pods(engine)["faq-index-milvus"]["containers"]
    assert container["resources"] == {"requests": requests, "limits": limits}


@pytest.mark.parametrize(
    ("type_", "uri"),
    [
        ("Milvus", "http://milvus.data:19530"),
        ("PgVector", "postgresql://db.data:5432/shop?sslmode=require"),
        ("Qdrant", "https://qdrant.data:6333"),
    ],
)
def test_of_an_external_engine_nothing_is_made(type_: str, uri: str) -> None:
    engine = {"type": type_, "mode": "External", "external": {**EXTERNAL, "uri": uri}}
    assert set(pods(engine)) == {"faq-index", "job"}
    index = seen({"engine": engine})
    assert not [one for one in plan(index).children if one["kind"] == "PersistentVolumeClaim"]
    work = work_of(index)
    assert (work.engine_type, work.engine, work.database) == (type_, uri, "shop")
    assert work.prefix == f"{work.alias}__g"  # others may be in there
    (container,) = pods(engine)["faq-index"]["containers"]
    assert container["args"][3:9] == ["--engine", uri, "--engine-type", type_, "--database", "shop"]


@pytest.mark.parametrize("pod", ["faq-index", "job"])
def test_a_password_reaches_the_pods_that_need_it_and_no_object_of_ours(pod: str) -> None:
    (container,) = pods(ELSEWHERE)[pod]["containers"]
    keys = {
        one["name"]: one["valueFrom"]["secretKeyRef"]["key"]
        for one in container["env"]
        if one.get("valueFrom", {}).get("secretKeyRef", {}).get("name") == "milvus"
    }
    assert keys == {
        "LLMOPS_ENGINE_TOKEN": "token",
        "LLMOPS_ENGINE_USERNAME": "username",
        "LLMOPS_ENGINE_PASSWORD": "password",
    }
    opened = where("Milvus", "http://m:19530", environ={"LLMOPS_ENGINE_PASSWORD": "secret"})
    assert (opened.password, "secret" in repr(opened)) == ("secret", False)


@pytest.mark.parametrize("engine", [STANDALONE, ELSEWHERE])
def test_in_another_engine_everything_is_built_and_meanwhile_the_old_one_stays(engine: dict[str, Any]) -> None:
    before, after = seen(), seen({"engine": engine})
    assert cheapest(work_of(before).parts, work_of(after).parts) == Rebuild(
        copy_vectors=True
    )  # from none that is there
    names = {one["metadata"]["name"] for one in plan(after).children if one["kind"] == "Deployment"}
    assert "faq-index-engine" not in names  # it is neither changed nor, before the other serves, removed


def test_indexes_of_the_same_name_do_not_touch_in_an_engine_that_they_share() -> None:
    one = work_of(seen({"engine": ELSEWHERE}))
    other = replace(one, index="depot/faq", alias="depot_faq_1a2b3c4d")
    assert not one.prefix.startswith(other.prefix)
    assert not other.prefix.startswith(one.prefix)
    assert work_of(seen()).prefix == "faq__g"  # alone in its Lite
