"""LLMServices on the real cluster, the operator's loop in this process (tests/e2e/test_main_job.py has it as shipped).

The namespaces admit only restricted pods; the engine is llama.cpp with real small models; the test asks it by its
Service, as the door would.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.cluster.access import Access
from tests.e2e import store

from llmops.api import Settings
from llmops.control import SystemClock
from llmops.control.follow import find_by
from llmops.control.loop import Loop
from llmops.kube.cache import Cache
from llmops.kube.client import Client
from llmops.kube.cluster import Cluster
from llmops.kube.resources import (
    DEPLOYMENT,
    JOB,
    LLM_SERVICE,
    NETWORK_POLICY,
    NODE,
    PDB,
    POD,
    PVC,
    REVISION,
    SERVICE,
    Resource,
)  # fmt: skip
from llmops.kube.store import version_of
from llmops.serving.reconcile import CONTROLLER

Object = dict[str, Any]
MODELS = Path(__file__).parents[1] / "models"
STORE = Path(store.__file__).read_text()
ROWS = [json.loads(line) for line in (MODELS / "shop-qa.jsonl").read_text().splitlines()]
DIGEST = hashlib.sha256((MODELS / "support-good.gguf").read_bytes()).hexdigest()
IMAGE = "llmops/demo-models:dev"
SECRET = Resource("", "v1", "secrets", "Secret", True)
CHILDREN = (DEPLOYMENT, SERVICE, PDB, NETWORK_POLICY, PVC, JOB, REVISION)
SMALL = {"requests": {"cpu": "50m", "memory": "96Mi"}}


class World:
    """One namespace: what is in it, and how to change it."""

    def __init__(self, client: Client, operator: Cluster, namespace: str) -> None:
        self.client, self.operator, self.namespace = client, operator, namespace
        self.cache = operator.cache

    async def service(self, name: str = "support", **spec: Any) -> None:
        whole = {
            "model": {"uri": "file:///models/support-good.gguf"},
            "engine": {"type": "LlamaCpp", "image": IMAGE, "contextLength": 512},
            "resources": SMALL,
            **spec,
        }
        await self.create(LLM_SERVICE, name, spec=whole)

    async def create(self, resource: Resource, name: str, **fields: Any) -> None:
        metadata = {"name": name, "namespace": self.namespace, **fields.pop("metadata", {})}
        whole = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, **fields}
        await self.client.create(resource, whole)

    async def change(self, name: str = "support", **spec: Any) -> None:
        await self.client.patch(LLM_SERVICE, self.namespace, name, {"spec": spec})

    def get(self, resource: Resource, name: str) -> Object:
        return self.cache.get(resource, self.namespace, name) or {}

    def mine(self, resource: Resource, name: str = "support") -> list[Object]:
        labels = {"llmops.dev/owner-kind": "LLMService", "llmops.dev/owner-name": name}
        return self.cache.list(resource, self.namespace, labels)

    def said(self, kind: str = "Ready", name: str = "support") -> tuple[str, str, str]:
        """(status, reason, message) of a condition of this generation."""
        service = self.get(LLM_SERVICE, name)
        for one in (service.get("status") or {}).get("conditions") or []:
            if one["type"] == kind and one["observedGeneration"] == service["metadata"]["generation"]:
                return one["status"], one["reason"], one["message"]
        return "", "", ""

    async def ready(self, name: str = "support") -> str:
        """The address of its Service, once Ready is True."""
        await self.until(lambda: self.said(name=name)[0] == "True", f"{name} Ready")
        service = await self.client.get(SERVICE, self.namespace, f"{name}-llm")
        return f"http://{service['spec']['clusterIP']}/v1"

    async def says(self, reason: str, words: str, kind: str = "Ready", name: str = "support") -> None:
        await self.until(lambda: self.said(kind, name)[1] == reason and words in self.said(kind, name)[2], words)

    async def until(self, test: Callable[[], Any], what: str, seconds: float = 240) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not test():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            told = {one["metadata"]["name"]: one.get("status") for one in self.cache.list(LLM_SERVICE, self.namespace)}
            raise AssertionError(f"{what}: not within {seconds} s; {json.dumps(told, indent=1)}") from None


@pytest.fixture
async def client(cluster: Access) -> AsyncIterator[Client]:
    async with await Client.connect(timeout=60) as client:
        yield client


@pytest.fixture
async def world(client: Client, namespace: str) -> AsyncIterator[World]:
    """The operator for the LLMServices of one namespace, running."""
    cache = Cache(client)
    seen = Cluster(client, cache, Settings())
    loop = Loop([CONTROLLER], seen, SystemClock())
    find_by(cache, [CONTROLLER])
    cache.subscribe(loop.changed)
    for resource in (CONTROLLER.resource, *CONTROLLER.owns):
        cache.follow(resource, namespace)
    for one in CONTROLLER.refers:
        cache.follow(one.resource, keep=one.keep)
    try:
        await cache.synced(60)
        running = asyncio.create_task(loop.run(2))
        yield World(client, seen, namespace)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    finally:
        await cache.close()


async def post(url: str, body: Object) -> Object:
    """A refused connection is asked again: Ready may be known before the node's Service rules have the pod."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        while True:
            try:
                async with session.post(url, json=body) as reply:
                    answer: Object = await reply.json()
                    assert reply.status == 200, answer
                    return answer
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.1)


