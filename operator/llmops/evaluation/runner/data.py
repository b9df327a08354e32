"""The run's rows: those that the operator handed over, or those behind the address that it named; checked, and told.

What was read is told before the first question (DATASET): its SHA-256 and number of rows, or what is wrong with it. If
the same rows were measured before, with all else alike, that result is taken over.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llmops.evaluation import results
from llmops.evaluation import rows as dataset
from llmops.evaluation import run as runs
from llmops.evaluation.rows import JSONL, PARQUET, Row
from llmops.evaluation.run import Run
from llmops.evaluation.runner import columns, reading, traffic
from llmops.evaluation.runner.report import Report
from llmops.evaluation.source import Source
from llmops.web import Passing, Wrong

MOST_ROWS = 50_000  # 200,000 samples take 0.5 GiB before the first answer, of the 2 that the pod may have
CACHE = "dataset"  # beside the logs; no run's short key looks like it


@dataclass(frozen=True)
class Data:
    """What is asked. `known`: the results of the same rows, which an earlier run has brought. `profiles`: what each
    Drift is compared with."""

    sha256: str
    rows: Sequence[Row]
    known: str | None = None
    profiles: Mapping[str, Any] = field(default_factory=dict)


def read(folder: Path, logs: Path, report: Report, mount: Path) -> tuple[Run, Data]:
    """The run, which knows its rows from now on, and the rows."""
    try:
        run = runs.loads((folder / runs.RUN_FILE).read_text())
        if run.benchmark is not None:
            return run, Data("", ())  # the suite has its own
        if run.source is None:
            return run, _handed(run, (folder / runs.ROWS_FILE).read_bytes().decode(), report)
        known, profiles = (json.loads((folder / one).read_text()) for one in (runs.KNOWN_FILE, runs.PROFILES_FILE))
    except (OSError, ValueError) as error:
        raise Wrong(str(error)) from None
    try:
        data = replace(_fetched(run, run.source, known, logs, report, mount), profiles=profiles)
        return replace(run, dataset_sha256=data.sha256, rows=len(data.rows)), data
    except (Wrong, Passing) as problem:
        report.write(runs.DATASET, json.dumps({"problem": str(problem)}))
        raise


def _handed(run: Run, text: str, report: Report) -> Data:
    parsed = dataset.parse(text, run.fields, run.limit, form=run.form)
    if parsed.problems:
        raise Wrong(parsed.told)
    if parsed.sha256 != run.dataset_sha256:
        raise Wrong(f"the rows are not those of the run: SHA-256 {parsed.sha256}, expected {run.dataset_sha256}")
    _tell(report, run, parsed.sha256, len(parsed.rows))
    return Data(parsed.sha256, parsed.rows)


def _fetched(run: Run, source: Source, known: Mapping[str, Any], logs: Path, report: Report, mount: Path) -> Data:
    kept = reading.Kept(logs / CACHE if run.keep_seconds is not None else None)
    content = reading.read(source, mount, kept)
    form = JSONL if run.form == PARQUET else run.form
    fields, note = run.fields, ""
    if source.kind == "traffic":
        fields = traffic.fields(run.fields)
        content, note = traffic.chosen(run, source, content)
    parsed = dataset.parse(_text(run, source, content), fields, run.limit, run.needs, form)
    if parsed.problems:
        raise Wrong(f"{source.told}: {parsed.told}")
    if len(parsed.rows) > MOST_ROWS:
        raise Wrong(f"{source.told} has {len(parsed.rows)} rows: write a spec.dataset.limit of at most {MOST_ROWS}")
    sha256 = hashlib.sha256(content).hexdigest()
    same = known.get(sha256)
    _tell(report, run, sha256, len(parsed.rows), sameAs=same["name"] if same else "", note=note)
    return Data(sha256, parsed.rows, replace(results.loads(same["results"]), key=run.key).dumps() if same else None)


def _text(run: Run, source: Source, content: bytes) -> str:
    try:
        return columns.lines(content, run.limit or MOST_ROWS + 1) if run.form == PARQUET else content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Wrong(f"{source.told} is not UTF-8 (byte {error.start + 1}): save it as {run.form} in UTF-8") from None
    except ValueError as problem:
        raise Wrong(f"{source.told}: {problem}") from None


def _tell(report: Report, run: Run, sha256: str, rows: int, **more: str) -> None:
    told = {"sha256": sha256, "rows": rows, "content": runs.content_key(run, sha256)}
    report.write(runs.DATASET, json.dumps({**told, **{name: text for name, text in more.items() if text}}))
