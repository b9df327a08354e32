"""What an index's Job does with its engine, in the order of ingest/build.py; a try may die after any of its steps."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.unit.retrieval.lagging import Clock, Server

from llmops.kube.errors import NotFound
from llmops.kube.resources import CONFIG_MAP
from llmops.retrieval import work as works
from llmops.retrieval.estimate import Estimate
from llmops.retrieval.ingest.build import LETTING_GO
from llmops.retrieval.outcome import GateResult, Outcome
from llmops.retrieval.work import Work

BROKEN = "no letters"
"""A source's content that cannot be built of."""
SKEW = 90.0
"""Seconds that a node's clock may be wrong by."""
Say = Callable[[str], None]
STEPS = ("began", "embedded", "indexed", "measured", "moved the alias", "dropped others", "told")


@dataclass
class Generation:
    """A collection."""

    number: int
    identity: str
    work: Work
    web: int  # what was behind the web's address when it was read
    complete: bool = False
    served: float = 0.0

    @property
    def name(self) -> str:
        return f"faq__g{self.number}_{self.identity[:8]}"


@dataclass
class Engine:
    """Generations behind one alias."""

    alias: Generation | None = None
    there: list[Generation] = field(default_factory=list)
    web: int = 1
    told: bool = True  # whether the Job that changed something lived to tell of it, and was heard


class Died(Exception):
    """The process is gone; what it last said, if anything."""


class Failed(Exception):
    """For good."""


class Waits(Exception):
    """To be approved."""

    def __init__(self, estimate: Estimate) -> None:
        super().__init__("waits to be approved")
        self.estimate = estimate


@dataclass
class Chance:
    """What may go wrong with Jobs; a history sets it."""

    dies: float = 0.0  # after each of a try's steps
    heard: bool = True  # what they tell: not while nobody knows what is wanted
    doomed: str = ""  # the step after which every try dies


def recall(m: int, ef: int) -> float:
    """Of a generation with these parameters, searched so."""
    return 0.9 + m / 1000 + ef / 5000