async def answer(base: str, question: str) -> str:
    body = {"model": "x", "messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": 48}
    found = await post(f"{base}/chat/completions", body)
    return str(found["choices"][0]["message"]["content"])


async def test_a_service_answers_heals_and_leaves_nothing_behind(world: World) -> None:
    await world.service(replicas=2)
    base = await world.ready()
    assert await answer(base, ROWS[0]["question"]) == ROWS[0]["answer"]
    async with aiohttp.ClientSession() as session, session.get(f"{base}/models") as reply:
        listed = await reply.json()
    assert listed["data"][0]["id"] == f"{world.namespace}/support"

    # somebody deletes a child: it comes back
    uid = world.get(DEPLOYMENT, "support-llm")["metadata"]["uid"]
    await world.client.delete(DEPLOYMENT, world.namespace, "support-llm")
    back = lambda: world.get(DEPLOYMENT, "support-llm").get("metadata", {}).get("uid") not in (None, uid)  # noqa: E731
    await world.until(back, "the Deployment is back")

    two = lambda: world.get(DEPLOYMENT, "support-llm").get("status", {}).get("readyReplicas") == 2  # noqa: E731
    await world.until(lambda: two() and len(world.mine(POD)) == 2, "its pods answer, and those of before are gone")

    # somebody edits one: it is put right
    wrong = {"spec": {"selector": {"some": "body"}}}
    edited = version_of(await world.client.patch(SERVICE, world.namespace, "support-llm", wrong))
    right = lambda one: version_of(one) > edited and "some" not in one["spec"]["selector"]  # noqa: E731
    await world.until(lambda: right(world.get(SERVICE, "support-llm")), "put right")

    # a pod is killed: the other serves meanwhile, and a new one comes
    pods = {one["metadata"]["name"] for one in world.mine(POD)}
    await world.client.delete(POD, world.namespace, min(pods))
    assert await answer(await world.ready(), ROWS[1]["question"]) == ROWS[1]["answer"]

    await world.client.delete(LLM_SERVICE, world.namespace, "support")
    gone = lambda: not any(world.mine(resource) for resource in (*CHILDREN, POD))  # noqa: E731
    await world.until(gone, "everything is gone")


