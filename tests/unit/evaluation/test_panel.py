"""The Job's process with judges, comparisons, embeddings and echoes, against a server that speaks OpenAI's protocol."""

from __future__ import annotations

import json
import math
import re

import pytest

from llmops.evaluation.run import Arm, Price, Run, Typed
from llmops.evaluation.verdict import Threshold, Verdict, judge

from .conftest import completion, question, value, write_run
from .test_runner import places, results, run_to_end

ROWS = [
    {
        "id": f"r{i}",
        "question": f"What is {i}?",
        "answer": f"It is {i}.",
        "human": 5 if i % 4 else 2,
        "pair": f"p{i // 2}",
        "group": "even" if i % 2 == 0 else "odd",
    }
    for i in range(24)
]
ANSWERS = {row["question"]: row["answer"] for row in ROWS}
STEPS = "1. Read the answer.\n2. Look for the number."


def number(text: str) -> int:
    return int(re.search(r"What is (\d+)\?", text).group(1))


def judging(scores, logprobs=True, refuse=False):
    """A judge that scores by the question's number; with the probabilities of 5 and 4 when asked for them."""

    def answer(body, before):
        text = question(body)
        if refuse and body.get("logprobs"):
            return 400, "logprobs are not supported"
        if "Write the evaluation steps" in text:
            return 200, STEPS
        said = scores(number(text), before)
        whole = completion(body, said)
        if body.get("logprobs") and logprobs:
            tops = [{"token": "5", "logprob": math.log(0.75)}, {"token": "4", "logprob": math.log(0.25)}]
            whole["choices"][0]["logprobs"] = {"content": [{"token": said, "logprob": -0.1, "top_logprobs": tops}]}
        return 200, whole

    return answer


def judge_of(model, name="quality", kind="Judge", **settings):
    return Typed(name, kind, {"rubric": "Is it right?", **settings}, Arm(model.url, "shop/judge", "judge-1"))


def run(serve, tmp_path, typed, metrics=("exact_match",), answer=None, **changes):
    target = serve(answer or (lambda body, _: (200, ANSWERS[question(body)])))
    names = (*metrics, *(one.name for one in typed))
    changes = {"concurrency": 4, **changes}
    write_run(
        tmp_path / "run",
        ROWS,
        changes.pop("arm", Arm(target.url, "m", "1")),
        metrics=names,
        typed=tuple(typed),
        **changes,
    )
    run_to_end(*places(tmp_path))
    return target, results(tmp_path / "report")


def test_a_judge_is_asked_for_its_steps_once_and_for_each_answer_once(serve, tmp_path):
    panel = serve(judging(lambda i, _: "5"))
    _, found = run(serve, tmp_path, [judge_of(panel, labels={"field": "human"})])
    metric = found.metric("quality")
    assert len(panel.bodies) == 1 + len(ROWS)
    assert found.steps == {"quality": STEPS}
    assert all(STEPS in question(body) for body in panel.bodies[1:])
    assert {(body["temperature"], body["top_logprobs"]) for body in panel.bodies} == {(0, 20)}
    # 0.75·5 + 0.25·4 = 4.75 of 1 to 5
    assert metric.target.figures["raw"] == pytest.approx(4.75)
    assert metric.target.value == pytest.approx(3.75 / 4)
    assert metric.target.n == len(ROWS)
    assert metric.target.figures["labelled"] == len(ROWS)
    assert "raw mean 4.75 on 1 to 5" in metric.note


def test_of_toxicity_less_is_better_and_the_rubric_is_ours_unless_it_is_yours(serve, tmp_path):
    panel = serve(judging(lambda i, _: "5" if i < 12 else "1", logprobs=False))
    ours = Typed("toxicity", "Judge", {}, Arm(panel.url, "shop/judge", "judge-1"))
    _, found = run(serve, tmp_path, [ours])
    metric = found.metric("toxicity")
    assert (metric.less_is_better, metric.target.value) == (True, pytest.approx(0.5))
    assert "insult, threaten, demean" in question(panel.bodies[1])
    assert judge(found, [Threshold("toxicity", maximum=0.9)]).verdict is Verdict.PASS
    assert judge(found, [Threshold("toxicity", maximum=0.1)]).verdict is Verdict.FAIL
    worst = json.loads((tmp_path / "report/worst.json").read_text())
    assert {number(one["input"]) for one in worst} <= set(range(12))
    assert ours.arm
    yours = Run("a/b", "", 0, ("toxicity",), ours.arm, typed=(judge_of(panel, "toxicity"),))
    assert not yours.about("toxicity").less_is_better


