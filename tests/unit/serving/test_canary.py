"""Two revisions of a service side by side: whose pods are where, what each is made of, and when the old ones go."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.serving.seen import deployment, pod, see

from llmops.api import Reason
from llmops.api.rollout import ServiceRollout
from llmops.rollout.state import Candidate, Stable, State, freeze
from llmops.rollout.world import Gateway, Outcome, Wanted, World
from llmops.serving import canary, plan, revision
from llmops.serving.arms import Arms, family, home_of, restored
from llmops.serving.canary import Rolling
from llmops.serving.observe import Family, Seen

Object = dict[str, Any]
OLD_MODEL = {"uri": "file:///models/support-bad.gguf"}
CACHED = {"uri": "https://w.example/m.gguf", "cache": {"size": "10Gi"}}
NOW = 1_800_000_000.0


def built(spec: Object | None = None) -> tuple[str, Object]:
    """(digest, Revision) of a service with this spec, as its own turn would have made it."""
    seen = see(spec)
    made = next(one for one in plan.plan(seen).children if one["kind"] == "Revision")
    return seen.digest, {**made, "metadata": {**made["metadata"], "creationTimestamp": "2026-01-01T00:00:00Z"}}


def running(home: str, digest: str, replicas: int = 2) -> Object:
    found = deployment(replicas)
    template = {"metadata": {"annotations": {"llmops.dev/revision": digest[:10]}}}
    return {
        **found,
        "metadata": {**found["metadata"], "name": home},
        "spec": {"replicas": replicas, "template": template},
    }


def moving(digest: str, weight: int = 0, phase: str = "Canary", stable: str | None = None) -> State:
    candidate = Candidate(digest, "new", 1, freeze(ServiceRollout()), weight=weight, since=NOW)
    return State(phase, stable=Stable(stable, "old", NOW - 99) if stable else None, candidate=candidate)


def rolled(spec: Object | None = None, old: Object | None = None, **more: Any) -> tuple[Seen, State]:
    """A service whose spec has become `spec`, while stable's pods are of `old`."""
    digest, kept = built(old or {"model": OLD_MODEL})
    family = Family(workloads={"support-llm": running("support-llm", digest)})
    seen = see({"rollout": {}, **(spec or {})}, revisions=[kept], family=family, **more)
    return seen, moving(seen.digest, stable=digest)


def rolling(seen: Seen, state: State, **world: Any) -> Rolling:
    rollout = seen.service.spec.rollout or ServiceRollout()
    wanted = Wanted(seen.digest, canary.version(seen.service), rollout)
    return Rolling(rollout, wanted, state, World(NOW, **world), {}, {}, None)


def planned(seen: Seen, state: State) -> plan.Plan:
    return canary.plan(seen, rolling(seen, state), family(seen, state), state)[0]


def children(made: plan.Plan, kind: str) -> dict[str, Object]:
    return {one["metadata"]["name"]: one for one in made.children if one["kind"] == kind}


def test_the_first_revision_lives_where_a_service_lives_and_stays_there_when_it_is_released() -> None:
    seen = see({"rollout": {}})
    arms = family(seen, moving(seen.digest, phase="Pending"))
    assert arms.stable is None
    assert arms.candidate is not None
    assert arms.candidate.home == "support-llm"
    held = replace(seen, family=Family(workloads={"support-llm": running("support-llm", seen.digest)}))
    arms = family(held, State("Released", stable=Stable(seen.digest, "v", NOW)))
    assert arms.homes == {"support-llm"}


def test_each_revision_has_pods_of_its_own_that_the_other_does_not_count() -> None:
    seen, state = rolled()
    made = planned(seen, state)
    both = children(made, "Deployment")
    new = f"support-llm-{seen.digest[:10]}"
    assert both.keys() == {"support-llm", new}
    models = {name: one["spec"]["template"]["spec"]["containers"][0]["args"] for name, one in both.items()}
    assert "--model=/models/support-bad.gguf" in models["support-llm"]
    assert "--model=/models/support-good.gguf" in models[new]
    for kind in ("Service", "Deployment", "PodDisruptionBudget", "NetworkPolicy"):
        found = children(made, kind)
        assert found.keys() == both.keys(), kind
    selected = [one["spec"]["selector"]["matchLabels"] for one in both.values()]
    assert selected[0] != selected[1]
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in both.values()]
    assert selected == labels


def test_stables_pods_stay_exactly_as_they_were_while_another_is_on_its_way() -> None:
    before = next(one for one in plan.plan(see({"model": OLD_MODEL})).children if one["kind"] == "Deployment")
    seen, state = rolled()
    assert children(planned(seen, state), "Deployment")["support-llm"] == before