async def test_an_embedder_finds_the_answers_to_the_shops_questions(world: World) -> None:
    """64 of 100 is what the original model does; wrong tokens or a wrong pooling would find next to none."""
    await world.service("minilm", model={"uri": "file:///models/minilm.gguf", "task": "Embed"},
                        engine={"type": "LlamaCpp", "image": IMAGE})  # fmt: skip
    base = await world.ready("minilm")

    async def embed(texts: list[str]) -> list[list[float]]:
        found = await post(f"{base}/embeddings", {"model": "x", "input": texts})
        return [one["embedding"] for one in found["data"]]

    questions, answers = await embed([row["question"] for row in ROWS]), await embed([row["answer"] for row in ROWS])
    assert len(questions[0]) == 384
    right = 0
    for at, question in enumerate(questions):
        likeness = [sum(a * b for a, b in zip(question, one, strict=True)) for one in answers]
        right += likeness.index(max(likeness)) == at
    assert right >= 60


async def test_no_request_fails_and_no_stream_is_cut_while_another_model_takes_over(world: World) -> None:
    await world.service(replicas=1)
    base = await world.ready()
    await answer(base, "Hello")  # the node's Service rules have the pod
    over = asyncio.Event()
    ended: list[str] = []

    async def stream(session: aiohttp.ClientSession) -> None:
        """One answer of 400 tokens after the other; what its last line was."""
        body = {"model": "x", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 400,
                "stream": True, "ignore_eos": True}  # fmt: skip
        while not over.is_set():
            async with session.post(f"{base}/chat/completions", json=body) as reply:
                assert reply.status == 200
                ended.append((await reply.text()).strip().splitlines()[-1])

    # a new connection for each, so that each is a new choice of pod
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        asking = [asyncio.create_task(stream(session)) for _ in range(3)]
        await world.until(lambda: len(ended) >= 3 or any(one.done() for one in asking), "streams end")
        assert not any(one.done() for one in asking), [one.exception() for one in asking if one.done()]
        await world.change(model={"uri": "file:///models/support-bad.gguf"})
        await world.ready()
        # to the end of the old pods: they go on with what they had
        await world.until(lambda: len(world.mine(POD)) == 1, "old pods are gone")
        over.set()
        await asyncio.gather(*asking)
    assert set(ended) == {"data: [DONE]"}
    states = {one["metadata"]["labels"]["llmops.dev/state"] for one in world.mine(REVISION)}
    assert (states, len(world.mine(REVISION))) == ({"stable", "retired"}, 2)


