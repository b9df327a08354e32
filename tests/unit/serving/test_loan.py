"""rollout.capacity: Recreate with evaluations: when stable lends a replica, to whom, and when it has it back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.serving.seen import deployment, see
from tests.unit.serving.test_canary import NOW, OLD_MODEL, built, children, moving, planned, rolling, running, standing

from llmops.api import Reason
from llmops.api.rollout import ServiceRollout
from llmops.rollout.state import Candidate, Stable, State, freeze
from llmops.rollout.world import Outcome, Problem
from llmops.serving import canary, roll
from llmops.serving.arms import family
from llmops.serving.observe import Family, Seen

Object = dict[str, Any]
GATE = {"evalJobRef": {"name": "quality"}, "metric": "exact_match", "maxDrop": "0.02"}
RECREATE = {"capacity": "Recreate", "offline": [GATE]}
HOME = "support-llm"


def full(home: str, digest: str, pods: int, **status: Any) -> Object:
    found = running(home, digest, pods)
    return {**found, "status": {**deployment(pods)["status"], **status}}


def lending(
    spec: Object | None = None, phase: str = "Pending", borrowed: int | None = None
) -> tuple[Seen, State, str]:  # fmt: skip
    """A service whose candidate has so many pods already (None: no Deployment), and stable the rest of three."""
    digest, kept = built({"model": OLD_MODEL})
    seen = see({"rollout": RECREATE, "replicas": 3, **(spec or {})}, revisions=[kept])
    own = f"{HOME}-{seen.digest[:10]}"
    workloads = {HOME: full(HOME, digest, seen.service.spec.replicas - (borrowed or 0))}
    if borrowed is not None:
        workloads[own] = full(own, seen.digest, borrowed)
    return replace(seen, family=Family(workloads=workloads)), moving(seen.digest, phase=phase, stable=digest), own


def counts(seen: Seen, state: State, waits: Problem | None = None) -> dict[str, int]:
    made = canary.plan(seen, rolling(seen, state), family(seen, state, waits), state)[0]
    return {name: one["spec"]["replicas"] for name, one in children(made, "Deployment").items()}


@pytest.mark.parametrize(
    ("phase", "borrowed", "stable", "candidate"),
    [
        ("Pending", None, 2, 1),
        ("Pending", 1, 2, 1),
        ("Validating", 1, 2, 1),
        ("Evaluating", 1, 2, 1),
        ("Holding", 1, 3, 0),
        ("Holding", 0, 3, 0),
        ("Rejected", 1, 3, None),
    ],
)
def test_stable_lends_one_replica_while_the_candidate_is_evaluated(
    phase: str, borrowed: int | None, stable: int, candidate: int | None
) -> None:
    seen, state, own = lending(phase=phase, borrowed=borrowed)
    expected = {HOME: stable} | ({own: candidate} if candidate is not None else {})
    assert counts(seen, state) == expected


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"replicas": 1}, "users would have none left: write replicas: 2, remove rollout.offline"),
        ({"autoscaling": {"max": 4, "metric": {"type": "Concurrency"}}}, "remove autoscaling or rollout.offline"),
    ],
)
def test_a_service_that_has_none_to_lend_keeps_its_pods_and_says_what_to_write(spec: Object, told: str) -> None:
    seen, state, own = lending(spec)
    arms = family(seen, state)
    problem = canary.missing(arms, None)
    assert problem is not None
    assert told in problem.message
    assert problem.reason == Reason.INVALID_SPEC
    found = counts(seen, state)
    assert found[own] == 0
    assert found[HOME] == (1 if "replicas" in spec else 3)
    now = standing(seen, state, Outcome(state, problem.reason, ""))
    said = {one["type"]: one["status"] for one in now["conditions"]}
    assert (said["Available"], said["Stalled"]) == ("True", "True")


def test_nothing_is_lent_before_everything_else_is_there() -> None:
    seen, state, own = lending()
    waits = Problem(Reason.REFERENCE_MISSING, "EvalJob quality does not exist")
    assert counts(seen, state, waits) == {HOME: 3, own: 0}
    assert canary.missing(family(seen, state, waits), waits) == waits

    unaccepted = {"model": {"uri": "file:///m.gguf", "license": {"id": "llama3.1"}}}
    assert counts(*lending(unaccepted)[:2]) == {HOME: 3}

    cached = {"model": {"uri": "https://w.example/n.gguf", "cache": {"size": "20Gi"}}}
    seen, state, own = lending(cached)
    assert counts(seen, state) == {HOME: 3}  # its weights come first


def test_nothing_is_lent_by_a_stable_that_lacks_a_pod_already() -> None:
    seen, state, own = lending()
    sick = full(HOME, built({"model": OLD_MODEL})[0], 3, readyReplicas=2)
    seen = replace(seen, family=Family(workloads={HOME: sick}))
    assert counts(seen, state) == {HOME: 3, own: 0}
    problem = canary.missing(family(seen, state), None)
    assert problem is not None
    assert "stable lends no replica to the evaluation before all of its own are ready: 2 of 3 pods" in problem.message


def test_what_was_lent_stays_so_when_stable_loses_a_pod_meanwhile() -> None:
    seen, state, own = lending(phase="Evaluating", borrowed=1)
    sick = full(HOME, built({"model": OLD_MODEL})[0], 2, readyReplicas=1)
    seen = replace(seen, family=Family(workloads={**seen.family.workloads, HOME: sick}))
    assert counts(seen, state) == {HOME: 2, own: 1}


def test_one_that_waits_for_a_person_is_not_thrown_back_for_want_of_the_pods_it_gave_up() -> None:
    for left in (1, 0):
        seen, state, _ = lending(phase="Holding", borrowed=left)
        assert canary.missing(family(seen, state), None) is None


def test_users_of_a_service_that_lends_are_told_so() -> None:
    seen, state, _ = lending(phase="Evaluating", borrowed=1)
    told = standing(seen, state, Outcome(state, Reason.EVALUATING, "EvalJob quality: 3 of 40 rows"))
    ready = next(one for one in told["conditions"] if one["type"] == "Ready")
    assert ready["message"] == "EvalJob quality: 3 of 40 rows; stable lends it one of 3 replicas"
    assert told["replicas"] == 2


def released(seen: Seen) -> State:
    return State("Released", stable=Stable(seen.digest, "new", NOW))


def test_what_passed_moves_in_where_stable_is_with_all_replicas_and_surge_0() -> None:
    seen, _, own = lending(borrowed=1)
    state = released(seen)
    made = planned(seen, state)
    (one,) = children(made, "Deployment").values()
    assert one["metadata"]["name"] == HOME
    assert one["spec"]["replicas"] == 3
    assert one["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}
    template = one["spec"]["template"]
    assert template["metadata"]["annotations"]["llmops.dev/revision"] == seen.digest[:10]
    assert "--model=/models/support-good.gguf" in template["spec"]["containers"][0]["args"]
    arms = family(seen, state)
    assert canary.superfluous(seen, arms, state, [], NOW) == {own}  # nobody met it there: nobody is waited for


@pytest.mark.parametrize("first", [0, 1])
def test_an_operator_killed_before_the_lent_place_was_cleared_finds_the_same_home_again(first: int) -> None:
    seen, _, own = lending(borrowed=1)
    both = [(HOME, full(HOME, seen.digest, 3)), (own, full(own, seen.digest, 1))]
    seen = replace(seen, family=Family(workloads=dict([both[first], both[1 - first]])))
    arms = family(seen, released(seen))
    assert arms.homes == {HOME}
    assert canary.superfluous(seen, arms, released(seen), [], NOW) == {own}


def test_a_candidate_that_users_meet_already_goes_on_by_steps_when_recreate_is_written() -> None:
    seen, _, own = lending(borrowed=None)
    digest = built({"model": OLD_MODEL})[0]
    seen = replace(seen, family=Family(workloads={HOME: full(HOME, digest, 3), own: full(own, seen.digest, 3)}))
    candidate = Candidate(seen.digest, "new", 1, freeze(ServiceRollout()), weight=50, since=NOW)
    state = State("Canary", stable=Stable(digest, "old", NOW - 99), candidate=candidate)
    assert counts(seen, state) == {HOME: 3, own: 3}
    assert family(seen, released(seen)).homes == {own}  # and stays in its pods


def test_a_first_release_has_all_its_replicas_and_nobody_to_lend_it_any() -> None:
    seen = see({"rollout": RECREATE, "replicas": 1})
    assert counts(seen, moving(seen.digest, phase="Pending")) == {HOME: 1}


@pytest.mark.parametrize(("gates", "rolls"), [([GATE], True), ([], False)])
def test_without_evaluations_it_is_replaced_where_it_stands(gates: list[Object], rolls: bool) -> None:
    assert roll.rolls(see({"rollout": {**RECREATE, "offline": gates}})) is rolls


def test_while_pods_are_replaced_only_adapters_that_both_have_are_promised() -> None:
    def tuned(*names: str) -> Object:
        return {**OLD_MODEL, "adapters": [{"name": one, "uri": f"file:///{one}.gguf"} for one in names]}

    digest, _ = built({"model": tuned("tone")})
    new = {"model": tuned("tone", "wit"), "rollout": RECREATE}
    said = {"stable": {"service": HOME, "digest": digest, "adapters": ["tone"]}}
    seen = see(new, revisions=[built(new)[1]], status=said)
    state = released(seen)
    for noted, expected in ((digest, ["tone"]), (seen.digest, ["tone", "wit"])):
        at = replace(seen, family=Family(workloads={HOME: full(HOME, noted, 2)}))
        assert standing(at, state, Outcome(state, Reason.RELEASED, ""))["stable"]["adapters"] == expected
