"""From load to a count: what is known moves it, what is not known does not, and nothing flaps."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.serving.seen import Object, deployment, pod, see

from llmops.api.llmservice import Autoscaling
from llmops.api.reasons import Reason
from llmops.serving.autoscale import WINDOW, Advice, Kept, Load, advise
from llmops.serving.load import ready_since, value
from llmops.serving.plan import Problem, plan
from llmops.serving.scaling import SENT
from llmops.serving.status import status

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def wants(**more: Any) -> Autoscaling:
    return Autoscaling.model_validate({"max": 10, **more})


def queue(running: int, waiting: int, ready: int = 2, **more: Any) -> Load:
    return Load(ready=ready, held=0, running=running, waiting=waiting, **{"at": 1000.0, **more})


@pytest.mark.parametrize(
    ("case", "live", "load", "kept", "count"),
    [
        ("a queue below the target is as wanted", 2, queue(20, 6), Kept(), 2),
        ("a long queue gets what it needs at once", 2, queue(20, 80), Kept(), 8),
        ("but never above max", 2, queue(20, 800), Kept(), 10),
        ("pods on their way are counted with", 8, queue(20, 80), Kept(), 8),
        ("an empty queue of busy pods takes none away", 2, queue(20, 0), Kept(capacity=10), 2),
        ("nobody knows what a pod can have: no change", 2, Load(ready=2, held=9, at=1000.0), Kept(), 2),
        ("no pod is ready: no change", 2, Load(ready=0, held=50, running=0, waiting=0, at=1000.0), Kept(), 2),
        ("fewer are wanted, but only just: no change yet", 4, queue(4, 0, 4), Kept(capacity=10), 4),
        (
            "fewer were wanted for the whole window",
            4,
            queue(4, 0, 4),
            Kept(capacity=10, advised=((1000 - WINDOW, 4), (900.0, 1))),
            1,
        ),
        (
            "the highest advice of the window holds",
            4,
            queue(4, 0, 4),
            Kept(capacity=10, advised=((1000 - WINDOW, 4), (900.0, 3))),
            3,
        ),
    ],
)
def test_a_queue_is_given_the_pods_it_needs(case: str, live: int, load: Load, kept: Kept, count: int) -> None:
    assert advise(wants(), live, load, kept).count == count, case


@pytest.mark.parametrize(
    ("metric", "load", "count"),
    [
        ({"type": "Concurrency", "target": 10}, Load(ready=2, held=5, running=40), 5),
        ({"type": "Concurrency", "target": 10}, Load(ready=2, held=0, running=21), 2),
        ({"type": "KVCache", "target": 80}, Load(ready=2, held=0, cache=190.0), 3),
        ({"type": "KVCache", "target": 80}, Load(ready=2, held=0), 2),
    ],
)
def test_each_metric_is_shared_among_the_pods(metric: Object, load: Load, count: int) -> None:
    assert advise(wants(metric=metric), 2, load, Kept()).count == count


def test_a_rate_of_tokens_is_counted_between_two_looks_and_a_gateway_that_began_anew_is_no_rate() -> None:
    asked, kept = wants(metric={"type": "TokensPerSecond", "target": 100}), Kept()
    told = []
    for at, tokens in ((0.0, 1000), (5.0, 3500), (10.0, 200), (15.0, 700)):
        advice = advise(asked, 2, Load(ready=2, held=0, tokens=tokens, at=at), kept)
        kept = advice.kept
        told.append((advice.count, kept.rate))
    assert told == [(2, None), (5, 500.0), (2, None), (2, 100.0)]


@pytest.mark.parametrize(
    ("case", "live", "load", "count"),
    [
        ("nobody asked for long", 1, Load(ready=1, held=0, idle=600.0), 0),
        ("not for long enough", 1, Load(ready=1, held=0, running=0, waiting=0, idle=599.0), 1),
        ("a gateway is silent: nobody knows", 1, Load(ready=1, held=0, running=0, waiting=0), 1),
        ("asleep, and nobody asks", 0, Load(ready=0, held=0, idle=9999.0), 0),
        ("asleep, and somebody waits", 0, Load(ready=0, held=1, idle=0.0), 1),
        ("asleep, somebody waits, and a gateway is silent", 0, Load(ready=0, held=1), 1),
    ],
)
def test_a_service_sleeps_only_when_everybody_says_so_and_wakes_for_the_first(
    case: str, live: int, load: Load, count: int
) -> None:
    assert advise(wants(min=0, idleAfter="10m"), live, load, Kept()).count == count, case


@pytest.mark.parametrize(("start", "window"), [(None, 300), (1.0, 60), (30.0, 120), (500.0, 300)])
def test_a_pod_that_starts_soon_is_let_go_sooner(start: float | None, window: int) -> None:
    kept = Kept(capacity=10, advised=((0.0, 4),))
    for at, count in ((window - 1.0, 4), (float(window), 1)):
        assert advise(wants(), 4, queue(4, 0, 4, at=at, start=start), kept).count == count


def test_a_service_that_once_ran_wakes_with_as_many_pods_as_wait_for_them() -> None:
    assert advise(wants(min=0), 0, Load(ready=0, held=50), Kept(capacity=6)).count == 5


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400), st.booleans()), min_size=1, max_size=80),
    st.integers(0, 3),
    st.integers(3, 12),
)
def test_whatever_comes_the_count_is_within_its_bounds_and_never_falls_before_a_window_of_less(
    looks: list[tuple[int, int, bool]], low: int, high: int
) -> None:
    asked, live, kept, needed = wants(min=low, max=high), high, Kept(), []
    for step, (running, waiting, known) in enumerate(looks):
        load = queue(running, waiting, max(1, live), at=step * 10.0)
        load = load if known else replace(load, waiting=None, running=None)
        advice = advise(asked, live, load, kept)
        assert max(low, 1) <= advice.count <= high
        needed.append(min(advice.kept.advised)[1] if advice.kept.advised else live)
        if advice.count < live:
            assert step * 10.0 >= WINDOW
        live, kept = advice.count, advice.kept


@given(st.integers(1, 50), st.integers(0, 500), st.integers(1, 20), st.integers(1, 40))
def test_what_was_advised_is_enough_and_stays_so(capacity: int, work: int, target: int, live: int) -> None:
    """The same requests over as many pods as were advised give the same advice: nothing flaps."""
    asked = wants(max=1000, metric={"target": target})

    def spread(count: int) -> Load:
        running = min(work, capacity * count)
        return queue(running, work - running, count)

    first = advise(asked, live, spread(live), Kept(capacity=float(capacity)))
    again = advise(asked, first.count, spread(first.count), first.kept)
    assert again.count == first.count
    waiting = max(0, work - capacity * first.count)
    assert waiting <= 1.2 * target * first.count + capacity * 0.2 * first.count


def scaled(load: Load | None, live: int | None, sent: str = "1", **more: Any) -> Any:
    asked = {"min": 0, "max": 4, "by": "Operator", **more}
    found = None if live is None else deployment(live)
    if found is not None:
        found |= {"spec": {"replicas": live}}
        found["metadata"]["annotations"] = {SENT: sent}
    return see({"replicas": 1, "autoscaling": asked}, workload=found, load=load or Load(ready=0, held=0))


def sent(seen: Any) -> tuple[int | None, Advice]:
    made = plan(seen)
    assert made.problem is None
    assert made.advice is not None
    assert "HorizontalPodAutoscaler" not in {one["kind"] for one in made.keep}
    return next(one for one in made.children if one["kind"] == "Deployment")["spec"].get("replicas"), made.advice


def test_our_own_count_is_always_sent() -> None:
    assert sent(scaled(None, None))[0] == 1
    assert sent(scaled(Load(ready=0, held=3), 0))[0] == 1
    assert sent(scaled(Load(ready=3, held=0), 3, sent="none"))[0] == 3  # as an autoscaler left it


def told(seen: Any, **before: Any) -> Object:
    return status(replace(seen, raw={**seen.raw, "status": before}), plan(seen), NOW)


def condition(whole: Object, kind: str) -> Object:
    return next(dict(one) for one in whole["conditions"] if one["type"] == kind)


def test_a_sleeping_service_is_ready_and_says_how_long_it_takes_to_wake() -> None:
    asleep = told(scaled(None, 0), scaling={"coldStart": "14s", "starts": [14], "explanation": "…"}, replicas=0)
    assert condition(asleep, "Ready")["reason"] == "Asleep"
    assert "about 14s" in condition(asleep, "Ready")["message"]
    assert condition(asleep, "Available")["status"] == "True"


def test_a_start_is_measured_once_and_the_slowest_of_five_is_promised() -> None:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:09Z"}
    seen = scaled(Load(ready=1, held=0), 1)
    seen = replace(seen, pods=[pod(conditions=[ready])])
    first = told(seen)["scaling"]
    assert (first["starts"], first["coldStart"]) == ([9], "9s")
    second = told(seen, scaling=first, replicas=1)["scaling"]
    assert second == first
    newer = replace(seen, pods=[pod(created="2026-01-01T00:00:05Z", conditions=[ready])])
    third = told(newer, scaling={**first, "starts": [9, 9, 9, 9, 30], "coldStart": "30s"}, replicas=1)["scaling"]
    assert (third["starts"], third["coldStart"]) == ([4, 9, 9, 9, 9], "9s")


def test_what_was_measured_outlives_a_spec_that_cannot_be_done() -> None:
    seen = scaled(Load(ready=1, held=0), 1)
    wrong = replace(plan(seen), problem=Problem(Reason.UNSUPPORTED, "write something else"))
    before = {"scaling": {"starts": [9], "coldStart": "9s"}}
    assert status(replace(seen, raw={**seen.raw, "status": before}), wrong, NOW)["scaling"] == before["scaling"]


def test_a_restarted_pod_is_no_start() -> None:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:10:00Z"}
    seen = scaled(Load(ready=1, held=0), 1)
    again = pod(conditions=[ready], containerStatuses=[{"restartCount": 1}])
    assert "starts" not in told(replace(seen, pods=[again]))["scaling"]


def test_scaling_is_no_news_while_enough_pods_serve() -> None:
    """The count follows the load all day: Ready must not flap with it."""
    seen = scaled(Load(ready=1, held=0), 4)
    growing = deployment(1)
    growing["spec"] = {"replicas": 4}
    assert condition(told(replace(seen, workload=growing)), "Ready")["status"] == "True"


def test_an_explanation_is_written_only_when_the_count_changes() -> None:
    seen = scaled(Load(ready=0, held=3), 0)
    first = told(seen, replicas=0)["scaling"]
    assert first["explanation"] == "1 pods: 3 requests wait for a first pod"
    assert told(scaled(Load(ready=0, held=5), 1), replicas=1, scaling=first)["scaling"] == first


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a:b 3\n", 3.0),
        ('a:b{engine="0"} 1\na:b{engine="1"} 2.5\n', 3.5),
        ('a:b_total 7\n# HELP a:b of x\na:bc{x="}"} 9', None),
        ('a:b{name="a } b"} 4', 4.0),
    ],
)
def test_a_gauge_is_the_sum_of_its_series(text: str, found: float | None) -> None:
    assert value(text, "a:b") == found


def test_only_ready_pods_with_an_address_are_asked() -> None:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:09Z"}
    pods = [pod(conditions=[ready], podIP="10.0.0.1"), pod(conditions=[{**ready, "status": "False"}], podIP="10.0.0.2")]
    assert list(ready_since([*pods, pod(podIP="10.0.0.3")])) == ["10.0.0.1"]
