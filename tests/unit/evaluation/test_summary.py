"""Answers -> results: the numbers against those of the libraries that define them."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU

from llmops.evaluation.results import LEVELS, MAX_BYTES
from llmops.evaluation.rows import Row
from llmops.evaluation.run import Arm, Run
from llmops.evaluation.runner import draws
from llmops.evaluation.runner.answers import Answer, Answers
from llmops.evaluation.runner.marks import marks
from llmops.evaluation.runner.summary import summarise

METRICS = ("exact_match", "includes", "f1", "rouge_l", "bleu")
WORDS = ["press", "the", "red", "button", "then", "wait", "two", "minutes", "and", "try", "again", "or", "ask", "us"]


def rows(n, seed=1):
    draw = random.Random(seed)
    return [Row(str(i), "q", (" ".join(draw.choices(WORDS, k=8)),), {"topic": f"t{i % 30}"}) for i in range(n)]


def answers(of, right, seed=2):
    """An answer a row: right with this chance, else with two words changed."""
    draw = random.Random(seed)
    said = {}
    for row in of:
        text = row.targets[0]
        if draw.random() >= right:
            text = " ".join([*text.split()[:-2], "oh", "no"])
        said[row.id] = Answer(text, marks(text, row.targets, METRICS))
    return Answers(said, 0)


def run_of(n, slices=()):
    return Run("shop/q", "s", n, METRICS, Arm("u", "m", "i"), slices=slices, key="ab" * 32)


def test_bleu_is_sacrebleu_s_corpus_score_and_its_interval_holds_it():
    questions = rows(200)
    said = answers(questions, 0.7)
    measured = summarise(run_of(200), questions, {"target": said}, 1.0).metric("bleu").target
    theirs = BLEU().corpus_score([said.by_id[r.id].text for r in questions], [[r.targets[0] for r in questions]])
    assert measured.value == pytest.approx(theirs.score / 100, abs=1e-4)
    interval = measured.interval(0.95)
    assert interval.low < measured.value < interval.high
    assert interval.high - interval.low < 0.15


def test_a_mean_s_interval_is_as_wide_as_theory_says():
    questions = rows(400)
    said = answers(questions, 0.7)
    measured = summarise(run_of(400), questions, {"target": said}, 1.0).metric("f1").target
    values = [one.marks["f1"] for one in said.by_id.values()]
    mean = sum(values) / 400
    deviation = (sum((v - mean) ** 2 for v in values) / 399) ** 0.5
    interval = measured.interval(0.95)
    assert measured.value == pytest.approx(mean, abs=1e-6)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * deviation / 20, rel=0.1)


def test_pairing_makes_the_difference_s_interval_narrower_than_the_arms():
    questions = rows(300)
    target, baseline = answers(questions, 0.8, seed=3), answers(questions, 0.8, seed=3)
    worse = dict(baseline.by_id)
    for row in questions[:15]:
        worse[row.id] = Answer("no", marks("no", row.targets, METRICS))
    metric = summarise(run_of(300), questions, {"target": target, "baseline": Answers(worse, 0)}, 1.0).metric("f1")
    assert metric
    assert metric.paired
    assert metric.paired.p is not None
    assert metric.target.value is not None
    assert metric.baseline
    assert metric.baseline.value is not None
    paired = metric.paired.interval(0.95)
    alone = [one.interval(0.95).high - one.interval(0.95).low for one in (metric.target, metric.baseline)]
    assert paired.value == pytest.approx(metric.target.value - metric.baseline.value, abs=1e-5)
    assert 0 < paired.low < paired.value < paired.high
    assert metric.paired.p < 0.01
    assert paired.high - paired.low < 0.9 * (alone[0] ** 2 + alone[1] ** 2) ** 0.5


def test_rows_that_are_all_alike_do_not_make_certainty_out_of_nothing():
    questions = rows(3)
    said = answers(questions, 1.0)
    found = summarise(run_of(3), questions, {"target": said, "baseline": said}, 1.0)
    for name in ("f1", "rouge_l", "bleu"):
        assert found.metric(name).target.interval(0.95).low < 0.5
        assert found.metric(name).paired.interval(0.95).low < -0.5
        assert found.metric(name).paired.p == 1.0


def test_only_rows_that_both_arms_answered_are_compared():
    questions = rows(50)
    target, baseline = answers(questions, 1.0), answers(questions, 1.0)
    fewer = Answers({k: v for k, v in baseline.by_id.items() if int(k) >= 5}, 5, "HTTP 500")
    found = summarise(run_of(50), questions, {"target": target, "baseline": fewer}, 1.0)
    metric = found.metric("exact_match")
    assert (metric.target.n, metric.baseline.n, metric.paired.n) == (50, 45, 45)
    assert (found.arms["baseline"].errors, found.arms["baseline"].first_error) == (5, "HTTP 500")


def test_a_perplexity_without_bounds_is_still_a_number():
    found = draws.measured(np.array([[-9999.0, 1.0], [-20.0, 10.0]]), draws.perplexity, "ab" * 8, bounded=False)
    assert found.value is not None
    assert all(math.isfinite(one) for one in (found.value, *found.quantiles))
    even = draws.measured(np.array([[-20.0, 10.0]] * 3), draws.perplexity, "ab" * 8, bounded=False)
    assert even.value == pytest.approx(math.exp(2), abs=1e-4)
    assert even.interval(0.95).low < 5 < 9 < even.interval(0.95).high  # three rows alike prove little


def test_the_same_run_summarises_to_the_same_bytes_and_fits_a_config_map():
    questions = rows(2000)
    arms = {"target": answers(questions, 0.8), "baseline": answers(questions, 0.7, seed=9)}
    first = summarise(run_of(2000, ("topic",)), questions, arms, 1.0)
    assert first.dumps() == summarise(run_of(2000, ("topic",)), questions, arms, 1.0).dumps()
    assert len(first.dumps().encode()) < MAX_BYTES
    assert len(first.slices) == 20
    assert first.slices == tuple(sorted(first.slices, key=lambda one: one.mean))
    assert len(first.metric("bleu").target.quantiles) == len(LEVELS)
