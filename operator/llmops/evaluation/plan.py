"""Observation -> where the EvalJob stands, which children it wants, when to look again. Pure.

The order of the questions matters: what this version cannot do is said before anything is looked for, a broken row
before a missing target (the rows are the user's to mend), and a result that exists ends the matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from llmops.api import Reason
from llmops.evaluation import children, forms
from llmops.evaluation import run as runs
from llmops.evaluation.observe import Object, Seen, ended
from llmops.evaluation.results import Results, loads
from llmops.evaluation.rows import PARQUET
from llmops.evaluation.run import Run
from llmops.evaluation.targets import Missing
from llmops.evaluation.verdict import Verdict, judge

KEEP_RESULTS = 10
LOOK_AT_UNFOLLOWED = 60.0  # seconds between looks at a dataset that carries no llmops.dev/watch label
LOOK_AT_RUNNING = 30.0  # a Job's events come by themselves; this is for one that was lost


class State(StrEnum):
    """Where an EvalJob stands."""

    TEMPLATE = "Template"
    UNSUPPORTED = "Unsupported"
    BAD_DATASET = "BadDataset"
    WAITING = "Waiting"
    RUNNING = "Running"
    FINISHED = "Finished"
    FAILED = "Failed"


@dataclass(frozen=True)
class Plan:
    """What should be, and what to say about it."""

    state: State
    reason: Reason = Reason.AS_WANTED
    sentence: str = ""
    children: tuple[Object, ...] = ()
    keep: tuple[Object, ...] = ()  # besides children: objects that are left as they are
    results: Results | None = None
    before: Results | None = None  # of the same inputs, told until a schedule's next run has its own
    progress: Mapping[str, Any] | None = None
    look_after: float | None = None


def plan(seen: Seen) -> Plan:
    """What to do about `seen`."""
    told = unsupported(seen)
    if told:
        return Plan(State.UNSUPPORTED, Reason.UNSUPPORTED, told, keep=former(seen))
    mistaken = misspelt(seen) or (f"spec.{seen.turns.problem}" if seen.turns.problem else None)
    if mistaken:
        return Plan(State.UNSUPPORTED, Reason.INVALID_SPEC, mistaken, keep=former(seen))
    broken = bad_dataset(seen)
    if broken:
        return Plan(State.BAD_DATASET, Reason.DATASET_INVALID, broken, keep=former(seen), look_after=_later(seen))
    if seen.spec.spec.target is None:
        return Plan(
            State.TEMPLATE,
            Reason.TEMPLATE,
            "this is a template: it has no target, and releases fill it in",
            look_after=_later(seen),
        )
    asked = (seen.target, seen.baseline, *seen.panel.values())
    missing = next((arm for arm in asked if isinstance(arm, Missing)), None)
    if missing or seen.run is None:
        return _waiting(seen, missing)
    if told := uncounted(seen.run):
        return Plan(State.UNSUPPORTED, Reason.INVALID_SPEC, told, keep=former(seen))
    return _run(seen, seen.run)


def _waiting(seen: Seen, missing: Missing | None) -> Plan:
    """Somebody to ask is missing; a result that is there already stays told."""
    sentence = missing.sentence if missing else "the run cannot be put together yet"
    results = _results(seen.last)
    if results is not None:
        return Plan(
            State.FINISHED,
            Reason.REFERENCE_NOT_READY,
            sentence,
            keep=former(seen),
            results=results,
            look_after=_later(seen),
        )
    return Plan(State.WAITING, Reason.REFERENCE_NOT_READY, sentence, keep=former(seen), look_after=_later(seen))


def _run(seen: Seen, run: Run) -> Plan:
    data = (seen.results or {}).get("data") or {}
    results = _results(seen.results)
    if results is not None:
        return Plan(
            State.FINISHED, keep=(*former(seen), *_present(seen.batch)), results=results, look_after=_later(seen)
        )
    failed = _failure(seen.batch)
    if failed and seen.results is not None:
        broken = runs.dataset(data).get("problem")
        return Plan(
            State.FAILED,
            Reason.DATASET_INVALID if broken else Reason.RUN_FAILED,
            f"{broken}; {_again(seen, run)}" if broken else data.get(runs.FAILURE) or failed,
            keep=(*former(seen), *_present(seen.batch, seen.results)),
            look_after=_later(seen),
        )
    if ended(seen.batch) and seen.results is None:  # somebody deleted the results: the old Job goes, and it runs again
        return Plan(
            State.RUNNING,
            Reason.IN_PROGRESS,
            "running again: the results were deleted",
            keep=former(seen),
            look_after=LOOK_AT_RUNNING,
        )
    if seen.spec.spec.suspend and seen.batch is None:
        return Plan(State.WAITING, Reason.SUSPENDED, "spec.suspend is true: nothing new begins", keep=former(seen))
    return Plan(
        State.RUNNING,
        Reason.IN_PROGRESS,
        _told(seen, run),
        children=wanted(seen, run),
        keep=(*former(seen), *_present(seen.batch, seen.input)),
        before=_before(seen, run),
        progress=runs.progress(data),
        look_after=LOOK_AT_RUNNING,
    )


def _told(seen: Seen, run: Run) -> str:
    if seen.trouble:
        return f"pod of Job {seen.namespace}/{children.run_name(seen.name, run)} does not start: {seen.trouble}"
    found = runs.dataset((seen.results or {}).get("data") or {})
    if run.source is not None and "rows" not in found:
        return found.get("problem") or f"reading the dataset: {run.source.told}"
    if run.benchmark is not None:
        return f"running {', '.join(run.benchmark.tasks)}, {run.concurrency} requests at a time"
    run = replace(run, rows=found.get("rows") or run.rows)
    return f"asking {run.questions} questions, {run.concurrency} at a time"


def _again(seen: Seen, run: Run) -> str:
    return (
        f"mend that, then delete ConfigMap {seen.namespace}/{children.run_name(seen.name, run)} to have it read again"
    )


def _before(seen: Seen, run: Run) -> Results | None:
    """What the last run of the same inputs found, where it was a time of the schedule that began this one."""
    same = (one for one in seen.others if children.inputs_of(one) == children.inputs(run))
    return _results(next(same, None)) if run.turn else None


def wanted(seen: Seen, run: Run) -> tuple[Object, ...]:
    """The run's children; the Job comes last, and neither it nor the frozen input is touched once it is there."""
    name, namespace = seen.name, seen.namespace
    built = [
        children.build_account(name, namespace),
        children.build_role(name, namespace, run),
        children.build_role_binding(name, namespace),
        children.build_results(name, namespace, run),
    ]
    if run.keep_seconds is not None:
        built.append(children.build_logs(name, namespace))
    if seen.input is None:
        built.append(
            children.build_input(
                name, namespace, run, seen.dataset.text, known(seen, run), profiles(seen, run), _scorers(seen)
            )
        )
    if seen.batch is None:
        built.append(children.build_job(name, namespace, run, seen.settings))
    return tuple(built)


