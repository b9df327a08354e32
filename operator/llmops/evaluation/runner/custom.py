"""Marks by scorers that people brought along: each answer goes to their container (scoring.py), which has no token."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

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
    with closing(_Line(address)) as line:
        return {
            role: replace(arm, by_id={key: _scored(line, names, values[key], one) for key, one in arm.by_id.items()})
            for role, arm in arms.items()
        }


class _Line:
    """To the other container; begun anew where that was, as when a scorer took all of its memory."""

    def __init__(self, address: Path) -> None:
        self._address = address
        self._connection = _connected(address)
        self._stream = self._connection.makefile("rwb")

    def ask(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """A score or why there is none."""
        try:
            self._stream.write(json.dumps(asked).encode() + b"\n")
            self._stream.flush()
            reply = self._stream.readline()
        except OSError:
            reply = b""
        if reply:
            told: Mapping[str, Any] = json.loads(reply)
            return told
        self.close()
        self._connection = _connected(self._address)
        self._stream = self._connection.makefile("rwb")
        return {"why": "the scorers' container ended, perhaps for want of memory"}

    def close(self) -> None:
        """Hang up."""
        with suppress(OSError):
            self._stream.close()
        self._connection.close()


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


def _scored(line: _Line, names: Sequence[str], row: Mapping[str, Any], answer: Answer) -> Answer:
    marks: dict[str, float] = {}
    lacks: dict[str, str] = {}
    for name in names:
        told = line.ask({"metric": name, "row": row, "answer": answer.text})
        if "score" in told:
            marks[name] = float(told["score"])
        else:
            lacks[name] = str(told.get("why"))[:500]
    return answer.with_marks(marks, lacks)
