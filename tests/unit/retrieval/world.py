"""One VectorIndex in a cluster that tells everything late, with all that is known of it by whoever sees everything."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Any, cast

from tests.unit.retrieval.building import BROKEN, Building, recall
from tests.unit.retrieval.jobs import Jobs
from tests.unit.retrieval.lagging import Clock, Server

from llmops.api import Settings, names
from llmops.control.follow import follow
from llmops.control.loop import Loop
from llmops.kube.cache import Cache
from llmops.kube.client import Client
from llmops.kube.cluster import Cluster
from llmops.kube.resources import CONFIG_MAP, JOB, LLM_SERVICE, VECTOR_INDEX, Object, Resource
from llmops.retrieval.children import WORK_KEY
from llmops.retrieval.reconcile import CONTROLLER
from llmops.retrieval.work import content_sha256

SETTINGS = Settings(resync_seconds=60)
QUIET = 80.0  # seconds without a write, longer than any look is put off
PATIENCE = 3600.0
LAGS = (0.0, 0.005, 0.05, 0.4)
SPEC: dict[str, Any] = {
    "embedding": {"serviceRef": {"name": "minilm"}},
    "engine": {"mode": "External", "external": {"uri": "http://milvus:19530"}},
    "sources": [
        {"name": "docs", "configMapRef": {"name": "docs"}}, {"name": "web", "http": {"url": "https://example.com/faq"}},
    ],
    "index": {"type": "HNSW", "parameters": {"M": 16}, "search": {"ef": 64}},
    "rollout": {"gates": [{"type": "AnnRecall", "atK": 10, "min": "0.91"}]},
}  # fmt: skip
LABELS = {"labels": {names.WATCH: "true"}}


class Operator:
    """One process: its cache is warm, and it does nothing until it leads."""

    def __init__(self, server: Server, clock: Clock) -> None:
        client = cast(Client, server)
        self._cache = Cache(client)
        self._loop = Loop([CONTROLLER], Cluster(client, self._cache, SETTINGS), clock)
        self._cache.subscribe(self._loop.changed)
        follow(self._cache, [CONTROLLER], (), SETTINGS)
        self._leads: asyncio.Task[None] | None = None

    async def lead(self) -> None:
        await self._cache.synced(60)
        self._leads = asyncio.create_task(self._loop.run(2))

    async def end(self) -> None:
        """At any moment, in the middle of whatever it does."""
        if self._leads is not None:
            self._leads.cancel()
            with suppress(asyncio.CancelledError):
                await self._leads
        await self._cache.close()


class World:
    """A cluster with one index, and all that is known of it by whoever sees everything."""

    def __init__(self, seed: int, group: asyncio.TaskGroup) -> None:
        random.seed(seed)  # which the queue's and the resync's jitter comes of
        self.dice, self.clock = random.Random(seed), Clock()
        lags: dict[Resource, float] = {}
        self.server = Server(self.dice, self.clock, lambda resource: lags.setdefault(resource, self.dice.choice(LAGS)))
        self.story: list[str] = []
        self.problems: list[str] = []
        self.building = Building(self.server, self.clock, self.dice, self.wrong, self.say)
        self.jobs = Jobs(self.server, self.clock, self.dice, self.building, group.create_task, self.wrong, self.say)
        self._said: Object = {}
        self.operator: Operator
        self.standby: Operator
        self.looked = 1  # the web's content when it was last to be looked at
        self.specs = [SPEC]
        self.reasons = 1  # for a Job, since the last rest
        self.server.put(CONFIG_MAP, {"metadata": {"name": "docs", **LABELS}, "data": {"a.md": "one"}})
        self.embedder(True)
        self.server.put(VECTOR_INDEX, {
            "apiVersion": VECTOR_INDEX.api_version, "kind": VECTOR_INDEX.kind, "metadata": {"name": "faq"},
            "spec": SPEC,
        })  # fmt: skip
        self.server.witnesses.append(self._witness)

    def say(self, what: str) -> None:
        self.story.append(f"{self.clock.monotonic():8.2f} {what}")

    def wrong(self, what: str) -> None:
        self.say(f"WRONG: {what}")
        self.problems.append(what)

    def _witness(self, kind: str, resource: Resource, obj: Object) -> None:
        if resource == JOB and kind != "MODIFIED":
            self.say(f"Job {obj['metadata']['name']} {kind}")
        status = obj.get("status") or {}
        if resource != VECTOR_INDEX or status == self._said:
            return
        self._said, active, alias = status, status["generation"].get("active"), self.building.engine.alias
        ready = next(one for one in status["conditions"] if one["type"] == "Ready")
        self.say(f"status: {status['phase']} of {active}, Ready {ready['status']}: {ready['message']}")
        if status["phase"] == "Served" and not self.jobs.alive and alias and alias.number != active:
            self.wrong(f"generation {active} is said to be served, and the alias is on {alias.number}")

    @property
    def index(self) -> Object:
        found = self.server.find(VECTOR_INDEX, "faq")
        assert found is not None
        return found

    @property
    def status(self) -> Object:
        return dict(self.index.get("status") or {})

    async def begin(self) -> None:
        self.operator, self.standby = Operator(self.server, self.clock), Operator(self.server, self.clock)
        await self.operator.lead()

    async def end(self) -> None:
        await self.operator.end()
        await self.standby.end()

    async def restart(self) -> None:
        """The one process ends, and another one comes."""
        await self.operator.end()
        await asyncio.sleep(self.dice.uniform(0.1, 10))
        self.operator = Operator(self.server, self.clock)
        await self.operator.lead()

    async def cut_off(self) -> None:
        """It ends between two of its next writes."""
        for _ in range(self.dice.randint(1, 8)):
            self.server.writes.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(10):
                    await self.server.writes.wait()
        await self.restart()

    async def another_leads(self) -> None:
        """The other one knows what its watches have told it by then."""
        await self.operator.end()
        await asyncio.sleep(self.dice.uniform(0.1, 2))
        self.operator, self.standby = self.standby, Operator(self.server, self.clock)
        await self.operator.lead()

    def edit(self, change: Object) -> None:
        """The spec, by a person."""
        self.say(f"edit {change}")
        self.reasons += 1
        self.specs.append(self.server.change(VECTOR_INDEX, "faq", {"spec": change})["spec"])

    def go_back(self) -> None:
        """To a spec that there was before."""
        self.say("edit: back to a spec of before")
        self.reasons += 1
        self.server.put(VECTOR_INDEX, {**self.index, "spec": self.dice.choice(self.specs)})

    def tidy(self, resource: Resource) -> None:
        """Somebody deletes one of what Jobs left."""
        found = [
            one["metadata"]["name"]
            for one in self.server.all(resource)
            if WORK_KEY in (one["metadata"].get("annotations") or {})
        ]
        if found:
            name = self.dice.choice(found)
            self.say(f"somebody deletes {resource.kind} {name}")
            self.reasons += 1
            self.server.remove(resource, name)

    async def pass_the_hour(self) -> None:
        """A turn of the schedule is due then, where there is one."""
        now = self.clock.now()
        await asyncio.sleep(3600 - now.minute * 60 - now.second + 1)
        if self.index["spec"].get("refresh"):
            self.say("an hour begins")
            self.reasons += 1

    def annotate(self, name: str, value: str) -> None:
        self.say(f"annotate {name}={value}")
        self.reasons += 1
        self.server.change(VECTOR_INDEX, "faq", {"metadata": {"annotations": {name: value}}})

    def write(self, docs: str) -> None:
        """Another content into the source."""
        self.say(f"docs: {docs}")
        self.reasons += 1
        self.server.change(CONFIG_MAP, "docs", {"data": {"a.md": docs}})

    def embedder(self, there: bool, revision: str = "r1") -> None:
        self.building.chance.heard = there
        self.server.put(LLM_SERVICE, {
            "apiVersion": LLM_SERVICE.api_version, "kind": LLM_SERVICE.kind, "metadata": {"name": "minilm"},
            "spec": {"model": {"uri": "file:///models/minilm.gguf", "task": "Embed"}},
            "status": {
                "stable": {"digest": revision},
                "conditions": [{"type": "Available", "status": "True" if there else "False"}],
            },
        })  # fmt: skip

    async def until_quiet(self) -> None:
        """No Job goes on, and nothing was written for longer than any look is put off."""
        since, written = self.clock.monotonic(), len(self.server.written)
        end = since + PATIENCE
        while self.clock.monotonic() - since < QUIET:
            await asyncio.sleep(5)
            if self.jobs.going or len(self.server.written) > written:
                since, written = self.clock.monotonic(), len(self.server.written)
            if self.clock.monotonic() > end:
                self.wrong(f"no rest within {PATIENCE:g} s: {self.server.written[-5:]}")
                break
        self.say("quiet")

    async def rest(self) -> None:
        """Let it come to rest, and look at everything."""
        await self.until_quiet()
        self._serves_what_is_wanted()
        self._told_is_so()
        if len(self.jobs.begun) > self.reasons:
            self.wrong(f"{len(self.jobs.begun)} Jobs were begun for {self.reasons} reasons")
        if self.clock.now().minute > 45 and self.index["spec"].get("refresh"):  # a turn is no rest
            await self.pass_the_hour()
            await self.rest()
            return
        self.reasons, self.jobs.begun[:], written = 0, [], len(self.server.written)
        await asyncio.sleep(QUIET)
        await self.restart()
        await asyncio.sleep(QUIET)
        if self.server.written[written:]:
            self.wrong(f"written though nothing happens: {self.server.written[written:][:5]}")
        assert not self.problems, "\n".join([*self.story, *self.problems])

    def _told_is_so(self) -> None:
        """Except where a Job moved the alias and died before it could tell, or told while nobody knew what is wanted:
        then it holds again from the next Job that serves."""
        if self.status["phase"] != "Served" and not self.building.engine.told:
            return
        told, alias = self.status["generation"], self.building.engine.alias
        is_told, is_so = (told.get("active"), told.get("name")), (alias and alias.number, alias and alias.name)
        if is_told != is_so:
            self.wrong(f"the alias stands on {is_so}, and {is_told} is said to be active")
        lost = {*told.get("kept", [])} - {one.number for one in self.building.engine.there}
        if lost:
            self.wrong(f"generations {lost} are said to be kept, and are not there")

    def _serves_what_is_wanted(self) -> None:
        """Or says what a person has to do."""
        spec, status, alias = self.index["spec"], self.status, self.building.engine.alias
        phase, conditions = status["phase"], {one["type"]: one["status"] for one in status["conditions"]}
        docs = (self.server.find(CONFIG_MAP, "docs") or {})["data"]["a.md"]
        m, ef, least = (
            spec["index"]["parameters"]["M"],
            spec["index"]["search"]["ef"],
            float(spec["rollout"]["gates"][0]["min"]),
        )
        may = set()
        exhausted = self.jobs.exhausted & {one["metadata"]["uid"] for one in self.server.all(JOB)}
        if docs == BROKEN or exhausted:
            may.add("Failed")
        if recall(m, ef) < least:
            may.add("Rejected")
        if spec.get("suspend"):
            may |= {"Waiting", "Failed"}
        if not self.building.chance.heard:
            may = {"Waiting"}
        approved = (self.index["metadata"].get("annotations") or {}).get(names.APPROVE)
        if spec["rollout"].get("approveAbove") and approved != status["generation"].get("buildingDigest"):
            may.add("AwaitingApproval")
        if phase in may:
            return
        if phase != "Served" or conditions["Ready"] != "True":
            self.wrong(f"{phase} at rest, Ready {conditions['Ready']}; it may be {may}")
            return
        if recall(m, ef) < least:
            self.wrong("served though the gate refuses it")
        assert alias is not None
        work = alias.work
        has = (work.parameters["M"], work.search["ef"], work.sources[0].sha256)
        wants = (m, ef, content_sha256({"a.md": docs.encode()}))
        if has != wants:
            self.wrong(f"served is {has}, wanted {wants}")
        if alias.web < self.looked:
            self.wrong(f"served is what was on the web at {alias.web}, and was to be looked at at {self.looked}")
