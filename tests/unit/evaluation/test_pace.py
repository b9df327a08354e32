"""How many requests a target gets at a time, in a time that only the test moves."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from tests.unit.evaluation.conftest import question, start_runner, write_run

from llmops.evaluation.results import loads
from llmops.evaluation.run import Arm
from llmops.evaluation.runner.door import come_again
from llmops.evaluation.runner.pace import Pace


class Clock:
    """Sleeping moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


def pace() -> tuple[Pace, Clock]:
    clock = Clock()
    return Pace(clock, clock.sleep), clock


async def hold(pace: Pace, many: int) -> tuple[list[Any], list[float]]:
    """So many places, taken one after the other."""
    places = [pace.place() for _ in range(many)]
    return places, [await one.__aenter__() for one in places]


async def test_a_target_that_takes_all_gets_all() -> None:
    one, _ = pace()
    await hold(one, 50)
    assert one.limit is None


async def test_a_refusal_halves_once_and_answers_bring_the_number_back() -> None:
    one, clock = pace()
    places, began = await hold(one, 8)
    clock.now += 1
    for at in began:  # all were sent before anybody knew
        one.refused(at, after=3)
    assert one.limit == 4
    for place in places:
        await place.__aexit__(None, None, None)
    before = clock.now
    async with one.place() as at:
        assert at == before + 3  # it came again when it was told to
        one.refused(at, after=0)
    assert one.limit == 2
    for _ in range(200):
        one.answered()
    assert one.limit is None


async def test_nobody_takes_more_places_than_there_are() -> None:
    one, clock = pace()
    _, began = await hold(one, 2)
    clock.now += 1
    one.refused(began[0], after=0)
    third = asyncio.create_task(hold(one, 1))
    await asyncio.sleep(0)
    assert not third.done()
    assert one.limit == 1
    third.cancel()


async def test_however_often_it_refuses_one_request_remains() -> None:
    one, clock = pace()
    for _ in range(20):
        clock.now += 1
        async with one.place() as at:
            one.refused(at, after=1e9)
    assert one.limit == 1
    assert clock.now < 100 + 20 * 62  # a Retry-After of years is not obeyed


def refusal(status: int, code: str = "", **headers: str) -> openai.APIStatusError:
    reply = httpx2.Response(status, headers=headers, request=httpx2.Request("POST", "http://a"))
    return openai.APIStatusError("no", response=reply, body={"code": code})


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (refusal(429), 1.0),
        (refusal(429, **{"retry-after": "7"}), 7.0),
        (refusal(429, **{"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}), 1.0),
        (refusal(503, **{"retry-after": "2"}), 2.0),
        (refusal(503), None),
        (refusal(500, **{"retry-after": "2"}), None),
        (refusal(429, "insufficient_quota"), None),
    ],
)
def test_only_what_waiting_helps_is_waited_for(error: openai.APIStatusError, seconds: float | None) -> None:
    assert come_again(error) == seconds


def test_a_target_that_bears_two_at_a_time_answers_every_row(serve: Callable[..., Any], tmp_path: Path) -> None:
    """More refusals than a request may have tries; none of them is an error, and each row is answered once."""
    lock, running, answered = threading.Lock(), [0], list[str]()

    def answer(body: dict[str, Any], _: int) -> tuple[int, str]:
        with lock:
            running[0] += 1
            full = running[0] > 2
        try:
            time.sleep(0.05)
            if not full:
                answered.append(question(body))
            return (429, "rate_limited") if full else (200, "yes")
        finally:
            with lock:
                running[0] -= 1

    model = serve(answer)
    rows = [{"id": f"r{at}", "question": f"Q{at}?", "answer": "yes"} for at in range(40)]
    write_run(tmp_path / "run", rows, Arm(model.url, "m", "id"), concurrency=16)
    runner = start_runner(tmp_path / "run", tmp_path / "logs", tmp_path / "report")
    told = runner.communicate(timeout=120)
    assert runner.returncode == 0, told
    results = loads((tmp_path / "report/results.json").read_text())
    assert (results.arms["target"].errors, results.arms["target"].rows) == (0, 40)
    assert sorted(answered) == sorted(row["question"] for row in rows)
    assert len(model.bodies) < 100  # it did not go on knocking
