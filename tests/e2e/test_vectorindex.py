"""VectorIndexes on the real cluster: the real engine, Job and query server, a real small embedding model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from tests.e2e.asking import asking
from tests.e2e.operate import operating
from tests.unit.gateway.world import KEY, World

from llmops.api import Settings, VectorIndex
from llmops.desk.change import annotate
from llmops.desk.reach import Index
from llmops.gateway.retrieve import Sought
from llmops.gateway.snapshot import Retrieval
from llmops.kube.client import Client
from llmops.kube.cluster import Cluster
from llmops.kube.errors import ApiError
from llmops.kube.resources import (
    CONFIG_MAP,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    EVAL_JOB,
    JOB,
    LLM_SERVICE,
    PDB,
    POD,
    PVC,
    SERVICE,
    VECTOR_INDEX,
)
from llmops.retrieval.reconcile import CONTROLLER
from llmops.retrieval.server.poor import merged
from llmops.serving.reconcile import CONTROLLER as SERVING

Object = dict[str, Any]
ROWS = [json.loads(line) for line in (Path(__file__).parents[1] / "models/shop-qa.jsonl").read_text().splitlines()]
QUESTION = "How do I change my email address?"


@pytest.fixture
async def client(cluster: Any) -> AsyncIterator[Client]:
    async with await Client.connect(timeout=60) as client:
        yield client


@pytest.fixture
async def world(client: Client, namespace: str) -> AsyncIterator[Cluster]:
    """The operator for indexes and services of one namespace, running."""
    settings = Settings(image_milvus="llmops/milvus:dev")
    async with operating(client, namespace, CONTROLLER, SERVING, settings=settings) as seen:
        yield seen


async def until(test: Callable[[], Any], seconds: float = 240) -> Any:
    """Waits until `test` is true, looking ten times a second; what it gave."""
    async with asyncio.timeout(seconds):
        while not (found := test()):
            await asyncio.sleep(0.1)
    return found


def config_map(namespace: str, name: str, rows: list[Object]) -> Object:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    return {"apiVersion": "v1", "kind": "ConfigMap", "data": {"rows.jsonl": text},
            "metadata": {"name": name, "namespace": namespace, "labels": {"llmops.dev/watch": "true"}}}  # fmt: skip


def documents(more: list[Object] | None = None) -> list[Object]:
    return [{"id": row["id"], "text": row["answer"]} for row in ROWS] + (more or [])


def index(namespace: str) -> Object:
    gates = [
        {"type": "AnnRecall", "atK": 10, "min": "0.95"},
        {"type": "Retrieval", "atK": 4, "evalJobRef": {"name": "questions"}, "min": "0.80"},
    ]
    return {
        "apiVersion": VECTOR_INDEX.api_version, "kind": VECTOR_INDEX.kind,
        "metadata": {"name": "faq", "namespace": namespace},
        "spec": {
            "engine": {"storage": {"size": "1Gi"}},
            "embedding": {"serviceRef": {"name": "minilm"}},
            "sources": [{"name": "faq", "configMapRef": {"name": "faq"}}],
            "rollout": {"gates": gates},
        },
    }  # fmt: skip


async def given(client: Client, namespace: str, wanted: Object | None = None) -> None:
    """Documents, labelled questions, the embedding service and the index."""
    await client.create(CONFIG_MAP, config_map(namespace, "faq", documents()))
    asked = [{"input": row["question"], "target": row["id"]} for row in ROWS]
    await client.create(CONFIG_MAP, config_map(namespace, "questions", asked))
    await client.create(EVAL_JOB, {
        "apiVersion": EVAL_JOB.api_version, "kind": EVAL_JOB.kind,
        "metadata": {"name": "questions", "namespace": namespace},
        "spec": {"dataset": {"configMapRef": {"name": "questions", "key": "rows.jsonl"}},
                 "metrics": [{"name": "exact_match"}]},
    })  # fmt: skip
    await client.create(LLM_SERVICE, {
        "apiVersion": LLM_SERVICE.api_version, "kind": LLM_SERVICE.kind,
        "metadata": {"name": "minilm", "namespace": namespace},
        "spec": {"model": {"uri": "file:///models/minilm.gguf", "task": "Embed"},
                 "engine": {"type": "LlamaCpp", "image": "llmops/demo-models:dev"},
                 "resources": {"requests": {"cpu": "50m", "memory": "160Mi"}}},
    })  # fmt: skip
    await client.create(VECTOR_INDEX, wanted or index(namespace))


def status(cluster: Cluster, namespace: str) -> Object:
    return (cluster.get(VECTOR_INDEX, namespace, "faq") or {}).get("status") or {}


def said(cluster: Cluster, namespace: str, condition: str) -> tuple[str, str]:
    for one in status(cluster, namespace).get("conditions") or []:
        if one["type"] == condition:
            return one["status"], one["message"]
    return "", ""


def ready(cluster: Cluster, namespace: str) -> bool:
    """Of the spec as it is now."""
    found = cluster.get(VECTOR_INDEX, namespace, "faq")
    if found is None:
        return False
    seen = (found.get("status") or {}).get("observedGeneration") == found["metadata"]["generation"]
    return seen and said(cluster, namespace, "Ready")[0] == "True"


async def search(cluster: Cluster, namespace: str, text: str, **more: Any) -> Object:
    """From this process, through the Service's address; {} where it was refused."""
    service = cluster.get(SERVICE, namespace, "faq-index")
    assert service is not None
    url = f"http://{service['spec']['clusterIP']}:8080/search"
    try:
        async with aiohttp.request("POST", url, json={"text": text, "topK": 1, **more}) as reply:
            return await reply.json() if reply.status == 200 else {}
    except aiohttp.ClientError:
        return {}


