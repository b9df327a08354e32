"""Pages for colleagues: what they say is what the status says, nothing is fetched, and nothing in an answer can act."""

from __future__ import annotations

import copy
from html.parser import HTMLParser
from typing import Any

import pytest

from llmops.desk.pages import evaluation, rollout
from llmops.desk.pages.page import toward, whisker

Object = dict[str, Any]
HOSTILE = "<script>alert('x')</script>&\"'"


class Read(HTMLParser):
    """A page's text, its elements, and every address in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags, self.addresses = "", list[str](), list[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def job(name: str = "quality", **status: Any) -> Object:
    told: Object = {
        "phase": "Succeeded", "verdict": "Pass", "dataset": {"sha256": "ab" * 32, "rows": 252},
        "conditions": [{"type": "ThresholdsMet", "status": "True", "message": f"met {HOSTILE}"}],
        "metrics": [
            {"name": "exact_match", "value": "0.9120", "low": "0.8840", "high": "0.9350", "n": 252, "note": HOSTILE},
            {"name": "latency", "value": "0.41", "low": "0.39", "high": "0.44", "lessIsBetter": True, "n": 252,
             "p95": "0.71"},
        ],
        "comparisons": [{"metric": "exact_match", "delta": "-0.004", "low": "-0.02", "high": "0.01", "p": "0.6"}],
        "slices": [{"field": "topic", "value": HOSTILE, "metric": "exact_match", "measured": "0.5", "n": 4}],
        **status,
    }  # fmt: skip
    thresholds = [{"metric": "exact_match", "min": "0.80"}, {"metric": "exact_match", "maxDrop": "0.02"},
                  {"metric": "latency", "max": "1"}]  # fmt: skip
    spec = {"target": {"promptRef": {"name": "answer", "version": "2.0.0"}}, "thresholds": thresholds}
    return {"kind": "EvalJob", "metadata": {"name": name, "namespace": "shop"}, "spec": spec, "status": told}


def release(**status: Any) -> Object:
    evidence = {"signal": "Feedback", "stable": "30/1204", "candidate": "22/412", "eValue": "9.5", "rollbackAt": "80",
                "notWorse": "0.2", "advanceAt": "40"}  # fmt: skip
    told: Object = {
        "phase": "Canary", "stable": {"version": "1.0.0", "digest": "a" * 64, "since": "2026-11-25T08:00:00Z"},
        "candidate": {"version": "2.0.0", "digest": "b" * 64, "weight": 25, "units": 412, "evidence": [evidence]},
        "conditions": [{"type": "Ready", "status": "False", "message": "at 25%, waiting"}],
        "history": [{"version": HOSTILE, "outcome": "Rejected", "message": HOSTILE, "at": "2026-11-25T08:30:00Z"}],
        **status,
    }  # fmt: skip
    return {"kind": "PromptRelease", "metadata": {"name": "answer", "namespace": "shop"}, "status": told}


EVENT = {"eventTime": "2026-11-25T09:00:00.1Z", "reason": "StepBegun", "note": f"10% {HOSTILE}", "type": "Normal",
         "series": {"count": 3}}  # fmt: skip
WORST = {"id": "r7", "input": "When?", "targets": ["at noon"], "target": {"answer": "at ten", "marks": {"f1": 0.5}},
         "baseline": {"answer": "at one", "marks": {"f1": 0.25}}}  # fmt: skip
PAGES = {
    "an evaluation": lambda: evaluation.page(job()),
    "its worst rows": lambda: evaluation.page(job(), [{**WORST, "input": HOSTILE}]),
    "several": lambda: evaluation.matrix([job(), job("other")]),
    "a release": lambda: rollout.page(release(), [EVENT]),
}


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_fetched_and_nothing_that_somebody_wrote_can_act(page: str) -> None:
    read = Read(PAGES[page]())
    assert "script" not in read.tags
    assert read.addresses == []
    assert page == "several" or HOSTILE in read.text  # it is shown, as the text that it is


def test_an_evaluation_says_what_was_wanted_and_what_was_measured() -> None:
    text = Read(evaluation.page(job())).text
    for said in ("answer 2.0.0", "Pass", "at least 0.80 (at confidence 0.95)", "0.8840 … 0.9350", "p95 0.71",
                 "no more than 0.02 worse than the baseline", "-0.02 … 0.01", "at most 1", "ab" * 32):  # fmt: skip
        assert said in text


def test_the_worst_rows_stand_there_with_both_answers_or_with_the_one_there_is() -> None:
    read = Read(evaluation.page(job(), [WORST]))
    for said in ("r7", "When?", "at noon", "at ten", "f1 0.5", "at one", "f1 0.25", "the baseline answered"):
        assert said in read.text
    alone = Read(evaluation.page(job(), [{name: WORST[name] for name in ("id", "input", "targets", "target")}]))
    assert "at ten" in alone.text
    assert "the baseline answered" not in alone.text
    assert "The worst rows" not in Read(evaluation.page(job())).text


@pytest.mark.parametrize("status", [None, {"phase": "Pending"}, {"metrics": [{"name": "bleu"}]}, {"phase": "Running"}])
def test_what_is_not_known_yet_is_no_error(status: Object | None) -> None:
    one = job()
    one["status"] = status
    assert "EvalJob" in Read(evaluation.page(one)).text
    assert Read(evaluation.matrix([one, job()])).text
    told = release()
    told["status"] = status
    assert "Nothing yet." in Read(rollout.page(told)).text


def bold(page: str) -> list[str]:
    return [part.split("</b>")[0] for part in page.split("<b>")[1:]]


def test_only_what_is_surely_better_on_the_same_rows_is_marked() -> None:
    worse = job("worse")
    worse["status"]["metrics"] = [
        {"name": "exact_match", "value": "0.90", "low": "0.87", "high": "0.93"},
        {"name": "latency", "value": "0.9", "low": "0.8", "high": "1.0", "lessIsBetter": True},
    ]
    assert bold(evaluation.matrix([job(), worse])) == ["0.41"]  # 0.90 lies within the other's interval
    other = copy.deepcopy(worse)
    other["status"]["dataset"]["sha256"] = "cd" * 32
    assert bold(evaluation.matrix([job(), other])) == []
    assert "They did not run over the same rows" in evaluation.matrix([job(), other])


def test_a_release_tells_its_evidence_and_what_happened_newest_first() -> None:
    text = Read(rollout.page(release(), [EVENT])).text
    for said in (
        "Canary",
        "25% of users, 412 met it",
        "9.5 of 80",
        "0.2 of 40",
        "22/412",
        "(3 times)",
        "at 25%, waiting",
    ):
        assert said in text
    assert text.index("StepBegun") < text.index("rejected")


def width(drawing: str) -> float:
    return float(drawing.split('x2="')[-1].split('"')[0])


def test_drawings_stay_within_their_frame_and_are_left_out_where_a_number_is_missing() -> None:
    assert whisker({"value": "nan", "low": "0", "high": "1"}, 0, 1) == ""
    assert whisker({"value": "0.5"}, 0, 1) == ""
    assert 'cx="156.0"' in whisker({"value": "7", "low": "6", "high": "9"}, 0, 1)
    assert toward("none", "80") == ""
    assert [width(str(toward(value, "80"))) for value in ("0", "0.5", "80", "1e9")] == [0.0, 0.0, 160.0, 160.0]
    assert 70 < width(str(toward("9.5", "80"))) < 90
