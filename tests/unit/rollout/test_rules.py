"""The rules as the bench runs them, over whole rollouts: few enough to be quick, seeded so that they say the same."""

from __future__ import annotations

from bench import rules
from bench.rules import Story


def ends(story: Story, runs: int = 40) -> list[rules.End]:
    return [rules.ours(rules.crowd(story, seed)) for seed in range(runs)]


def test_identical_candidates_reach_everybody_and_hardly_one_is_taken_back() -> None:
    for likeness in (2.0, 0.3):
        found = ends(Story(0.05, likeness=likeness))
        assert rules.share(found, "rolled back") <= 0.05
        assert rules.share(found, "promoted") >= 0.95


def test_what_is_worse_is_taken_back_also_when_it_is_told_late_or_pleases_at_first() -> None:
    for story in (
        Story(0.05, 3.0),
        Story(0.05, 3.0, late=5.0),
        rules.STORIES["pleases at first, then 3 times worse, 2%"],
    ):
        assert rules.share(ends(story, 20), "rolled back") == 1.0


def test_what_the_bounds_of_others_are_tuned_on_is_identical_and_calm() -> None:
    for story in rules.STORIES.values():
        tuned_on = rules.crowd(rules.calm(story), 1)
        assert (tuned_on.fails[0] == tuned_on.fails[1]).all()
        first, rest = (tuned_on.fails[0][tuned_on.between(*part)].mean() for part in ((2, 62), (120, 720)))
        assert abs(first - rest) < 0.5 * rest + 0.002


def test_a_bound_on_a_rate_takes_back_what_fails_no_more_than_stable_does() -> None:
    crowds = [rules.crowd(Story(0.05), seed) for seed in range(20)]
    assert rules.share([rules.flagger(one) for one in crowds], "rolled back") > 0.8
    assert rules.share([rules.argo(one) for one in crowds], "rolled back") > 0.5
