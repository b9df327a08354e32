"""A VectorIndex's life where the cluster tells everything late: Jobs that build, die and move the alias, people who
change their minds meanwhile, operators that come and go. Whatever happens, it comes to rest, and what it says is so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest
from tests.unit.retrieval.building import BROKEN, STEPS
from tests.unit.retrieval.lagging import Jumping
from tests.unit.retrieval.world import World

from llmops.api import names
from llmops.kube.resources import CONFIG_MAP, JOB

Story = Callable[[World], Awaitable[None]]


def lived(seed: int, story: Story) -> World:
    """A world after that happened to it."""

    async def life() -> World:
        async with asyncio.TaskGroup() as group:
            world = World(seed, group)
            await world.begin()
            await story(world)
            await world.end()
        return world

    with asyncio.Runner(loop_factory=Jumping) as runner:
        return runner.run(life())


async def looked_again(world: World) -> None:
    await world.rest()
    world.annotate(names.RETRY, "1")
    await world.rest()


@pytest.mark.parametrize("seed", range(10))
def test_a_look_that_finds_nothing_new_is_followed_by_no_other(seed: int) -> None:
    lived(seed, looked_again)


async def parameters(world: World) -> None:
    world.edit({"index": {"parameters": {"M": world.dice.choice((8, 16, 32))}}})


async def search(world: World) -> None:
    world.edit({"index": {"search": {"ef": world.dice.choice((32, 64, 128))}}})


async def gate(world: World) -> None:
    world.edit({"rollout": {"gates": [{"type": "AnnRecall", "atK": 10, "min": world.dice.choice(("0.91", "0.93"))}]}})


async def documents(world: World) -> None:
    world.write(world.dice.choice(("one", "two", "three", BROKEN)))


async def suspension(world: World) -> None:
    world.edit({"suspend": not world.index["spec"].get("suspend", False)})


async def approval(world: World) -> None:
    """It is asked for, or given, as `llmops approve` does, or not needed any more."""
    if world.status.get("phase") == "AwaitingApproval":
        world.annotate(names.APPROVE, world.status["generation"]["buildingDigest"])
    else:
        asked = world.index["spec"]["rollout"].get("approveAbove")
        world.edit({"rollout": {"approveAbove": None if asked else {"passages": world.dice.choice((5, 50))}}})


async def going_back(world: World) -> None:
    world.go_back()


async def a_retry(world: World) -> None:
    """After the web has changed, or not."""
    world.building.engine.web += world.dice.choice((0, 1))
    world.looked = world.building.engine.web
    world.annotate(names.RETRY, str(world.clock.monotonic()))


async def a_schedule(world: World) -> None:
    asked = world.index["spec"].get("refresh")
    world.edit({"refresh": None if asked else {"schedule": "0 * * * *"}})


async def a_turn(world: World) -> None:
    """The hour in which one may be due goes by."""
    await world.pass_the_hour()


async def the_embedder(world: World) -> None:
    """It goes, or comes back, perhaps as another one."""
    world.reasons += 1
    world.embedder(not world.building.chance.heard, world.dice.choice(("r1", "r2")))


async def keeping(world: World) -> None:
    world.edit({"rollout": {"keepGenerations": world.dice.choice((1, 2, 3))}})


async def a_restart(world: World) -> None:
    await world.restart()


async def an_interruption(world: World) -> None:
    await world.cut_off()


async def another_leader(world: World) -> None:
    await world.another_leads()


async def a_deletion(world: World) -> None:
    """Somebody tidies up."""
    world.tidy(world.dice.choice((JOB, CONFIG_MAP)))


async def deaths(world: World) -> None:
    world.building.chance.dies = world.dice.choice((0.0, 0.05, 0.2))


STEP = (
    parameters, search, gate, documents, suspension, approval, going_back, a_retry, a_schedule, a_turn, the_embedder,
    keeping, a_restart, an_interruption, another_leader, a_deletion, deaths,
)  # fmt: skip


async def mended(world: World) -> None:
    """What keeps it from being built goes, so that what happens next has something to disturb."""
    if not world.building.chance.heard:
        await the_embedder(world)
    if world.index["spec"].get("suspend"):
        await suspension(world)
    world.write(world.dice.choice(("one", "two", "three")))


async def anything(world: World) -> None:
    """A few things at a time, some faster than the cluster tells of them; then it is let come to rest."""
    await deaths(world)
    for _ in range(3):
        for _ in range(world.dice.randint(1, 5)):
            await world.dice.choice(STEP)(world)
            await asyncio.sleep(world.dice.choice((0.0, 0.05, 0.5, 3.0, 10.0, 30.0)))
        await world.rest()
        await mended(world)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_it_comes_to_rest_and_what_it_says_is_so(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        lived(seed, anything)
    assert not caplog.records  # no turn ended by a fault of ours


@pytest.mark.parametrize("seed", range(3))
def test_a_job_that_died_after_it_had_told_is_tried_again_beside_no_other(seed: int) -> None:
    async def told_and_died(world: World) -> None:
        world.building.chance.doomed = "told"
        while world.status.get("phase") != "Served":
            await asyncio.sleep(0.5)
        await asyncio.sleep(1.5)
        world.edit({"index": {"parameters": {"M": 32}}})
        await asyncio.sleep(3)
        world.building.chance.doomed = ""
        await world.rest()

    lived(seed, told_and_died)


async def stopped_and_approved(world: World) -> None:
    """Suspended in the midst of its first build; then that is to be approved, and is."""
    world.jobs.graces = (0.1,)  # else it may be served before it is ended
    await asyncio.sleep(3)
    await suspension(world)
    await world.rest()
    assert world.status["phase"] == "Waiting"
    await approval(world)
    await suspension(world)
    await world.rest()
    assert world.status["phase"] == "AwaitingApproval"
    await approval(world)
    await world.rest()
    assert world.status["phase"] == "Served"


@pytest.mark.parametrize("seed", range(3))
def test_a_build_is_stopped_and_one_that_waits_goes_on_when_it_is_approved(seed: int) -> None:
    lived(seed, stopped_and_approved)


@pytest.mark.parametrize("step", STEPS)
def test_a_job_of_which_every_try_dies_is_told_of(step: str) -> None:
    async def doomed(world: World) -> None:
        await world.rest()
        world.building.chance.doomed = step
        world.edit({"index": {"parameters": {"M": 32}}})
        await world.rest()
        world.building.chance.doomed = ""
        world.edit({"index": {"parameters": {"M": 16}}})
        await world.rest()

    lived(1, doomed)
