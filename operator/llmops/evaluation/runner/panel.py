"""What other models say of the answers: judges, comparisons, embeddings, and the target itself of the right answers.

It comes after all answers, so that judging is no part of the target's latency, in two rounds of Inspect tasks, each
resumed from its own log: first what everything else rests on (a judge's evaluation steps, whether a server echoes),
then a task a metric and arm. A row that cannot be marked says why; it is never marked as wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmops.evaluation.rows import Row
from llmops.evaluation.run import Run
from llmops.evaluation.runner import echo, seats
from llmops.evaluation.runner.answers import Answer, Answers
from llmops.evaluation.runner.ask import through
from llmops.evaluation.runner.draws import MOST_EXPONENT
from llmops.evaluation.runner.kappa import agreement
from llmops.evaluation.runner.progress import Progress
from llmops.evaluation.runner.summary import Told
from llmops.geval import Judge

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.log import EvalLog, EvalSample

Arms = dict[str, Answers]
LIKELIHOOD = "likelihood"
MOST_STEPS = 2000  # characters: the results must fit a ConfigMap, with 32 judges too
_RELEASE = "a prompt release renders its own messages, so a text's probability cannot be asked of it: name its service"


def judged(
    run: Run, rows: Sequence[Row], arms: Mapping[str, Answers], logs: Path, progress: Progress
) -> tuple[Arms, dict[str, Told]]:
    """The answers with the panel's marks, and what is to be told of each metric."""
    judges = {one.name: Judge.of(one.name, one.settings) for one in run.of_type("Judge")}
    first = through(_first(run, judges, progress), logs / "first", run.concurrency, 1, progress.purse)
    if progress.purse.ended:
        return dict(arms), {}
    steps = {name: _said(first[f"steps of {name}"]) for name in judges}
    silent = {name: _silent(first[f"steps of {name}"]) for name in judges}
    refused = _unbelieved(run, first)
    second = through(
        _second(run, rows, arms, steps, refused, progress), logs / "second", run.concurrency, len(rows), progress.purse
    )
    found, told = dict(arms), _unpriced(run)
    for role in run.arms:
        if reads := run.reading("likelihood"):
            found[role] = _likely(found[role], reads, second.get(f"{LIKELIHOOD} of the {role}"), refused.get(role, ""))
        for one in (*run.of_type("Similarity"), *run.of_type("Judge")):
            found[role] = _marked(found[role], one.name, second.get(f"{one.name} of the {role}"), silent.get(one.name))
    for one in run.of_type("Pairwise"):
        log = second.get(f"{one.name} of both")
        if log is None:
            lacks = "no row was answered by both" if run.baseline else "there is no baseline: write spec.baseline"
            told[one.name] = Told(why=lacks)
        else:
            found["target"] = _marked(found["target"], one.name, log)
            told[one.name] = _told_of_pairs(log)
    for one in run.of_type("Drift"):
        told[one.name] = Told(vectors=seats.vectors_of(second.get(f"{one.name} of the target")))
    for name, judge in judges.items():
        told[name] = _told_of_judge(judge, rows, second.get(f"{name} of the target"), steps[name])
    return found, told


def _first(run: Run, judges: Mapping[str, Judge], progress: Progress) -> list[Task]:
    tasks = [seats.steps_task(one, judges[one.name], progress) for one in run.of_type("Judge")]
    if run.reading("likelihood"):
        tasks += [seats.probe_task(role, arm, progress) for role, arm in run.arms.items() if arm.prompt is None]
    return tasks


def _second(
    run: Run,
    rows: Sequence[Row],
    arms: Mapping[str, Answers],
    steps: Mapping[str, str],
    refused: Mapping[str, str],
    progress: Progress,
) -> list[Task]:
    tasks: list[Task] = []
    for role, arm in run.arms.items():
        answered = [(row, arms[role].by_id[row.id]) for row in rows if row.id in arms[role].by_id]
        if not answered:
            continue
        if run.reading("likelihood") and role not in refused:
            tasks.append(seats.likelihood_task(f"{LIKELIHOOD} of the {role}", arm, answered, progress))
        tasks += [
            seats.similarity_task(f"{one.name} of the {role}", one, answered, progress)
            for one in run.of_type("Similarity")
        ]
        tasks += [
            seats.judge_task(f"{one.name} of the {role}", one, steps[one.name], answered, run.key, progress)
            for one in run.of_type("Judge")
            if steps[one.name]
        ]
    answered = [(row, arms["target"].by_id[row.id]) for row in rows if row.id in arms["target"].by_id]
    drifts = [one for one in run.of_type("Drift") if one.arm is not None and answered]
    tasks += [seats.topics_task(f"{one.name} of the target", one, answered, progress) for one in drifts]
    if run.baseline is not None:
        target, baseline = arms["target"].by_id, arms["baseline"].by_id
        both = [(row, target[row.id], baseline[row.id]) for row in rows if row.id in target and row.id in baseline]
        tasks += [
            seats.pairwise_task(f"{one.name} of both", one, both, run.key, progress)
            for one in run.of_type("Pairwise")
            if both
        ]
    return tasks


