"""Stored results and thresholds -> a verdict; nothing is run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from llmops.evaluation.intervals import Pairs
from llmops.evaluation.results import LEVELS, Apart, ArmResult, Measured, MetricResult, Paired, Results, loads
from llmops.evaluation.verdict import Threshold, Verdict, judge


def measured(value, n, pairs=None, errors=0, rows=None):
    rows = rows or n
    paired = Paired(pairs.n, pairs) if pairs else None
    metric = MetricResult("exact_match", "proportion", Measured(n, value), paired=paired)
    return Results("k", {"target": ArmResult(rows, errors, "HTTP 500" if errors else None)}, (metric,))


@pytest.mark.parametrize(
    ("value", "n", "minimum", "confidence", "verdict"),
    [
        (1.00, 100, 0.90, 0.95, Verdict.PASS),  # Wilson 0.963 to 1
        (0.94, 100, 0.90, 0.95, Verdict.INCONCLUSIVE),  # 0.875 to 0.972: the point alone would pass
        (0.94, 1000, 0.90, 0.95, Verdict.PASS),
        (0.46, 100, 0.90, 0.95, Verdict.FAIL),
        (0.86, 100, 0.90, 0.95, Verdict.INCONCLUSIVE),  # the point alone would fail
        (1.00, 3, 0.90, 0.95, Verdict.INCONCLUSIVE),  # three right answers prove little
        (0.93, 300, 0.90, 0.80, Verdict.PASS),
        (0.93, 300, 0.90, 0.99, Verdict.INCONCLUSIVE),
    ],
)
def test_the_interval_decides_a_minimum_and_not_the_point(value, n, minimum, confidence, verdict):
    assert judge(measured(value, n), [Threshold("exact_match", minimum, None, confidence)]).verdict is verdict


@pytest.mark.parametrize(
    ("pairs", "drop", "verdict"),
    [
        (Pairs(500, 0, 0, 0), 0.02, Verdict.PASS),
        (Pairs(100, 0, 0, 0), 0.05, Verdict.PASS),
        (Pairs(100, 0, 0, 0), 0.02, Verdict.INCONCLUSIVE),  # 100 equal rows cannot show a margin of 2%: low is -0.037
        (Pairs(57, 0, 43, 0), 0.02, Verdict.FAIL),
        (Pairs(450, 25, 25, 0), 0.02, Verdict.INCONCLUSIVE),
        (Pairs(1800, 100, 100, 0), 0.02, Verdict.PASS),
    ],
)
def test_the_paired_interval_decides_a_drop_against_the_baseline(pairs, drop, verdict):
    results = measured((pairs.both + pairs.only_target) / pairs.n, pairs.n, pairs)
    assert judge(results, [Threshold("exact_match", max_drop=drop)]).verdict is verdict


def test_an_undecided_threshold_says_how_many_rows_would_decide():
    results = measured(1.0, 100, Pairs(100, 0, 0, 0))
    told = judge(results, [Threshold("exact_match", max_drop=0.02)]).sentence
    rows = int(told.split("about ")[1].split(" rows")[0])
    assert 188 < rows <= 240  # z²/(n+z²) = 0.02 at n = 188.2
    decided = judge(measured(1.0, rows, Pairs(rows, 0, 0, 0)), [Threshold("exact_match", max_drop=0.02)])
    assert decided.verdict is Verdict.PASS


@pytest.mark.parametrize(("errors", "verdict"), [(0, Verdict.PASS), (2, Verdict.PASS), (3, Verdict.ERROR)])
def test_more_than_two_errors_in_a_hundred_are_never_a_pass(errors, verdict):
    results = measured(1.0, 100 - errors, errors=errors, rows=100)
    judged = judge(results, [Threshold("exact_match", 0.9)])
    assert judged.verdict is verdict
    assert judge(results, []).verdict is verdict
    assert ("HTTP 500" in judged.sentence) is (verdict is Verdict.ERROR)


def test_the_worst_threshold_is_the_verdict_and_its_sentence_comes_first():
    results = measured(0.46, 100)
    judged = judge(results, [Threshold("exact_match", 0.1), Threshold("exact_match", 0.9), Threshold("bleu", 0.1)])
    assert judged.verdict is Verdict.ERROR
    assert judged.sentence.startswith("bleu has a threshold but was not measured")
    assert judge(results, [Threshold("exact_match", 0.1), Threshold("exact_match", 0.9)]).verdict is Verdict.FAIL


def test_what_could_not_be_measured_is_an_error():
    empty = Results("k", {"target": ArmResult(100, 0)}, (MetricResult("f1", "mean", Measured(0, None)),))
    assert judge(empty, [Threshold("f1", 0.1)]).verdict is Verdict.ERROR
    assert judge(empty, [Threshold("f1", max_drop=0.1)]).verdict is Verdict.ERROR


def test_a_mean_is_judged_by_its_bootstrap_at_the_threshold_s_own_confidence():
    quantiles = tuple(0.5 + 0.1 * (level - 0.5) for level in LEVELS)  # 0.45 to 0.55, evenly
    results = Results("k", {"target": ArmResult(50, 0)}, (MetricResult("f1", "mean", Measured(50, 0.5, quantiles)),))
    assert judge(results, [Threshold("f1", 0.459, confidence=0.80)]).verdict is Verdict.PASS  # low is 0.46
    assert judge(results, [Threshold("f1", 0.459, confidence=0.95)]).verdict is Verdict.INCONCLUSIVE
    assert judge(results, [Threshold("f1", 0.56, confidence=0.95)]).verdict is Verdict.FAIL


def test_results_survive_being_stored():
    results = measured(0.94, 100, Pairs(90, 4, 3, 3))
    assert loads(results.dumps()) == results
    with pytest.raises(ValueError, match="format"):
        loads('{"format": 99}')


def test_what_is_not_a_number_is_never_stored():
    with pytest.raises(ValueError, match="not JSON"):
        measured(float("nan"), 3).dumps()


def metric_of(name, value, quantiles=(), kind="mean", less=False, **more):
    spread = quantiles or tuple(value + 0.1 * (level - 0.5) for level in LEVELS)
    return MetricResult(name, kind, Measured(100, value, spread), less_is_better=less, **more)


def results_of(*metrics):
    return Results("k", {"target": ArmResult(100, 0)}, metrics)


@pytest.mark.parametrize(
    ("maximum", "verdict", "said"),
    [
        (0.46, Verdict.PASS, "below the maximum of 0.46"),
        (0.40, Verdict.INCONCLUSIVE, "on both sides of the maximum of 0.4"),
        (0.34, Verdict.FAIL, "above the maximum of 0.34"),
    ],
)
def test_a_maximum_is_met_from_below(maximum, verdict, said):
    judged = judge(results_of(metric_of("ter", 0.40, less=True)), [Threshold("ter", maximum=maximum)])
    assert judged.verdict is verdict
    assert said in judged.sentence


@pytest.mark.parametrize(
    ("less", "risen", "verdict"),
    [
        (True, 0.2, Verdict.FAIL),
        (True, 0.02, Verdict.PASS),  # 0.07 at most, where 0.1 is allowed
        (True, 0.09, Verdict.INCONCLUSIVE),
        (False, 0.2, Verdict.PASS),
        (False, -0.2, Verdict.FAIL),
    ],
)
def test_worse_than_the_baseline_is_more_where_less_is_better(less, risen, verdict):
    quantiles = tuple(risen + 0.1 * (level - 0.5) for level in LEVELS)
    found = results_of(metric_of("latency", 1.2, less=less, paired=Paired(100, None, risen, quantiles, 0.001)))
    judged = judge(found, [Threshold("latency", max_drop=0.1)])
    assert judged.verdict is verdict
    assert f"the margin of {'0.1' if less else '-0.1'}" in judged.sentence


def test_answers_without_a_mark_above_two_percent_are_an_error_with_the_first_reason_and_never_a_pass():
    few = metric_of("judge", 0.9, unmarked=2, why="the judge wrote 'good', which is not one score")
    many = metric_of("judge", 0.9, unmarked=3, why="the judge wrote 'good', which is not one score")
    threshold = [Threshold("judge", 0.5)]
    assert judge(results_of(few), threshold).verdict is Verdict.PASS
    for thresholds in ([], threshold):
        judged = judge(results_of(many), thresholds)
        assert judged.verdict is Verdict.ERROR
        assert "3 answers have no judge" in judged.sentence
        assert "the judge wrote 'good'" in judged.sentence


def test_what_cannot_be_measured_by_design_is_an_error_only_where_a_threshold_asks_for_it():
    absent = MetricResult("cost", "mean", Measured(0, None), why="LLMService shop/support has no spec.pricing")
    assert judge(results_of(absent), []).verdict is Verdict.PASS
    judged = judge(results_of(absent), [Threshold("cost", maximum=0.1)])
    assert judged.verdict is Verdict.ERROR
    assert "has no spec.pricing" in judged.sentence


def proportions(passed):
    return [MetricResult(f"m{at}", "proportion", Measured(100, share / 100)) for at, share in enumerate(passed)]


@pytest.mark.parametrize(
    ("passed", "verdict"),
    [
        ([82], Verdict.FAIL),  # Wilson's upper end is 0.883: alone it fails a minimum of 0.89
        ([82, 99, 99], Verdict.INCONCLUSIVE),  # p = 0.027, where 0.017 is asked for
        ([79, 99, 99], Verdict.FAIL),
        ([82, *[99] * 19], Verdict.INCONCLUSIVE),  # one of twenty is what chance brings
        ([60, *[99] * 19], Verdict.FAIL),  # surer than a twentieth of 5%
        ([60, 82, *[99] * 18], Verdict.FAIL),
    ],
)
def test_one_miss_among_many_thresholds_must_be_surer_than_one_alone(passed, verdict):
    found = results_of(*proportions(passed))
    thresholds = [
        Threshold(metric.name, 0.89 if share < 99 else 0.9) for metric, share in zip(found.metrics, passed, strict=True)
    ]
    judged = judge(found, thresholds)
    assert judged.verdict is verdict
    assert ("may be chance (Holm)" in judged.sentence) is (82 in passed and len(passed) > 1)


def test_a_hopeless_metric_fails_among_any_number_of_thresholds_at_any_confidence():
    hopeless = [metric_of(f"m{at}", 0.1) for at in range(32)]
    judged = judge(results_of(*hopeless), [Threshold(one.name, 0.9, confidence=0.999) for one in hopeless])
    assert judged.verdict is Verdict.FAIL
    assert "Holm" not in judged.sentence


def test_passing_all_of_many_thresholds_needs_no_correction():
    found = results_of(*proportions([97] * 20))
    assert judge(found, [Threshold(metric.name, 0.9) for metric in found.metrics]).verdict is Verdict.PASS


def test_a_disparity_is_the_greatest_distance_and_its_interval_covers_all_comparisons():
    near = Apart("exact_match", "a", "b", Paired(200, Pairs(190, 2, 3, 5)))
    far = Apart("exact_match", "a", "c", Paired(200, Pairs(150, 2, 40, 8)))
    one = MetricResult("fairness", "groups", Measured(200, 0.19), less_is_better=True, apart=(near, far))
    alone = far.paired.interval(0.95)
    interval = one.interval(0.95)
    assert interval.value == pytest.approx(0.19)
    assert interval.low < -alone.high < 0.19 < -alone.low < interval.high
    assert judge(results_of(one), [Threshold("fairness", maximum=0.05)]).verdict is Verdict.FAIL
    equal = replace(one, apart=(near,))
    assert equal.interval(0.95).low == 0
    assert judge(results_of(equal), [Threshold("fairness", maximum=0.05)]).verdict is Verdict.PASS
    assert loads(results_of(one).dumps()) == results_of(one)


def test_results_of_before_these_metrics_are_still_read():
    old = json.loads(measured(0.94, 100, Pairs(90, 4, 3, 3)).dumps())
    old.pop("steps")
    old.pop("questions")
    for metric in old["metrics"]:
        for name in ("less_is_better", "unmarked", "why", "note", "apart"):
            metric.pop(name)
        metric["target"].pop("figures")
    assert loads(json.dumps(old)) == measured(0.94, 100, Pairs(90, 4, 3, 3))