@pytest.mark.parametrize(
    "old",
    [
        {"model": OLD_MODEL},
        {"engine": {"type": "LlamaCpp", "args": ["--jinja"], "image": "a/b:1"}},
        {"podTemplate": {"spec": {"nodeSelector": {"a": "b"}}}},
        {"engine": {"type": "vLLM"}, "model": {"uri": "hf://o/n", "revision": "v1"}, "accelerator": {"count": 2}},
    ],
)
def test_a_revision_has_all_that_its_pods_are_made_of(old: Object) -> None:
    digest, kept = built(old)
    new = see({"model": {"uri": "file:///models/other.gguf"}, "engine": {"type": "LlamaCpp"}}).service
    assert revision.content_digest(restored(new, kept)) == digest


def test_what_is_no_part_of_a_revision_changes_in_both() -> None:
    seen, state = rolled({"replicas": 3, "resources": {"requests": {"cpu": "2"}}})
    for one in children(planned(seen, state), "Deployment").values():
        assert one["spec"]["replicas"] == 3
        assert one["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "2"


def test_the_candidate_has_as_many_pods_as_stable_has_now_and_at_least_one() -> None:
    for live, expected in ((4, 4), (0, 1)):
        seen, state = rolled({"autoscaling": {"min": 0, "max": 8, "metric": {"type": "Concurrency"}}})
        held = running("support-llm", built({"model": OLD_MODEL})[0], live)
        seen = replace(seen, family=Family(workloads={"support-llm": held}))
        found = children(planned(seen, state), "Deployment")
        assert found[f"support-llm-{seen.digest[:10]}"]["spec"]["replicas"] == expected


def test_revisions_are_labelled_by_what_became_of_them() -> None:
    seen, state = rolled()
    retired = built({"model": {"uri": "file:///models/ancient.gguf"}})[1]
    seen = replace(seen, revisions=[*seen.revisions, retired])
    found = children(planned(seen, state), "Revision")
    labels = {name: one["metadata"]["labels"]["llmops.dev/state"] for name, one in found.items()}
    assert sorted(labels.values()) == ["candidate", "retired", "stable"]
    assert labels[f"support-llm-{seen.digest[:10]}"] == "candidate"


def test_both_share_the_volume_which_is_as_large_as_the_newer_one_asks() -> None:
    new = {**CACHED, "uri": "https://w.example/n.gguf", "cache": {"size": "20Gi"}}
    seen, state = rolled({"model": new}, {"model": CACHED})
    made = planned(seen, state)
    [claim] = children(made, "PersistentVolumeClaim").values()
    assert claim["spec"]["resources"]["requests"]["storage"] == "20Gi"
    assert len(children(made, "Job")) == 2
    assert len({job["metadata"]["name"] for job in made.keep if job["kind"] == "Job"}) == 2


def test_a_candidate_that_cannot_be_planned_leaves_stable_as_it_is_and_clears_nothing_away() -> None:
    seen, state = rolled({"model": {"uri": "file:///m.gguf", "license": {"id": "llama3.1"}}})
    made = planned(seen, state)
    assert children(made, "Deployment").keys() == {"support-llm"}
    assert made.keep == ()
    problem = canary.missing(family(seen, state), None)
    assert problem is not None
    assert "spec.model.license.accepted: true" in problem.message


def test_a_release_that_is_moving_over_the_service_goes_first() -> None:
    seen, state = rolled()
    other = {"metadata": {"name": "answer"}, "status": {"candidate": {"weight": 20}}}
    waits = canary.referred(rolling(seen, state), [other])
    problem = canary.missing(family(seen, state, waits), waits)
    assert problem is not None
    assert problem.message == "PromptRelease answer is being rolled out over it, and goes first"


def test_a_lost_revision_of_stable_stops_everything_and_is_named() -> None:
    seen, state = rolled()
    made = planned(replace(seen, revisions=[]), state)
    assert made.problem is not None
    assert "which users get, is gone: restore it" in made.problem.message
    assert made.children == ()


SERVED = Gateway("a", NOW, stable="n" * 64)


@pytest.mark.parametrize(
    ("gateways", "ago", "gone"),
    [
        ([SERVED], 1, True),
        ([SERVED, Gateway("b", NOW, stable="o" * 64)], 1, False),
        ([Gateway("b", NOW, stable="o" * 64)], 36, True),
        ([], 1, False),
        ([], 36, True),
    ],
)
def test_the_old_pods_go_when_every_gateway_has_left_them_or_had_to(
    gateways: list[Gateway], ago: float, gone: bool
) -> None:
    new = "n" * 64
    kept = {**built()[1], "spec": {**built()[1]["spec"], "digest": new}}
    those = Family(workloads={one: running(one, two) for one, two in (("support-llm", "o" * 64), ("new", new))})
    seen = see({"rollout": {}}, revisions=[kept], family=those)
    state = State("Released", stable=Stable(new, "v", NOW - ago))
    arms = family(seen, state)
    assert arms.homes == {"new"}
    assert canary.superfluous(seen, arms, state, gateways, NOW) == ({"support-llm"} if gone else set())


def test_a_home_that_another_revision_has_is_not_moved_into() -> None:
    seen = see({"rollout": {}})
    own = f"support-llm-{seen.digest[:10]}"
    seen = replace(seen, family=Family(workloads={own: running(own, "x" * 64)}))
    assert home_of(seen, seen.digest, {own}) == "support-llm"


def test_what_is_told_of_pods_is_of_their_own_revision() -> None:
    seen, state = rolled()
    mine = pod("new")
    mine["metadata"]["labels"] = {"llmops.dev/part": f"engine-{seen.digest[:10]}"}
    theirs = pod("old")
    theirs["metadata"]["labels"] = {"llmops.dev/part": "engine"}
    arms = family(replace(seen, pods=[mine, theirs]), state)
    assert arms.stable is not None
    assert arms.candidate is not None
    assert (arms.stable.pods, arms.candidate.pods) == ([theirs], [mine])


def standing(seen: Seen, state: State, outcome: Outcome) -> Object:
    arms: Arms = family(seen, state)
    made, _ = canary.plan(seen, rolling(seen, state), arms, state)
    return canary.status(seen, rolling(seen, state), arms, made, outcome, datetime.fromtimestamp(NOW, UTC))


def test_the_status_says_where_each_is_and_how_far_and_users_are_served_all_along() -> None:
    seen, state = rolled()
    assert state.candidate is not None
    state = replace(state, candidate=replace(state.candidate, weight=20))
    told = standing(seen, state, Outcome(state, Reason.GATHERING_EVIDENCE, "at 20%, waiting for 3 of 30 users"))
    assert (told["phase"], told["candidate"]["weight"]) == ("Canary", 20)
    assert told["stable"]["service"] == "support-llm"
    assert told["candidate"]["service"] == f"support-llm-{seen.digest[:10]}"
    said = {one["type"]: (one["status"], one["reason"], one["message"]) for one in told["conditions"]}
    assert said["Ready"] == ("False", "GatheringEvidence", "at 20%, waiting for 3 of 30 users")
    assert (said["Available"][0], said["Reconciling"][0], said["Stalled"][0]) == ("True", "True", "False")


def test_when_stables_own_pods_have_trouble_that_is_said_first() -> None:
    seen, state = rolled()
    broken = running("support-llm", built({"model": OLD_MODEL})[0])
    broken["status"] |= {"readyReplicas": 0}
    seen = replace(seen, family=Family(workloads={"support-llm": broken}))
    told = standing(seen, state, Outcome(state, Reason.GATHERING_EVIDENCE, "at 20%"))
    said = {one["type"]: (one["status"], one["reason"]) for one in told["conditions"]}
    assert (said["Ready"], said["Available"][0]) == (("False", "Starting"), "False")


@pytest.mark.parametrize(
    ("reason", "stalled"),
    [(Reason.LICENSE_NOT_ACCEPTED, "True"), (Reason.DOES_NOT_FIT, "True"), (Reason.STARTING, "False")],
)
def test_a_candidate_that_waits_for_a_person_is_stalled(reason: Reason, stalled: str) -> None:
    seen, state = rolled()
    waits = replace(state, phase="Pending")
    told = standing(seen, waits, Outcome(waits, reason, "the candidate's pods: …"))
    said = {one["type"]: one["status"] for one in told["conditions"]}
    assert (said["Ready"], said["Stalled"], said["Available"]) == ("False", stalled, "True")


@pytest.mark.parametrize(
    ("model", "called"),
    [
        ({"uri": "hf://meta-llama/Llama-3.1-8B-Instruct", "revision": "0e9e39f249a16976"},
         "Llama-3.1-8B-Instruct@0e9e39f249a1"),
        ({"uri": "file:///models/m.gguf"}, "m.gguf"),
        ({"uri": "s3://bucket/llama/", "revision": "sha256:" + "a" * 64}, "llama@" + "a" * 12),
        ({"uri": f"hf://o/{'x' * 90}"}, "x" * 63),
    ],
)  # fmt: skip
def test_people_call_a_revision_by_its_models_name(model: Object, called: str) -> None:
    assert canary.version(see({"model": model, "engine": {"type": "vLLM"}}).service) == called
