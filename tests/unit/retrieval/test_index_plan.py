"""What a change costs, what is begun when, and what is never begun."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from tests.unit.retrieval.conftest import finished, job, seen, work_of

from llmops.api.common import Pricing
from llmops.desk.change import spoken_of
from llmops.retrieval.engines.waits import STARTING
from llmops.retrieval.estimate import Estimate
from llmops.retrieval.observe import Seen, _out_of_memory
from llmops.retrieval.plan import MeasureAgain, Nothing, Plan, Rebuild, State, cheapest, plan
from llmops.retrieval.pods import PART
from llmops.retrieval.referred import Missing
from llmops.retrieval.run import Run
from llmops.retrieval.status import status
from llmops.retrieval.work import FAILURE, PROGRESS, WAITING, Work, alias_of, loads

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("change", "action"),
    [
        ({"index": {"search": {"ef": 128}}}, MeasureAgain()),
        ({"rollout": {"gates": [{"type": "AnnRecall", "min": "0.99"}]}}, MeasureAgain()),
        ({"rollout": {"autoTuneSearch": True}}, MeasureAgain()),
        ({"embedding": {"queryPrefix": "query: "}}, MeasureAgain()),
        ({"index": {"parameters": {"M": 32}}}, Rebuild(copy_vectors=True)),
        ({"index": {"type": "IVF_FLAT"}}, Rebuild(copy_vectors=True)),
        ({"embedding": {"serviceRef": {"name": "other"}}}, Rebuild(copy_vectors=False)),
        ({"embedding": {"documentPrefix": "passage: "}}, Rebuild(copy_vectors=False)),
        ({"index": {"metric": "IP"}}, Rebuild(copy_vectors=False)),
        ({"chunking": {"maxTokens": 100}}, Rebuild(copy_vectors=True)),
        ({"cleaning": {"redact": True}}, Rebuild(copy_vectors=True)),
        ({"cleaning": {"languages": ["en"]}}, Rebuild(copy_vectors=True)),
        ({"cleaning": {"languages": []}}, Nothing()),
        ({"query": {"mode": "Hybrid"}}, Rebuild(copy_vectors=True)),
        ({"query": {"mode": "Dense"}}, Nothing()),
        ({"query": {"rerank": {"serviceRef": {"name": "reranker"}}}}, MeasureAgain()),
        ({"refresh": {"deletePolicy": "Never"}}, Nothing()),
        ({"rollout": {"keepGenerations": 5}}, Nothing()),
        ({"rollout": {"approveAbove": {"passages": 5}}}, Nothing()),
        ({"refresh": {"maxDeletePercent": 90}}, Nothing()),
        ({"embedding": {"batchSize": 8}}, Nothing()),
        ({"build": {"memory": "8Gi"}}, Nothing()),
        ({"index": {"parameters": {"M": 16}}}, Nothing()),  # the default, written out
        ({"access": {"from": "All"}}, Nothing()),
        ({"query": {"replicas": 3}}, Nothing()),
        ({"query": {"permissions": {"field": "groups"}}}, Rebuild(copy_vectors=True)),  # Lite wants them in a column
        ({"query": {"tenants": {"field": "customer"}}}, Rebuild(copy_vectors=True)),
    ],
)
def test_a_change_costs_the_cheapest_safe_action(change: dict[str, Any], action: object) -> None:
    assert cheapest(work_of(seen()).parts, work_of(seen(change)).parts) == action


def test_the_same_passages_are_found_by_words_or_by_both_without_a_new_generation() -> None:
    hybrid, keyword = (work_of(seen({"query": {"mode": mode}})).parts for mode in ("Hybrid", "Keyword"))
    assert cheapest(hybrid, keyword) == MeasureAgain()
    assert cheapest(hybrid, work_of(seen()).parts) == Rebuild(copy_vectors=True)  # without the words' own index


def test_an_upgrade_of_the_operator_builds_nothing_anew() -> None:
    parts = work_of(seen()).parts  # as digested before there was a choice of query.mode, and of languages
    assert (parts.index[:12], parts.search[:12]) == ("d9cc01691547", "f8943eaf999a")
    assert (parts.space[:12], parts.chunking[:12], parts.documents[:12]) == (
        "013bdfe4db38", "2a8d85303124", "a88fb9a60d29",
    )  # fmt: skip


def test_languages_in_another_order_are_the_same() -> None:
    first, second = ({"cleaning": {"languages": one}} for one in (["en", "de"], ["de", "en", "de"]))
    assert work_of(seen(first)).parts == work_of(seen(second)).parts


def test_a_changed_document_copies_the_vectors_of_the_others() -> None:
    before = seen()
    after = replace(before, sources=(replace(before.sources[0], sha256="b" * 64),))
    assert cheapest(work_of(before).parts, work_of(after).parts) == Rebuild(copy_vectors=True)


def test_permissions_cost_nothing_but_another_query_server_where_the_engine_reads_json_fast() -> None:
    engine = {"engine": {"mode": "External", "external": {"uri": "http://milvus:19530"}}}
    permissions = {"query": {"permissions": {"field": "groups", "missing": "Allow"}}}
    before, after = seen(engine), seen({**engine, **permissions})
    assert cheapest(work_of(before).parts, work_of(after).parts) == Nothing()
    assert asked_with(after)[-2:] == ["--permissions=groups", "--permissions-missing=Allow"]
    assert asked_with(before) == asked_with(after)[:-2]


@pytest.mark.parametrize("engine", [{}, {"mode": "External", "external": {"uri": "http://milvus:19530"}}])
def test_tenants_are_laid_out_anew_whatever_changes_of_them_and_in_every_engine(engine: dict[str, Any]) -> None:
    def apart(field: str | None) -> Seen:
        return seen({"engine": engine, "query": {"tenants": {"field": field}} if field else {}})

    def works(*fields: str | None) -> list[Any]:
        return [work_of(apart(one)).parts for one in fields]

    for before, after in ((None, "customer"), ("customer", "client"), ("customer", None)):
        assert cheapest(*works(before, after)) == Rebuild(copy_vectors=True)
    assert loads(work_of(apart("customer")).dumps()).tenants == "customer"
    assert asked_with(apart("customer")) == [*asked_with(apart(None)), "--tenants=customer"]


def test_with_permissions_no_query_server_is_asked_that_does_not_hold_to_them() -> None:
    def labels(missing: str | None) -> list[dict[str, str]]:
        """Of the Deployment's choice of pods, of its pods, of the Service's choice."""
        query = {"permissions": {"field": "groups", "missing": missing}} if missing else {}
        children = plan(seen({"query": query})).children
        server, service = (
            next(one for one in children if (one["kind"], one["metadata"]["name"]) == (kind, "faq-index"))
            for kind in ("Deployment", "Service")
        )
        spec = server["spec"]
        return [spec["selector"]["matchLabels"], spec["template"]["metadata"]["labels"], service["spec"]["selector"]]

    chosen, pods, asked = labels(None)
    assert chosen == pods == asked
    for other in ("Deny", "Allow"):
        same, marked, now_asked = labels(other)
        assert same == chosen  # it cannot be changed
        assert marked == now_asked
        assert not now_asked.items() <= pods.items()
    assert labels("Deny")[2] != labels("Allow")[2]


def test_with_tenants_only_query_servers_are_asked_that_keep_to_just_these() -> None:
    def labels(query: dict[str, Any]) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
        """Of its pods, and of the Service's choice."""
        children = {(one["kind"], one["metadata"]["name"]): one for one in plan(seen({"query": query})).children}
        server, service = children["Deployment", "faq-index"], children["Service", "faq-index"]
        return set(server["spec"]["template"]["metadata"]["labels"].items()), set(service["spec"]["selector"].items())

    permissions, customer = {"permissions": {"field": "groups"}}, {"tenants": {"field": "customer"}}
    stages: list[dict[str, Any]] = [
        permissions, {**permissions, **customer}, {**permissions, "tenants": {"field": "client"}},
    ]  # fmt: skip
    for before, after in pairwise(stages):
        old, _ = labels(before)
        new, asked = labels(after)
        assert asked <= new
        assert not asked <= old


