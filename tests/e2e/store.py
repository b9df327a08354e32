"""An object store that speaks S3's HTTP API, of the standard library alone: a pod runs this file as it is.

It signs what it was asked by itself (not with the code that it tests) and compares. Usage: python store.py FOLDER PORT
PACE serves the files beneath FOLDER as the bucket `models`, PACE bytes a second.
"""

from __future__ import annotations

import hashlib
import hmac
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

ID, SECRET, SESSION = "AKIATEST", "the/secret+of=the store", "a session"
BUCKET = "models"


class Store(ThreadingHTTPServer):
    """`objects` of the one bucket; the rest is how it is to misbehave, and what it answered.

    While `half_seen` is not set, half of an object is sent and the rest once it is.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address, Handler)
        self.objects: dict[str, bytes] = {}
        self.versions: dict[str, bytes] = {}
        self.replaced: dict[str, bytes] = {}
        self.region, self.page, self.cuts, self.public, self.session = "us-east-1", 1000, 0, False, False
        self.answers: list[int] = []
        self.pace = 0
        self.half_seen = threading.Event()
        self.half_seen.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Store

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        bucket, _, key = unquote(url.path).lstrip("/").partition("/")
        if (refusal := None if self.server.public else self._refusal(url.path, url.query)) is not None:
            return self._error(*refusal)
        if bucket != BUCKET:
            return self._error(404, "NoSuchBucket")
        if not key:
            return self._list(query)
        found = self.server.versions.get(query.get("versionId", "")) or self.server.objects.get(key)
        return self._send(found) if found is not None else self._error(404, "NoSuchKey")

    def _refusal(self, path: str, query: str) -> tuple[int, str] | None:
        told = self.headers.get("Authorization", "")
        if not told.startswith("AWS4-HMAC-SHA256 "):
            return 403, "AccessDenied"
        parts = dict(one.strip().split("=", 1) for one in told.removeprefix("AWS4-HMAC-SHA256 ").split(","))
        who, day, region, *_ = parts["Credential"].split("/")
        if who != ID:
            return 403, "InvalidAccessKeyId"
        if region != self.server.region:
            return 400, "AuthorizationHeaderMalformed"
        names = parts["SignedHeaders"].split(";")
        if self.server.session and "x-amz-security-token" not in names:
            return 403, "InvalidToken"
        lines = [f"{name}:{self.headers.get(name, '').strip()}\n" for name in names]
        asked = sorted(query.split("&")) if query else []
        request = f"GET\n{path}\n{'&'.join(asked)}\n{''.join(lines)}\n{parts['SignedHeaders']}\n"
        request += self.headers["x-amz-content-sha256"]
        scope = f"{day}/{region}/s3/aws4_request"
        text = (
            f"AWS4-HMAC-SHA256\n{self.headers['x-amz-date']}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        )
        key = b"AWS4" + SECRET.encode()
        for step in (day, region, "s3", "aws4_request", text):
            key = hmac.digest(key, step.encode(), "sha256")
        return None if key.hex() == parts["Signature"] else (403, "SignatureDoesNotMatch")

    def _list(self, query: dict[str, str]) -> None:
        keys = sorted(one for one in self.server.objects if one.startswith(query["prefix"]))
        start = int(query.get("continuation-token", "0"))
        shown, more = keys[start : start + self.server.page], start + self.server.page < len(keys)
        listed = "".join(
            f"<Contents><Key>{escape(one)}</Key><Size>{len(self.server.objects[one])}</Size></Contents>"
            for one in shown
        )
        following = f"<NextContinuationToken>{start + self.server.page}</NextContinuationToken>" if more else ""
        text = (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{listed}{following}</ListBucketResult>"
        )
        self._reply(200, text.encode())

    def _send(self, data: bytes) -> None:
        """Knows ranges but not If-Range, as some stores; `replaced` takes effect after the first reply."""
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        self._reply(206 if asked else 200, data[start:], f'"{hashlib.md5(data).hexdigest()}"')
        if self.server.replaced:
            self.server.objects, self.server.replaced = self.server.replaced, {}

    def _error(self, status: int, code: str) -> None:
        region = f"<Region>{self.server.region}</Region>" if code == "AuthorizationHeaderMalformed" else ""
        self._reply(status, f"<Error><Code>{code}</Code><Message>no</Message>{region}</Error>".encode())

    def _reply(self, status: int, body: bytes, etag: str = "") -> None:
        self.server.answers.append(status)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if etag:
            self.send_header("ETag", etag)
        self.end_headers()
        if etag and self.server.cuts:
            self.server.cuts -= 1
            body = body[: len(body) // 2]
        if etag and not self.server.half_seen.is_set():
            half, body = body[: len(body) // 2], body[len(body) // 2 :]
            self.wfile.write(half)
            self.server.half_seen.wait(60)
        step = self.server.pace // 10 or len(body) or 1
        for start in range(0, len(body), step):
            self.wfile.write(body[start : start + step])
            if self.server.pace:
                time.sleep(0.1)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    folder, port, pace = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    with Store(("", port)) as served:
        served.objects = {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}
        served.pace = pace
        served.serve_forever()
