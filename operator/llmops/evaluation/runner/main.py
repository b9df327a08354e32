"""`llmops evaluate`: one run from its folder to its report.

Exit status 0: the summary is written (whatever the verdict will be). CONFIG_ERROR: the run itself is wrong and no
retry helps. 143: told to stop; the log keeps what was answered. Anything else: try again.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from llmops.evaluation import rows as dataset
from llmops.evaluation import run as runs
from llmops.evaluation.rows import Row
from llmops.evaluation.run import Run
from llmops.evaluation.runner.report import Folder, InConfigMap, Report
from llmops.evaluation.runner.stop import STOPPED, stop


class Wrong(Exception):
    """The run cannot be done as it is written."""


def main(argv: list[str]) -> int:
    """Do one run."""
    parser = argparse.ArgumentParser(prog="llmops evaluate", description="One evaluation, as its Job runs it.")
    parser.add_argument("--run", type=Path, required=True, help=f"the folder with {runs.RUN_FILE} and {runs.ROWS_FILE}")
    parser.add_argument("--logs", type=Path, required=True, help="the folder of Inspect's logs; a run resumes from it")
    parser.add_argument("--report", required=True, help="a ConfigMap's namespace/name, or a folder (/… or .…)")
    given = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, stop)
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


def evaluate(folder: Path, logs: Path, report: Report) -> int:
    """Read, ask, have the answers judged, summarise, report."""
    run, rows = read(folder)
    started = time.monotonic()
    forget_old(logs, run)
    # heavy, and of no use to a run that is wrong
    from llmops.evaluation.runner import ask, panel
    from llmops.evaluation.runner.progress import Progress, Ticker
    from llmops.evaluation.runner.summary import summarise

    logs = logs / run.short
    progress = Progress(run.questions, ask.answered_before(logs))
    with Ticker(progress, lambda text: report.write(runs.PROGRESS, text)):
        answers = ask.ask(run, rows, logs / "arms", progress)
        answers, told = panel.judged(run, rows, answers, logs, progress)
    summary = summarise(run, rows, answers, time.monotonic() - started, run.questions - progress.asked, told)
    report.write(runs.RESULTS, summary.dumps())
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
