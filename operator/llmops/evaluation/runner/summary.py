"""Answers with their marks -> results.Results: counts for pass/fail metrics, bootstrap quantiles for everything else.

Rows are paired by id, and only rows that both arms answered are compared. A row that was answered and got no mark (a
judge that could not be read, a reply without usage) is counted apart, with the reason of the first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from llmops.evaluation.intervals import Pairs
from llmops.evaluation.results import ArmResult, Measured, MetricResult, Paired, Results, SliceResult
from llmops.evaluation.rows import Row
from llmops.evaluation.run import Run
from llmops.evaluation.runner import corpus, draws, drift, groups
from llmops.evaluation.runner.answers import Answer, Answers
from llmops.evaluation.runner.draws import Statistic, short
from llmops.evaluation.runner.drift import Profile, Vectors

WORST_SLICES = 20


@dataclass(frozen=True)
class Told:
    """What a metric's makers say of it beside the marks."""

    figures: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    why: str = ""  # why there is no mark at all
    steps: str = ""  # a judge's own
    vectors: Vectors = field(default_factory=dict)  # a Drift's


def summarise(
    run: Run,
    rows: Sequence[Row],
    arms: Mapping[str, Answers],
    seconds: float,
    resumed: int = 0,
    told: Mapping[str, Told] | None = None,
    profiles: Mapping[str, Profile] | None = None,
) -> Results:
    """The whole summary."""
    told, profiles = told or {}, dict(profiles or {})
    metrics = []
    for name in run.metrics:
        more = told.get(name, Told())
        if name in {one.name for one in run.of_type("Drift")}:
            found, profile = drift.measured(name, rows, arms["target"], more.vectors, profiles.get(name), run.key)
            profiles |= {name: profile} if profile else {}
        else:
            found = _metric(name, run, rows, arms, more)
        metrics.append(found)
    return Results(
        key=run.key,
        arms={role: ArmResult(len(arm.by_id) + arm.errors, arm.errors, arm.first_error) for role, arm in arms.items()},
        metrics=tuple(metrics),
        slices=_slices(run, rows, arms["target"]),
        seconds=round(seconds, 1),
        tokens=sum(arm.tokens for arm in arms.values()),
        resumed=resumed,
        steps={name: one.steps for name, one in told.items() if one.steps},
        questions=run.questions,
        profiles=profiles,
    )


def _metric(name: str, run: Run, rows: Sequence[Row], arms: Mapping[str, Answers], told: Told) -> MetricResult:
    about, target, baseline = run.about(name), arms["target"], arms.get("baseline")
    if about.form == "groups":
        return groups.measured(name, run, rows, target)
    measured, paired = (_counted, _counted_pairs) if about.form == "proportion" else (_drawn, _drawn_pairs)
    lacking = [why for arm in arms.values() for one in arm.by_id.values() if (why := one.lacks.get(name))]
    alone = baseline is None or not any(name in one.marks for one in baseline.by_id.values())
    of_target = measured(name, run, _marked(name, rows, target))
    return MetricResult(
        name,
        about.form,
        Measured(of_target.n, of_target.value, of_target.quantiles, {**of_target.figures, **told.figures}),
        None if alone or baseline is None else measured(name, run, _marked(name, rows, baseline)),
        None
        if alone or baseline is None
        else paired(
            name,
            run,
            [
                (row, target.by_id[row.id], baseline.by_id[row.id])
                for row in rows
                if all(row.id in arm.by_id and name in arm.by_id[row.id].marks for arm in (target, baseline))
            ],
        ),
        about.less_is_better,
        len(lacking),
        lacking[0] if lacking else told.why,
        told.note,
    )


Single = Sequence[tuple[Row, Answer]]
Double = Sequence[tuple[Row, Answer, Answer]]


def _marked(name: str, rows: Sequence[Row], arm: Answers) -> Single:
    return [(row, answer) for row in rows if (answer := arm.by_id.get(row.id)) is not None and name in answer.marks]


def _counted(name: str, run: Run, answers: Single) -> Measured:
    n = len(answers)
    return Measured(n, sum(answer.marks[name] for _, answer in answers) / n if n else None)


def _counted_pairs(name: str, run: Run, answers: Double) -> Paired:
    counts: dict[tuple[bool, bool], int] = defaultdict(int)
    for _, target, baseline in answers:
        counts[bool(target.marks[name]), bool(baseline.marks[name])] += 1
    pairs = Pairs(counts[True, True], counts[True, False], counts[False, True], counts[False, False])
    return Paired(len(answers), pairs, pairs.delta if answers else None)


def _drawn(name: str, run: Run, answers: Single) -> Measured:
    if not answers:
        return Measured(0, None)
    numbers = np.array([_numbers(name, run, row, answer) for row, answer in answers])
    found = draws.measured(numbers, _statistic(name), run.key, run.about(name).unit == "")
    if run.about(name).source != "usage":
        return found
    half, most = np.quantile([answer.marks[name] for _, answer in answers], (0.5, 0.95))
    return Measured(found.n, found.value, found.quantiles, {"p50": short(half), "p95": short(most)})


def _drawn_pairs(name: str, run: Run, answers: Double) -> Paired:
    if not answers:
        return Paired(0)
    target = np.array([_numbers(name, run, row, answer) for row, answer, _ in answers])
    baseline = np.array([_numbers(name, run, row, answer) for row, _, answer in answers])
    return draws.paired(target, baseline, _statistic(name), run.key, run.about(name).unit == "")


def _numbers(name: str, run: Run, row: Row, answer: Answer) -> Sequence[float]:
    """What of one row adds up: for a mean the mark and one; for a corpus score counts; for a ratio its two sums."""
    form = run.about(name).form
    if form == "corpus":
        return corpus.numbers(name, answer.text, row.targets)
    return answer.sums[name] if form == "ratio" else (answer.marks[name], 1.0)


def _statistic(name: str) -> Statistic:
    if name in corpus.NAMES:
        return partial(corpus.scores, name)
    return draws.perplexity if name == "perplexity" else draws.mean


def _slices(run: Run, rows: Sequence[Row], target: Answers) -> tuple[SliceResult, ...]:
    """The worst slices by mean mark, and by name where they are equal. What has a unit is on no common scale."""
    metrics = [name for name in run.metrics if run.about(name).unit == ""]
    found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for row in rows:
        if answer := target.by_id.get(row.id):
            for name in run.slices:
                value = str(row.values.get(name, ""))[:100]
                for metric in metrics:
                    if metric in answer.marks:
                        found[name, value, metric].append(answer.marks[metric])
    slices = [
        SliceResult(name, value, metric, len(marks), short(sum(marks) / len(marks)))
        for (name, value, metric), marks in found.items()
    ]

    def goodness(one: SliceResult) -> float:
        return 1 - one.mean if run.about(one.metric).less_is_better else one.mean

    return tuple(sorted(slices, key=lambda one: (goodness(one), one.field, one.value, one.metric))[:WORST_SLICES])
