"""How far a download is: told by its pod on PORT to whoever asks, since the operator may read no logs.

GET /  ->  {"done": bytes, "total": bytes, "left": seconds or null}
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 8089


@dataclass
class Progress:
    """One process downloads one model. `total` is 0 until the store has said it."""

    total: int = 0
    done: int = 0
    begun: int = 0
    started: float = field(default_factory=time.monotonic)

    def expect(self, total: int, here: int) -> None:
        """So many bytes in all, of which so many are here from an earlier try."""
        self.total, self.done, self.begun, self.started = total, here, here, time.monotonic()

    def came(self, count: int) -> None:
        """Bytes that were written."""
        self.done += count

    def told(self) -> dict[str, int | None]:
        """At the pace since it began."""
        spent, came = time.monotonic() - self.started, self.done - self.begun
        left = round(max(0, self.total - self.done) * spent / came) if came > 0 and self.total else None
        return {"done": min(self.done, self.total), "total": self.total, "left": left}


NOW = Progress()


def serve(port: int = PORT) -> ThreadingHTTPServer | None:
    """Beside the download; None where the port is taken, which costs nobody the model."""
    try:
        server = ThreadingHTTPServer(("", port), _Handler)
    except OSError:
        return None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps(NOW.told()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Its log is for the download."""
