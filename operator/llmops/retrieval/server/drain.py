"""The end of a query server, in which no question is lost.

From SIGTERM on it answers as before for some seconds, new connections too, and every answer closes its connection: so
clients connect anew, where the Service leads by then. Then it takes no more connections, and what is being answered is
finished. It says that it is ready all the while: where it was the only one, the Service leads to it until it ends.
"""

from __future__ import annotations

import asyncio
from types import FrameType

import uvicorn

from llmops.retrieval.server.app import App

UNFINISHED = 15
"""Seconds for what is being answered when no more is taken; a search has ten."""


class Draining(uvicorn.Server):
    """uvicorn, which ends `seconds` after it is told to; told twice, at once."""

    def __init__(self, app: App, host: str, port: int, seconds: float) -> None:
        super().__init__(uvicorn.Config(
            app, host=host, port=port, lifespan="off", access_log=False, log_level="warning",
            timeout_graceful_shutdown=UNFINISHED,
        ))  # fmt: skip
        self._app, self._seconds = app, seconds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal."""
        if self._app.draining or not self._seconds:
            return super().handle_exit(sig, frame)
        self._app.draining = True
        loop = asyncio.get_running_loop()
        # what a signal handler gives to the loop by call_later may not wake it
        loop.call_soon_threadsafe(loop.call_later, self._seconds, super().handle_exit, sig, frame)
        return None
