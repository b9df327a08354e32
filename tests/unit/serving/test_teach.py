"""Adapters that are loaded into pods that run: which changes leave the pods alone, and what is said to the engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web
from tests.unit.serving.seen import deployment, pod, see

from llmops.api.reasons import Reason
from llmops.serving import revision, teach
from llmops.serving.engines import ENGINES
from llmops.serving.observe import Seen
from llmops.serving.plan import plan
from llmops.serving.podspec import PART, part
from llmops.serving.status import readiness, taught

Object = dict[str, Any]
GPU = {"memory": "80Gi", "count": 1}


def spec(*adapters: str, engine: str = "vLLM", **more: Any) -> Object:
    listed = [{"name": one, "uri": f"pvc://weights/{one}"} for one in adapters]
    return {
        "model": {"uri": "pvc://weights/m", "adapters": listed}, "engine": {"type": engine}, "accelerator": GPU,
        **more,
    }  # fmt: skip


def made(seen: Seen, kind: str) -> Object:
    planned = plan(seen)
    assert planned.problem is None, planned.problem
    return next(one for one in planned.children if one["kind"] == kind)


def after(*before: Object, spec: Object) -> Seen:
    """What is seen of a service that had the specs of before, one after the other."""
    kept: list[Object] = []
    for number, one in enumerate(before):
        found = made(see(one, revisions=kept), "Revision")
        kept = [*kept, {**found, "metadata": {**found["metadata"], "creationTimestamp": f"2026-01-0{number + 1}"}}]
    now = see(spec, revisions=kept)
    return replace(now, revision=next((one for one in kept if one["spec"]["digest"] == now.digest), None))


def template(seen: Seen) -> Object:
    found: Object = made(seen, "Deployment")["spec"]["template"]
    return found


@pytest.mark.parametrize("engine", ["vLLM", "SGLang"])
@pytest.mark.parametrize(
    "adapters", [["tone", "law"], ["law"], ["a", "b", "c", "d"], []], ids=["added", "changed", "four", "removed"]
)
def test_a_change_of_adapters_leaves_the_pods_as_they_are(engine: str, adapters: list[str]) -> None:
    before, now = spec("tone", engine=engine), spec(*adapters, engine=engine)
    one, other = see(before), after(before, spec=now)
    assert one.digest != other.digest
    assert template(one) == template(other)
    engine_of = template(one)["spec"]["containers"][0]
    assert not any(word in arg for arg in engine_of["args"] for word in ("lora-modules", "lora-paths", "tone"))


def test_the_first_adapter_makes_other_pods_and_where_there_never_was_one_nothing_is_kept_for_it() -> None:
    assert "slots" not in revision.frozen(made(see(spec()), "Revision"))
    assert template(see(spec())) != template(after(spec(), spec=spec("tone")))


def test_more_adapters_than_there_is_room_for_make_other_pods() -> None:
    before, now = spec("a"), spec("a", "b", "c", "d", "e")
    assert template(see(before)) != template(after(before, spec=now))
    assert "--max-loras=8" in template(after(before, spec=now))["spec"]["containers"][0]["args"]


def test_another_model_or_argument_makes_other_pods() -> None:
    other = {**spec("tone"), "engine": {"type": "vLLM", "args": ["--enable-prefix-caching"]}}
    assert template(see(spec("tone"))) != template(after(spec("tone"), spec=other))
    assert template(see(other))["spec"]["containers"][0]["args"][-1] == "--enable-prefix-caching"


def test_pods_of_a_revision_from_before_keep_their_adapters_from_the_start() -> None:
    seen = see(spec("tone"))
    resolved = revision.Resolved.of(revision.frozen(made(seen, "Revision")))
    before = revision.build(seen.service, replace(resolved, slots=0, note=""))
    kept = replace(seen, revision=before, revisions=[before])
    assert "--lora-modules" in template(kept)["spec"]["containers"][0]["args"]


@pytest.mark.parametrize(
    "more",
    [
        {"rollout": {}},
        {"model": {"uri": "pvc://weights/m", "adapters": [{"name": "tone", "uri": "hf://acme/tone"}]}},
        {"engine": {"type": "LlamaCpp"}, "accelerator": None},
    ],
    ids=["rolled out by steps", "downloaded by each pod", "an engine that cannot"],
)  # fmt: skip
def test_elsewhere_adapters_are_the_pods_own(more: Object) -> None:
    wanted = {**spec("tone"), **more}
    assert "slots" not in made(see(wanted), "Revision")["spec"]["content"]["resolved"]


@dataclass
class Engine:
    """What the packages' servers do at these paths (see teach.py for where that is written)."""

    has: dict[str, str] = field(default_factory=dict)
    refuses: str = ""
    heard: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0

    async def models(self, _: web.Request) -> web.Response:
        self.heard.append(("models", ""))
        base = {"id": "shop/support", "root": "/models/m", "parent": None}
        cards = [{"id": name, "root": path, "parent": "shop/support"} for name, path in self.has.items()]
        return web.json_response({"object": "list", "data": [base, *cards]})

    async def load(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.heard.append(("load", body["lora_name"]))
        if body["lora_name"] in self.has:
            return web.json_response({"error": {"message": "has already been loaded", "code": 400}}, status=400)
        if self.refuses and self.refuses in body["lora_name"]:
            return web.json_response({"error": {"message": "rank 128 is above 64", "code": 500}}, status=500)
        self.has[body["lora_name"]] = body["lora_path"]
        return web.Response(text="Success")

    async def unload(self, request: web.Request) -> web.Response:
        name = (await request.json())["lora_name"]
        self.heard.append(("unload", name))
        known = self.has.pop(name, None) is not None
        return web.Response(text="Success") if known else web.json_response({"error": {"message": "?"}}, status=404)


class Somebody:
    """Whoever holds the memory of what was taught: a leader."""


@pytest.fixture
async def engine(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Engine]:
    one, app = Engine(), web.Application()
    app.router.add_get("/v1/models", one.models)
    app.router.add_post("/v1/load_lora_adapter", one.load)
    app.router.add_post("/v1/unload_lora_adapter", one.unload)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    one.port = runner.addresses[0][1]
    monkeypatch.setattr(teach, "ENGINES", {**ENGINES, "vLLM": replace(ENGINES["vLLM"], port=one.port)})
    yield one
    await runner.cleanup()


def running(seen: Seen, restarts: int = 0, ready: str = "True") -> Seen:
    conditions = [{"type": "Ready", "status": ready}]
    started = [{"name": "engine", "restartCount": restarts}]
    one = pod(podIP="127.0.0.1", conditions=conditions, containerStatuses=started)
    one["metadata"] |= {"uid": "p1", "labels": {PART: part(seen)}}
    return replace(seen, pods=[one], workload=deployment())


async def lesson(seen: Seen, leader: Any) -> Seen:
    return await teach.teach(seen, plan(seen), leader)


async def test_a_ready_pod_gets_what_it_lacks_loses_what_nobody_wants_and_is_asked_no_more(engine: Engine) -> None:
    engine.has = {"shop/support:old": "/models/old", "shop/support:tone": "/models/tone-of-before"}
    leader, seen = Somebody(), running(see(spec("tone", "law")))
    told = await lesson(seen, leader)
    assert engine.has == {"shop/support:tone": "/models/tone", "shop/support:law": "/models/law"}
    assert engine.heard.index(("unload", "shop/support:tone")) < engine.heard.index(("load", "shop/support:tone"))
    assert taught(told) == {"adapters": ["tone", "law"]}
    engine.heard.clear()
    await lesson(seen, leader)
    assert engine.heard == []


@pytest.mark.parametrize("how", ["its engine was started again", "another leader asks", "another adapter is wanted"])
async def test_it_is_asked_again_when(how: str, engine: Engine) -> None:
    leader, seen = Somebody(), running(see(spec("tone")))
    await lesson(seen, leader)
    engine.has, engine.heard = {}, []
    if how == "its engine was started again":
        seen = running(seen, restarts=1)
    elif how == "another leader asks":
        leader = Somebody()
    else:
        seen = running(after(spec("tone"), spec=spec("tone", "law")))
    await lesson(seen, leader)
    assert ("load", "shop/support:tone") in engine.heard


async def test_the_engines_own_words_say_why_an_adapter_is_not_served_and_the_others_are(engine: Engine) -> None:
    engine.refuses = "law"
    seen = await lesson(running(see(spec("tone", "law"))), Somebody())
    assert taught(seen) == {"adapters": ["tone"]}
    ready, reason, message, _ = readiness(seen, plan(seen))
    assert (ready, reason) == (False, Reason.ADAPTER_NOT_LOADED)
    assert "pod support-llm-1: adapter shop/support:law is not taken: rank 128 is above 64" in message


async def test_a_pod_that_does_not_answer_is_told_of_and_asked_again(engine: Engine) -> None:
    leader, seen = Somebody(), running(see(spec("tone")))
    away = replace(seen, pods=[{**seen.pods[0], "status": {**seen.pods[0]["status"], "podIP": "127.0.0.2"}}])
    told = await lesson(away, leader)
    assert told.taught is not None
    assert "does not say which adapters it has" in told.taught.problem
    assert (await lesson(seen, leader)).taught == replace(told.taught, problem="")


async def test_nobody_is_asked_before_it_is_ready_or_where_adapters_are_the_pods_own(engine: Engine) -> None:
    await lesson(running(see(spec("tone")), ready="False"), Somebody())
    own = await lesson(running(see(spec("tone", rollout={}))), Somebody())
    assert engine.heard == []
    assert own.taught is None