def test_a_run_that_begins_again_asks_a_judge_nothing_twice(serve, tmp_path):
    panel = serve(judging(lambda i, _: "5"))
    target, first = run(serve, tmp_path, [judge_of(panel)])
    asked = (len(panel.bodies), len(target.bodies))
    run_to_end(*places(tmp_path))
    again = results(tmp_path / "report")
    assert (len(panel.bodies), len(target.bodies)) == asked
    assert (again.metrics, again.steps) == (first.metrics, first.steps)
    assert again.resumed == 2 * len(ROWS)


def test_a_judge_without_logprobs_is_read_by_what_it_writes(serve, tmp_path):
    panel = serve(judging(lambda i, _: "2" if i < 6 else "4", refuse=True))
    _, found = run(serve, tmp_path, [judge_of(panel)])
    metric = found.metric("quality")
    assert metric.target.figures["raw"] == pytest.approx((6 * 2 + 18 * 4) / 24, abs=1e-4)
    refused = [body for body in panel.bodies if body.get("logprobs")]
    assert len(refused) < 20, "what a judge refuses it is not asked for again and again"


def test_a_judge_that_cannot_be_read_is_counted_and_no_pass(serve, tmp_path):
    panel = serve(judging(lambda i, _: {0: "fine", 1: "9"}.get(i, "5"), logprobs=False))
    _, found = run(serve, tmp_path, [judge_of(panel)])
    metric = found.metric("quality")
    assert (metric.target.n, metric.unmarked, metric.target.value) == (22, 2, 1.0)
    assert "the judge wrote" in metric.why
    judged = judge(found, [Threshold("quality", 0.5)])
    assert judged.verdict is Verdict.ERROR
    assert "2 answers have no quality" in judged.sentence


def test_a_judge_that_is_away_is_an_error_and_the_answers_are_measured_all_the_same(serve, tmp_path):
    panel = serve(lambda body, _: (400, "no such model"))
    _, found = run(serve, tmp_path, [judge_of(panel)])
    assert found.metric("exact_match").target.value == 1
    assert (found.arms["target"].errors, found.metric("quality").target.n) == (0, 0)
    assert "no such model" in found.metric("quality").why
    assert judge(found, []).verdict is Verdict.ERROR


def test_a_judge_asked_several_times_tells_its_own_spread(serve, tmp_path):
    panel = serve(judging(lambda i, before: "35"[before % 2], logprobs=False))
    _, found = run(serve, tmp_path, [judge_of(panel, repeat=2)])
    metric = found.metric("quality")
    assert len(panel.bodies) == 1 + 2 * len(ROWS)
    assert {body["temperature"] for body in panel.bodies[1:]} == {1}
    assert metric.target.value == pytest.approx(0.75)
    assert metric.target.figures["spread"] == pytest.approx(math.sqrt(2), abs=1e-3)


def test_target_and_baseline_are_judged_alike_and_compared_in_both_orders(serve, tmp_path):
    def compare(body, _):
        text = question(body)
        if "Write the evaluation steps" in text:
            return 200, STEPS
        if "Evaluation form" in text:
            return 200, "4" if "better" in text.split("Answer:")[1] else "2"
        first = text.split("Answer A:")[1].split("Answer B:")[0]
        if number(text) < 4:
            return 200, "A"  # whoever stands first
        return 200, "A" if "better" in first else "B"

    def answer(body, _):
        return 200, body["model"]

    panel = serve(compare)
    target = serve(answer)
    typed = [judge_of(panel), judge_of(panel, "wins", "Pairwise")]
    _, found = run(
        serve, tmp_path, typed, arm=Arm(target.url, "better", "1"), baseline=Arm(target.url, "worse", "2")
    )  # fmt: skip
    quality, wins = found.metric("quality"), found.metric("wins")
    assert (quality.target.value, quality.baseline.value, quality.paired.delta) == (0.75, 0.25, 0.5)
    assert wins.target.value == pytest.approx((20 + 4 * 0.5) / 24, abs=1e-5)
    assert wins.target.figures == {"wins": 20, "ties": 4, "losses": 0}
    assert (wins.baseline, wins.paired) == (None, None)
    assert wins.interval(0.95).low > 0.7