class Building:
    """`llmops index` in a pod: what it does is seen in the engine and in its ConfigMap. `wrong` is told what must not
    be, `say` what is."""

    def __init__(self, server: Server, clock: Clock, dice: random.Random, wrong: Say, say: Say) -> None:
        self._server, self._clock, self._dice, self._wrong, self._say = server, clock, dice, wrong, say
        self.engine, self.chance = Engine(), Chance()

    async def run(self, text: str, results: str, pod: str) -> int:
        """What is handed to it, and where it reports; its exit status."""
        report = Report(self._server, results, self._pause)
        try:
            await self._build(works.loads(text), report, pod)
        except Waits as waits:
            self._say(f"{pod} waits to be approved")
            await report.tell(works.WAITING, json.dumps(asdict(waits.estimate)))
        except Failed as problem:
            self._say(f"{pod} fails: {problem}")
            await report.tell(works.FAILURE, str(problem))
            return works.CONFIG_ERROR
        except (Died, NotFound) as problem:
            self._say(f"{pod} dies: {problem}")
            if self._dice.random() < 0.5:  # else it was killed, and had no last word
                await report.tell(works.FAILURE, str(problem))
            return 1
        return 0

    async def _pause(self, least: float, most: float) -> None:
        await asyncio.sleep(self._dice.uniform(least, most))

    def _drop(self, one: Generation) -> None:
        if one is self.engine.alias:
            self._wrong(f"{one.name} is dropped, on which the alias stands")
        self.engine.there.remove(one)

    def _may_die(self, after: str) -> None:
        if self._dice.random() < self.chance.dies or self.chance.doomed == after:
            raise Died(f"after it {after}")

    async def _build(self, work: Work, report: Report, pod: str) -> None:
        engine, web = self.engine, self.engine.web
        await self._pause(0.2, 2)
        self._may_die("began")
        versions = {one.name: f"v{web}" for one in work.sources if one.kind}
        identity = work.read(versions).parts.collection
        built = next((one for one in engine.there if one.complete and one.identity == identity), None)
        embedded = 0
        if built is None:
            built, embedded = await self._fill(work, report, identity, web)
        await report.write(works.PROGRESS, json.dumps({"stage": "Measuring", "generation": built.number}))
        await self._pause(0.2, 5)
        if built not in engine.there:
            raise Died(f"{built.name} is gone")
        figure, least = recall(work.parameters["M"], work.search["ef"]), float(work.gates[0]["min"])
        self._may_die("measured")
        served, before, told = figure >= least, engine.alias, engine.told
        if served:
            built.served, built.work = self._clock.monotonic(), work
            engine.told = told and engine.alias is built
            engine.alias = built
            self._say(f"{pod} moves the alias to {built.name}")
        self._may_die("moved the alias")
        kept = await self._prune(work, report, built, moved=served and before is not None)
        self._may_die("dropped others")
        gate = GateResult("AnnRecall", served, f"recall {figure:.3f}")
        outcome = Outcome(
            work.parts.key, built.number, built.name, served, 100, 384, "f", {"annRecallAt10": f"{figure:.3f}"},
            (gate,), asdict(work.parts), embedded=embedded, kept=tuple(one.number for one in kept if one.served),
            at=self._clock.stamp(self._dice.uniform(-SKEW, SKEW)),
        )  # fmt: skip
        await report.write(works.OUTCOME, outcome.dumps())
        engine.told = self.chance.heard and (told or served)
        await self._pause(0, 0.5)
        self._may_die("told")

    async def _fill(self, work: Work, report: Report, identity: str, web: int) -> tuple[Generation, int]:
        engine = self.engine
        docs = self._server.find(CONFIG_MAP, "docs") or {"data": {}}
        if works.content_sha256({name: one.encode() for name, one in docs["data"].items()}) != work.sources[0].sha256:
            await asyncio.sleep(30)
            raise Failed("source docs is not what this build was planned from: it changed meanwhile")
        if BROKEN in docs["data"].values():
            raise Failed("the sources have no text: nothing would be found")
        if work.only_there:
            raise Failed("spec.suspend is true, and what is asked for is not in the vector database any more")
        for one in [one for one in engine.there if not one.complete and one.identity != identity]:
            self._drop(one)
        found = next((one for one in engine.there if one.identity == identity), None)
        if found is None:
            number = max([work.after, *(one.number for one in engine.there)]) + 1
            found = Generation(number, identity, work, web)
            engine.there.append(found)
        estimate = Estimate(10, 100) if work.copy_vectors else Estimate(100, 1000)
        if estimate.above(work.ask_above):
            raise Waits(estimate)
        for stage, step in (("Embedding", "embedded"), ("Indexing", "indexed")):
            told = {"stage": stage, "generation": found.number, "done": 5, "total": 10}
            await report.write(works.PROGRESS, json.dumps(told))
            await self._pause(0.2, 8)
            self._may_die(step)
            if found not in engine.there:
                raise Died(f"{found.name} is gone")
        found.complete = True
        return found, estimate.passages

    async def _prune(self, work: Work, report: Report, built: Generation, moved: bool) -> list[Generation]:
        engine = self.engine
        newest = sorted((one for one in engine.there if one.served), key=lambda one: one.served, reverse=True)
        kept = [built, engine.alias, *newest[: work.keep_generations]]
        gone = [one for one in engine.there if one not in kept]
        if gone and moved:
            await asyncio.sleep(LETTING_GO)
        pinned = json.loads(await report.read(works.PINNED) or "[]")
        for one in [one for one in gone if one.number not in pinned]:
            self._drop(one)
            engine.told = False
        return list(engine.there)


class Report:
    """The one ConfigMap that a Job may write."""

    def __init__(self, server: Server, name: str, pause: Callable[[float, float], Coroutine[Any, Any, None]]) -> None:
        self._server, self._name, self._pause = server, name, pause

    async def write(self, name: str, text: str) -> None:
        await self._pause(0.001, 0.02)
        self._server.change(CONFIG_MAP, self._name, {"data": {name: text}})

    async def tell(self, name: str, text: str) -> None:
        """As the last word, which may reach nobody."""
        with suppress(NotFound):
            await self.write(name, text)

    async def read(self, name: str) -> str:
        await self._pause(0.001, 0.02)
        found = self._server.find(CONFIG_MAP, self._name)
        if found is None:
            raise NotFound(f"{self._name} is gone", 404)
        return str(found["data"].get(name, ""))
