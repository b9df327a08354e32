"""Observation + plan -> the EvalJob's status. Pure. Thresholds are judged here, from stored results, at every look."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from math import floor, log10
from typing import Any

from llmops.api import ConditionType, Reason
from llmops.api.metric import Threshold as ThresholdSpec
from llmops.control import conditions, turns
from llmops.control.conditions import Condition
from llmops.evaluation import run as runs
from llmops.evaluation.children import run_name
from llmops.evaluation.intervals import Interval
from llmops.evaluation.observe import Raw, Seen
from llmops.evaluation.plan import KEEP_RESULTS, Plan, State
from llmops.evaluation.results import MetricResult, Results
from llmops.evaluation.trend import finished, trend
from llmops.evaluation.verdict import Judged, Threshold, Verdict, erring, judge

PHASES = {State.FINISHED: "Succeeded", State.FAILED: "Failed", State.RUNNING: "Running"}
STUCK = frozenset({State.UNSUPPORTED, State.BAD_DATASET, State.FAILED})
CONFIDENCE = 0.95
"""Of the intervals shown; a threshold has its own."""
NOTE = 512


def status(seen: Seen, plan: Plan, now: datetime) -> dict[str, Any]:
    """The whole status."""
    judged = _judged(seen, plan)
    old = (seen.job.get("status") or {}).get("conditions") or []
    told: dict[str, Any] = {
        "phase": _phase(plan),
        "verdict": judged.verdict.value if judged else None,
        "conditions": conditions.merge(old, _conditions(seen, plan, judged), seen.spec.metadata.generation, now),
        **_run_fields(seen, plan),
        **_schedule(seen),
        **_measured(plan.results or plan.before),
    }
    return {name: value for name, value in told.items() if value is not None}


def _phase(plan: Plan) -> str | None:
    if plan.state is State.TEMPLATE:
        return None
    if plan.state is State.RUNNING and plan.progress is None:
        return "Pending"
    return PHASES.get(plan.state, "Pending")


def _run_fields(seen: Seen, plan: Plan) -> dict[str, Any]:
    """Which run is spoken of, and how far it is."""
    if plan.results is not None:
        arms = plan.results.arms.values()
        total = plan.results.questions or sum(arm.rows for arm in arms)
        name = ((seen.results or seen.last or {}).get("metadata") or {}).get("name")
        return {
            "runKey": plan.results.key,
            "results": name,
            "progress": {
                "done": total,
                "total": total,
                "errors": sum(arm.errors for arm in arms),
                "etaSeconds": 0,
                **({"cost": f"{plan.results.cost:.4f}"} if plan.results.cost else {}),
            },
            **_times(seen.results or seen.last or {}),
            **_dataset(seen, seen.results or seen.last or {}),
        }
    if seen.run is None or plan.state not in (State.RUNNING, State.FAILED):
        return {}
    rows = seen.run.rows or _told(seen.results or {}).get("rows") or 0
    questions = replace(seen.run, rows=rows).questions
    progress = plan.progress or {"done": 0, "total": questions, "errors": 0}
    return {
        **_times(seen.results or {}),
        **_dataset(seen, seen.results or {}),
        "runKey": seen.run.key,
        "results": run_name(seen.name, seen.run),
        "progress": {name: value for name, value in progress.items() if value is not None},
    }


def _told(config_map: Raw) -> Raw:
    return runs.dataset(config_map.get("data") or {})


def _times(config_map: Raw) -> dict[str, str]:
    """Of a run, by the ConfigMap that was made for it."""
    began, ended = config_map.get("metadata", {}).get("creationTimestamp"), finished(config_map)
    return {**({"startedAt": began} if began else {}), **({"finishedAt": ended} if ended else {})}


def _dataset(seen: Seen, config_map: Raw) -> dict[str, Any]:
    """As the run found it; before that, as the operator reads it."""
    told, rows = _told(config_map), seen.dataset.rows
    if "sha256" in told:
        return {"dataset": {"sha256": told["sha256"], "rows": told["rows"]}}
    return {"dataset": {"sha256": rows.sha256, "rows": len(rows.rows)}} if rows and not rows.problems else {}


def _schedule(seen: Seen) -> dict[str, Any]:
    thresholds = seen.spec.spec.thresholds
    return {
        **({"lastScheduleTime": seen.turns.now} if seen.turns.now else {}),
        **({"nextRun": turns.write(seen.turns.next)} if seen.turns.next else {}),
        "trend": trend(
            seen.others[:KEEP_RESULTS],
            lambda results: judge(results, [_threshold(one) for one in thresholds]).verdict,
            tuple(dict.fromkeys(one.metric for one in thresholds)),
        ),
    }


def _judged(seen: Seen, plan: Plan) -> Judged | None:
    if plan.state is State.FAILED:
        return Judged(Verdict.ERROR, plan.sentence)
    results = plan.results or plan.before
    return judge(results, [_threshold(one) for one in seen.spec.spec.thresholds]) if results else None


def _threshold(spec: ThresholdSpec) -> Threshold:
    return Threshold(spec.metric, _number(spec.min), _number(spec.max_drop), float(spec.confidence), _number(spec.max))


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)


def _conditions(seen: Seen, plan: Plan, judged: Judged | None) -> list[Condition]:
    return [
        *_summary(plan, judged),
        _dataset_valid(seen, plan),
        _target_reachable(plan),
        _complete(seen, plan),
        _thresholds_met(judged),
    ]


def _summary(plan: Plan, judged: Judged | None) -> list[Condition]:
    """Ready, Reconciling and Stalled."""
    well = plan.state is State.TEMPLATE or (judged is not None and judged.verdict is not Verdict.ERROR)
    stuck = plan.state in STUCK or (judged is not None and judged.verdict is Verdict.ERROR)
    reason, sentence = plan.reason, plan.sentence
    if (plan.state is State.FINISHED or plan.before) and judged is not None:
        reason, sentence = VERDICT_REASONS[judged.verdict], judged.sentence
    working = not well and not stuck
    return [
        Condition(ConditionType.READY, "True" if well else "False", reason, sentence),
        Condition(ConditionType.RECONCILING, "True" if working else "False", reason, sentence if working else ""),
        Condition(ConditionType.STALLED, "True" if stuck else "False", reason, sentence if stuck else ""),
    ]


VERDICT_REASONS = {
    Verdict.PASS: Reason.THRESHOLDS_MET,
    Verdict.FAIL: Reason.THRESHOLD_MISSED,
    Verdict.INCONCLUSIVE: Reason.THRESHOLD_UNDECIDED,
    Verdict.ERROR: Reason.RUN_ERRORS,
}


def _dataset_valid(seen: Seen, plan: Plan) -> Condition:
    if plan.reason is Reason.DATASET_INVALID:
        return Condition(ConditionType.DATASET_VALID, "False", Reason.DATASET_INVALID, plan.sentence)
    told = _told(seen.results or {})
    if seen.dataset.source is not None and "rows" in told:
        sentence = f"{told['rows']} rows {told.get('note', '')}".rstrip()
        return Condition(ConditionType.DATASET_VALID, "True", Reason.AS_WANTED, sentence)
    if seen.spec.spec.benchmark is not None:
        sentence = f"{told['rows']} rows of the suite's" if "rows" in told else "the suite has rows of its own"
        return Condition(ConditionType.DATASET_VALID, "True", Reason.AS_WANTED, sentence)
    if seen.dataset.rows is None:
        return Condition(ConditionType.DATASET_VALID, "Unknown", plan.reason, "no rows were read")
    return Condition(ConditionType.DATASET_VALID, "True", Reason.AS_WANTED, f"{len(seen.dataset.rows.rows)} rows")


def _target_reachable(plan: Plan) -> Condition:
    if plan.reason is Reason.REFERENCE_NOT_READY:
        return Condition(ConditionType.TARGET_REACHABLE, "False", plan.reason, plan.sentence)
    results = plan.results or plan.before
    if results is None:
        return Condition(ConditionType.TARGET_REACHABLE, "Unknown", plan.reason, "nothing was asked yet")
    told = erring(results)
    if told:
        return Condition(ConditionType.TARGET_REACHABLE, "False", Reason.RUN_ERRORS, told)
    return Condition(ConditionType.TARGET_REACHABLE, "True", Reason.AS_WANTED, "the questions were answered")


def _complete(seen: Seen, plan: Plan) -> Condition:
    if plan.results is not None and (same := _told(seen.results or {}).get("sameAs")):
        sentence = f"nobody was asked: the same rows were measured before, and the results are those of {same}"
        return Condition(ConditionType.COMPLETE, "True", Reason.AS_WANTED, sentence)
    if plan.results is not None:
        return Condition(ConditionType.COMPLETE, "True", Reason.AS_WANTED, f"in {plan.results.seconds:g} s")
    return Condition(ConditionType.COMPLETE, "False", plan.reason, plan.sentence)


def _thresholds_met(judged: Judged | None) -> Condition:
    if judged is None:
        return Condition(ConditionType.THRESHOLDS_MET, "Unknown", Reason.IN_PROGRESS, "nothing is measured yet")
    value = {Verdict.PASS: "True", Verdict.FAIL: "False"}.get(judged.verdict, "Unknown")
    return Condition(ConditionType.THRESHOLDS_MET, value, VERDICT_REASONS[judged.verdict], judged.sentence)


def _measured(results: Results | None) -> dict[str, Any]:
    if results is None:  # empty lists are the CRD's defaults: left away they would be written at every look
        return {"metrics": [], "comparisons": [], "slices": []}
    return {
        "metrics": [_metric(metric) for metric in results.metrics],
        "comparisons": [_comparison(metric) for metric in results.metrics if metric.paired is not None],
        "slices": [
            {"field": one.field, "value": one.value, "metric": one.metric, "measured": _decimal(one.mean), "n": one.n}
            for one in results.slices
        ],
    }


def _metric(metric: MetricResult) -> dict[str, Any]:
    figures, fine = metric.target.figures, metric.name == "cost"
    return {
        "name": metric.name,
        "n": metric.target.n,
        **_limits("value", metric.interval(CONFIDENCE), fine),
        **{name: _decimal(figures[name], fine) for name in ("p50", "p95") if name in figures},
        **({"lessIsBetter": True} if metric.less_is_better else {}),
        **({"note": told[:NOTE]} if (told := _note(metric)) else {}),
    }


def _note(metric: MetricResult) -> str:
    missed = f"{metric.unmarked} answers have none; the first: {metric.why}" if metric.unmarked else metric.why
    return "; ".join(part for part in (metric.note, missed) if part)


def _comparison(metric: MetricResult) -> dict[str, Any]:
    assert metric.paired is not None
    chance = metric.paired.chance
    return {
        "metric": metric.name,
        "n": metric.paired.n,
        **_limits("delta", metric.paired.interval(CONFIDENCE), metric.name == "cost"),
        **({"p": f"{chance:.4g}"} if chance is not None else {}),
    }


def _limits(name: str, interval: Interval | None, fine: bool = False) -> dict[str, str]:
    if interval is None:
        return {}
    limits = {name: interval.value, "low": interval.low, "high": interval.high}
    return {name: _decimal(number, fine) for name, number in limits.items()}


def _decimal(number: float, fine: bool = False) -> str:
    """Four digits after the point, and no minus before zero; `fine`: four that say something (a cost of 0.00001234)."""
    digits = 4
    if fine and 0 < abs(number) < 0.1:
        digits = min(12, 3 - floor(log10(abs(number))))
    text = f"{number:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text