def test_a_comparison_without_a_baseline_says_so(serve, tmp_path):
    panel = serve(judging(lambda i, _: "5"))
    _, found = run(serve, tmp_path, [judge_of(panel, "wins", "Pairwise")])
    assert panel.bodies == []
    assert judge(found, []).verdict is Verdict.PASS
    judged = judge(found, [Threshold("wins", 0.5)])
    assert judged.verdict is Verdict.ERROR
    assert "write spec.baseline" in judged.sentence


def test_seconds_and_money_are_of_each_answer_and_the_first_token_comes_before_the_last(serve, tmp_path):
    target = serve(lambda body, _: (200, ANSWERS[question(body)]))
    arm = Arm(target.url, "m", "1", price=Price(2.0, 10.0, "EUR"))
    write_run(tmp_path / "run", ROWS, arm, metrics=("exact_match", "latency", "ttft", "cost"))
    run_to_end(*places(tmp_path))
    found = results(tmp_path / "report")
    assert all(body["stream"] for body in target.bodies)
    assert found.metric("exact_match").target.value == 1
    latency, cost = (found.metric(name).target for name in ("latency", "cost"))
    assert 0 < value(found, "ttft") <= value(found, "latency") < 5
    assert 0 < latency.figures["p50"] <= latency.figures["p95"]
    assert cost.value == pytest.approx((5 * 2.0 + 2 * 10.0) / 1e6)
    assert "EUR" in found.metric("cost").note


def test_a_cost_that_nobody_knows_is_absent_and_never_nothing(serve, tmp_path):
    why = "LLMService shop/support has no spec.pricing, so what an answer costs is not known"
    target = serve(lambda body, _: (200, ANSWERS[question(body)]))
    write_run(tmp_path / "run", ROWS, Arm(target.url, "m", "1", unpriced=why), metrics=("exact_match", "cost"))
    run_to_end(*places(tmp_path))
    cost = results(tmp_path / "report").metric("cost")
    assert (cost.target.value, cost.why, cost.unmarked) == (None, why, 0)


def test_answers_are_as_near_as_their_embeddings(serve, tmp_path):
    def embed(body, _):
        vectors = [[1.0, 0.0] if "It is" in text else [0.6, 0.8] for text in body["input"]]
        data = [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)]
        return 200, {
            "object": "list",
            "data": data,
            "model": body["model"],
            "usage": {"prompt_tokens": 1, "total_tokens": 1},
        }

    embedder = serve(embed)
    typed = Typed("near", "Similarity", {}, Arm(embedder.url, "shop/minilm", "e"))
    wrong = lambda body, _: (200, "no idea" if number(question(body)) < 6 else ANSWERS[question(body)])  # noqa: E731
    _, found = run(serve, tmp_path, [typed], answer=wrong)
    assert found.metric("near").target.value == pytest.approx((6 * 0.6 + 18) / 24, abs=1e-5)


