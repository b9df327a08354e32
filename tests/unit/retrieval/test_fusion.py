"""Reciprocal rank fusion against figures that others published."""

from __future__ import annotations

import pytest

from llmops.retrieval.fusion import Ranked, fused


def test_the_worked_example_of_elasticsearchs_reference_comes_out_the_same() -> None:
    lists = {"query": ["4", "3", "2", "1"], "knn": ["3", "2", "1", "5"]}
    found = [(one.id, round(one.score(1), 4)) for one in fused(lists, k=1)]
    assert found == [("3", 0.8333), ("2", 0.5833), ("4", 0.5), ("1", 0.45), ("5", 0.2)]


@pytest.mark.parametrize(
    ("lists", "order"),
    [
        ({"dense": ["a", "b"], "keyword": []}, "ab"),
        ({"keyword": ["b", "a"]}, "ba"),
        ({}, ""),
        # first in one list is a little more than second in it; in both lists at all is more than either
        ({"dense": ["a", "b", "x"], "keyword": ["c", "d", "x"]}, "xacbd"),
        # but not where it is far down in both: 2/(60 + 63) against 1/61
        ({"dense": ["a", *map(str, range(61)), "x"], "keyword": ["b", *map(str, range(100, 161)), "x"]}, "abx"),
        # of equals, the nearer one
        ({"dense": ["a"], "keyword": ["b"]}, "ab"),
        # twice in one list counts once
        ({"dense": ["a", "b", "b"], "keyword": ["a"]}, "ab"),
    ],
)
def test_what_both_lists_have_comes_before_what_one_has(lists: dict[str, list[str]], order: str) -> None:
    assert "".join(one.id for one in fused(lists))[: len(order)] == order


def test_each_keeps_its_place_in_either_list() -> None:
    assert fused({"dense": ["a", "b"], "keyword": ["c", "b"]})[0] == Ranked("b", {"dense": 2, "keyword": 2})