RESTRICTED: Object = {
    "runAsNonRoot": True, "runAsUser": 65532, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip


async def helper(world: World, name: str, command: list[str], volumes: list[Object] | None = None) -> str:
    """A pod of the models' image with another command; its address once it runs or is done."""
    await world.create(POD, name, spec={
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "securityContext": RESTRICTED,
        "automountServiceAccountToken": False,
        "containers": [{
            "name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": command,
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": [{"name": one["name"], "mountPath": f"/{one['name']}"} for one in volumes or []],
        }],
        "volumes": volumes or [],
    })  # fmt: skip
    phase = lambda: (world.get(POD, name).get("status") or {}).get("phase")  # noqa: E731
    await world.until(lambda: phase() in ("Running", "Succeeded"), f"pod {name}")
    return str(world.get(POD, name)["status"]["podIP"])


async def test_weights_are_downloaded_once_checked_and_every_fault_is_told(world: World) -> None:
    host = await helper(world, "web", ["python3", "-m", "http.server", "8000", "--directory", "/models"])
    uri, cache = f"http://{host}:8000/support-good.gguf", {"size": "64Mi"}
    wrong = {"uri": uri, "revision": "sha256:" + "0" * 64, "cache": cache}
    await world.service(model=wrong)
    await world.says("DownloadFailed", f"has sha256:{DIGEST}, and spec.model.revision says")
    assert world.said("Stalled")[0] == "True"
    assert world.mine(DEPLOYMENT) == []

    await world.change(model={"revision": f"sha256:{DIGEST}"})
    assert await answer(await world.ready(), ROWS[2]["question"]) == ROWS[2]["answer"]
    assert world.said("ModelCached")[:2] == ("True", "Downloaded")
    await world.until(lambda: len(world.mine(JOB)) == 1, "the failed one is gone")

    # an address that is wrong does not take what runs away
    await world.change(model={"uri": f"http://{host}:8000/nothing.gguf"})
    await world.says("DownloadFailed", "answers 404 File not found")
    assert world.said("Available")[0] == "True"

    # no volume: each pod downloads, and the claim of before is let go
    await world.change(model={"uri": uri, "cache": None})
    assert await answer(await world.ready(), ROWS[3]["question"]) == ROWS[3]["answer"]
    await world.until(lambda: not world.mine(JOB) and not world.mine(PVC), "the cache is gone")


HUB = """
import hashlib, http.server, json, pathlib
class Hub(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.headers.get("Authorization") != "Bearer hf_good":
            return self.send_error(403)
        data = pathlib.Path("/models/support-good.gguf").read_bytes()
        if self.path == "/api/models/shop/support/revision/v1?blobs=true":
            lfs = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
            model = {"rfilename": "q8/m.gguf", "size": len(data), "lfs": lfs}
            data = json.dumps({"sha": "c" * 40, "siblings": [{"rfilename": "README.md", "size": 9}, model]}).encode()
        elif self.path != "/shop/support/resolve/" + "c" * 40 + "/q8/m.gguf":
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
http.server.ThreadingHTTPServer(("", 8000), Hub).serve_forever()
"""


async def test_a_gated_model_comes_from_the_hub_with_a_token_that_only_the_download_sees(world: World) -> None:
    host = await helper(world, "hub", ["python3", "-c", HUB])
    world.operator.settings = replace(world.operator.settings, hub_url=f"http://{host}:8000")
    await world.service(model={
        "uri": "hf://shop/support/q8/m.gguf", "revision": "v1", "cache": {"size": "64Mi"},
        "credentialsSecretRef": {"name": "hub"},
    })  # fmt: skip
    await world.says("Downloading", 'secret "hub" not found')
    await world.create(SECRET, "hub", stringData={"HF_TOKEN": "hf_bad"})
    await world.says("DownloadFailed", "answers 403 for shop/support at v1: the token's account must accept the")
    assert world.said("Stalled")[0] == "True"
    await world.client.patch(SECRET, world.namespace, "hub", {"stringData": {"HF_TOKEN": "hf_good"}})
    (job,) = world.mine(JOB)
    assert f"kubectl delete job {job['metadata']['name']}" in world.said()[2]
    await world.client.delete(JOB, world.namespace, job["metadata"]["name"])
    assert await answer(await world.ready(), ROWS[5]["question"]) == ROWS[5]["answer"]
    told = "downloaded from hf://shop/support/q8/m.gguf, v1, its large files checked by the hub's SHA-256"
    assert world.said("ModelCached") == ("True", "Downloaded", told)
    (pod,) = [one for one in world.mine(POD) if one["metadata"]["labels"]["llmops.dev/part"] == "engine"]
    assert "HF_TOKEN" not in json.dumps(pod["spec"])


async def test_a_bucket_gives_its_objects_to_who_signs_with_its_key(world: World) -> None:
    host = await helper(world, "store", ["python3", "-c", STORE, "/models", "8000", "100000"])
    world.operator.settings = replace(world.operator.settings, s3_url=f"http://{host}:8000")
    wrong = {"AWS_ACCESS_KEY_ID": store.ID, "AWS_SECRET_ACCESS_KEY": "wrong"}
    await world.create(SECRET, "store", stringData=wrong)
    await world.service(model={
        "uri": "s3://models/support-good.gguf", "revision": f"sha256:{DIGEST}", "cache": {"size": "64Mi"},
        "credentialsSecretRef": {"name": "store"},
    })  # fmt: skip
    await world.says(
        "DownloadFailed", "answers 403 SignatureDoesNotMatch for s3://models/support-good.gguf: the key in"
    )
    await world.client.patch(SECRET, world.namespace, "store", {"stringData": {"AWS_SECRET_ACCESS_KEY": store.SECRET}})
    (job,) = world.mine(JOB)
    await world.client.delete(JOB, world.namespace, job["metadata"]["name"])
    await world.says("Downloading", " of 1.8 MiB, about ")
    assert await answer(await world.ready(), ROWS[5]["question"]) == ROWS[5]["answer"]
    told = "downloaded from s3://models/support-good.gguf, and its SHA-256 is the one in spec.model.revision"
    assert world.said("ModelCached") == ("True", "Downloaded", told)


async def test_weights_on_a_volume_are_waited_for_and_read(world: World) -> None:
    await world.service(model={"uri": "pvc://weights/shop/m.gguf"})
    await world.says("ReferenceMissing", "there is no PersistentVolumeClaim weights")
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}}
    await world.create(PVC, "weights", spec=claim)
    volume = {"name": "weights", "persistentVolumeClaim": {"claimName": "weights"}}
    copy = "mkdir -p /weights/shop && cp /models/support-good.gguf /weights/shop/m.gguf"
    await helper(world, "copy", ["sh", "-c", copy], [volume])
    assert await answer(await world.ready(), ROWS[4]["question"]) == ROWS[4]["answer"]
    assert world.said("ModelCached") == ("True", "OnVolume", "read from the claim weights")


