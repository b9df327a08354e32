"""A replica that takes more accelerators than a node has: what is planned, and what stands in the way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.serving.golden import DOWNLOADED
from tests.unit.serving.seen import Object, deployment, pod, see
from tests.unit.serving.test_sizing import node

from llmops.api import Settings
from llmops.serving import groups
from llmops.serving.observe import Seen, leaders
from llmops.serving.plan import Plan, plan
from llmops.serving.status import readiness

LLAMA_405B = {
    "parameters": 405_853_388_800, "layers": 126, "kvHeads": 8, "headDim": 128, "heads": 128, "contextLength": 131_072,
}  # fmt: skip
NODES = [node("NVIDIA-H100-80GB-HBM3", 81_559)] * 4


def asks(count: int | str = 16, engine: str = "vLLM", nodes: list[Object] = NODES, **more: Any) -> Seen:
    spec = {
        "model": {"uri": "pvc://weights/llama", "dimensions": LLAMA_405B}, "engine": {"type": engine},
        "accelerator": {"count": count}, **more,
    }  # fmt: skip
    return replace(see(spec), nodes=nodes)


def child(made: Plan, kind: str) -> Object:
    (found,) = [one for one in made.children if one["kind"] == kind]
    return found


def group(seen: Seen) -> Object:
    made: Object = child(plan(seen), "LeaderWorkerSet")["spec"]["leaderWorkerTemplate"]
    return made


def engine_of(template: Object) -> Object:
    container: Object = template["spec"]["containers"][0]
    return container


@pytest.mark.parametrize(("engine", "both", "worker"), [
    ("vLLM", ["--tensor-parallel-size=8", "--pipeline-parallel-size=2", "--nnodes=2",
              "--node-rank=$(LWS_WORKER_INDEX)", "--master-addr=$(LWS_LEADER_ADDRESS)"], {"--headless"}),
    ("SGLang", ["--tp-size=8", "--pp-size=2", "--nnodes=2", "--node-rank=$(LWS_WORKER_INDEX)",
                "--dist-init-addr=$(LWS_LEADER_ADDRESS):20000"], set()),
])  # fmt: skip
def test_each_node_of_a_replica_gets_its_share_of_devices_and_the_leaders_address(
    engine: str, both: list[str], worker: set[str]
) -> None:
    made = group(asks(engine=engine))
    assert made["size"] == 2
    leads, works = engine_of(made["leaderTemplate"]), engine_of(made["workerTemplate"])
    for one in (leads, works):
        assert one["resources"]["limits"] == {"nvidia.com/gpu": "8"}
        assert set(both) <= set(one["args"])
    assert set(works["args"]) - set(leads["args"]) == worker


def test_there_is_no_deployment_beside_it() -> None:
    assert "Deployment" not in {one["kind"] for one in plan(asks()).children}
    assert "LeaderWorkerSet" not in {one["kind"] for one in plan(asks(8)).children}


def test_a_worker_is_asked_nothing_and_outlives_its_leaders_last_request() -> None:
    made = group(asks())
    works, leads = made["workerTemplate"]["spec"], made["leaderTemplate"]["spec"]
    assert not {"ports", "startupProbe", "livenessProbe", "readinessProbe"} & set(works["containers"][0])
    waits = works["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert waits == 60  # 15 until the door forgot the leader, 45 for what still runs
    assert works["terminationGracePeriodSeconds"] == leads["terminationGracePeriodSeconds"] == 75


def test_users_reach_leaders_only_and_the_pods_of_a_group_reach_one_another() -> None:
    made = plan(asks())
    chosen = child(made, "Service")["spec"]["selector"]
    assert chosen.items() >= groups.LEADER.items()
    own = {key: value for key, value in chosen.items() if key not in groups.LEADER}
    within = {"from": [{"podSelector": {"matchLabels": own}}]}
    assert within in child(made, "NetworkPolicy")["spec"]["ingress"]
    assert within not in child(plan(asks(8)), "NetworkPolicy")["spec"]["ingress"]
    budget = child(made, "PodDisruptionBudget")["spec"]
    assert (budget["selector"]["matchLabels"], budget["unhealthyPodEvictionPolicy"]) == (own, "AlwaysAllow")


def test_a_groups_own_service_has_another_name_than_ours() -> None:
    made = plan(asks())
    assert child(made, "LeaderWorkerSet")["spec"]["networkConfig"] == {"subdomainPolicy": "UniquePerReplica"}
    assert child(made, "Service")["metadata"]["name"] == child(made, "LeaderWorkerSet")["metadata"]["name"]


def test_the_pod_template_reaches_all_pods_of_a_group() -> None:
    made = group(asks(podTemplate={"spec": {"priorityClassName": "urgent"}}))
    assert {made[one]["spec"]["priorityClassName"] for one in ("leaderTemplate", "workerTemplate")} == {"urgent"}


@pytest.mark.parametrize("by", ["HPA", "KEDA"])
def test_an_autoscaler_counts_groups(by: str) -> None:
    autoscaling = {"by": by, "min": 1, "max": 3, "metric": {"type": "QueueDepth", "target": 4}}
    seen = asks(autoscaling=autoscaling)
    made = plan(replace(seen, settings=Settings(prometheus_url="http://p:9090")))
    kind = {"HPA": "HorizontalPodAutoscaler", "KEDA": "ScaledObject"}[by]
    assert child(made, kind)["spec"]["scaleTargetRef"] == {
        "apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet", "name": "support-llm",
    }  # fmt: skip


def test_auto_takes_whole_nodes_once_one_has_too_few() -> None:
    made = plan(asks("Auto", engine="vLLM"))
    assert made.resolved
    sized = made.resolved.sized
    assert (sized.count, sized.nodes, sized.tensor, sized.pipeline) == (16, 2, 8, 2)
    assert "16 NVIDIA-H100-80GB-HBM3 of 79 GiB on 2 nodes leave" in sized.explanation
    assert sized.host_memory == "72Gi"  # of each pod, whose node has eight


def test_where_the_nodes_are_too_few_it_says_how_many_would_do() -> None:
    made = plan(asks("Auto", nodes=NODES[:1]))
    assert made.problem
    assert made.problem.reason == "DoesNotFit"
    assert "or 2 such nodes" in made.problem.message


def test_an_engine_that_cannot_says_so_and_is_never_given_several() -> None:
    told = plan(asks("Auto", engine="LlamaCpp", model={"uri": "pvc://w/m.gguf", "dimensions": LLAMA_405B})).problem
    assert told
    assert "LlamaCpp does not run one replica on several" in told.message
    given = plan(asks(16, engine="LlamaCpp", model={"uri": "pvc://w/m.gguf", "dimensions": LLAMA_405B}))
    assert child(given, "Deployment")


def test_a_count_that_nodes_cannot_share_evenly_is_answered_with_those_they_can() -> None:
    told = plan(asks(9)).problem
    assert told
    assert told.message == (
        "9 nvidia.com/gpu a replica need 2 nodes, each with as many: write accelerator.count: 8 or 10"
    )  # fmt: skip


def test_a_count_without_a_known_model_or_node_counts_eight_a_node() -> None:
    made = plan(asks(32, nodes=[], model={"uri": "pvc://w/m"}))
    assert child(made, "LeaderWorkerSet")["spec"]["leaderWorkerTemplate"]["size"] == 4
    assert made.resolved
    assert made.resolved.sized.explanation == (
        "32 nvidia.com/gpu a replica on 4 nodes, as spec.accelerator.count says"
    )  # fmt: skip


def test_a_volume_of_one_node_is_refused_with_what_to_write() -> None:
    model = {"uri": "hf://meta/llama", "dimensions": LLAMA_405B, "cache": {"size": "1Ti"}}
    told = plan(replace(asks(model=model), download=DOWNLOADED)).problem
    assert told
    assert told.message.endswith("write model.cache.accessMode: ReadWriteMany, or PerReplica")
    wide = {**model, "cache": {"size": "1Ti", "accessMode": "ReadWriteMany"}}
    assert plan(asks(model=wide)).problem is None


def test_a_name_too_long_for_its_pods_is_answered_with_how_much_to_cut() -> None:
    seen = asks()
    long = seen.service.model_copy(update={"metadata": seen.service.metadata.model_copy(update={"name": "n" * 50})})
    told = plan(replace(seen, service=long)).problem
    assert told
    assert told.message.endswith("shorten metadata.name by 5 characters")


def test_it_is_ready_when_its_groups_are() -> None:
    made = {**deployment(1), "kind": "LeaderWorkerSet"}
    seen = replace(asks(replicas=1), workload=made, pods=[pod()], gateways=[1])
    assert readiness(seen, plan(seen))[0] is True
    waits = replace(seen, workload={**deployment(1, readyReplicas=0), "kind": "LeaderWorkerSet"})
    assert readiness(waits, plan(waits))[0] is False


def test_only_leaders_are_asked_how_much_they_have_to_do() -> None:
    named = {name: pod(name) for name in ("alone", "leader", "worker")}
    named["leader"]["metadata"]["labels"] = {"leaderworkerset.sigs.k8s.io/worker-index": "0"}
    named["worker"]["metadata"]["labels"] = {"leaderworkerset.sigs.k8s.io/worker-index": "1"}
    assert leaders(list(named.values())) == [named["alone"], named["leader"]]
