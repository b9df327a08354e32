"""The work queue: every key at most once, one worker a key, failures later and later."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llmops.control.queue import FIRST_DELAY, LONGEST_DELAY, WorkQueue

KEYS = st.sampled_from("abcd")


class Model(RuleBasedStateMachine):
    """Against the simplest description: who waits, who runs, who asked again meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.queue: WorkQueue[str] = WorkQueue()
        self.waiting: list[str] = []
        self.running: dict[str, bool] = {}

    def teardown(self) -> None:
        self.loop.close()

    @rule(key=KEYS)
    def add(self, key: str) -> None:
        self.queue.add(key)
        if key in self.running:
            self.running[key] = True
        elif key not in self.waiting:
            self.waiting.append(key)

    @precondition(lambda self: self.waiting)
    @rule()
    def take(self) -> None:
        key = self.loop.run_until_complete(self.queue.take())
        assert key == self.waiting.pop(0), "first come, first served"
        assert key not in self.running, "one worker a key"
        self.running[key] = False

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.running)))
        self.queue.done(key)
        if self.running.pop(key):
            self.waiting.append(key)

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        assert len(self.queue) == len(self.waiting)


TestTheQueueKeepsEveryTurnOnce = Model.TestCase
TestTheQueueKeepsEveryTurnOnce.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


async def _soon(awaited: Any) -> Any:
    return await asyncio.wait_for(awaited, 5)


@given(st.integers(min_value=0, max_value=60))
def test_failures_wait_twice_as_long_each_time_with_jitter_up_to_a_minute(failures: int) -> None:
    async def last() -> float:
        queue: WorkQueue[str] = WorkQueue()
        for _ in range(failures):
            queue.failed("a")
        return queue.failed("a")

    plain = min(LONGEST_DELAY, FIRST_DELAY * 2.0**failures)
    assert 0.75 * plain <= asyncio.run(last()) <= 1.25 * plain


async def test_a_success_forgets_the_failures_before_it() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for _ in range(10):
        queue.failed("a")
    queue.succeeded("a")
    assert queue.failed("a") <= 1.25 * FIRST_DELAY


async def test_a_delayed_key_comes_in_its_time_and_the_earliest_one_asked_for_counts() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("late", 3600)
    queue.add_after("late", 0.05)
    queue.add_after("late", 7200)
    assert (len(queue), queue.waiting) == (0, 1)
    assert await _soon(queue.take()) == "late"
    assert queue.waiting == 0


async def test_delayed_keys_come_in_the_order_of_their_times(monkeypatch: pytest.MonkeyPatch) -> None:
    queue: WorkQueue[str] = WorkQueue()
    loop = asyncio.get_running_loop()
    now = loop.time()
    with monkeypatch.context() as still:  # however long it takes to say them
        still.setattr(loop, "time", lambda: now)
        for key, seconds in (("c", 0.06), ("a", 0.02), ("b", 0.04)):
            queue.add_after(key, seconds)
    assert [await _soon(queue.take()) for _ in range(3)] == ["a", "b", "c"]


async def test_a_key_asked_for_at_once_does_not_wait_for_its_delay() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 3600)
    queue.add("a")
    assert await _soon(queue.take()) == "a"


async def test_workers_waiting_together_get_a_key_each() -> None:
    queue: WorkQueue[str] = WorkQueue()
    takers = [asyncio.create_task(queue.take()) for _ in range(3)]
    await asyncio.sleep(0)
    for key in "xyz":
        queue.add(key)
    assert sorted(await _soon(asyncio.gather(*takers))) == ["x", "y", "z"]
