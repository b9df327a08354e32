"""What a person sees while waiting: one line a step, with the seconds since the start."""

from __future__ import annotations

import sys
import time


class Progress:
    """Called with a sentence, prints it; silent about a sentence just said."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._said = ""

    def __call__(self, sentence: str) -> None:
        if sentence != self._said:
            self._said = sentence
            print(f"· {time.monotonic() - self._start:4.0f} s  {sentence}", file=sys.stderr, flush=True)
