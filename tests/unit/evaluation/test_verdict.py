"""Stored results and thresholds -> a verdict; nothing is run."""

from __future__ import annotations

import pytest

from llmops.evaluation.intervals import Pairs
from llmops.evaluation.results import LEVELS, ArmResult, Measured, MetricResult, Paired, Results, loads
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
