"""A run's budget in money: when it is spent nothing more is asked, and a larger one goes on without paying twice."""

from __future__ import annotations

import asyncio
import json
import signal
from dataclasses import replace

import pytest

from llmops.api import EvalJob, Reason, Settings
from llmops.evaluation.observe import DatasetSeen, Seen, build_run
from llmops.evaluation.plan import State, plan
from llmops.evaluation.rows import Fields, parse
from llmops.evaluation.run import Arm, Price, Typed
from llmops.evaluation.runner.purse import Purse
from llmops.evaluation.targets import Resolved
from llmops.evaluation.verdict import Threshold, Verdict, judge

from .conftest import completion, question, write_run
from .test_runner import places, results, run_to_end

ROWS = [{"id": f"r{i}", "question": f"What is {i}?", "answer": f"It is {i}."} for i in range(40)]
ANSWERS = {row["question"]: row["answer"] for row in ROWS}
DOLLAR = Price(1e6 / 7, 1e6 / 7, "USD")
"""An answer of seven tokens costs one."""


def answering(body, _):
    return 200, ANSWERS[question(body)]


def test_what_is_spent_ends_the_run_undecided_and_a_larger_budget_asks_only_the_rest(serve, tmp_path):
    model = serve(answering)
    arm = Arm(model.url, "m", "1", price=DOLLAR)
    more = {"concurrency": 2, "keep_seconds": 3600.0, "currency": "USD"}
    first = write_run(tmp_path / "run", ROWS, arm, budget=10.0, **more)
    run_to_end(*places(tmp_path))
    found = results(tmp_path / "report")
    asked = len(model.bodies)
    assert 10 <= asked <= 12
    assert found.arms["target"].rows == found.metric("exact_match").target.n == asked
    judged = judge(found, [Threshold("exact_match", minimum=0.5)])
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert judged.sentence.startswith(f"spec.budget of 10 USD is spent ({asked}.0000) after {asked} of 40 rows")
    assert judged.sentence.endswith("raise it, and it goes on where it was")

    second = write_run(tmp_path / "run", ROWS, arm, budget=100.0, **more)
    assert second.key != first.key
    run_to_end(*places(tmp_path))
    found = results(tmp_path / "report")
    assert (len(model.bodies), set(model.asked.values())) == (40, {1})
    assert (found.stopped, found.metric("exact_match").target.n) == ("", 40)
    assert found.cost == 40.0


def test_what_a_judge_costs_counts_as_well_and_so_does_what_was_spent_before(serve, tmp_path):
    target, panel = serve(answering), serve(lambda body, _: (200, completion(body, "5")))
    typed = (Typed("quality", "Judge", {"rubric": "Good?"}, Arm(panel.url, "judge", "j", price=DOLLAR)),)
    arm = Arm(target.url, "m", "1", price=DOLLAR)
    more = {"metrics": ("exact_match", "quality"), "typed": typed, "concurrency": 2, "currency": "USD"}
    write_run(tmp_path / "run", ROWS, arm, budget=50.0, **more)
    run_to_end(*places(tmp_path))
    found = results(tmp_path / "report")
    assert len(target.bodies) == 40
    assert 10 <= len(panel.bodies) <= 13
    assert found.metric("exact_match").target.n == 40
    assert found.metric("quality").target.n < 13
    assert "after 40 of 40 rows" in found.stopped
    assert "with spec.keep it would go on" in found.stopped


def test_a_budget_that_is_enough_changes_nothing(serve, tmp_path):
    model = serve(answering)
    write_run(tmp_path / "run", ROWS, Arm(model.url, "m", "1", price=DOLLAR), budget=40.0, currency="USD")
    run_to_end(*places(tmp_path))
    found = results(tmp_path / "report")
    assert (found.stopped, found.metric("exact_match").target.value) == ("", 1.0)


async def test_who_is_under_way_is_waited_for(monkeypatch):
    raised: list[int] = []
    monkeypatch.setattr(signal, "raise_signal", raised.append)
    monkeypatch.setattr("llmops.evaluation.runner.purse.GRACE", 0)
    purse = Purse(1.0)
    await purse.enter()
    purse.pay(1.0)
    late = asyncio.create_task(purse.enter())
    await asyncio.sleep(0.01)
    assert (raised, late.done(), purse.ended) == ([], False, False)
    purse.leave()
    await asyncio.sleep(0.01)
    assert (raised, late.done(), purse.ended) == ([signal.SIGINT], False, True)
    late.cancel()


def test_what_was_spent_is_known_to_the_process_that_comes_after(tmp_path):
    purse = Purse(1.0, tmp_path / "logs/spent.txt")
    purse.pay(0.75)
    purse.save()
    assert Purse(1.0, tmp_path / "logs/spent.txt").spent == 0.75
    assert Purse().empty is False


@pytest.mark.parametrize(
    ("price", "said"),
    [
        (None, "spec.budget cannot be counted: LLMService shop/support has no spec.pricing"),
        (Price(1, 1, "EUR"), "spec.budget is in USD, and shop/support has its prices in EUR: write the same"),
        (Price(1, 1, "USD"), ""),
    ],
)
def test_a_budget_that_nobody_can_count_is_refused_before_the_first_call(price, said):
    whole = {
        "apiVersion": "llmops.dev/v1alpha1",
        "kind": "EvalJob",
        "metadata": {"name": "quality", "namespace": "shop", "generation": 1},
        "spec": {
            "target": {"serviceRef": {"name": "support"}},
            "dataset": {"inline": ROWS[:2], "fields": {"input": "question", "target": "answer"}},
            "metrics": [{"name": "exact_match"}],
            "budget": {"amount": "2.50"},
        },
    }
    why = "LLMService shop/support has no spec.pricing"
    arm = Resolved(Arm("http://gateway/v1", "shop/support", "d", price=price, unpriced="" if price else why))
    rows = parse("".join(json.dumps(one) + "\n" for one in ROWS[:2]), Fields("question", "answer"))
    one = Seen(whole, EvalJob.model_validate(whole), Settings(), DatasetSeen(rows=rows), arm)
    wanted = plan(replace(one, run=build_run(one)))
    if said:
        assert (wanted.state, wanted.reason, wanted.sentence) == (State.UNSUPPORTED, Reason.INVALID_SPEC, said)
    else:
        assert wanted.state is State.RUNNING
