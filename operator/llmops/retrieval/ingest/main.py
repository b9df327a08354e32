"""`llmops index`: one generation from its work to its outcome; the story itself is build.py.

Exit status 0: the outcome is written, served or not; or how much would have to be embedded, where that waits to be
approved. CONFIG_ERROR: the work itself is wrong (a source that is not
there, nothing to embed) and no retry helps. Anything else: try again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from llmops.kube.connection import NoCluster
from llmops.kube.errors import ApiError
from llmops.retrieval import work
from llmops.retrieval.embedder import NotEmbedded
from llmops.retrieval.ingest.build import build
from llmops.retrieval.ingest.making import Unapproved
from llmops.retrieval.ingest.report import Folder, InConfigMap, Report
from llmops.retrieval.stores.base import NotAllowed, StoreError, Unfit
from llmops.retrieval.work import CONFIG_ERROR, FAILURE, OUTCOME, WAITING, Question, Questions
from llmops.web import Passing, Wrong

UNREPORTED = (ApiError, NoCluster)
"""What only a report can end with: nothing else of a Job asks the API server."""


def main(argv: list[str]) -> int:
    """Do one work."""
    parser = argparse.ArgumentParser(prog="llmops index", description="One generation of an index, as its Job runs it.")
    parser.add_argument("--work", type=Path, required=True, help=f"the folder with {work.WORK_FILE}")
    parser.add_argument("--mounted", type=Path, required=True, help="the folder with sources/NAME and secrets/NAME")
    parser.add_argument("--scratch", type=Path, required=True, help="a folder for what does not fit into memory")
    parser.add_argument("--report", required=True, help="a ConfigMap's namespace/name, or a folder (/… or .…)")
    given = parser.parse_args(argv)
    folder = given.report.startswith(("/", "."))
    report: Report = Folder(Path(given.report)) if folder else InConfigMap(*given.report.split("/", 1))
    return asyncio.run(_run(given.work, given.mounted, given.scratch, report))


async def _run(folder: Path, mounted: Path, scratch: Path, report: Report) -> int:
    try:
        return await _reported(folder, mounted, scratch, report)
    except UNREPORTED as problem:
        told = (
            f"the Job could not report: {problem}; a NetworkPolicy has to let its pod reach the API server, and its "
            "Role and RoleBinding have to be there as the operator makes them"
        )
        print(told, file=sys.stderr)
        with suppress(*UNREPORTED):  # told if it was only for a moment
            await report.write(FAILURE, told)
        return 1


async def _reported(folder: Path, mounted: Path, scratch: Path, report: Report) -> int:
    try:
        wanted = work.loads((folder / work.WORK_FILE).read_text())
        questions: Questions = [
            Question(row["question"], row["documents"], row.get("tenant", ""))
            for row in map(json.loads, _lines(folder / work.QUESTIONS_FILE))
        ]
        await report.write(OUTCOME, (await build(wanted, questions, mounted, scratch, report)).dumps())
    except Unapproved as waits:
        print(waits, file=sys.stderr)
        await report.write(WAITING, json.dumps(asdict(waits.estimate)))
    except Wrong as wrong:
        return await _failed(report, str(wrong))
    except (NotEmbedded, Passing, StoreError) as problem:
        refused = isinstance(problem, NotAllowed | Unfit) or (isinstance(problem, NotEmbedded) and problem.final)
        if refused:
            return await _failed(report, str(problem))
        print(problem, file=sys.stderr)
        await report.write(FAILURE, str(problem))  # told if this was the last try
        return 1
    except UNREPORTED:
        raise
    except Exception as problem:
        with suppress(*UNREPORTED):  # the log has it anyway
            await report.write(FAILURE, f"an error of our own, which the Job's log tells in full: {problem!r}"[:1000])
        raise
    return 0


async def _failed(report: Report, sentence: str) -> int:
    print(f"cannot be built: {sentence}", file=sys.stderr)
    await report.write(FAILURE, sentence)
    return CONFIG_ERROR


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().split("\n") if line.strip()] if path.is_file() else []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