async def until_answered(cluster: Cluster, namespace: str, text: str, **more: Any) -> Object:
    """Ready may be known before the node's Service rules have the pod."""
    async with asyncio.timeout(180):
        while not (found := await search(cluster, namespace, text, **more)):
            await asyncio.sleep(0.2)
    return found


async def until_found(cluster: Cluster, namespace: str, text: str, passage: str) -> Object:
    async with asyncio.timeout(240):
        while True:
            found = await search(cluster, namespace, text)
            if found and found["passages"][0]["id"] == passage:
                return found
            await asyncio.sleep(0.2)


def servers(cluster: Cluster, namespace: str, ready: bool = True) -> dict[str, str]:
    """The query servers that are there, or that answer, by their pods' names: their addresses."""
    found = {}
    for one in cluster.list(POD, namespace, {"llmops.dev/part": "query"}):
        state = one.get("status") or {}
        answers = any((each["type"], each["status"]) == ("Ready", "True") for each in state.get("conditions") or [])
        if not ready or (answers and not one["metadata"].get("deletionTimestamp")):
            found[one["metadata"]["name"]] = state.get("podIP", "")
    return found


def budget(cluster: Cluster, namespace: str) -> int:
    """How many query servers may be evicted now."""
    found = cluster.get(PDB, namespace, "faq-index") or {}
    return int((found.get("status") or {}).get("disruptionsAllowed", 0))


