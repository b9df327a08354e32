"""What a run may still spend: when it is spent nothing new is asked, what is under way is finished, and Inspect is
told to stop as by Ctrl-C, so that its log can be taken up again when there is more.

A sample that was begun may cost more than is left, so a run exceeds its budget by `concurrency` samples at the most.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

GRACE = 1.0
"""Seconds in which Inspect writes down the last answers: it tells nobody when it has."""


class Purse:
    """Of one run, in every process that it took: `file` has what was spent before. Without an amount it only counts."""

    def __init__(self, amount: float | None = None, file: Path | None = None) -> None:
        self._amount, self._file = amount, file
        self.spent = float(file.read_text()) if file is not None and file.is_file() else 0.0
        self.ended = False
        self._open = self._waiting = 0

    @property
    def empty(self) -> bool:
        """Whether nothing more may be asked."""
        return self._amount is not None and self.spent >= self._amount

    def pay(self, cost: float) -> None:
        """What one answer cost."""
        self.spent += cost

    async def enter(self) -> None:
        """Before a sample asks anything; who comes too late waits until Inspect gives it up."""
        if self.empty:
            self._waiting += 1
            self._end_if_last()
            await asyncio.Event().wait()
        self._open += 1

    def leave(self) -> None:
        """A sample has asked all that it had to."""
        self._open -= 1
        if self._waiting:
            self._end_if_last()

    def _end_if_last(self) -> None:
        if self._open == 0 and not self.ended:
            self.ended = True
            asyncio.get_running_loop().call_later(GRACE, signal.raise_signal, signal.SIGINT)

    def save(self) -> None:
        """For the process that comes after this one."""
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            part = self._file.with_suffix(".part")
            part.write_text(repr(self.spent))
            os.replace(part, self._file)