def asked_with(one: Seen) -> list[str]:
    """The query server's arguments."""
    server = {child["metadata"]["name"]: child for child in plan(one).children if child["kind"] == "Deployment"}[
        "faq-index"
    ]
    args: list[str] = server["spec"]["template"]["spec"]["containers"][0]["args"]
    return args


def test_a_sources_metadata_is_read_again_with_it_and_without_it_is_the_work_it_was() -> None:
    metadata = {"sources": [{"name": "faq", "configMapRef": {"name": "shop-faq"}, "metadata": {"groups": ["staff"]}}]}
    source = seen(metadata).index.spec.sources[0]
    before, after = work_of(seen()), work_of(seen())
    after = replace(after, sources=(replace(after.sources[0], metadata=source.metadata),))
    assert cheapest(before.parts, after.parts) == Rebuild(copy_vectors=True)
    assert loads(after.dumps()) == after
    assert before.parts.collection == "bb27cd5129d64d865a22088636cab82a552ed242770924e80abe2ee1a8c00eb8"  # of old


def test_another_revision_behind_the_same_service_embeds_everything_again() -> None:
    before = seen()
    after = replace(before, embedder=replace(work_of(before).embedding, revision="r2"))
    assert cheapest(work_of(before).parts, work_of(after).parts) == Rebuild(copy_vectors=False)