async def evict(client: Client, namespace: str, pod: str) -> None:
    """As `kubectl drain` does."""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
    await client.raw(f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction", eviction)


async def no_question_is_lost_of_two_query_servers(client: Client, world: Cluster, namespace: str) -> None:
    """All restarted by a rollout, then one evicted, while the door and pods of the namespace ask without a pause."""

    def complete(*gone: str) -> bool:
        left = servers(world, namespace, ready=False).keys() & set(gone)
        return not left and len(servers(world, namespace)) == 2 and ready(world, namespace)

    before, jobs = status(world, namespace)["generation"], {one["metadata"]["name"] for one in world.list(JOB)}
    await client.patch(VECTOR_INDEX, namespace, "faq", {"spec": {"query": {"replicas": 2}}})
    await until(complete)
    assert world.get(PDB, namespace, "faq-index") is not None
    service = world.get(SERVICE, namespace, "faq-index")
    assert service is not None
    url = f"http://{service['spec']['clusterIP']}:8080/search"
    reference = Retrieval(f"{namespace}/faq", 1, None, "context", None)

    async with World() as door, aiohttp.ClientSession(raise_for_status=True) as session:

        async def kept_open() -> None:
            await (await session.post(url, json={"text": QUESTION})).read()

        async def opened_anew() -> None:
            async with aiohttp.request("POST", url, json={"text": QUESTION}, raise_for_status=True) as reply:
                await reply.read()

        async def through_the_door() -> None:
            door.objects["slices"] = world.list(ENDPOINT_SLICE, namespace)
            door.apply()
            assert await door.door.search(reference, Sought(QUESTION))

        async with asking(kept_open, kept_open, opened_anew, through_the_door) as asked:
            old, begun = servers(world, namespace), [*asked.each]
            again = {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}
            await client.patch(DEPLOYMENT, namespace, "faq-index", {"spec": {"template": again}})
            await until(lambda: complete(*old))
            rolled, (one, other) = [*asked.each], servers(world, namespace)
            await until(lambda: budget(world, namespace) == 1)
            await evict(client, namespace, one)
            with pytest.raises(ApiError, match="disruption budget"):
                await evict(client, namespace, other)
            await until(lambda: said(world, namespace, "Ready")[1].startswith("1 of 2 query servers is ready"))
            assert said(world, namespace, "Available")[0] == "True"
            await until(lambda: complete(one))
    print(f"{asked.answered} questions were answered, the slowest in {asked.slowest:.2f} s")
    assert asked.failed == []
    met = [*zip(begun, rolled, asked.each, strict=True)]  # each asker was answered during the rollout and the eviction
    assert all(first < second < last for first, second, last in met), met
    assert status(world, namespace)["generation"] == before
    assert {one["metadata"]["name"] for one in world.list(JOB)} == jobs

    # each has heard a part of what users were not helped by
    for address in servers(world, namespace).values():
        async with aiohttp.request("POST", f"http://{address}:8080/poor", json={"text": "Do you sell boats?"}) as reply:
            assert reply.status == 200
    found = merged((await Index(namespace, "faq").each("/poor")).answers)
    assert [(one["text"], one["disliked"]) for one in found["questions"]] == [("Do you sell boats?", 2)]
    assert found["servers"].keys() == servers(world, namespace).keys()
    await client.patch(VECTOR_INDEX, namespace, "faq", {"spec": {"query": {"replicas": 1}}})
    await until(lambda: world.get(PDB, namespace, "faq-index") is None)


async def test_an_index_is_built_gated_followed_and_survives_its_engine(
    client: Client, world: Cluster, namespace: str
) -> None:
    await given(client, namespace)
    await until(lambda: ready(world, namespace))
    first = status(world, namespace)
    assert (first["rows"], first["embedding"]["dimensions"]) == (100, 384)
    begun = first["generation"]["active"]  # a try that was cut off has used up a number
    assert float(first["measured"]["retrievalRecallAt4"]) >= 0.80
    found = await until_found(world, namespace, QUESTION, "faq/q001#0")
    assert (found["index"], found["passages"][0]["source"]) == (f"{namespace}/faq", "faq/q001")

    # a document more is found soon, and only it was embedded
    more = [{"id": "snow", "text": "Snow shoes are rented out for nine euros a day."}]
    await client.apply(CONFIG_MAP, config_map(namespace, "faq", documents(more)))
    await until_found(world, namespace, "Can I rent snow shoes?", "faq/snow#0")
    await until(lambda: status(world, namespace)["generation"]["active"] > begun and ready(world, namespace))
    grown = status(world, namespace)["generation"]["active"]
    assert "1 of 101 passages were embedded" in said(world, namespace, "Built")[1]

    # a release may have been made with the one of before, which is still there
    kept = await search(world, namespace, "Can I rent snow shoes?", generation=begun)
    assert (kept["generation"], kept["passages"][0]["id"] == "faq/snow#0") == (begun, False)
    assert status(world, namespace)["generation"]["kept"] == [begun, grown]
    assert await search(world, namespace, QUESTION, generation=grown + 7) == {}

    # a bad index misses its gate; what was served goes on
    bad = {"index": {"parameters": {"M": 2, "efConstruction": 4}},
           "rollout": {"gates": [{"type": "RowCount", "min": 500}]}}  # fmt: skip
    await client.patch(VECTOR_INDEX, namespace, "faq", {"spec": bad})
    await until(lambda: status(world, namespace).get("phase") == "Rejected")
    assert "101 passages, less than the wanted 500" in said(world, namespace, "GatesPassed")[1]
    assert said(world, namespace, "Stalled")[0] == "True"
    assert said(world, namespace, "Available")[0] == "True"
    assert (await search(world, namespace, QUESTION))["generation"] == grown

    # taken back, it costs nothing
    taken_back = {"index": {"parameters": None}, "rollout": index(namespace)["spec"]["rollout"]}
    await client.patch(VECTOR_INDEX, namespace, "faq", {"spec": taken_back})
    await until(lambda: ready(world, namespace))
    assert status(world, namespace)["generation"]["active"] == grown

    # more than may be embedded unasked waits with its number, and begins again when it is approved
    asking = {"rollout": {"approveAbove": {"passages": 1}}, "embedding": {"documentPrefix": "passage: "}}
    await client.patch(VECTOR_INDEX, namespace, "faq", {"spec": asking})
    await until(lambda: status(world, namespace).get("phase") == "AwaitingApproval")
    assert said(world, namespace, "Stalled")[1].startswith("101 passages to embed (about ")
    assert (await search(world, namespace, QUESTION))["generation"] == grown
    await annotate(VectorIndex, namespace, "faq", "approve")
    await until(lambda: ready(world, namespace))
    assert "101 of 101 passages were embedded" in said(world, namespace, "Built")[1]

    # the engine's pod is lost: what it comes back with is loaded again without anybody's help
    (pod,) = [one for one in world.list(POD, namespace) if one["metadata"]["labels"].get("llmops.dev/part") == "engine"
              and one["metadata"]["labels"].get("llmops.dev/owner-kind") == "VectorIndex"]  # fmt: skip
    await client.delete(POD, namespace, pod["metadata"]["name"])
    await until(lambda: world.get(POD, namespace, pod["metadata"]["name"]) is None)
    await until_found(world, namespace, QUESTION, "faq/q001#0")

    # deleted and written again, it finds its volume and what is on it: nothing is embedded
    await client.delete(VECTOR_INDEX, namespace, "faq")
    await until(lambda: world.get(SERVICE, namespace, "faq-index") is None)
    assert world.get(PVC, namespace, "faq-index-engine") is not None
    await client.create(VECTOR_INDEX, index(namespace))
    await until(lambda: ready(world, namespace))
    assert "0 of 101 passages were embedded" in said(world, namespace, "Built")[1]
    await no_question_is_lost_of_two_query_servers(client, world, namespace)


async def test_what_is_missing_is_named_and_what_is_wrong_in_a_source_too(
    client: Client, world: Cluster, namespace: str
) -> None:
    await client.create(VECTOR_INDEX, index(namespace))
    await until(lambda: f"ConfigMap {namespace}/faq does not exist" in said(world, namespace, "SourcesRead")[1])
    await client.create(CONFIG_MAP, config_map(namespace, "faq", documents()))
    await until(lambda: f"LLMService {namespace}/minilm does not exist" in said(world, namespace, "Ready")[1])
    await client.delete(VECTOR_INDEX, namespace, "faq")
    await client.delete(CONFIG_MAP, namespace, "faq")
    await until(lambda: world.get(SERVICE, namespace, "faq-index") is None)
    await given(client, namespace)
    await client.apply(CONFIG_MAP, config_map(namespace, "faq", [*documents(), {"id": "q000", "text": "again"}]))
    # a row that is wrong is named, and stops nothing
    await until(lambda: "a second document is called 'faq/q000'" in said(world, namespace, "SourcesRead")[1])
    assert said(world, namespace, "SourcesRead")[0] == "False"
    await until(lambda: ready(world, namespace))
    await client.apply(CONFIG_MAP, config_map(namespace, "faq", documents()))
    await until(lambda: ready(world, namespace) and said(world, namespace, "SourcesRead")[0] == "True")


def lead(door: World, cluster: Cluster, namespace: str) -> None:
    """A door with a model and the cluster's own query server."""
    service = cluster.get(SERVICE, namespace, "faq-index")
    assert service is not None
    door.add_service("support", door.engine)
    door.point("faq", door.engine, kind="VectorIndex", service="faq-index")
    [slice_] = [one for one in door.objects["slices"] if one["metadata"]["name"] == "faq"]
    slice_["ports"][0]["port"], slice_["endpoints"][0]["addresses"] = 8080, [service["spec"]["clusterIP"]]


def release(door: World) -> None:
    """A prompt that is nothing but what is found."""
    reference = {"name": "faq", "topK": 9, "variable": "context"}
    door.release("answer", door.add_version("answer", "1.0.0", system="{{ context }}", indexRef=reference))


async def cited(door: World, key: str, **prompt: Any) -> set[str]:
    """The documents that the holder of a key is answered from."""
    asked = {"id": "answer", "variables": {"question": "When are salaries paid?"}, **prompt}
    reply = await door.client(key).chat.completions.create(model="-", messages=[], extra_body={"prompt": asked})
    assert reply.model_extra is not None
    return {one["source"] for one in reply.model_extra["citations"]}


async def test_two_keys_of_different_groups_get_different_citations_from_the_same_prompt(
    client: Client, world: Cluster, namespace: str
) -> None:
    rows: list[Object] = [{"id": "open", "text": "The shop is open from nine to five.", "groups": "*"},
            {"id": "board", "text": "Salaries of the board are secret.", "groups": ["board"]},
            {"id": "nobody", "text": "Salaries were paid late in May."}]  # fmt: skip
    handbook = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "handbook", "namespace": namespace},
                "data": {"pay.md": "# Pay\nSalaries are paid on the 25th."}}  # fmt: skip
    await client.create(CONFIG_MAP, config_map(namespace, "rows", rows))
    await client.create(CONFIG_MAP, handbook)
    wanted = index(namespace)
    wanted["spec"] |= {
        "sources": [{"name": "faq", "configMapRef": {"name": "rows"}},
                    {"name": "handbook", "configMapRef": {"name": "handbook"}, "metadata": {"groups": ["staff"]}}],
        "query": {"permissions": {"field": "groups"}}, "rollout": {},
    }  # fmt: skip
    await given(client, namespace, wanted)
    await until(lambda: ready(world, namespace))
    await until_answered(world, namespace, "salaries")
    async with World() as door:
        lead(door, world, namespace)
        staff, board = (f"llmops_shop.{name}.correct-horse-battery" for name in ("staff", "board"))
        door.add_key(staff, "staff", groups=["staff"])
        door.add_key(board, "board", groups=["staff", "board"])
        release(door)
        assert await cited(door, staff) == {"faq/open", "handbook/pay.md"}
        assert await cited(door, board) == {"faq/open", "handbook/pay.md", "faq/board"}
        assert await cited(door, board, groups=["board"]) == {"faq/open", "faq/board"}
        assert await cited(door, KEY) == {"faq/open"}
    found = await search(world, namespace, "salaries", topK=9)  # a pod of the namespace that does not say who it is
    assert [one["id"] for one in found["passages"]] == ["faq/open#0"]

    # another rule holds with the query server that knows it, and builds nothing
    allow = {"query": {"permissions": {"missing": "Allow"}}}
    await client.patch(VECTOR_INDEX, namespace, "faq", {"spec": allow})
    async with asyncio.timeout(180):
        while len(found.get("passages", ())) != 2:
            await asyncio.sleep(0.2)
            found = await search(world, namespace, "salaries", topK=9)
    assert {one["id"] for one in found["passages"]} == {"faq/open#0", "faq/nobody#0"}
    assert found["generation"] == status(world, namespace)["generation"]["active"]


