"""Revisions that prompts are released together with: who has pods, who waits for whom, and what the status says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.serving.seen import see
from tests.unit.serving.test_canary import NOW, OLD_MODEL, built, moving, planned, rolled, rolling, running

from llmops.api import Reason
from llmops.rollout import tell
from llmops.rollout.state import Stable, State
from llmops.rollout.world import Outcome, Problem
from llmops.serving import canary, pins, roll
from llmops.serving.arms import family
from llmops.serving.observe import Family, Seen
from llmops.serving.pins import Pin

Object = dict[str, Any]
OLD, NEW = "a" * 64, "b" * 64


def release(name: str, revision: str | None, phase: str = "Canary") -> Object:
    reference = {"name": "support", **({"revision": revision} if revision else {})}
    metadata = {"name": name, "namespace": "shop"}
    return {"metadata": metadata, "spec": {"serviceRef": reference}, "status": {"phase": phase}}


def frozen(release: str, revision: str, state: str) -> Object:
    content = {"serviceRef": {"name": "support", "revision": revision}}
    metadata = {"name": f"{release}-prel-x", "namespace": "shop", "labels": {"llmops.dev/state": state}}
    return {"metadata": metadata, "spec": {"ofKind": "PromptRelease", "ofName": release, "content": content}}


BY_NAME = f"support-llm-{NEW[:10]}"


@pytest.mark.parametrize(
    ("releases", "contents", "found"),
    [
        ([], [], []),
        ([release("answer", None)], [], []),
        ([release("answer", BY_NAME)], [], [Pin(BY_NAME, NEW, "answer")]),
        ([release("answer", NEW[:12])], [], [Pin(NEW[:12], NEW, "answer")]),
        ([release("answer", "c" * 10)], [], [Pin("c" * 10, None, "answer")]),
        # its users have it: nobody waits any more, and it is needed for as long as they do
        ([release("answer", BY_NAME)], [frozen("answer", BY_NAME, "stable")], [Pin(BY_NAME, NEW)]),
        ([release("answer", None)], [frozen("answer", BY_NAME, "stable")], [Pin(BY_NAME, NEW)]),
        ([], [frozen("answer", BY_NAME, "retired"), frozen("answer", BY_NAME, "rejected")], []),
        # what users of one release have, another is on its way with
        ([release("other", BY_NAME)], [frozen("answer", BY_NAME, "stable")], [Pin(BY_NAME, NEW, "other")]),
        ([release("answer", BY_NAME, "Rejected")], [], [Pin(BY_NAME, NEW, "answer", idle=True)]),
        ([release("answer", BY_NAME, "Rejected"), release("other", NEW)], [], [Pin(BY_NAME, NEW, "answer")]),
    ],
)
def test_a_revision_is_needed_for_as_long_as_a_release_is_on_its_way_or_served_with_it(
    releases: list[Object], contents: list[Object], found: list[Pin]
) -> None:
    assert list(pins.pins([OLD, NEW], releases, contents)) == found


def held_by(seen: Seen, state: State, *found: Pin) -> Problem | None:
    return canary.referred(replace(rolling(seen, state), pins=found), [])


def test_a_candidate_that_a_release_moves_has_pods_and_meets_nobody_else_before_that_has_reached_everybody() -> None:
    seen, _ = rolled()
    state = moving(seen.digest, phase="Pending", stable=built({"model": OLD_MODEL})[0])
    pin = Pin("x", seen.digest, "answer")
    seen = replace(seen, pins=[pin])
    arms = family(seen, state)
    assert arms.candidate is not None
    assert arms.candidate.service.spec.replicas == 2
    problem = held_by(seen, state, pin)
    assert problem is not None
    assert "PromptRelease answer moves it together with its prompt" in problem.message
    assert held_by(seen, state, replace(pin, waiting="")) is None
    assert held_by(seen, state, Pin("x", OLD, "answer")) is None


def test_a_release_that_was_rejected_lets_the_pods_go_and_says_what_to_do() -> None:
    seen, _ = rolled()
    state = moving(seen.digest, phase="Pending", stable=built({"model": OLD_MODEL})[0])
    pin = Pin("x", seen.digest, "answer", idle=True)
    seen = replace(seen, pins=[pin])
    arms = family(seen, state)
    assert arms.candidate is not None
    assert arms.candidate.service.spec.replicas == 0
    problem = held_by(seen, state, pin)
    assert problem is not None
    assert "was rejected: change it back, or remove serviceRef.revision" in problem.message
    told = canary.pinned(seen, replace(rolling(seen, state), pins=[pin]), arms, {})
    assert [one.get("ready") for one in told] == [None]


def three() -> tuple[Seen, State, str]:
    """Users of the model have the second revision, those of a prompt the first, and the spec asks for a third."""
    first, old = built({"model": OLD_MODEL})
    second, kept = built()
    workloads = {
        "support-llm": running("support-llm", first, 3),
        f"support-llm-{second[:10]}": running(f"support-llm-{second[:10]}", second, 3),
    }
    seen = see(
        {"rollout": {}, "engine": {"type": "LlamaCpp", "contextLength": 512}, "replicas": 3},
        revisions=[old, kept], family=Family(workloads=workloads), pins=[Pin("x", first)],
    )  # fmt: skip
    return seen, moving(seen.digest, stable=second), first


def test_what_only_a_prompt_needs_keeps_its_pods_beside_stable_and_the_candidate() -> None:
    seen, state, first = three()
    arms = family(seen, state)
    assert [(one.digest, one.home, one.service.spec.replicas) for one in arms.others] == [(first, "support-llm", 3)]
    assert arms.homes == {"support-llm", f"support-llm-{seen.digest[:10]}", arms.stable.home if arms.stable else ""}
    assert canary.left(seen, arms) == set()
    assert "support-llm" in {one["metadata"]["name"] for one in planned(seen, state).children}
    let_go = replace(seen, pins=[])
    assert canary.left(let_go, family(let_go, state)) == {"support-llm"}
    rejected = replace(seen, pins=[Pin("x", first, "answer", idle=True)])
    assert family(rejected, state).others == ()


def test_the_status_says_where_each_is_and_why_one_cannot_be_asked() -> None:
    seen, state, first = three()
    stable = state.stable.digest if state.stable else ""
    found = [Pin("x", first), Pin("unknown", None), Pin("s", stable)]
    arms = family(replace(seen, pins=found), state)
    told = canary.pinned(seen, replace(rolling(seen, state), pins=found), arms, {stable: "does not answer yet: 500"})
    by_name = {one["revision"]: one for one in told}
    assert by_name["x"] == {"revision": "x", "digest": first, "service": "support-llm", "ready": True}
    assert by_name["s"]["message"] == "does not answer yet: 500"
    assert "ready" not in by_name["s"]
    assert "is no revision of it" in by_name["unknown"]["message"]


def test_a_service_that_replaces_its_revisions_in_place_can_keep_none() -> None:
    first, old = built({"model": OLD_MODEL})
    lends = {"rollout": {"capacity": "Recreate", "offline": [
        {"evalJobRef": {"name": "q"}, "metric": "exact_match", "min": "0.5"}]}}  # fmt: skip
    seen = see(lends, revisions=[old], pins=[Pin("x", first)])
    state = State("Released", stable=Stable(seen.digest, "v", NOW))
    arms = family(seen, state)
    assert arms.others == ()
    told = canary.pinned(seen, replace(rolling(seen, state), pins=seen.pins), arms, {})
    assert told == [{"revision": "x", "message": pins.IN_PLACE}]


def test_what_the_server_adds_by_itself_is_no_reason_to_write() -> None:
    """Else the evidence's clock would be written every second, and not every ten."""
    seen, state, _ = three()
    told = {"url": "u", "scaling": {"coldStart": "3s"}, **fields(seen, state)}
    stored = {**told, "pinned": [], "scaling": {**told["scaling"], "starts": []}, "observedGeneration": 3}
    now = datetime.fromtimestamp(NOW + 3, UTC)
    assert not roll._due(replace(seen, raw={**seen.raw, "status": stored}), told, now)
    more = {**told, "pinned": [{"revision": "x", "ready": True}]}
    assert roll._due(replace(seen, raw={**seen.raw, "status": stored}), more, now)


def fields(seen: Seen, state: State) -> Object:
    told = rolling(seen, state)
    outcome = Outcome(state, Reason.GATHERING_EVIDENCE, "at 0%")
    return tell.fields(outcome, told.wanted, told.world, lambda digest: digest, 10, datetime.fromtimestamp(NOW, UTC))