def kinds(wanted: Plan) -> list[str]:
    return [one["kind"] for one in wanted.children]


def begun(wanted: Plan) -> Any:
    (found,) = [one for one in wanted.children if one["kind"] == "Job"]
    return found


def test_the_input_of_a_job_that_goes_on_is_put_back() -> None:
    """The end of an earlier one's, of the same name, may be told of only after the Job was begun anew."""
    index = seen()
    first = plan(index)
    (input_,) = [one for one in first.children if one.get("immutable")]
    going = replace(index, runs=(Run(work_of(index).parts.key, begun(first), None),))
    assert input_ in plan(going).children
    assert "Job" not in kinds(plan(going))
    raised = seen({"refresh": {"maxDeletePercent": 50}}, runs=going.runs)  # told otherwise, it would be another input
    assert not any(one.get("immutable") for one in plan(raised).children)


def given(wanted: Plan) -> Work:
    """The work that is handed to the Job."""
    (found,) = [one for one in wanted.children if one["kind"] == "ConfigMap" and one.get("immutable")]
    return loads(found["data"]["work.json"])


def test_the_first_build_begins_once_the_engine_answers() -> None:
    waits = plan(seen(engine_waits=STARTING))
    assert waits.state is State.STARTING
    assert "Job" not in kinds(waits)
    assert kinds(waits).count("Deployment") == 2  # engine and query server stand already
    assert plan(seen()).state is State.BUILDING
    assert begun(plan(seen()))["metadata"]["name"].startswith("faq-index-")


def test_the_job_may_patch_one_config_map_and_nothing_else() -> None:
    wanted = plan(seen())
    (role,) = [one for one in wanted.children if one["kind"] == "Role"]
    (rule,) = role["rules"]
    assert (rule["resources"], rule["verbs"]) == (["configmaps"], ["get", "patch"])
    assert rule["resourceNames"] == [begun(wanted)["metadata"]["name"]]


