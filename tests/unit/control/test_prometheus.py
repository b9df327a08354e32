"""The leader asks Prometheus for a rollout's counts: a server that speaks its protocol, whose numbers grow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiohttp import web

from llmops.api.rollout import Rollout
from llmops.control import evidence
from llmops.rollout.counters import SETTLES, SIGNAL, Counters
from llmops.rollout.state import Candidate, freeze
from llmops.rollout.world import Gateway, World

ROLLOUT = Rollout.model_validate(
    {"online": [{"signal": SIGNAL, "failures": "bad_{{variant}}", "total": "all_{{variant}}", "countsUnits": True}]}
)
BEGAN = 1000.0
MOVING = Candidate("d" * 64, "2.0.0", 1, freeze(ROLLOUT), weight=10, step=1, since=BEGAN)


class Prometheus:
    """Of a query's name the number; what it does not have is an empty vector."""

    def __init__(self) -> None:
        self.numbers = {"bad_stable": 1.0, "all_stable": 90.0, "bad_candidate": 0.0, "all_candidate": 10.0}
        self.asked = 0
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        found = self.numbers.get(request.query["query"])
        result = [] if found is None else [{"metric": {}, "value": [1.0, str(found)]}]
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": result}})


@pytest.fixture
async def prometheus() -> AsyncIterator[Prometheus]:
    one, app = Prometheus(), web.Application()
    app.router.add_get("/api/v1/query", one.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield one
    await runner.cleanup()


async def look(kept: evidence.Kept, url: str, now: float, moving: Candidate = MOVING, weight: int = 10) -> Counters:
    gateway = Gateway("gateway-0", now, moving.digest, 1, weight)
    evidence._read(url, kept, ROLLOUT, moving, World(now, gateways=(gateway,)))
    if kept.reading is not None:
        await kept.reading
    assert kept.counters is not None
    return kept.counters


async def test_what_came_between_two_readings_is_counted_and_saved(prometheus: Prometheus) -> None:
    kept = evidence.Kept("d/1")
    await look(kept, prometheus.url, BEGAN + SETTLES)
    prometheus.numbers |= {"bad_stable": 3.0, "all_stable": 190.0, "bad_candidate": 4.0, "all_candidate": 22.0}
    counters = await look(kept, prometheus.url, BEGAN + SETTLES + 5)
    assert (prometheus.asked, counters.cells) == (4, {})  # not more often than every ten seconds
    counters = await look(kept, prometheus.url, BEGAN + SETTLES + 10)
    assert counters.cells == {10: [2.0, 100.0, 4.0, 12.0]}
    tally = kept.count(lambda: [], MOVING.frozen, BEGAN + 100)
    assert (tally.signal(SIGNAL).failures, tally.units(SIGNAL)) == ((2, 4), (100, 12))
    assert Counters.unpack(evidence.build_config_map("x", kept, 0.0)["data"]["prometheus"]).cells == counters.cells


async def test_a_step_that_just_began_and_a_gateway_behind_are_waited_out(prometheus: Prometheus) -> None:
    kept = evidence.Kept("d/1")
    await look(kept, prometheus.url, BEGAN + SETTLES - 1)
    await look(kept, prometheus.url, BEGAN + SETTLES, weight=5)
    assert prometheus.asked == 0
    await look(kept, prometheus.url, BEGAN + SETTLES + 1)
    onward = replace(MOVING, weight=50, since=BEGAN + SETTLES + 20)
    counters = await look(kept, prometheus.url, BEGAN + SETTLES + 21, onward, 50)
    assert counters.last is None  # the interval that the change lies in is of neither weight


async def test_no_answer_and_an_empty_vector_are_no_data(prometheus: Prometheus) -> None:
    kept = evidence.Kept("d/1")
    await look(kept, prometheus.url, BEGAN + SETTLES)
    del prometheus.numbers["bad_candidate"]
    await look(kept, prometheus.url, BEGAN + SETTLES + 10)
    counters = await look(kept, "http://127.0.0.1:1", BEGAN + SETTLES + 20)
    assert counters.cells == {}
    prometheus.numbers |= {"bad_candidate": 0.0, "all_stable": 95.0}
    counters = await look(kept, prometheus.url, BEGAN + SETTLES + 30)
    assert counters.cells == {10: [0.0, 5.0, 0.0, 0.0]}


async def test_nobody_waits_for_an_answer(prometheus: Prometheus) -> None:
    kept = evidence.Kept("d/1")
    gateway = Gateway("gateway-0", BEGAN + SETTLES, MOVING.digest, 1, 10)
    evidence._read(prometheus.url, kept, ROLLOUT, MOVING, World(BEGAN + SETTLES, gateways=(gateway,)))
    assert isinstance(kept.reading, asyncio.Task)
    assert not kept.reading.done()
    await kept.reading