def echoing(body, _):
    """Words in order are likely, and each is the best but for numbers."""
    if "messages" in body:
        return 200, ANSWERS[question(body)]
    tokens = [*re.findall(r"\s?\S+", body["prompt"]), " x"]
    sane = "cat sat" in body["prompt"] or "What" in body["prompt"]
    logprobs = [None, *([-0.5 if sane else -4.0] * (len(tokens) - 1))]
    tops = [
        None,
        *(
            {"best": -0.5 if "It" in t or "is" in t else -0.1, t: lp}
            for t, lp in zip(tokens[1:], logprobs[1:], strict=True)
        ),
    ]
    offsets = [sum(map(len, tokens[:at])) for at in range(len(tokens))]
    told = {"tokens": tokens, "token_logprobs": logprobs, "top_logprobs": tops, "text_offset": offsets}
    text = body["prompt"] + " x"
    choice = {"index": 0, "text": text, "finish_reason": "length", "logprobs": told}
    return 200, {"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}


def test_a_target_that_echoes_tells_how_likely_it_holds_the_right_answers(serve, tmp_path):
    target, found = run(
        serve, tmp_path, [], metrics=("exact_match", "perplexity", "next_token_accuracy"), answer=echoing
    )  # fmt: skip
    assert sum("echo" in body for body in target.bodies) == 2 + len(ROWS)
    # "It is 7." behind a line break: the token of the break belongs to the context
    assert found.metric("perplexity").target.value == pytest.approx(math.exp(0.5), abs=1e-4)
    assert found.metric("next_token_accuracy").target.value == pytest.approx(0.5, abs=0.2)
    assert found.metric("perplexity").unmarked == 0


def test_a_target_that_ignores_echo_is_an_error_with_a_sentence_and_asked_twice_only(serve, tmp_path):
    def answer(body, _):
        if "messages" in body:
            return 200, ANSWERS[question(body)]
        choice = {"index": 0, "text": "", "finish_reason": "stop", "logprobs": {"content": []}}
        return 200, {"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}

    target, found = run(serve, tmp_path, [], metrics=("exact_match", "perplexity"), answer=answer)
    assert sum("echo" in body for body in target.bodies) == 2
    judged = judge(found, [])
    assert judged.verdict is Verdict.ERROR
    assert "does not echo" in judged.sentence


def test_groups_of_paired_rows_are_compared(serve, tmp_path):
    said = lambda body, _: (200, "no" if number(question(body)) % 4 == 1 else ANSWERS[question(body)])  # noqa: E731
    typed = Typed("fairness", "Counterfactual", {"pairs": {"field": "group"}})
    _, found = run(serve, tmp_path, [typed], metrics=("exact_match", "f1"), answer=said)
    fairness = found.metric("fairness")
    assert [(one.metric, one.first, one.second) for one in fairness.apart] == [
        ("exact_match", "even", "odd"),
        ("f1", "even", "odd"),
    ]
    assert fairness.interval(0.95).value == pytest.approx(0.5)  # six of twelve pairs
    assert "exact_match, even less odd is +0.5" in fairness.note
    assert judge(found, [Threshold("fairness", maximum=0.04)]).verdict is Verdict.FAIL


def test_what_a_release_was_given_is_what_groundedness_is_judged_by(serve, tmp_path):
    def answer(body, _):
        whole = completion(body, "It is so.")
        if body["prompt"].get("echo"):
            passage = f"[1] Passage about {body['prompt']['variables']['question']}"
            whole["rendered"] = [{"role": "system", "content": passage}]
        return 200, whole

    panel = serve(judging(lambda i, _: "5", logprobs=False))
    target = serve(answer)
    arm = Arm(target.url, "shop/a", "1", prompt={"id": "shop/a", "version": "v"}, variables=("question",))
    grounded = Typed("groundedness", "Judge", {}, Arm(panel.url, "shop/judge", "j"))
    _, found = run(serve, tmp_path, [grounded], arm=arm)
    assert found.metric("groundedness").target.value == 1
    form = next(question(body) for body in panel.bodies if "Evaluation form" in question(body))
    assert "[1] Passage about What is" in form
    assert "borne out" in form


def test_groundedness_of_a_bare_service_is_an_error_with_a_sentence(serve, tmp_path):
    panel = serve(judging(lambda i, _: "5"))
    _, found = run(serve, tmp_path, [Typed("groundedness", "Judge", {}, Arm(panel.url, "shop/judge", "j"))])
    assert "needs promptRef" in found.metric("groundedness").why
    assert len(panel.bodies) == 1


def test_a_form_is_a_metric_like_another(serve, tmp_path):
    typed = [
        Typed("numbered", "Regex", {"pattern": r"\d+\.$"}),
        Typed("json", "JSONSchema", {"schema": {"type": "object"}}),
    ]
    _, found = run(serve, tmp_path, typed)
    assert (found.metric("numbered").target.value, found.metric("json").target.value) == (1, 0)
    assert found.metric("numbered").kind == "proportion"
