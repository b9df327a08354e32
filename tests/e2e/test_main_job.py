"""The demo's own acts, checked: what a person is shown is what the tests prove; the acts raise where it is not so."""

from __future__ import annotations

import asyncio

import pytest
from demo import acts, install


@pytest.fixture(scope="module")
def show(cluster: object) -> acts.Show:
    return install.operator(fresh=True)


def test_a_service_answers_through_the_door_whole_and_streamed(show: acts.Show) -> None:
    acts.services(show)
    acts.ask(show)


def test_an_index_is_measured_before_it_serves_and_a_release_cites_it(show: acts.Show) -> None:
    acts.index(show)


def test_an_index_that_misses_what_is_there_is_stopped_while_the_one_before_serves(show: acts.Show) -> None:
    acts.worse_index(show)


def test_the_first_release_is_decided_by_its_absolute_minimum(show: acts.Show) -> None:
    acts.first_release(show)


def test_a_better_prompt_is_promoted_a_worse_one_stopped_and_a_harmful_one_rolled_back_without_a_client_error(
    show: acts.Show,
) -> None:
    asyncio.run(acts.better(show))
    asyncio.run(acts.worse(show))
    asyncio.run(acts.harmful(show))
    assert show.errors == []
    assert show.asked > 1000
    release, evaluation = acts.pages(show).values()
    for said in ("4.0.0 rejected", "2.0.0 released", "evidence", "StepBegun"):
        assert said in release
    for said in ("exact_match", "Fail", "no more than 0.02 worse than the baseline", "SHA-256 of the rows"):
        assert said in evaluation
