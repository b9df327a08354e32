"""Tasks through Inspect, resumed from their logs, and what became of their samples."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmops.evaluation.rows import Row
from llmops.evaluation.run import Run
from llmops.evaluation.runner.answers import Answer, Answers
from llmops.evaluation.runner.stop import STOPPING

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.log import EvalLog

    from llmops.evaluation.runner.progress import Progress


def ask(run: Run, rows: Sequence[Row], logs: Path, progress: Progress) -> dict[str, Answers]:
    """Every row through every arm."""
    from llmops.evaluation.runner.task import arm_task

    tasks = [arm_task(role, arm, run, rows, progress) for role, arm in run.arms.items()]
    found = through(tasks, logs, run.concurrency, len(rows))
    return {role: answers(found[role], rows) for role in run.arms}


def answered_before(logs: Path) -> int:
    """How many answers the newest logs of an earlier process hold; only for the progress shown."""
    from inspect_ai.log import list_eval_logs, read_eval_log_sample_summaries

    newest = {log.task: log for log in reversed(list_eval_logs(str(logs)))} if logs.is_dir() else {}
    try:
        return sum(not one.error for log in newest.values() for one in read_eval_log_sample_summaries(log))
    except (OSError, ValueError, KeyError) as error:  # cut off in mid-write: Inspect recovers what it can
        print(f"an earlier log cannot be counted: {error}", file=sys.stderr)
        return 0


def through(tasks: Sequence[Task], logs: Path, concurrency: int, rows: int) -> dict[str, EvalLog]:
    """The finished log of each task, by its name. A folder belongs to one set of tasks."""
    from inspect_ai import eval_set
    from inspect_ai.log import read_eval_log

    from llmops.evaluation.runner import door

    if not tasks:
        return {}
    logs.mkdir(parents=True, exist_ok=True)
    _, headers = eval_set(
        list(tasks),
        log_dir=str(logs),
        display="none",
        score_display=False,
        ctl_server=False,
        acp_server=False,
        log_realtime=False,
        log_dir_allow_dirty=True,
        # a sample is on disk after at most this many others: what a kill costs again
        log_buffer=max(concurrency, rows // 50),
        max_tasks=1,
        max_samples=concurrency,
        max_connections=concurrency,
        fail_on_error=False,
        retry_attempts=1,
        max_retries=door.RETRIES,
        timeout=int(door.REQUEST_TIMEOUT * 3),
    )
    if STOPPING.is_set():  # Inspect came back from it with an unfinished log
        raise KeyboardInterrupt
    found = {log.eval.task: read_eval_log(log.location) for log in headers}
    for name in (task.name for task in tasks):
        if name not in found or found[name].status != "success":
            status = found[name].status if name in found else "absent"
            raise RuntimeError(f"Inspect's log of the {name} is {status}; the next attempt resumes it")
    return found


def answers(log: EvalLog, rows: Sequence[Row]) -> Answers:
    """One arm's answers from its log."""
    from llmops.evaluation.runner.task import SCORER

    by_id: dict[str, Answer] = {}
    first_error, tokens = None, 0
    for sample in log.samples or []:
        score = (sample.scores or {}).get(SCORER)
        tokens += sum(usage.total_tokens for usage in sample.model_usage.values())
        if sample.error is not None or score is None or not isinstance(score.value, Mapping):
            first_error = first_error or (sample.error.message[:500] if sample.error else "not marked")
        else:
            by_id[str(sample.id)] = _answer(score.answer or "", score.value, score.metadata or {})
    return Answers(by_id, len(rows) - len(by_id), first_error, tokens)


def _answer(text: str, value: Mapping[str, Any], more: Mapping[str, Any]) -> Answer:
    marks = {name: float(mark) for name, mark in value.items() if mark is not None and not math.isnan(float(mark))}
    return Answer(text, marks, dict(more.get("lacks") or {}), given=str(more.get("given") or ""))
