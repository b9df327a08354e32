"""Exact search a page at a time, beside the plain way over all vectors at once."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmops.retrieval.ingest.exact import SAMPLE, exact, nearness
from llmops.retrieval.stores.base import Page, Store

METRICS = ("Cosine", "L2", "IP")


@dataclass
class Rows:
    """What exact search reads of a Store, from an array."""

    vectors_: np.ndarray[Any, Any]
    page: int = 7
    tenants: Sequence[str] = ()

    def name(self, at: int) -> str:
        return f"faq/{at:06}#0"

    def count(self, _: str) -> int:
        return len(self.vectors_)

    def ids(self, _: str) -> Iterator[tuple[str, str]]:
        return ((self.name(at), "hash") for at in range(len(self.vectors_)))

    def vectors(self, _: str, ids: Sequence[str] | None = None) -> Iterator[Page]:
        rows = range(len(self.vectors_)) if ids is None else [int(one[4:10]) for one in ids]
        for at in range(0, len(rows), self.page):
            some = [*rows[at : at + self.page]]
            whose = [self.tenants[one] if self.tenants else "" for one in some]
            yield Page([*map(self.name, some)], ["hash"] * len(some), self.vectors_[some], whose)

    @property
    def store(self) -> Store:
        return cast("Store", self)


def plain(rows: Rows, at: int, k: int, metric: str) -> list[int]:
    """The k nearest, all vectors at once."""
    near = nearness(rows.vectors_[at : at + 1], rows.vectors_, metric)[0]
    near[at] = -np.inf
    if rows.tenants:
        near[[whose != rows.tenants[at] for whose in rows.tenants]] = -np.inf
    return [int(one) for one in np.argsort(-near, kind="stable")[:k] if np.isfinite(near[one])]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 60), page=st.integers(1, 25), k=st.integers(1, 30), kinds=st.integers(1, 60),
    metric=st.sampled_from(METRICS), seed=st.integers(0, 99), tenants=st.sampled_from(["", "a", "ab", "abcdefgh"]),
)  # fmt: skip
def test_a_page_at_a_time_finds_what_all_at_once_finds_in_each_tenant(
    rows: int, page: int, k: int, kinds: int, metric: str, seed: int, tenants: str
) -> None:
    random = np.random.default_rng(seed)
    some = random.normal(size=(kinds, 8)).astype("f4")
    whose = [tenants[at] for at in random.integers(0, len(tenants), rows)] if tenants else []
    there = Rows(some[random.integers(0, kinds, rows)], page, whose)  # many stand there several times
    truth = exact(there.store, "c", metric, k)
    assert (truth.rows, truth.ids) == (rows, [there.name(at) for at in range(rows)])
    for at in range(rows):
        right = plain(there, at, k, metric)
        near = nearness(there.vectors_[at : at + 1], there.vectors_[right], metric)[0]
        assert np.allclose(truth.near[at][: len(near)], near, atol=1e-9)
        assert not np.isfinite(truth.near[at][len(near) :]).any()
        assert truth.right(at, k, there.vectors_[right]) == (1.0 if right else None)


@pytest.mark.parametrize("metric", METRICS)
def test_what_was_missed_costs_recall_and_an_equal_text_in_its_place_does_not(metric: str) -> None:
    vectors = np.random.default_rng(3).normal(size=(50, 8)).astype("f4")
    there = Rows(np.concatenate([vectors, vectors[:40]]))  # forty of them twice
    truth = exact(there.store, "c", metric, 10)
    right = plain(there, 0, 10, metric)
    far = plain(there, 0, 89, metric)[-3:]
    assert truth.right(0, 10, there.vectors_[right[:7]]) == 0.7
    assert truth.right(0, 10, there.vectors_[[*right[:7], *far]]) == 0.7
    twins = [one + 50 if one < 40 else one for one in right if one < 50]
    both = list(dict.fromkeys([*twins, *right]))[:10]
    assert truth.right(0, 10, there.vectors_[both]) == 1.0
    assert truth.right(0, 10, np.empty((0,), "f4")) == 0.0


def test_the_sample_is_even_and_the_same_each_time() -> None:
    there = Rows(np.random.default_rng(1).normal(size=(1000, 4)).astype("f4"), page=100)
    first = exact(there.store, "c", "Cosine", 10)
    assert list(first.ids) == [there.name(at) for at in range(0, 1000, 1000 // SAMPLE)]
    assert exact(there.store, "c", "Cosine", 10).ids == first.ids
    assert first.near.shape == (SAMPLE, 10)


class Endless(Rows):
    """Vectors that nobody holds: each page is made when it is asked for."""

    def vectors(self, _: str, ids: Sequence[str] | None = None) -> Iterator[Page]:
        if ids is not None:
            yield Page([*ids], ["hash"] * len(ids), np.ones((len(ids), 256), "f4"), [""] * len(ids))
            return
        for at in range(0, len(self.vectors_), self.page):
            random = np.random.default_rng(at)
            names, vectors = [self.name(at + n) for n in range(self.page)], random.normal(size=(self.page, 256))
            yield Page(names, ["hash"] * self.page, vectors.astype("f4"), [""] * self.page)


def test_memory_does_not_grow_with_the_passages() -> None:
    def peak(rows: int) -> int:
        there = Endless(np.empty((rows, 0), "f4"), 500)
        tracemalloc.start()
        exact(there.store, "c", "Cosine", 10)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(10_000) < peak(2_000) + (1 << 20)  # 8 MB more, if all were held


def test_one_passage_has_no_neighbours_and_none_has_no_sample() -> None:
    one = exact(Rows(np.ones((1, 4), "f4")).store, "c", "Cosine", 10)
    assert one.right(0, 10, np.empty((0,), "f4")) is None
    assert exact(Rows(np.empty((0, 4), "f4")).store, "c", "Cosine", 10).ids == []
