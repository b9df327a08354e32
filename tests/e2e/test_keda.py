"""KEDA and Prometheus, the real ones: a service that they scale, from zero too, and hand back without a jump."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from demo import acts, install
from demo.stage import NAMESPACE, apply, get, kubectl, until
from tests.cluster import choose, keda
from tests.e2e.test_canary import BAD, GOOD, Crowd, reaches, status
from tests.e2e.test_sleep import Object, ask, load, reason, replicas, service

from llmops.desk import dashboard
from llmops.serving.keda import SCALER
from llmops.serving.scaling import SENT

AWAKE = {"min": 3, "max": 3, "metric": {"type": "Concurrency", "target": 2}}
ASKED = {"min": 0, "max": 3, "idleAfter": "10s", "metric": {"type": "Concurrency", "target": 2}}


@pytest.fixture(scope="module")
def show(cluster: object) -> Iterator[acts.Show]:
    if choose.choose() != "node":
        pytest.skip("KEDA is compiled for the node of processes, which has no registry to take it from")
    address = keda.install()
    shown = install.operator(fresh=True)
    install.install(("--set", f"operator.env.LLMOPS_PROMETHEUS_URL={address}"))
    yield shown
    uninstalled()
    kubectl("delete", "namespace", NAMESPACE, "--timeout=300s")


def uninstalled() -> None:
    """Services first: what is wanted comes again, and what has KEDA's finalizer stays for ever without KEDA."""
    kubectl("delete", "llmservice", "--all", "-n", NAMESPACE, "--timeout=180s")
    keda.uninstall()


def listed(kind: str) -> str:
    return kubectl("get", kind, "-n", NAMESPACE, "-o", "name")


async def within(what: str, seen: object, seconds: float = 180) -> None:
    assert callable(seen)
    last = lambda: kubectl("get", "llmservice,deployment,scaledobject,hpa", "-n", NAMESPACE)  # noqa: E731
    await asyncio.to_thread(until, what, seen, seconds, last)


async def test_keda_scales_a_service_from_zero_to_its_load_and_hands_it_back_as_it_is(show: acts.Show) -> None:
    apply(service("tide", autoscaling={**ASKED, "by": "KEDA"}, limits={"timeout": "120s"}))
    await asyncio.to_thread(acts.until_true, "llmservice", "tide")
    await within("asleep", lambda: reason("tide") == "Asleep" and replicas("tide") == 0)

    assert await ask(show, "tide")  # held at the door until KEDA saw it there
    async with load(show, "tide", 12):
        await within("three pods", lambda: replicas("tide") == 3)
        assert "keda-hpa-tide-llm" in listed("hpa")
        noted = get("deployment", "tide-llm")["metadata"]["annotations"]
        assert (noted[SENT], noted[SCALER]) == ("none", "KEDA")
        apply(service("tide", autoscaling=AWAKE, limits={"timeout": "120s"}))
        await within("nothing of KEDA's", lambda: not listed("scaledobject") and "tide" not in listed("hpa"))
        assert replicas("tide") == 3
        noted = get("deployment", "tide-llm")["metadata"]["annotations"]
        assert (noted[SENT], SCALER in noted) == ("3", False)


PANELS = [panel for row in dashboard.ROWS.values() for panel in row]
OF_THE_DOOR = ("Requests", "Seconds to the whole answer, p95", "Tokens", "Running and held")


def queried(query: str) -> Object:
    asked = quote(query.replace("$__rate_interval", "5m"))
    path = f"/api/v1/namespaces/keda/services/http:prometheus:9090/proxy/api/v1/query?query={asked}"
    answer: Object = json.loads(kubectl("get", "--raw", path))
    return answer


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_prometheus_understands_what_the_dashboard_asks(show: acts.Show, panel: dashboard.Panel) -> None:
    """After the test before has asked the door."""
    answer = queried(panel.query)
    assert answer["status"] == "success"
    if panel.title in OF_THE_DOOR:
        assert answer["data"]["result"]


async def test_a_query_of_the_users_own_decides_how_many(show: acts.Show) -> None:
    mine = {"type": "Prometheus", "query": "count(up{job='llmops'}) * 0 + 9", "target": 2}
    apply(service("tide", autoscaling={"max": 8, "metric": mine}))
    await within("five pods", lambda: "9 by spec.autoscaling.metric.query, 2 a pod" in told())
    assert replicas("tide") == 5


def told() -> str:
    return str(get("llmservice", "tide")["status"].get("scaling", {}).get("explanation"))


async def test_keda_goes_on_with_the_pods_of_the_revision_that_becomes_stable(show: acts.Show) -> None:
    """Two pods by KEDA, where the spec begins with one: a jump to the spec's count would be seen."""
    two = {"min": 1, "max": 2, "by": "KEDA", "metric": {"type": "Concurrency", "target": 1}}
    steps = [{"weight": 50, "minUnits": 30}]
    rollout = {"steps": steps, "bake": "15s", "margin": {"points": "30"}, "stickyBy": ["Header:x-user-id"]}
    apply(service("flow", model=BAD, rollout=rollout, autoscaling=two))
    await asyncio.to_thread(acts.until_true, "llmservice", "flow")
    counts: list[int] = []
    async with Crowd(show, "flow") as crowd:
        async with load(show, "flow", 6):  # the crowd's own answers may be too short to be seen at once
            await within("two pods", lambda: handed("flow-llm"))
        assert scaled() == ["flow-llm"]
        apply(service("flow", model=GOOD, rollout=rollout, autoscaling=two))
        await within("some meet it", lambda: status("flow").get("candidate", {}).get("weight"))
        own = f"flow-llm-{status('flow')['candidate']['digest'][:10]}"
        assert scaled() == ["flow-llm"]
        home = get("deployment", own)
        assert (SCALER in home["metadata"].get("annotations", {}), home["spec"]["replicas"]) == (False, 2)
        await reaches("flow", "Released", 240)

        def moved() -> bool:
            counts.append(deployed(own))
            return scaled() == [own] and "keda-hpa-flow-llm\n" not in f"{listed('hpa')}\n"

        await within("only the new home's", moved)
    assert set(counts) == {2}
    assert {code for _, code in crowd.met} == {200}
    noted = get("deployment", own)["metadata"]["annotations"]
    assert (noted[SENT], noted[SCALER]) == ("2", "KEDA")

    apply(service("flow", model=GOOD, rollout=rollout, replicas=2))
    await within("nothing of KEDA's", lambda: not scaled() and f"keda-hpa-{own}" not in listed("hpa"))
    assert deployed(own) == 2


def scaled() -> list[str]:
    """The service's ScaledObjects."""
    return [one.rpartition("/")[2] for one in listed("scaledobject").split() if "/flow-llm" in one]


def deployed(home: str) -> int:
    return int(get("deployment", home)["spec"]["replicas"])


def handed(home: str) -> bool:
    return deployed(home) == 2 and get("deployment", home)["metadata"]["annotations"].get(SENT) == "none"


async def test_where_keda_is_not_installed_the_condition_says_so(show: acts.Show) -> None:
    uninstalled()
    apply(service("ebb", autoscaling={"max": 2, "by": "KEDA"}))
    sentence = "KEDA is not installed in this cluster"
    await asyncio.to_thread(until, sentence, lambda: sentence in said("ebb"), 120, lambda: said("ebb"))
    apply(service("ebb", autoscaling={"max": 2}))
    await asyncio.to_thread(acts.until_true, "llmservice", "ebb")


def said(name: str) -> str:
    found = get("llmservice", name).get("status") or {}
    return str([one.get("message") for one in found.get("conditions", []) if one["type"] == "Ready"])