def test_every_pod_is_restricted() -> None:
    for one in plan(seen()).children:
        if one["kind"] in ("Deployment", "Job"):
            pod = one["spec"]["template"]["spec"]
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            assert pod["automountServiceAccountToken"] is False
            for container in pod["containers"]:
                assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
                assert container["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize(("policy", "owned"), [("Retain", False), ("Delete", True)])
def test_the_volume_outlives_the_index_unless_asked_otherwise(policy: str, owned: bool) -> None:
    (claim,) = [
        one for one in plan(seen({"deletionPolicy": policy})).children if one["kind"] == "PersistentVolumeClaim"
    ]
    assert ("ownerReferences" not in claim["metadata"]) is owned  # absent: cluster.apply sets ours; []: none


def test_what_is_served_costs_nothing(served: Seen) -> None:
    wanted = plan(served)
    assert wanted.state is State.SERVED
    assert "Job" not in kinds(wanted)
    assert status(served, wanted, NOW) == {**served.raw["status"]}


def test_a_served_index_with_a_new_index_parameter_builds_beside_it(served: Seen) -> None:
    changed = seen({"index": {"parameters": {"M": 32}}}, served.raw["status"], runs=served.runs)
    wanted = plan(changed)
    told = status(changed, wanted, NOW)
    assert wanted.state is State.BUILDING
    (given,) = [one for one in wanted.children if one["kind"] == "ConfigMap" and one.get("immutable")]
    assert loads(given["data"]["work.json"]).copy_vectors is True
    assert condition(told, "Ready") == "False"
    assert condition(told, "Available") == "True"
    assert told["generation"]["active"] == 1


def test_a_generation_that_misses_a_gate_is_not_served_and_the_old_one_stays(served: Seen) -> None:
    changed = seen({"index": {"parameters": {"M": 2}}}, served.raw["status"])
    changed = replace(changed, runs=(*served.runs, finished(changed, served=False, generation=2)))
    wanted = plan(changed)
    told = status(changed, wanted, NOW)
    assert wanted.state is State.REJECTED
    assert (condition(told, "GatesPassed"), condition(told, "Stalled")) == ("False", "True")
    assert condition(told, "Available") == "True"
    assert told["generation"]["active"] == 1
    assert told["generation"]["rejected"] == [work_of(changed).parts.key]
    assert told["measured"] == {"annRecallAt10": "1.000"}  # of what is served
    # and going back costs nothing: the served outcome was kept
    assert plan(seen(status=told, runs=changed.runs)).state is State.SERVED


def test_a_build_that_is_no_longer_wanted_is_stopped_and_its_end_awaited(served: Seen) -> None:
    second = seen({"index": {"parameters": {"M": 32}}}, served.raw["status"])
    running = Run(work_of(second).parts.key, job(second), None)
    back = seen(status=served.raw["status"], runs=(*served.runs, running))
    stopped = plan(back)
    # that Job may have moved the alias: nothing of before is believed, not even what was served
    assert (stopped.state, stopped.keep) == (State.BUILDING, ())
    assert "Job" not in kinds(stopped)
    waits = plan(seen(status=served.raw["status"], building=frozenset({running.job["metadata"]["name"]})))  # type: ignore[index]
    assert "Job" not in kinds(waits)
    again = plan(seen(status=served.raw["status"]))
    assert begun(again)["metadata"]["name"] == f"faq-index-{work_of(back).short}"


@pytest.mark.parametrize(
    ("progress", "said"),
    [
        ({"stage": "Embedding", "done": 5}, "embedding passages for generation 2: 5 of 9"),
        (
            {"stage": "Embedding", "done": 5, "estimate": {"passages": 4, "tokens": 80}},
            "embedding passages for generation 2: 5 of 9; 4 passages to embed (about 80 tokens)",
        ),
        ({"stage": "Indexing", "done": 9}, "the vector database indexes the 9 passages of generation 2"),
        ({"stage": "Measuring", "done": 9}, "measuring generation 2"),
    ],
)
def test_a_build_says_how_far_it_is(progress: dict[str, Any], said: str) -> None:
    index = seen()
    data = {PROGRESS: json.dumps({"generation": 2, "total": 9, **progress})}
    run = Run(work_of(index).parts.key, job(index), {"kind": "ConfigMap", "metadata": {"name": "x"}, "data": data})
    assert plan(replace(index, runs=(run,))).sentence == said


@pytest.mark.parametrize("told", ['{"stage": "Embedding", "at": 5}', '{"stage": "Indexing"}', "[5]", "5", "null", "{"])
def test_how_far_it_is_is_left_out_where_another_version_tells_it(told: str) -> None:
    index = seen()
    run = Run(work_of(index).parts.key, job(index), {"kind": "ConfigMap", "data": {PROGRESS: told}})
    assert plan(replace(index, runs=(run,))).sentence == "building a new generation, embedding every passage"


@pytest.mark.parametrize("told", ['{"passages": 5, "words": 9}', "[5]", "5", "{"])
def test_what_another_version_would_have_embedded_is_counted_again(told: str) -> None:
    index = seen(ASKING, pricing=PRICES)
    run = Run(work_of(index).parts.key, job(index, "Complete"), {"kind": "ConfigMap", "data": {WAITING: told}})
    wanted = plan(replace(index, runs=(run,)))
    assert (wanted.state, wanted.sentence) == (State.BUILDING, "beginning again: the outcome is gone")


def test_a_failed_job_says_why_in_its_own_words() -> None:
    index = seen()
    results = {"kind": "ConfigMap", "metadata": {"name": "x"}, "data": {FAILURE: "source faq, a.jsonl row 3: not JSON"}}
    wanted = plan(replace(index, runs=(Run(work_of(index).parts.key, job(index, "Failed"), results),)))
    assert wanted.state is State.FAILED
    assert "row 3: not JSON; when that is mended: llmops retry vi faq -n shop (annotation llmops.dev/retry)" in (
        wanted.sentence
    )


ASKING = {"index": {"parameters": {"M": 32}}, "rollout": {"approveAbove": {"passages": 100, "cost": "0.10"}}}
PRICES = Pricing(input_per_million_tokens="0.50")


def waiting(index: Seen, passages: int, tokens: int = 0) -> Seen:
    """Its Job counted, and ended without embedding."""
    data = {WAITING: json.dumps({"passages": passages, "tokens": tokens})}
    results = {"kind": "ConfigMap", "metadata": {"name": f"faq-index-{work_of(index).short}"}, "data": data}
    run = Run(work_of(index).parts.key, job(index, "Complete"), results)
    return replace(index, runs=(*index.runs, run))


def test_what_is_asked_before_it_is_embedded_waits_with_its_cost_while_the_old_one_serves(served: Seen) -> None:
    index = waiting(seen(ASKING, served.raw["status"], runs=served.runs, pricing=PRICES), 5000, 400_000)
    wanted = plan(index)
    told = status(index, wanted, NOW)
    assert (wanted.state, wanted.reason) == (State.AWAITING_APPROVAL, "AwaitingApproval")
    assert "5,000 passages to embed (about 400,000 tokens, about 0.20 USD), more than" in message(told, "Stalled")
    assert (
        f"llmops approve vi faq -n shop (annotation llmops.dev/approve: {work_of(index).short}), or raise it; gen"
        in message(told, "Stalled")
    )
    assert (condition(told, "Ready"), condition(told, "Available")) == ("False", "True")
    assert told["generation"]["buildingDigest"] == work_of(index).parts.key
    assert spoken_of({"status": told}, "approve") == ("llmops.dev/approve", work_of(index).parts.key)
    assert "Job" not in kinds(wanted)


@pytest.mark.parametrize("whole", [True, False])
def test_approved_by_its_digest_the_job_begins_again_and_asks_no_more(served: Seen, whole: bool) -> None:
    index = waiting(seen(ASKING, served.raw["status"], runs=served.runs, pricing=PRICES), 5000)
    key = work_of(index).parts.key if whole else work_of(index).short
    approved = {**index.raw, "metadata": {**index.raw["metadata"], "annotations": {"llmops.dev/approve": key}}}
    first = plan(replace(index, raw=approved))
    assert (first.state, first.look_after) == (State.BUILDING, 1.0)
    assert {one["metadata"]["name"] for one in first.keep if one["kind"] == "Job"} == {
        f"faq-index-{work_of(served).short}"
    }
    assert given(plan(replace(index, raw=approved, runs=served.runs))).ask_above == {}
    of_another = {**approved, "metadata": {**approved["metadata"], "annotations": {"llmops.dev/approve": "x" * 10}}}
    assert plan(replace(index, raw=of_another)).state is State.AWAITING_APPROVAL


def test_the_job_is_told_what_it_may_embed_unasked_and_no_digest_changes_by_it(served: Seen) -> None:
    asking = seen(ASKING, served.raw["status"], runs=served.runs, pricing=PRICES)
    assert given(plan(asking)).ask_above == {"passages": 100, "tokens": 200_000}
    without = seen({"index": ASKING["index"]}, served.raw["status"])
    assert work_of(asking).parts == work_of(without).parts
    assert "write spec.pricing in LLMService shop/minilm" in plan(replace(asking, pricing=None)).sentence


def test_raised_limits_begin_it_too() -> None:
    assert plan(waiting(seen({"rollout": {"approveAbove": {"passages": 99}}}), 100)).state is State.AWAITING_APPROVAL
    assert plan(waiting(seen({"rollout": {"approveAbove": {"passages": 100}}}), 100)).state is State.BUILDING


def test_the_time_is_told_by_the_pace_of_the_last_build_that_embedded_much() -> None:
    estimate = Estimate(9000, 10_000_000)
    assert estimate.told(50.0, PRICES) == (
        "9,000 passages to embed (about 10,000,000 tokens, about 5.00 USD, about 3 min as fast as the last time)"
    )
    assert estimate.told(0, None) == "9,000 passages to embed (about 10,000,000 tokens)"


def out_of_memory(index: Seen, limit: str, ended: str | None = "Failed") -> Seen:
    """A pod of its Job was OOMKilled."""
    failed = job(index, ended)
    pod = {"containers": [{"resources": {"limits": {"memory": limit}}}]}
    failed = {**failed, "spec": {"template": {"spec": pod}}}
    run = Run(work_of(index).parts.key, failed, None)
    return replace(index, runs=(*index.runs, run), out_of_memory=frozenset({failed["metadata"]["name"]}))


@pytest.mark.parametrize("ended", ["Failed", None])
def test_a_build_without_enough_memory_says_what_to_set_and_goes_on_when_it_is_set(
    served: Seen, ended: str | None
) -> None:
    change = {"index": {"parameters": {"M": 32}}}
    wanted = plan(out_of_memory(seen(change, served.raw["status"], runs=served.runs), "4Gi", ended))
    assert (wanted.state, wanted.reason) == ((State.FAILED, "OutOfMemory") if ended else (State.BUILDING, "Building"))
    assert "needed more memory than 4Gi" in wanted.sentence
    assert "raise spec.build.memory" in wanted.sentence
    raised = {**change, "build": {"memory": "8Gi"}}
    more = out_of_memory(seen(raised, served.raw["status"], runs=served.runs), "4Gi", ended)
    again = plan(more)
    assert (again.state, again.look_after) == (State.BUILDING, 1.0)
    assert "Job" not in kinds(again)
    assert {one["metadata"]["name"] for one in again.keep if one["kind"] == "Job"} == {
        f"faq-index-{work_of(served).short}"
    }
    begins = begun(plan(seen(raised, served.raw["status"], runs=served.runs)))
    (container,) = begins["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"memory": "8Gi"}


@pytest.mark.parametrize(("languages", "memory"), [([], "256Mi"), (["en"], "336Mi")])
def test_a_job_asks_for_what_its_work_takes(served: Seen, languages: list[str], memory: str) -> None:
    begins = begun(plan(seen({"cleaning": {"languages": languages}}, {}, runs=())))
    (container,) = begins["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"] == {"cpu": "100m", "memory": memory}


def test_an_outcome_that_somebody_deleted_is_measured_again(served: Seen) -> None:
    (run,) = served.runs
    first = plan(seen(status=served.raw["status"], runs=(Run(run.key, run.job, None),)))
    assert (first.state, first.keep) == (State.BUILDING, ())
    assert begun(plan(seen(status=served.raw["status"])))


@pytest.mark.parametrize(
    ("observed", "state"),
    [
        ({"source_problem": "source faq: ConfigMap shop/shop-faq does not exist"}, State.BAD_SOURCES),
        ({"embedder": Missing("LLMService shop/minilm does not exist")}, State.WAITING),
        ({"questions": Missing("EvalJob shop/q does not exist")}, State.WAITING),
        ({"reranker": Missing("LLMService shop/reranker does not exist")}, State.WAITING),
    ],
)
def test_whatever_is_missing_the_served_generation_goes_on(
    served: Seen, observed: dict[str, Any], state: State
) -> None:
    index = replace(served, **observed)
    wanted = plan(index)
    told = status(index, wanted, NOW)
    assert wanted.state is state
    assert "Job" not in kinds(wanted)
    assert condition(told, "Available") == "True"
    assert "generation 1 goes on serving" in message(told, "Ready")
    assert {one["kind"] for one in wanted.keep} == {"Job", "ConfigMap"}


def test_suspended_builds_nothing_new_and_serves_on(served: Seen) -> None:
    wanted = plan(seen({"suspend": True, "index": {"parameters": {"M": 32}}}, served.raw["status"], runs=served.runs))
    assert wanted.state is State.WAITING
    assert "Job" not in kinds(wanted)
    assert plan(seen({"suspend": True}, served.raw["status"], runs=served.runs)).state is State.SERVED


def test_sources_that_are_not_to_be_followed_cost_nothing_until_the_spec_changes(served: Seen) -> None:
    follow_not = {"refresh": {"onSourceChange": False}}
    sources = (replace(served.sources[0], sha256="b" * 64),)
    same = seen(follow_not, served.raw["status"], runs=served.runs, sources=sources)
    assert plan(same).state is State.SERVED
    changed = seen({**follow_not, "chunking": {"maxTokens": 50}}, served.raw["status"], sources=sources)
    assert given(plan(changed)).sources == sources
    searched = seen({**follow_not, "index": {"search": {"ef": 16}}}, served.raw["status"], sources=sources)
    assert given(plan(searched)).sources == served.sources  # measured again, and nothing read


def test_an_embedder_that_changed_is_said_before_anything_is_found_wrong(served: Seen) -> None:
    changed = replace(served, embedder=replace(work_of(served).embedding, revision="r2" * 20))
    told = status(changed, plan(changed), NOW)
    assert condition(told, "EmbeddingMatches") == "False"
    assert "embedded by revision r1" in message(told, "EmbeddingMatches")


def test_search_parameters_that_miss_a_gate_are_not_taken_and_nothing_is_said_against_what_is_served(
    served: Seen,
) -> None:
    index = seen({"index": {"search": {"ef": 16}}}, served.raw["status"])
    index = replace(index, runs=(*served.runs, finished(index, served=False, generation=1)))
    told = status(index, plan(index), NOW)
    assert (
        message(told, "Ready")
        == message(told, "Stalled")
        == (
            "the new search parameters or gates are not taken: AnnRecall: figures; "
            "generation 1 goes on with those of before"
        )
    )


@pytest.mark.parametrize(
    ("became", "said"),
    [
        (None, "a new generation is built; until one is served"),
        ({"outcome": False}, "a new generation did not pass its gates; until one is served"),
        ({"ended": "Failed"}, "a new generation could not be built; until one is served"),
        ({"estimate": 9}, "a new generation waits to be approved; until one is served"),
        ({"suspend": True}, "a new generation is not begun yet; until one is served"),
    ],
)
def test_of_an_embedder_that_changed_it_is_said_what_became_of_the_generation_that_follows_it(
    served: Seen, became: dict[str, Any] | None, said: str
) -> None:
    became = became or {}
    index = seen({"suspend": "suspend" in became}, served.raw["status"], runs=served.runs)
    index = replace(index, embedder=replace(work_of(served).embedding, revision="r2" * 20))
    if "outcome" in became:
        index = replace(index, runs=(*served.runs, finished(index, served=False, generation=2)))
    if "ended" in became:
        index = replace(index, runs=(*served.runs, Run(work_of(index).parts.key, job(index, "Failed"), None)))
    if "estimate" in became:
        asked = seen({"rollout": {"approveAbove": {"passages": 5}}}, served.raw["status"], runs=served.runs)
        index = waiting(replace(asked, embedder=index.embedder), 9)
    assert said in message(status(index, plan(index), NOW), "EmbeddingMatches")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"engine": {"mode": "Cluster"}}, "engine Milvus in mode Cluster needs spec.engine.cluster: write its storage"),
        (
            {"engine": {"type": "Qdrant", "mode": "Standalone"}},
            "engine Qdrant in mode Standalone is not available yet: write spec.engine.mode External",
        ),
    ],
)
def test_what_this_version_cannot_do_is_said_and_nothing_is_begun(change: dict[str, Any], said: str) -> None:
    index = seen(change)
    wanted = plan(index)
    assert (wanted.state, wanted.children) == (State.UNSUPPORTED, ())
    assert message(status(index, wanted, NOW), "Stalled").startswith(said)


