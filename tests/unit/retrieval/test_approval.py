"""A build that nobody approved never embeds more than it may: whatever the texts, the copies and the limit."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.retrieval.memory import Counting, Memory, making

from llmops.retrieval.ingest.making import Unapproved

TEXTS = st.lists(st.sampled_from([f"Passage number {at}." for at in range(12)]), min_size=1, max_size=20)


@settings(max_examples=40, deadline=None)
@given(before=TEXTS, after=TEXTS, most=st.integers(0, 14))
def test_an_unapproved_build_embeds_all_or_nothing_and_never_more_than_the_limit(
    before: list[str], after: list[str], most: int
) -> None:
    store, first, second = Memory(), Counting(), Counting()
    after = [*after, "This one is new."]
    new = set(after) - set(before)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(making(store, first, before, folder).build())
        assert set(first.embedded) == set(before)
        asked = making(store, second, after, folder, ask_above={"passages": most})
        if len(new) > most:
            with pytest.raises(Unapproved) as waits:
                asyncio.run(asked.build())
            assert (waits.value.estimate.passages, second.embedded) == (len(new), [])
            asked = making(store, second, after, folder)  # approved
        built = asyncio.run(asked.build())
    assert set(second.embedded) == new
    assert len(store.rows[built.collection]) == len(after)


@pytest.mark.parametrize(("most", "requests"), [(32, [32] * 9 + [12]), (150, [150, 150]), (2048, [300])])
def test_a_request_has_as_many_texts_as_may_be(most: int, requests: list[int], tmp_path: Path) -> None:
    service, texts = Counting(), [f"Passage number {at}." for at in range(300)]
    made = making(Memory(), service, texts, str(tmp_path))
    made.wanted = replace(made.wanted, embedding=replace(made.wanted.embedding, batch_size=most))
    asyncio.run(made.build())
    assert service.requests == requests


def test_the_money_is_told_by_the_texts_that_are_new_wherever_they_stand(tmp_path: Path) -> None:
    """Each document's first passage is new: a sample by their places among all would meet none of them."""
    store, known = Memory(), [f"Passage number {at}." for at in range(600)]
    asyncio.run(making(store, Counting(), known, str(tmp_path)).build())
    after = [text for old in known for text in (f"Today: {old}", old)]
    with pytest.raises(Unapproved) as waits:
        asyncio.run(making(store, Counting(), after, str(tmp_path), ask_above={"tokens": 0}).build())
    assert waits.value.estimate.passages == 600
    assert 600 * 4 < waits.value.estimate.tokens < 600 * 12
