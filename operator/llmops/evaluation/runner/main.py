"""`llmops evaluate`: one run from its folder to its report.

Exit status 0: the summary is written (whatever the verdict will be). CONFIG_ERROR: the run itself is wrong and no
retry helps. 143: told to stop; the log keeps what was answered. Anything else: try again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmops.evaluation import rows as dataset
from llmops.evaluation import run as runs
from llmops.evaluation.rows import Row
from llmops.evaluation.run import Run
from llmops.evaluation.runner.report import Folder, InConfigMap, Report

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog

    from llmops.evaluation.runner.progress import Progress
    from llmops.evaluation.runner.summary import Answers

STOPPED = 143
STOP_SECONDS = 15.0
STOPPING = threading.Event()


class Wrong(Exception):
    """The run cannot be done as it is written."""


def main(argv: list[str]) -> int:
    """Do one run."""
    parser = argparse.ArgumentParser(prog="llmops evaluate", description="One evaluation, as its Job runs it.")
    parser.add_argument("--run", type=Path, required=True, help=f"the folder with {runs.RUN_FILE} and {runs.ROWS_FILE}")
    parser.add_argument("--logs", type=Path, required=True, help="the folder of Inspect's logs; a run resumes from it")
    parser.add_argument("--report", required=True, help="a ConfigMap's namespace/name, or a folder (/… or .…)")
    given = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _stop)
    folder = given.report.startswith(("/", "."))
    report = Folder(Path(given.report)) if folder else InConfigMap(*given.report.split("/", 1))
    try:
        return evaluate(given.run, given.logs, report)
    except Wrong as wrong:
        print(f"cannot be evaluated: {wrong}", file=sys.stderr)
        report.write(runs.FAILURE, str(wrong))
        return runs.CONFIG_ERROR
    except KeyboardInterrupt:
        print("told to stop; what was answered is in the log", file=sys.stderr)
        return STOPPED


def _stop(*_: Any) -> None:
    """As Ctrl-C, which asyncio and Inspect know how to unwind: an exception raised here could end in any callback,
    where it is swallowed. The timer is for what holds it up all the same: the kubelet's grace is 30 s.
    """
    STOPPING.set()
    timer = threading.Timer(STOP_SECONDS, os._exit, (STOPPED,))
    timer.daemon = True
    timer.start()
    signal.raise_signal(signal.SIGINT)


def evaluate(folder: Path, logs: Path, report: Report) -> int:
    """Read, ask, summarise, report."""
    run, rows = read(folder)
    started = time.monotonic()
    forget_old(logs, run)
    arms, asked = ask(run, rows, logs / run.short, report)
    from llmops.evaluation.runner.summary import summarise

    resumed = len(rows) * len(arms) - asked
    report.write(runs.RESULTS, summarise(run, rows, arms, time.monotonic() - started, resumed).dumps())
    return 0


def read(folder: Path) -> tuple[Run, Sequence[Row]]:
    """The run and its rows, checked against each other."""
    try:
        run = runs.loads((folder / runs.RUN_FILE).read_text())
        text = (folder / runs.ROWS_FILE).read_text()
    except (OSError, ValueError) as error:
        raise Wrong(str(error)) from None
    read_rows = dataset.parse(text, run.fields, run.limit)
    if read_rows.problems:
        raise Wrong(read_rows.told)
    if read_rows.sha256 != run.dataset_sha256:
        raise Wrong(f"the rows are not those of the run: SHA-256 {read_rows.sha256}, expected {run.dataset_sha256}")
    return run, read_rows.rows


def forget_old(logs: Path, run: Run) -> None:
    """Remove other runs' logs that are older than the EvalJob keeps samples."""
    if run.keep_seconds is None or not logs.is_dir():
        return
    for other in logs.iterdir():
        if other.is_dir() and other.name != run.short and time.time() - other.stat().st_mtime > run.keep_seconds:
            shutil.rmtree(other, ignore_errors=True)


def ask(run: Run, rows: Sequence[Row], logs: Path, report: Report) -> tuple[Mapping[str, Answers], int]:
    """Every row through every arm, and how many were asked now: those in the log are not asked again."""
    from llmops.evaluation.runner.progress import Progress, Ticker

    progress = Progress(len(rows) * len(run.arms), _answered_before(logs))
    with Ticker(progress, lambda text: report.write(runs.PROGRESS, text)):
        found = _inspect(run, rows, logs, progress)
    return {role: answers(found[role], rows) for role in run.arms}, progress.asked


def _answered_before(logs: Path) -> int:
    """How many answers the newest logs of an earlier process hold; only for the progress shown."""
    from inspect_ai.log import list_eval_logs, read_eval_log_sample_summaries

    newest = {log.task: log for log in reversed(list_eval_logs(str(logs)))} if logs.is_dir() else {}
    try:
        return sum(not one.error for log in newest.values() for one in read_eval_log_sample_summaries(log))
    except (OSError, ValueError, KeyError) as error:  # cut off in mid-write: Inspect recovers what it can
        print(f"an earlier log cannot be counted: {error}", file=sys.stderr)
        return 0


def _inspect(run: Run, rows: Sequence[Row], logs: Path, progress: Progress) -> dict[str, EvalLog]:
    from inspect_ai import eval_set
    from inspect_ai.log import read_eval_log

    from llmops.evaluation.runner import door
    from llmops.evaluation.runner.task import arm_task

    logs.mkdir(parents=True, exist_ok=True)
    _, headers = eval_set(
        [arm_task(role, arm, run, rows, progress) for role, arm in run.arms.items()],
        log_dir=str(logs),
        display="none",
        score_display=False,
        ctl_server=False,
        acp_server=False,
        log_realtime=False,
        log_dir_allow_dirty=True,
        # a sample is on disk after at most this many others: what a kill costs again
        log_buffer=max(run.concurrency, len(rows) // 50),
        max_tasks=1,
        max_samples=run.concurrency,
        max_connections=run.concurrency,
        fail_on_error=False,
        retry_attempts=1,
        max_retries=door.RETRIES,
        timeout=int(door.REQUEST_TIMEOUT * 3),
    )
    if STOPPING.is_set():  # Inspect came back from it with an unfinished log
        raise KeyboardInterrupt
    found = {log.eval.task: read_eval_log(log.location) for log in headers}
    for role in run.arms:
        if role not in found or found[role].status != "success":
            status = found[role].status if role in found else "absent"
            raise RuntimeError(f"Inspect's log of the {role} is {status}; the next attempt resumes it")
    return found


def answers(log: EvalLog, rows: Sequence[Row]) -> Answers:
    """One arm's answers from its log."""
    from llmops.evaluation.runner.summary import Answer, Answers
    from llmops.evaluation.runner.task import SCORER

    by_id: dict[str, Answer] = {}
    first_error, tokens = None, 0
    for sample in log.samples or []:
        score = (sample.scores or {}).get(SCORER)
        tokens += sum(usage.total_tokens for usage in sample.model_usage.values())
        if sample.error is not None or score is None or not isinstance(score.value, Mapping):
            first_error = first_error or (sample.error.message[:500] if sample.error else "not marked")
        else:
            by_id[str(sample.id)] = Answer(score.answer or "", {k: float(v) for k, v in score.value.items()})  # type: ignore[arg-type]
    return Answers(by_id, len(rows) - len(by_id), first_error, tokens)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
