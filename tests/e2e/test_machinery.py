"""kube/ against the real API server: what is written, what is not, and what memory holds afterwards."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.access import Access
from tests.e2e.widgets import WIDGET, child, service, until, widget

from llmops.kube import events
from llmops.kube.cache import Cache
from llmops.kube.client import Client
from llmops.kube.cluster import Cluster
from llmops.kube.errors import Conflict, Forbidden, NotFound, NotOurs
from llmops.kube.kubeconfig import connection, read
from llmops.kube.resources import CONFIG_MAP, EVENT, REVISION, SERVICE, Resource


async def test_an_apply_of_what_is_already_so_writes_nothing(seen: Cluster, namespace: str, writes: list[str]) -> None:
    made = await seen.client.create(WIDGET, widget(namespace))
    assert (await seen.apply([child(), service()], made)).written == 2
    await until(lambda: seen.get(SERVICE, namespace, "child") and seen.get(CONFIG_MAP, namespace, "child"))
    writes.clear()
    assert (await seen.apply([child(), service()], made)).skipped == 2
    assert writes == []


async def test_a_kubeconfig_whose_program_prints_a_service_accounts_token_is_that_account(
    cluster: Access, namespace: str, tmp_path: Path
) -> None:
    given = yaml.safe_load(cluster.kubeconfig.read_text())
    program = cluster.program("kubectl")
    token = f"'{program}' --kubeconfig '{cluster.kubeconfig}' create token default --namespace {namespace}"
    script = tmp_path / "login"
    script.write_text(
        f'#!/bin/sh\nset -e\necho ran >>"$0.runs"\ntoken=$({token})\n'
        'printf \'{"apiVersion": "client.authentication.k8s.io/v1", "status": {"token": "%s"}}\' "$token"\n'
    )
    script.chmod(0o755)
    run = {"apiVersion": "client.authentication.k8s.io/v1", "command": "./login", "interactiveMode": "Never"}
    users = [{**one, "user": {"exec": run}} for one in given["users"]]
    (tmp_path / "config").write_text(yaml.safe_dump({**given, "users": users}))
    async with Client(connection(read([tmp_path / "config"]))) as client:
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        for _ in range(2):
            answer = await client.raw("/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
        assert answer["status"]["userInfo"]["username"] == f"system:serviceaccount:{namespace}:default"
        with pytest.raises(Forbidden, match="cannot list resource"):
            await client.list(CONFIG_MAP, namespace)
    assert (tmp_path / "login.runs").read_text() == "ran\n"


async def test_a_field_that_we_no_longer_set_is_removed(seen: Cluster, namespace: str) -> None:
    made = await seen.client.create(WIDGET, widget(namespace))
    await seen.apply([child(a="1", b="2")], made)
    await until(lambda: seen.get(CONFIG_MAP, namespace, "child"))
    await seen.apply([child(a="1")], made)
    assert (await seen.client.get(CONFIG_MAP, namespace, "child"))["data"] == {"a": "1"}


async def test_somebody_elses_object_of_that_name_is_not_taken_over(seen: Cluster, namespace: str) -> None:
    made = await seen.client.create(WIDGET, widget(namespace))
    await seen.client.create(CONFIG_MAP, child(namespace=namespace))
    with pytest.raises(NotOurs, match=r"ConfigMap .*/child exists and is not of Widget one: rename"):
        await seen.apply([child(a="ours")], made)
    assert (await seen.client.get(CONFIG_MAP, namespace, "child"))["data"] == {"a": "1"}


async def test_what_never_changes_is_created_and_what_is_somebody_elses_stays_so(
    seen: Cluster, namespace: str, writes: list[str]
) -> None:
    made = await seen.client.create(WIDGET, widget(namespace))
    content = {"ofKind": "LLMService", "ofName": "one", "digest": "0" * 64, "content": {}}
    kind = {"apiVersion": REVISION.api_version, "kind": REVISION.kind, "spec": content}
    seen.cache.follow(REVISION, namespace)
    await seen.cache.synced(60)
    writes.clear()
    for state in ("stable", "retired"):
        await seen.apply([{**kind, "metadata": {"name": "r", "labels": {"llmops.dev/state": state}}}], made)
    assert writes == ["create revisions", "apply revisions"]
    found = await seen.client.get(REVISION, namespace, "r")
    assert found["metadata"]["labels"]["llmops.dev/state"] == "retired"
    await seen.client.create(REVISION, {**kind, "metadata": {"name": "theirs", "namespace": namespace}})
    with pytest.raises(NotOurs, match=r"Revision .*/theirs exists and is not of Widget one"):
        await seen.apply([{**kind, "metadata": {"name": "theirs"}}], made)


async def test_what_seldom_changes_is_created_and_loses_what_a_later_plan_leaves_out(
    cluster: Any, seen: Cluster, namespace: str, writes: list[str]
) -> None:
    made = await seen.client.create(WIDGET, widget(namespace))
    spec = {"selector": {"a": "1"}, "ports": [{"name": "http", "port": 80}], "publishNotReadyAddresses": True}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec}
    writes.clear()
    await seen.apply([service], made)
    assert writes == ["create services"]
    cluster.kubectl("label", "service", "s", "theirs=1", "--namespace", namespace)
    writes.clear()
    for _ in range(2):
        await seen.apply([{**service, "spec": {"selector": {"b": "2"}, "ports": [{"name": "http", "port": 81}]}}], made)
    assert writes == ["patch services", "apply services"]
    found = await seen.client.get(SERVICE, namespace, "s")
    assert found["spec"]["selector"] == {"b": "2"}
    assert [one["port"] for one in found["spec"]["ports"]] == [81]
    assert not found["spec"].get("publishNotReadyAddresses")
    assert found["metadata"]["labels"]["theirs"] == "1"


async def test_what_is_no_longer_wanted_is_pruned_and_only_that(seen: Cluster, namespace: str) -> None:
    made = await seen.client.create(WIDGET, widget(namespace))
    await seen.apply([child("one"), child("two")], made)
    await until(lambda: seen.get(CONFIG_MAP, namespace, "one") and seen.get(CONFIG_MAP, namespace, "two"))
    # what a child made may have the child's labels, and is the child's
    first = seen.get(CONFIG_MAP, namespace, "one")
    assert first
    other = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "one",
        "uid": first["metadata"]["uid"],
        "controller": True,
    }
    grandchild = child("grandchild", namespace=namespace)
    grandchild["metadata"] |= {"labels": first["metadata"]["labels"], "ownerReferences": [other]}
    await seen.client.create(CONFIG_MAP, grandchild)
    await until(lambda: seen.get(CONFIG_MAP, namespace, "grandchild"))
    assert await seen.prune(made, keep=[child("one")], resources=[CONFIG_MAP]) == 1
    await until(lambda: seen.get(CONFIG_MAP, namespace, "two") is None)
    assert seen.get(CONFIG_MAP, namespace, "one")


async def test_a_status_is_written_once_and_never_over_a_newer_object(
    seen: Cluster, namespace: str, writes: list[str]
) -> None:
    made = await seen.client.create(WIDGET, widget(namespace))
    assert await seen.report(made, {"phase": "Pending"})
    fresh = await seen.client.get(WIDGET, namespace, "one")
    writes.clear()
    assert not await seen.report(fresh, {"phase": "Pending"})
    assert writes == []
    with pytest.raises(Conflict):
        await seen.report(made, {"phase": "Running"})


async def test_a_status_field_that_is_gone_is_removed(seen: Cluster, namespace: str) -> None:
    made = await seen.client.create(WIDGET, widget(namespace))
    await seen.report(made, {"phase": "Running", "progress": {"done": 1, "total": 2}})
    fresh = await seen.client.get(WIDGET, namespace, "one")
    await seen.report(fresh, {"phase": "Succeeded"})
    status = (await seen.client.get(WIDGET, namespace, "one"))["status"]
    assert status["phase"] == "Succeeded"
    assert "progress" not in status


async def test_a_deletion_that_the_watch_lost_is_told_by_the_list_that_follows(client: Client, namespace: str) -> None:
    """The server answers 410 to a watch from the first version there ever was, as it does after a long outage."""
    cache, gone = Cache(client), []
    cache.subscribe(lambda _, obj, deleted: gone.append(obj["metadata"]["name"]) if deleted else None)
    cache.follow(CONFIG_MAP, namespace)
    await cache.synced(60)
    await client.create(CONFIG_MAP, child("vanishes", namespace))
    await until(lambda: cache.get(CONFIG_MAP, namespace, "vanishes"))
    (reflector,) = cache._reflectors[CONFIG_MAP]
    reflector.task.cancel()
    await client.delete(CONFIG_MAP, namespace, "vanishes")
    reflector._since = 1
    reflector.task = asyncio.create_task(reflector.run())
    await until(lambda: gone == ["vanishes"])
    await cache.close()


async def test_a_missing_object_is_not_found_and_says_which(client: Client, namespace: str) -> None:
    with pytest.raises(NotFound, match="absent"):
        await client.get(CONFIG_MAP, namespace, "absent")


async def test_a_write_of_ours_is_in_memory_when_its_call_returns(seen: Cluster, namespace: str) -> None:
    """So that the next turn neither writes it again nor fails on an old version."""
    made = await seen.client.create(WIDGET, widget(namespace))
    await seen.apply([child()], made)
    assert seen.get(CONFIG_MAP, namespace, "child")
    await until(lambda: seen.get(WIDGET, namespace, "one"))
    for phase in ("Pending", "Running", "Succeeded"):
        assert await seen.report(seen.get(WIDGET, namespace, "one") or {}, {"phase": phase})


async def test_a_child_of_an_earlier_owner_of_that_name_is_left_to_the_garbage_collector(
    seen: Cluster, namespace: str
) -> None:
    before = await seen.client.create(WIDGET, widget(namespace))
    await seen.apply([child(a="old")], before)
    await seen.client.delete(WIDGET, namespace, "one")
    now = await seen.client.create(WIDGET, widget(namespace))
    if not (await seen.apply([child(a="new")], now)).written:  # else the garbage collector was quicker
        await until(lambda: seen.get(CONFIG_MAP, namespace, "child") is None, 120)
        assert (await seen.apply([child(a="new")], now)).written == 1
    live = await seen.client.get(CONFIG_MAP, namespace, "child")
    assert live["data"] == {"a": "new"}
    assert [one["uid"] for one in live["metadata"]["ownerReferences"]] == [now["metadata"]["uid"]]


async def test_an_object_that_leaves_one_of_two_streams_stays_until_it_left_both(
    client: Client, namespace: str
) -> None:
    cache = Cache(client)
    for labels in ("one=yes", "two=yes"):
        cache.follow(CONFIG_MAP, namespace, labels)
    await cache.synced(60)
    both = child("both", namespace)
    both["metadata"]["labels"] = {"one": "yes", "two": "yes"}
    await client.create(CONFIG_MAP, both)
    await until(lambda: cache.get(CONFIG_MAP, namespace, "both"))
    await client.patch(CONFIG_MAP, namespace, "both", {"metadata": {"labels": {"one": None}}, "data": {"a": "2"}})
    await until(lambda: (cache.get(CONFIG_MAP, namespace, "both") or {})["data"] == {"a": "2"})
    await client.patch(CONFIG_MAP, namespace, "both", {"metadata": {"labels": {"two": None}}})
    await until(lambda: cache.get(CONFIG_MAP, namespace, "both") is None)
    await cache.close()


async def test_a_kind_that_is_not_installed_is_named_with_what_to_do(client: Client, namespace: str) -> None:
    cache = Cache(client)
    cache.follow(Resource("llmops.dev", "v1alpha1", "nothings", "Nothing"), namespace)
    await until(lambda: "kubectl apply" in cache.behind()[0])
    assert cache.behind()[0].startswith("nothings: Nothing (llmops.dev/v1alpha1) is not installed in this cluster")
    with pytest.raises(TimeoutError, match="nothings"):
        await cache.synced(0.1)
    await cache.close()


async def test_the_same_event_is_one_event_and_an_object_cannot_flood(
    seen: Cluster, namespace: str, writes: list[str]
) -> None:
    made = await seen.client.create(WIDGET, widget(namespace))
    writes.clear()
    for _ in range(3):
        await seen.event(made, "Happened", "it happened", "Warning")
    assert writes == ["create events"]
    (told,) = (await seen.client.list(EVENT, namespace))["items"]
    assert (told["reason"], told["note"], told["type"]) == ("Happened", "it happened", "Warning")
    assert told["regarding"]["uid"] == made["metadata"]["uid"]
    for number in range(100):
        await seen.event(made, "Happened", f"it happened to {number}")
    assert len(writes) == 20


async def test_an_event_that_goes_on_for_longer_than_five_minutes_is_counted_in_place(
    seen: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "AGAIN_SECONDS", 0.0)
    made = await seen.client.create(WIDGET, widget(namespace))
    for _ in range(3):
        await seen.event(made, "Happened", "it happened")
    (told,) = (await seen.client.list(EVENT, namespace))["items"]
    assert told["series"]["count"] == 3