def _scorers(seen: Seen) -> Mapping[str, str]:
    return {name: one.text for name, one in seen.scorers.items()}


def known(seen: Seen, run: Run) -> dict[str, Any]:
    """Results to take over if the rows behind the address turn out to be theirs; a schedule means to pay again."""
    found: dict[str, Any] = {}
    for one in seen.others if run.source and not run.turn else ():
        told, results = runs.dataset(one["data"]), _results(one)
        if results is None or judge(results, ()).verdict is Verdict.ERROR or "sha256" not in told:
            continue
        if told.get("content") == runs.content_key(run, told["sha256"]):
            found.setdefault(told["sha256"], {"name": one["metadata"]["name"], "results": one["data"][runs.RESULTS]})
    return found


def profiles(seen: Seen, run: Run) -> Mapping[str, Any]:
    """What the newest run of the same inputs compared with, for this one to compare with it as well."""
    same = (_results(one) for one in seen.others if children.inputs_of(one) == children.inputs(run))
    return next((one.profiles for one in same if one and one.profiles), {})


def former(seen: Seen) -> tuple[Object, ...]:
    """The results that are kept, so that the same key is not run again: the newest few."""
    return tuple(dict(one) for one in seen.others[:KEEP_RESULTS])


def unsupported(seen: Seen) -> str | None:
    """What this version cannot do, named; nothing is ignored in silence."""
    if seen.scorers and not seen.settings.custom_scorers:
        return (
            f"metric {next(iter(seen.scorers))} is Python of yours, which is not allowed here: the operator's admin "
            "allows it with LLMOPS_CUSTOM_SCORERS=true"
        )
    if seen.dataset.form == PARQUET and seen.dataset.source is None:
        what = "Parquet in a ConfigMap, which holds texts (put the file on a volume, on the web or into a bucket)"
        return f"not available: {what}"
    return None


def misspelt(seen: Seen) -> str | None:
    """The pattern, schema or scorer that no answer could be held to."""
    lacking = next((f"metric {name}: {one.problem}" for name, one in seen.scorers.items() if one.problem), None)
    if lacking:
        return lacking
    for metric in seen.spec.spec.metrics:
        if metric.type in ("Regex", "JSONSchema"):
            try:
                forms.compiled(metric.type, metric.wire())
            except forms.FormError as problem:
                return f"metric {metric.name}: {problem}"
    return None


def uncounted(run: Run) -> str | None:
    """Why nobody would know when the budget is spent."""
    for arm in (*run.arms.values(), *run.panel) if run.budget is not None else ():
        if arm.price is None:
            return f"spec.budget cannot be counted: {arm.unpriced}"
        if arm.price.currency != run.currency:
            theirs = arm.price.currency
            return f"spec.budget is in {run.currency}, and {arm.model} has its prices in {theirs}: write the same"
    return None


def bad_dataset(seen: Seen) -> str | None:
    """Why the rows cannot be used."""
    if seen.dataset.problem:
        return seen.dataset.problem
    return seen.dataset.rows.told if seen.dataset.rows and seen.dataset.rows.problems else None


def _results(config_map: Mapping[str, Any] | None) -> Results | None:
    text = ((config_map or {}).get("data") or {}).get(runs.RESULTS)
    try:
        return loads(text) if text else None
    except ValueError:  # of another version of this program: measure again
        return None


def _failure(batch: Mapping[str, Any] | None) -> str | None:
    """The Job's own words when it has failed for good, or has ended without results."""
    condition = ended(batch)
    if condition is None:
        return None
    if condition["type"] == "Complete":
        return "the Job ended well but left no results that can be read; delete it to run again"
    if condition.get("reason") == "DeadlineExceeded":
        return "the run did not end within spec.timeout; raise it, or ask fewer rows (spec.dataset.limit)"
    return f"the Job failed ({condition.get('reason')}): {condition.get('message')}"


def _present(*objects: Mapping[str, Any] | None) -> tuple[Object, ...]:
    return tuple(dict(one) for one in objects if one is not None)


def _later(seen: Seen) -> float | None:
    followed = seen.dataset.followed and all(one.followed for one in seen.scorers.values())
    return None if followed else LOOK_AT_UNFOLLOWED