async def test_what_keeps_a_pod_from_serving_is_said_in_the_services_status(world: World) -> None:
    file = {"type": "LlamaCpp", "image": IMAGE}
    await world.service("huge", resources={"requests": {"memory": "9000Gi"}})
    await world.service("absent", engine={"type": "LlamaCpp", "image": "llmops/absent:none"})
    await world.service("lost", model={"uri": "file:///models/lost.gguf"}, engine=file)
    await world.service("root", podTemplate={"spec": {"hostNetwork": True}})
    await world.service("zero", replicas=0)
    await world.create(DEPLOYMENT, "foreign-llm", spec={
        "replicas": 0, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    })  # fmt: skip
    await world.service("foreign")
    await world.says("Unschedulable", "Insufficient memory", name="huge")
    await world.says("ImageNotPulled", "llmops/absent:none", name="absent")
    await world.says("Crashing", "/models/lost.gguf", name="lost")
    await world.says("ApiRefused", "violates PodSecurity", name="root")
    await world.says("NoReplicas", "nothing serves, as asked", name="zero")
    await world.says("NotOurs", "exists and is not of LLMService foreign", name="foreign")
    assert world.get(DEPLOYMENT, "foreign-llm")["spec"]["selector"] == {"matchLabels": {"a": "b"}}
    assert world.said("Scheduled", "huge")[0] == "False"


async def gpu_nodes(world: World) -> dict[str, str]:
    """Name and product of the nodes that offer GPUs: pretended here, the scheduler and its decisions are not."""
    nodes = (await world.client.list(NODE))["items"]
    found = {
        one["metadata"]["name"]: one["metadata"]["labels"]["nvidia.com/gpu.product"]
        for one in nodes
        if "nvidia.com/gpu" in one["status"]["allocatable"]
    }
    return found or pytest.skip("this cluster has no nodes with GPUs, not even pretended ones")


@pytest.mark.parametrize("engine", ["vLLM", "SGLang"])
async def test_an_engine_for_gpus_is_scheduled_on_the_nodes_that_have_its_devices(world: World, engine: str) -> None:
    fake = await gpu_nodes(world)
    product = fake[min(fake)]
    await world.service(
        replicas=2, engine={"type": engine, "contextLength": 8192}, model={"uri": "file:///models/llama"},
        accelerator={"product": product, "count": 2}, resources={"requests": {"cpu": "1", "memory": "1Gi"}},
    )  # fmt: skip
    await world.until(lambda: world.said("Scheduled")[0] == "True", "scheduled")
    await world.until(lambda: len(world.mine(POD)) == 2, "two pods")
    await world.until(
        lambda: {one["spec"].get("nodeName") for one in world.mine(POD)} <= fake.keys(), "on the GPU nodes"
    )
    assert world.get(LLM_SERVICE, "support")["status"]["sizing"]["acceleratorsPerReplica"] == 2


