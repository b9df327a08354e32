"""Benchmarks: what the suite returned (lm-eval 0.4.13, recorded) -> results, and how its Job is made."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmops.api import EvalJob, Settings
from llmops.evaluation import run as runs
from llmops.evaluation.observe import DatasetSeen, Seen, build_run
from llmops.evaluation.plan import State, plan
from llmops.evaluation.results import ArmResult, loads
from llmops.evaluation.run import Arm, Benchmark, Run
from llmops.evaluation.runner import benchmark, echo
from llmops.evaluation.targets import Resolved
from llmops.evaluation.verdict import Threshold, Verdict, judge

TOLD = json.loads((Path(__file__).parents[2] / "data/lm_eval_told.json").read_text())
ARM = Arm("http://gateway/v1", "shop/support", "digest", token=True)


def run(*tasks, **more):
    return Run("shop/mmlu", "", 0, (), ARM, key="ab" * 32, benchmark=Benchmark(tasks), **more)


def added_up(*tasks, baseline=None, note=""):
    found = {"target": TOLD} | ({"baseline": baseline} if baseline else {})
    arms = {role: ArmResult(*benchmark._rows(one), None) for role, one in found.items()}
    return benchmark.added_up(run(*tasks), found, arms, note)


def test_a_task_that_passes_or_fails_rows_is_counted_and_a_row_that_erred_is_no_wrong_answer():
    results = added_up("larch_returns")
    metric = results.metric("larch_returns_exact_match")
    assert (metric.kind, metric.target.n, round(metric.target.value, 4)) == ("proportion", 9, 0.6667)
    assert results.arms["target"].errors == 2  # one of larch_words, too
    assert TOLD["results"]["larch_returns"]["exact_match,none"] == 0.6  # the suite's own, with the failed row as wrong
    assert loads(results.dumps()) == results


def test_a_group_with_a_score_is_told_with_its_tasks_as_slices_the_worst_first():
    results = added_up("larch_desk")
    assert [one.name for one in results.metrics] == ["larch_desk_exact_match"]
    assert results.metric("larch_desk_exact_match").target.n == 13
    assert [(one.value, one.n) for one in results.slices] == [("larch_returns", 9), ("larch_delivery", 4)]


def test_a_group_without_one_is_its_members():
    names = [one.name for one in added_up("larch_all").metrics]
    assert names == [
        "larch_desk_exact_match",
        "mmlu_abstract_algebra_acc",
        "larch_fluency_word_perplexity",
        "larch_fluency_bits_per_byte",
    ]


def test_a_score_of_the_whole_text_keeps_the_suite_s_own_error():
    metric = added_up("larch_words").metric("larch_words_bleu")
    interval = metric.interval(0.95)
    assert (metric.kind, round(interval.value, 3)) == ("mean", 62.681)
    assert interval.high - interval.value == pytest.approx(1.96 * 17.231155, rel=0.01)


def test_a_score_without_an_error_is_said_and_decides_nothing():
    results = added_up("larch_fluency")
    metric = results.metric("larch_fluency_word_perplexity")
    assert metric.less_is_better
    assert metric.why.startswith("the suite says 14.3919, with neither rows")
    assert judge(results, [Threshold(metric.name, maximum=20)]).verdict is Verdict.ERROR


def test_a_threshold_on_what_the_suite_does_not_tell_names_what_it_does():
    healthy = added_up("mmlu_abstract_algebra", "larch_delivery")
    healthy = replace(healthy, arms={"target": ArmResult(16, 0)})
    judged = judge(healthy, [Threshold("mmlu", minimum=0.5)])
    assert judged.verdict is Verdict.ERROR
    assert judged.sentence.endswith("what was: mmlu_abstract_algebra_acc, larch_delivery_exact_match")
    assert judge(healthy, [Threshold("mmlu_abstract_algebra_acc", minimum=0.7)]).verdict is Verdict.PASS


def test_target_and_baseline_are_paired_by_document():
    worse = copy.deepcopy(TOLD)
    for sample in worse["samples"]["mmlu_abstract_algebra"][:4]:
        sample["acc"] = 0.0
    worse["results"]["mmlu_abstract_algebra"]["acc,none"] = 8 / 12
    paired = added_up("mmlu_abstract_algebra", baseline=worse).metric("mmlu_abstract_algebra_acc").paired
    assert (paired.n, paired.counts.only_target, paired.counts.only_baseline) == (12, 4, 0)
    assert paired.delta == pytest.approx(4 / 12)


def test_only_what_rests_on_log_probabilities_carries_the_note_on_them():
    results = added_up("mmlu_abstract_algebra", "larch_returns", note="looked up")
    assert [one.note for one in results.metrics] == ["looked up", ""]


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("mmlu", "acc", ""), "mmlu_acc"),
        (("gsm8k", "exact_match", "strict-match"), "gsm8k_exact_match_strict_match"),
        (("leaderboard_bbh_Boolean", "acc_norm"), "leaderboard_bbh_boolean_acc_norm"),
    ],
)
def test_a_metric_s_name_can_be_written_in_a_threshold(parts, name):
    assert benchmark.named(*parts) == name
    assert len(benchmark.named("a" * 100, "acc")) == 63
    assert benchmark.named("a" * 100, "acc") != benchmark.named("a" * 101, "acc")


@pytest.mark.parametrize(
    "told",
    [
        SimpleNamespace(top_logprobs=[{" A": -0.1, " B": -3.0}]),
        SimpleNamespace(
            top_logprobs=None,
            model_extra={
                "content": [
                    {"token": " A", "top_logprobs": [{"token": " A", "logprob": -0.1}, {"token": " B", "logprob": -3}]}
                ]
            },
        ),
    ],
)
def test_the_likely_next_tokens_are_read_in_both_forms_that_servers_have(told):
    assert echo.next_tokens(told) == {" A": -0.1, " B": -3.0}
    assert echo.next_tokens(SimpleNamespace(top_logprobs=None, model_extra=None)) == {}


def seen(**asked):
    whole = {
        "apiVersion": "llmops.dev/v1alpha1",
        "kind": "EvalJob",
        "metadata": {"name": "mmlu", "namespace": "shop", "generation": 1},
        "spec": {"target": {"serviceRef": {"name": "support"}}, "benchmark": {"tasks": ["mmlu"], **asked}},
    }
    one = Seen(whole, EvalJob.model_validate(whole), Settings(), DatasetSeen(), Resolved(ARM))
    return replace(one, run=build_run(one))


def test_its_job_has_the_suite_s_image_and_the_datasets_mounted_read_only():
    wanted = plan(seen(claim="benchmarks", shots=5, limit=100))
    pod = next(one for one in wanted.children if one["kind"] == "Job")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert wanted.state is State.RUNNING
    assert wanted.sentence == "running mmlu, 8 requests at a time"
    assert container["image"] == "llmops/benchmark:dev"
    assert {"name": "dataset", "mountPath": "/dataset", "readOnly": True} in container["volumeMounts"]
    assert [one["name"] for one in container["env"]] == ["HOME", "NLTK_DATA"]
    assert container["resources"]["limits"] == {"memory": "8Gi"}
    given = next(one for one in wanted.children if one["metadata"]["name"].endswith("-in"))["data"]["run.json"]
    assert runs.loads(given).benchmark == Benchmark(("mmlu",), "benchmarks", 5, 100)


def test_without_a_volume_datasets_come_from_the_hub_or_its_mirror():
    pod = next(one for one in plan(seen()).children if one["kind"] == "Job")["spec"]["template"]["spec"]
    assert {"name": "HF_ENDPOINT", "value": "https://huggingface.co"} in pod["containers"][0]["env"]
    assert "dataset" not in {one["name"] for one in pod["volumes"]}


def test_other_tasks_shots_or_rows_are_another_run():
    asked: list[dict[str, Any]] = [{}, {"tasks": ["gsm8k"]}, {"shots": 0}, {"limit": 5}, {"claim": "a"}, {"chat": True}]
    assert len({seen(**one).run.key for one in asked}) == len(asked)
