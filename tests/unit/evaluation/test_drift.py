"""How far what users ask has moved: near nothing by chance, and what really changed is found and named."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest

from llmops.evaluation.results import ArmResult, Results, loads
from llmops.evaluation.rows import Row
from llmops.evaluation.runner import drift
from llmops.evaluation.runner.answers import Answer, Answers
from llmops.evaluation.verdict import Threshold, Verdict, judge
from llmops.psi import psi

SEED = "00ff" * 16
TOPICS = {"returns": [1.0, 0.0, 0.0, 0.0], "delivery": [0.0, 1.0, 0.0, 0.0], "prices": [0.0, 0.0, 1.0, 0.0]}


def traffic(
    n, seed, words=8, answer=20, refused=0.02, topics=("returns", "delivery")
) -> tuple[list[Row], Answers, dict[str, list[float]]]:
    """Rows, answers and vectors of n requests."""
    chance = random.Random(seed)
    rows, by_id, vectors = [], {}, {}
    for number in range(n):
        key = f"r{number}"
        question = " ".join(["word"] * max(1, round(chance.gauss(words, 2))))
        text = (
            "I'm sorry, I cannot help." if chance.random() < refused else "x" * max(1, round(chance.gauss(answer, 5)))
        )
        rows.append(Row(key, question, (), {}))
        by_id[key] = Answer(text, {})
        near = np.array(TOPICS[chance.choice(topics)]) + [chance.gauss(0, 0.1) for _ in range(4)]
        vectors[key] = list(near / np.linalg.norm(near))
    return rows, Answers(by_id, 0), vectors


FIRST = drift.measured("drift", *traffic(400, 1), None, SEED)[1]


def now(seed=2, n=400, first=FIRST, **changed):
    return drift.measured("drift", *traffic(n, seed, **changed), first, SEED)[0]


def verdict(metric, maximum=0.1):
    whole = Results("k", {"target": ArmResult(400, 0)}, (metric,))
    return judge(whole, [Threshold("drift", maximum=maximum)])


def test_the_first_look_is_what_later_ones_are_compared_with():
    metric, profile = drift.measured("drift", *traffic(400, 1), None, SEED)
    assert metric.target.value == 0
    assert "later runs of this version are compared with these 400 rows" in metric.note
    assert verdict(metric).verdict is Verdict.PASS
    assert profile
    assert set(profile["parts"]) == {"question length", "answer length", "refusals", "topics"}
    assert all(sum(one["counts"]) == 400 for one in profile["parts"].values())
    assert drift.measured("drift", *traffic(400, 2, words=30), profile, SEED)[1] is profile


def test_calm_traffic_is_calm_nearly_always():
    found = [verdict(now(seed), 0.25).verdict for seed in range(2, 102)]
    assert found.count(Verdict.FAIL) == 0
    assert found.count(Verdict.PASS) >= 98


def test_without_the_correction_chance_alone_would_look_like_drift():
    """The mean of what is told, over calm samples of 100, against the index as it stands in the textbooks."""
    told, raw = [], []
    profile = drift.measured("drift", *traffic(100, 1), None, SEED)[1]
    assert profile
    for seed in range(2, 42):
        metric = now(seed, n=100, first=profile)
        (part,) = [one for one in metric.apart if one.metric == "question length"]
        bins = profile["parts"]["question length"]
        values = np.array([[len(row.input)] for row in traffic(100, seed)[0]], dtype=float)
        counts = drift._counted(bins, values)
        raw.append(float(psi(np.array(bins["counts"])[None], counts[None])[0]))
        told.append(part.paired.delta)
    assert np.mean(raw) > 0.1
    assert np.mean(told) < np.mean(raw) / 2


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"words": 12}, "question length"),
        ({"answer": 35}, "answer length"),
        ({"refused": 0.5}, "refusals"),
        ({"topics": ("returns", "prices")}, "topics"),
    ],
)
def test_what_changed_is_found_and_named(changed, part):
    metric = now(**changed)
    assert metric.note.startswith(f"the greatest of 4: {part}")
    assert "400 rows against the 400 of the first look" in metric.note
    assert verdict(metric, 0.25).verdict is Verdict.FAIL


def test_too_few_requests_say_nothing_and_leave_the_first_look_as_it_was():
    metric, profile = drift.measured("drift", *traffic(49, 2), FIRST, SEED)
    assert metric.why == "49 requests were answered, where 50 are needed to tell drift from chance"
    assert metric.target.value is None
    assert profile is FIRST
    assert drift.measured("drift", *traffic(49, 2), None, SEED)[1] is None
    assert verdict(metric).verdict is Verdict.ERROR


def test_without_a_service_that_embeds_three_parts_are_compared():
    rows, answers, _ = traffic(400, 2)
    assert now().note.startswith("the greatest of 4")
    assert drift.measured("drift", rows, answers, {}, FIRST, SEED)[0].note.startswith("the greatest of 3")
    _, profile = drift.measured("drift", rows, answers, {}, None, SEED)
    assert profile
    assert "topics" not in profile["parts"]


def test_questions_that_are_all_alike_are_one_bin_and_an_unseen_kind_another():
    rows, answers, vectors = traffic(200, 3)
    alike = [replace(row, input="why?") for row in rows]
    same = dict.fromkeys(vectors, TOPICS["returns"])
    profile = drift.measured("drift", alike, answers, same, None, SEED)[1]
    assert profile
    assert len(profile["parts"]["topics"]["centres"]) == 1
    assert drift.measured("drift", alike, answers, same, profile, SEED)[0].target.value == 0
    assert drift.measured("drift", rows, answers, same, profile, SEED)[0].note.startswith("the greatest of 4: question")


def test_the_same_run_finds_the_same_and_profiles_survive_the_results():
    assert now() == now()
    results = Results("k", {"target": ArmResult(400, 0)}, (now(words=12),), profiles={"drift": FIRST})
    assert loads(results.dumps()) == results
    assert len(json.dumps(FIRST)) < 8000


def test_an_embedding_is_kept_short_and_near_ones_stay_near():
    chance = np.random.default_rng(1)
    one, other = chance.standard_normal(384), chance.standard_normal(384)
    near = one + chance.standard_normal(384) * 0.2
    first, second, third = (np.array(drift.projected(list(each))) for each in (one, near, other))
    assert len(first) == drift.PROJECTED
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-3)
    assert first @ second > 0.9
    assert abs(first @ third) < 0.5
    assert drift.projected(list(one)) == list(first)