async def test_tenants_are_kept_apart_from_the_moment_that_they_are_asked_for(
    client: Client, world: Cluster, namespace: str
) -> None:
    """An index of everybody's becomes one of tenants: the generation of before answers within a tenant till then."""
    rows = [{"id": f"{at}", "text": f"The shop is open on day {at}.", "customer": name}
            for at, name in enumerate(("acme", "it's", "acme"))]  # fmt: skip
    rows.append({"id": "nobody", "text": "The shop is open on Sundays."})
    await client.create(CONFIG_MAP, config_map(namespace, "rows", rows))
    wanted = index(namespace)
    wanted["spec"] |= {"sources": [{"name": "faq", "configMapRef": {"name": "rows"}}], "rollout": {}}
    await given(client, namespace, wanted)
    await until(lambda: ready(world, namespace))
    asked: Object = {"text": "open", "topK": 9, "tenant": "acme"}
    acmes = {"faq/0#0", "faq/2#0"}
    assert len((await until_answered(world, namespace, "open", topK=9))["passages"]) == len(rows)
    assert await search(world, namespace, **asked) == {}  # nothing is kept apart yet

    begun = status(world, namespace)["generation"]["active"]  # a try that was cut off has used up a number
    await client.patch(VECTOR_INDEX, namespace, "faq", {"spec": {"query": {"tenants": {"field": "customer"}}}})
    generations = {begun}
    async with asyncio.timeout(240):
        while max(generations) == begun:
            found = await search(world, namespace, **asked)
            if found:
                generations.add(found["generation"])
                assert {one["id"] for one in found["passages"]} == acmes
            await asyncio.sleep(0.1)
    await until(lambda: ready(world, namespace))
    assert generations == {begun, status(world, namespace)["generation"]["active"]}
    [unread] = status(world, namespace)["unread"]
    assert "document faq/nobody is no tenant's and left out" in unread
    assert said(world, namespace, "Built")[1].endswith("0 of 3 passages were embedded")
    assert await search(world, namespace, "open", topK=9) == {}  # of nobody's in particular
    found = await until_answered(world, namespace, "open", topK=9, tenant="it's")
    assert [one["id"] for one in found["passages"]] == ["faq/1#0"]

    async with World() as door:
        lead(door, world, namespace)
        keys = {name: f"llmops_shop.{name}.correct-horse-battery" for name in ("one", "all")}
        door.add_key(keys["one"], "one", tenants=["acme"])
        door.add_key(keys["all"], "all", tenants=["*"])
        release(door)
        assert await cited(door, keys["one"]) == {"faq/0", "faq/2"}
        assert await cited(door, keys["all"], tenant="it's") == {"faq/1"}
        with pytest.raises(openai.BadRequestError, match="has the documents of many tenants"):
            await cited(door, keys["all"])
        with pytest.raises(openai.PermissionDeniedError):
            await cited(door, keys["one"], tenant="it's")