def _said(log: EvalLog) -> str:
    """A judge's evaluation steps; nothing where it could not be asked."""
    return next((sample.output.completion.strip()[:MOST_STEPS] for sample in log.samples or [] if not sample.error), "")


def _silent(log: EvalLog) -> str:
    """Why there are none."""
    error = next((sample.error.message[:300] for sample in log.samples or [] if sample.error), "it wrote nothing")
    return f"the judge gave no evaluation steps: {error}"


def _unbelieved(run: Run, first: Mapping[str, EvalLog]) -> dict[str, str]:
    """The arms whose echo cannot be used, and why."""
    if not run.reading("likelihood"):
        return {}
    told: dict[str, str] = {}
    for role, arm in run.arms.items():
        if arm.prompt is not None:
            told[role] = _RELEASE
            continue
        try:
            probes = [_read(sample) for sample in first[f"probe of the {role}"].samples or []]
            echo.believed(*probes)
        except echo.NoEcho as why:
            told[role] = str(why)
    return told


def _read(sample: EvalSample) -> echo.Read:
    if sample.error is not None:
        raise echo.NoEcho(f"the server refused: {sample.error.message[:200]}")
    said = sample.metadata
    return echo.read((sample.output.metadata or {})["echo"], said["prompt"], said["begin"])


def _likely(arm: Answers, reads: Sequence[str], log: EvalLog | None, refused: str) -> Answers:
    by_id = {str(sample.id): sample for sample in (log.samples if log else None) or []}

    def known(name: str, answer: Answer) -> Answer:
        if name not in by_id:
            return answer.with_marks({}, dict.fromkeys(reads, refused or "not asked"))
        try:
            sums = _read(by_id[name]).marks
        except echo.NoEcho as why:
            return answer.with_marks({}, dict.fromkeys(reads, str(why)))
        logprob, tokens = sums["perplexity"]
        marks = {
            "perplexity": math.exp(min(-logprob / tokens, MOST_EXPONENT)),
            "next_token_accuracy": sums["next_token_accuracy"][0] / tokens,
        }
        return answer.with_marks({one: marks[one] for one in reads}, {}, {one: sums[one] for one in reads})

    return replace(arm, by_id={name: known(name, answer) for name, answer in arm.by_id.items()})


def _marked(arm: Answers, name: str, log: EvalLog | None, silent: str | None = None) -> Answers:
    """An arm's answers with the marks of one metric from its task's log."""
    by_id = {str(sample.id): sample for sample in (log.samples if log else None) or []}

    def known(key: str, answer: Answer) -> Answer:
        if log is not None and key not in by_id:
            return answer  # of a comparison: the other arm did not answer
        mark, why = seats.mark_of(by_id[key]) if key in by_id else (None, silent or "not asked")
        return answer.with_marks({name: mark}) if mark is not None else answer.with_marks({}, {name: why})

    return replace(arm, by_id={key: known(key, answer) for key, answer in arm.by_id.items()})


def _unpriced(run: Run) -> dict[str, Told]:
    if "cost" not in run.metrics:
        return {}
    why = next((arm.unpriced for arm in run.arms.values() if arm.price is None), "")
    currency = run.target.price.currency if run.target.price else ""
    return {"cost": Told(note=f"{currency} an answer" if currency else "", why=why)}


def _told_of_judge(judge: Judge, rows: Sequence[Row], log: EvalLog | None, steps: str) -> Told:
    """The raw mean on the scale, the judge's own spread, and its agreement with people."""
    scores = {str(sample.id): seats.scores_of(sample) for sample in (log.samples if log else None) or []}
    read = {key: each for key, each in scores.items() if each}
    if not read:
        return Told(steps=steps)
    means = {key: sum(each) / len(each) for key, each in read.items()}
    raw = sum(means.values()) / len(means)
    figures: dict[str, Any] = {"raw": round(raw, 4)}
    notes = [f"raw mean {raw:.2f} on {judge.lowest} to {judge.highest}"]
    several = [each for each in read.values() if len(each) > 1]
    if several:
        variances = [sum((one - sum(each) / len(each)) ** 2 for one in each) / (len(each) - 1) for each in several]
        figures["spread"] = round(math.sqrt(sum(variances) / len(variances)), 4)
        notes.append(f"one answer's scores spread by {figures['spread']:.2f} (standard deviation)")
    if judge.labels:
        labels = {row.id: row.values.get(judge.labels) for row in rows}
        more, note = agreement(judge, [(mean, labels.get(key)) for key, mean in means.items()])
        figures |= more
        notes.append(note)
    return Told(figures, "; ".join(notes), steps=steps)


def _told_of_pairs(log: EvalLog) -> Told:
    marks = [mark for sample in log.samples or [] if (mark := seats.mark_of(sample)[0]) is not None]
    wins, losses = marks.count(1.0), marks.count(0.0)
    ties = len(marks) - wins - losses
    figures = {"wins": float(wins), "ties": float(ties), "losses": float(losses)}
    return Told(figures, f"{wins} won, {ties} tied, {losses} lost, each asked in both orders")