def test_work_travels_whole() -> None:
    hybrid = {"query": {"mode": "Hybrid", "rerank": {"serviceRef": {"name": "reranker"}}}}
    for change in ({}, hybrid, {"cleaning": {"languages": ["en", "de"]}}):
        work = work_of(seen(change))
        assert loads(work.dumps()).parts == work.parts
        assert loads(work.dumps()).rerank == work.rerank
        assert loads(work.dumps()).languages == work.languages
    with pytest.raises(ValueError, match="cannot be read"):
        loads('{"sources": []}')


def test_aliases_of_different_indexes_differ_in_an_engine_that_knows_few_characters() -> None:
    assert alias_of("shop", "a-b") != alias_of("shop-a", "b")
    assert alias_of("shop", "a-b").replace("_", "").isalnum()
    assert alias_of("1st", "faq")[0].isalpha()


def condition(told: dict[str, Any], name: str) -> str:
    (found,) = [one["status"] for one in told["conditions"] if one["type"] == name]
    return str(found)


def message(told: dict[str, Any], name: str) -> str:
    (found,) = [one["message"] for one in told["conditions"] if one["type"] == name]
    return str(found)


@pytest.mark.parametrize(
    ("part", "reason", "found"),
    [("build", "OOMKilled", {"faq-index-1"}), ("build", "Error", set()), ("query", "OOMKilled", set())],
)
def test_a_job_is_out_of_memory_where_the_kubelet_says_so_of_its_pod(part: str, reason: str, found: set[str]) -> None:
    ended = {"state": {"terminated": {"reason": reason, "exitCode": 137}}}
    pod = {"metadata": {"labels": {"job-name": "faq-index-1", PART: part}}, "status": {"containerStatuses": [ended]}}
    assert _out_of_memory([pod, {**pod, "status": {}}]) == found
