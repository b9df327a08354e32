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
    from llmops.evaluation.runner.purse import Purse


def ask(run: Run, rows: Sequence[Row], logs: Path, progress: Progress) -> dict[str, Answers]:
    """Every row through every arm."""
    from llmops.evaluation.runner.task import arm_task

    tasks = [arm_task(role, arm, run, rows, progress) for role, arm in run.arms.items()]
    found = through(tasks, logs, run.concurrency, len(rows), progress.purse)
    return {role: answers(found[role], rows) if role in found else Answers({}, 0) for role in run.arms}


def answered_before(logs: Path) -> int:
    """How many answers the newest logs of an earlier process hold; only for the progress shown."""
    from inspect_ai.log import read_eval_log_sample_summaries

    try:
        return sum(not one.error for log in _newest(logs).values() for one in read_eval_log_sample_summaries(log))
    except (OSError, ValueError, KeyError) as error:  # cut off in mid-write: Inspect recovers what it can
        print(f"an earlier log cannot be counted: {error}", file=sys.stderr)
        return 0


def _newest(logs: Path) -> dict[str, Any]:
    """Where each task's newest log is."""
    from inspect_ai.log import list_eval_logs

    return {str(log.task): log for log in reversed(list_eval_logs(str(logs)))} if logs.is_dir() else {}


def through(tasks: Sequence[Task], logs: Path, concurrency: int, rows: int, purse: Purse) -> dict[str, EvalLog]:
    """Each task's log by its name, finished or as far as the money went. A folder belongs to one set of tasks."""
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
    if purse.ended:
        return {name: read_eval_log(location) for name, location in _newest(logs).items()}
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
    first_error, tokens, errors = None, 0, 0
    for sample in log.samples or []:
        score = (sample.scores or {}).get(SCORER)
        if log.status == "cancelled" and sample.error is not None and sample.error.message.startswith("CancelledError"):
            continue  # not asked, or for nothing
        tokens += sum(usage.total_tokens for usage in sample.model_usage.values())
        if sample.error is not None or score is None or not isinstance(score.value, Mapping):
            errors += 1
            first_error = first_error or (sample.error.message[:500] if sample.error else "not marked")
        else:
            by_id[str(sample.id)] = _answer(score.answer or "", score.value, score.metadata or {})
    whole = log.status == "success"
    return Answers(by_id, len(rows) - len(by_id) if whole else errors, first_error, tokens)


def _answer(text: str, value: Mapping[str, Any], more: Mapping[str, Any]) -> Answer:
    marks = {name: float(mark) for name, mark in value.items() if mark is not None and not math.isnan(float(mark))}
    return Answer(text, marks, dict(more.get("lacks") or {}), given=str(more.get("given") or ""))
