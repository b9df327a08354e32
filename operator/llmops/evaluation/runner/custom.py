"""Marks by scorers that people brought along: each answer goes to their container (scoring.py), which has no token."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, cast

from llmops.evaluation.rows import Row
from llmops.evaluation.run import Run
from llmops.evaluation.runner.answers import Answer, Answers

SOCKET = Path("/scoring/socket")
PATIENCE = 60.0
"""Seconds until the other container must listen, and for each of its replies."""


def marked(run: Run, rows: Sequence[Row], arms: Mapping[str, Answers], address: Path = SOCKET) -> dict[str, Answers]:
    """The answers with the marks of all metrics of type Custom. OSError where the container cannot be reached: another
    pod tries again."""
    names = [one.name for one in run.of_type("Custom")]
    if not names:
        return dict(arms)
    values = {row.id: row.values for row in rows}
    with _connected(address) as connection, cast(IO[bytes], connection.makefile("rwb")) as stream:
        return {
            role: replace(arm, by_id={key: _scored(stream, names, values[key], one) for key, one in arm.by_id.items()})
            for role, arm in arms.items()
        }


def _connected(address: Path) -> socket.socket:
    end = time.monotonic() + PATIENCE
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(PATIENCE)
        try:
            connection.connect(str(address))
        except OSError:
            connection.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return connection


def _scored(stream: IO[bytes], names: Sequence[str], row: Mapping[str, Any], answer: Answer) -> Answer:
    marks: dict[str, float] = {}
    lacks: dict[str, str] = {}
    for name in names:
        stream.write(json.dumps({"metric": name, "row": row, "answer": answer.text}).encode() + b"\n")
        stream.flush()
        told = json.loads(stream.readline() or b'{"why": "the scorers\' container ended"}')
        if "score" in told:
            marks[name] = float(told["score"])
        else:
            lacks[name] = str(told.get("why"))[:500]
    return answer.with_marks(marks, lacks)
