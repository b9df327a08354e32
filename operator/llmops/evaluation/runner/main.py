"""`llmops evaluate`: one run from its folder to its report.

Exit status 0: the summary is written (whatever the verdict will be). CONFIG_ERROR: the run itself or its dataset is
wrong and no retry helps. 143: told to stop; the log keeps what was answered. Anything else: try again.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from llmops.evaluation import run as runs
from llmops.evaluation.run import Run
from llmops.evaluation.runner.data import read
from llmops.evaluation.runner.report import Folder, InConfigMap, Report
from llmops.evaluation.runner.stop import STOPPED, stop
from llmops.web import Passing, Wrong


def main(argv: list[str]) -> int:
    """Do one run."""
    parser = argparse.ArgumentParser(prog="llmops evaluate", description="One evaluation, as its Job runs it.")
    parser.add_argument("--run", type=Path, required=True, help=f"the folder with {runs.RUN_FILE} and {runs.ROWS_FILE}")
    parser.add_argument("--logs", type=Path, required=True, help="the folder of Inspect's logs; a run resumes from it")
    parser.add_argument("--report", required=True, help="a ConfigMap's namespace/name, or a folder (/… or .…)")
    parser.add_argument("--dataset", type=Path, default=Path("/dataset"), help="where the dataset's claim is mounted")
    given = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, stop)
    # who starts it in the background has it ignored, and Inspect could not be told to stop (stop.py, purse.py)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = given.report.startswith(("/", "."))
    report = Folder(Path(given.report)) if folder else InConfigMap(*given.report.split("/", 1))
    try:
        return evaluate(given.run, given.logs, report, given.dataset)
    except Passing as problem:
        print(f"the dataset could not be read: {problem}", file=sys.stderr)
        return 1
    except Wrong as wrong:
        print(f"cannot be evaluated: {wrong}", file=sys.stderr)
        report.write(runs.FAILURE, str(wrong))
        return runs.CONFIG_ERROR
    except KeyboardInterrupt:
        print("told to stop; what was answered is in the log", file=sys.stderr)
        return STOPPED


def evaluate(folder: Path, logs: Path, report: Report, mount: Path) -> int:
    """Read, ask, have the answers judged, summarise, report; rows that were measured before are not asked again."""
    run, data = read(folder, logs, report, mount)
    started = time.monotonic()
    forget_old(logs, run)
    if data.known is not None:
        return _finish(report, data.known)
    if run.benchmark is not None:
        from llmops.evaluation.runner import benchmark

        return _finish(report, benchmark.measure(run, report, logs, mount).dumps())
    # heavy, and of no use to a run that is wrong
    from llmops.evaluation.runner import ask, custom, panel, table_out
    from llmops.evaluation.runner.progress import Progress, Ticker
    from llmops.evaluation.runner.purse import Purse
    from llmops.evaluation.runner.summary import Told, summarise
    from llmops.evaluation.runner.worst import worst

    logs = _log_folder(logs, run)
    purse = Purse(run.budget, logs / "spent.txt")
    progress = Progress(run.questions, ask.answered_before(logs), purse)
    told: Mapping[str, Told] = {}

    def tell(text: str) -> None:
        purse.save()
        report.write(runs.PROGRESS, text)

    with Ticker(progress, tell):
        answers = ask.ask(run, data.rows, logs / "arms", progress)
        if not purse.ended:
            answers, told = panel.judged(run, data.rows, answers, logs, progress)
        answers = custom.marked(run, data.rows, answers)
    purse.save()
    if run.keep_seconds is not None:
        table_out.keep(logs, data.rows, answers)
    if run.worst_rows and (run.source is None or run.source.kind != "traffic"):  # no user's words for all to read
        report.write(runs.WORST, worst(run, data.rows, answers))
    summary = summarise(
        run, data.rows, answers, time.monotonic() - started, run.questions - progress.asked, told, data.profiles
    )
    summary = replace(summary, cost=round(purse.spent, 6))
    if purse.ended:
        summary = replace(summary, stopped=_spent(run, purse.spent, len(data.rows), len(answers["target"].by_id)))
    return _finish(report, summary.dumps())


def _finish(report: Report, results: str) -> int:
    report.write(runs.FINISHED, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    report.write(runs.RESULTS, results)  # last: it ends the run
    return 0


def _spent(run: Run, spent: float, rows: int, answered: int) -> str:
    go_on = "it goes on where it was" if run.keep_seconds is not None else "with spec.keep it would go on where it was"
    return (
        f"spec.budget of {run.budget:g} {run.currency} is spent ({spent:.4f}) after {answered} of {rows} rows, so "
        f"nothing is judged: raise it, and {go_on}"
    )


def _log_folder(logs: Path, run: Run) -> Path:
    """Of these rows only: what stands behind an address may be another by the time that a lost pod is replaced, and
    Inspect would go on with the answers to the rows of before."""
    return logs / run.log_name / run.dataset_sha256[:10] if run.source else logs / run.log_name


def forget_old(logs: Path, run: Run) -> None:
    """Remove other runs' logs that are older than the EvalJob keeps samples."""
    if run.keep_seconds is None or not logs.is_dir():
        return
    for other in logs.iterdir():
        if other.is_dir() and other.name != run.log_name and time.time() - other.stat().st_mtime > run.keep_seconds:
            shutil.rmtree(other, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
