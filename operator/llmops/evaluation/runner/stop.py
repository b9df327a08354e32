"""Being told to stop: as Ctrl-C, which asyncio and Inspect know how to unwind."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

STOPPED = 143
STOP_SECONDS = 15.0
STOPPING = threading.Event()


def stop(*_: Any) -> None:
    """An exception raised in the handler itself could end in any callback, where it is swallowed. The timer is for what
    holds it up all the same: the kubelet's grace is 30 s.
    """
    STOPPING.set()
    timer = threading.Timer(STOP_SECONDS, os._exit, (STOPPED,))
    timer.daemon = True
    timer.start()
    signal.raise_signal(signal.SIGINT)
