"""How far a run is: counted by the task, written by a thread of its own every few seconds, and only when it changed."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable

from llmops.evaluation.runner.purse import Purse

EVERY = 5.0


class Progress:
    """Counts rows; `resumed` of them were answered before this process started."""

    def __init__(self, total: int, resumed: int = 0, purse: Purse | None = None) -> None:
        self.total, self.resumed = total, resumed
        self.purse = purse or Purse()
        self._answered = self._errors = 0
        self.limits: dict[str, Callable[[], float | None]] = {}
        """By arm: how many requests at a time its target bears, where it asked for fewer."""
        self._started = time.monotonic()

    def answered(self) -> None:
        """One row has its marks."""
        self._answered += 1

    def failed(self) -> None:
        """One row ended in an error."""
        self._errors += 1

    @property
    def asked(self) -> int:
        """Rows that this process asked."""
        return self._answered + self._errors

    def text(self) -> str:
        """As JSON: done, total, errors and the seconds that the rest will take at the pace so far."""
        now = self.asked
        done = min(self.total, self.resumed + now)
        pace = (time.monotonic() - self._started) / now if now else None
        eta = round(pace * (self.total - done)) if pace is not None else None
        told = {"done": done, "total": self.total, "errors": self._errors, "etaSeconds": eta}
        limits = [limit for each in self.limits.values() if (limit := each()) is not None]
        told |= {"concurrency": int(min(limits))} if limits else {}
        return json.dumps({**told, **({"cost": f"{self.purse.spent:.4f}"} if self.purse.spent else {})})


class Ticker:
    """Calls `write` with the progress every `every` seconds while its block runs."""

    def __init__(self, progress: Progress, write: Callable[[str], None], every: float = EVERY) -> None:
        self._progress, self._write, self._every = progress, write, every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Ticker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        last = ""
        while True:
            text = self._progress.text()
            if text != last:
                try:
                    self._write(text)
                    last = text
                except Exception as error:  # noqa: BLE001 - progress is a courtesy: a run never dies of it
                    print(f"progress not written: {error}", file=sys.stderr)
            if self._over.wait(self._every):
                return