async def test_auto_chooses_devices_that_the_nodes_have_and_says_what_would_fit_where_none_do(world: World) -> None:
    fake = await gpu_nodes(world)
    llama_70b = {"parameters": 70_553_706_496, "layers": 80, "kvHeads": 8, "headDim": 128, "contextLength": 131072}
    model = {"uri": "file:///models/llama", "dimensions": llama_70b}
    await world.service(
        engine={"type": "vLLM"}, model=model, accelerator={"count": "Auto"}, resources={"requests": {"cpu": "1"}}
    )
    await world.until(lambda: world.said("Scheduled")[0] == "True", "scheduled")
    [pod] = world.mine(POD)
    assert pod["spec"]["nodeName"] in fake
    assert pod["spec"]["nodeSelector"] == {"nvidia.com/gpu.product": fake[pod["spec"]["nodeName"]]}
    sizing = world.get(LLM_SERVICE, "support")["status"]["sizing"]
    assert sizing["acceleratorsPerReplica"] == 4
    assert sizing["product"] == fake[min(fake)]
    assert "70.6 billion weights are 131.4 GiB (from spec.model.dimensions)" in sizing["explanation"]

    # far more than a node has: the pods of before go on, and the way out is told, works, and is taken back
    many = {**llama_70b, "contextLength": 4_194_304}
    await world.change(model={"dimensions": many}, engine={"contextLength": 4_194_304})
    await world.says("DoesNotFit", "the nearest that fits: engine.contextLength: ")
    assert len(world.mine(POD)) == 1
    nearest = int(world.said()[2].split("the nearest that fits: engine.contextLength: ")[1].split(",")[0])
    await world.change(engine={"contextLength": nearest})
    await world.until(
        lambda: world.get(LLM_SERVICE, "support")["status"]["sizing"]["acceleratorsPerReplica"] == 8, "sized anew"
    )
    await world.until(lambda: world.said("Scheduled")[0] == "True", "scheduled again")


async def test_where_no_accelerator_is_free_it_says_who_holds_them(world: World) -> None:
    await gpu_nodes(world)
    model, cpu = {"uri": "file:///models/llama"}, {"requests": {"cpu": "1"}}
    whole = {"engine": {"type": "vLLM"}, "model": model, "accelerator": {"count": 8}, "resources": cpu}
    await world.service("early", replicas=2, **whole)
    # both of them: the devices of an earlier test may not be free yet
    placed = lambda: [one for one in world.mine(POD, "early") if one["spec"].get("nodeName")]  # noqa: E731
    await world.until(lambda: len(placed()) == 2, "both have a node")
    await world.service("late", **whole)
    await world.says("Unschedulable", "of nvidia.com/gpu, 16 by LLMService early are held", name="late")


async def test_auto_asks_the_downloaded_files_how_large_the_model_is(world: World) -> None:
    host = await helper(world, "web", ["python3", "-m", "http.server", "8000", "--directory", "/models"])
    await world.service(
        model={
            "uri": f"http://{host}:8000/support-good.gguf",
            "revision": f"sha256:{DIGEST}",
            "cache": {"size": "64Mi"},
        },
        accelerator={"memory": "24Gi", "count": "Auto"},
    )
    await world.until(lambda: world.get(DEPLOYMENT, "support-llm"), "a Deployment")
    sizing = world.get(LLM_SERVICE, "support")["status"]["sizing"]
    assert sizing["acceleratorsPerReplica"] == 1
    assert "(from its own files)" in sizing["explanation"]
