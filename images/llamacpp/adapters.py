"""Adapters by name in front of llama.cpp, which knows them by number: `model: <alias>:<name>` asks through one of them.

    {"model": "shop/support:tone", …}   ->   {"lora": [{"id": 0, "scale": 1.0}], …}
    {"model": "shop/support", …}        ->   {"lora": [], …}: the model as it is

An answer is passed on as it comes; a caller who hangs up ends the generation. Only where there are adapters does a
request come by here.
"""

import http.client
import json
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PASSED = ("content-type", "cache-control")


def serve(host: str, port: int, behind: int, names: Sequence[str]) -> ThreadingHTTPServer:
    """Listens at once; `behind` is the port of the engine on this host, `names` the adapters as it numbers them."""

    class Front(_Front):
        engine, adapters = behind, names

    server = ThreadingHTTPServer((host, port), Front)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Unknown(Exception):
    """Nobody here goes by this name."""


def addressed(body: bytes, names: Sequence[str]) -> bytes:
    """The body as the engine understands it. What is no JSON object the engine itself refuses."""
    try:
        asked = json.loads(body)
    except ValueError:
        return body
    if not isinstance(asked, dict):
        return body
    name = str(asked.get("model") or "").partition(":")[2]
    if name and name not in names:
        raise Unknown(name)
    asked["lora"] = [{"id": names.index(name), "scale": 1.0}] if name else []
    return json.dumps(asked).encode()


class _Front(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    engine: int
    adapters: Sequence[str]

    def do_GET(self) -> None:
        self._pass(None)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            self._pass(addressed(body, self.adapters))
        except Unknown as name:
            told = f"there is no adapter {name} in this pod: it has {', '.join(self.adapters)}"
            self._whole(404, json.dumps({"error": {"message": told, "code": "model_not_found"}}).encode())

    def _pass(self, body: bytes | None) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.engine)
        try:
            headers = {"content-type": "application/json"} if body is not None else {}
            connection.request(self.command, self.path, body, headers)
            reply = connection.getresponse()
        except OSError:
            self._whole(503, b'{"error":{"message":"the model is being loaded","code":"unavailable"}}')
            return
        try:
            if reply.chunked:
                self._stream(reply)
            else:
                self._whole(reply.status, reply.read(), reply.getheader("content-type"))
        except OSError:
            self.close_connection = True  # one of the two has gone: nothing more can be said
        finally:
            connection.close()

    def _stream(self, reply: http.client.HTTPResponse) -> None:
        self.send_response(reply.status)
        for name in PASSED:
            if value := reply.getheader(name):
                self.send_header(name, value)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        while piece := reply.read1(65536):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def _whole(self, status: int, body: bytes, kind: str | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", kind or "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Its log is the engine's."""
