"""A source's bytes over real sockets: tags, redirects, faults and limits; a bucket that checks signatures; a claim."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.e2e.store import ID, SECRET, Store

from llmops.evaluation.runner import labels
from llmops.evaluation.runner.reading import Kept, read
from llmops.evaluation.source import Source
from llmops.web import Limits, Passing, Wrong, refused

HERE = Limits(refused=lambda _: None)  # our servers are on loopback
ROWS = b'{"input": "a", "target": "b"}\n' * 100
KEYS = {"AWS_ACCESS_KEY_ID": ID, "AWS_SECRET_ACCESS_KEY": SECRET}


@dataclass
class Web:
    """A server; `fault` is how it misbehaves so many times more (`faults`)."""

    url: str = ""
    body: bytes = ROWS
    etag: str = '"1"'
    fault: str = ""
    faults: int = 0
    answers: list[int] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], context: ssl.SSLContext | None = None) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # who does not trust us hangs up
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def web() -> Iterator[Web]:
    told = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.asked.append(self.path)
            fault = told.fault if told.faults else ""
            told.faults -= bool(fault)
            if fault.isdigit():
                return self.answer(int(fault), b"no")
            if fault == "to a file":
                return self.answer(302, b"", Location="file:///etc/passwd")
            if fault == "again" or self.path == "/moved":
                return self.answer(302, b"", Location="/again" if fault else "/qa.jsonl")
            if self.headers.get("If-None-Match") == told.etag:
                return self.answer(304, b"", length=len(told.body))
            if fault == "cut":
                return self.answer(200, told.body[:50], length=len(told.body))
            if fault == "slow":
                self.answer(200, b"", length=1000)
                for _ in range(50):
                    self.wfile.write(b"x")
                    time.sleep(0.05)
                return None
            return self.answer(200, told.body, ETag=told.etag)

        def answer(self, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
            told.answers.append(status)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(ConnectionResetError, BrokenPipeError):  # a reader that had enough
                super().handle()

    with serving(Handler) as told.url:
        yield told


def look(web: Web, path: str = "/qa.jsonl", kept: Kept | None = None, limits: Limits = HERE) -> bytes:
    source = Source("http", web.url + path)
    return read(source, Path("/nonexistent"), kept or Kept(), limits, {}, sleep=lambda _: None)


def test_a_file_is_read_after_a_redirect_and_a_fault_that_passes(web: Web) -> None:
    web.fault, web.faults = "503", 1
    assert look(web, "/moved") == ROWS
    assert web.answers == [503, 302, 200]


def test_a_name_in_any_script_is_asked_for(web: Web) -> None:
    assert look(web, "/données/行.jsonl?a=b c&x=%20") == ROWS
    assert web.asked == ["/donn%C3%A9es/%E8%A1%8C.jsonl?a=b%20c&x=%20"]


@pytest.mark.parametrize(
    ("fault", "said", "asked"),
    [
        ("404", "answers 404 Not Found: correct spec.dataset.http.url", 1),
        ("401", "it is read without any credential", 1),
        ("again", "more than 5 redirects", 6),
        ("to a file", "redirects to file:///etc/passwd: only https, or http from http, is followed", 1),
    ],
)
def test_what_no_retry_helps_is_wrong_at_once(web: Web, fault: str, said: str, asked: int) -> None:
    web.fault, web.faults = fault, 99
    with pytest.raises(Wrong) as problem:
        look(web)
    assert said in str(problem.value)
    assert len(web.answers) == asked


@pytest.mark.parametrize(
    ("fault", "said"),
    [("500", "answers 500"), ("429", "answers 429"), ("cut", "was cut after 50 of 3000 bytes")],
)
def test_what_may_pass_is_tried_three_times(web: Web, fault: str, said: str) -> None:
    web.fault, web.faults = fault, 99
    with pytest.raises(Passing) as problem:
        look(web)
    assert said in str(problem.value)
    assert len(web.answers) == 3
    web.faults = 2
    assert look(web) == ROWS


def test_a_server_that_dribbles_is_not_waited_for(web: Web) -> None:
    web.fault, web.faults = "slow", 99
    began = time.monotonic()
    with pytest.raises(Passing, match=r"did not come within 0\.2 s"):
        look(web, limits=Limits(seconds=0.2, refused=lambda _: None))
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("limit", [2999, 10])
def test_a_file_that_is_too_large_is_not_read(web: Web, limit: int) -> None:
    with pytest.raises(Wrong, match="MiB that a dataset may have"):
        look(web, limits=Limits(bytes=limit, refused=lambda _: None))


def test_only_what_changed_comes_again(web: Web, tmp_path: Path) -> None:
    kept = Kept(tmp_path / "dataset")
    assert [look(web, kept=kept), look(web, kept=kept)] == [ROWS, ROWS]
    assert web.answers == [200, 304]
    web.etag, web.body = '"2"', b"other"
    assert look(web, kept=kept) == b"other"
    assert look(web, "/elsewhere.jsonl", kept=kept) == b"other"  # another address has no copy yet
    assert web.answers == [200, 304, 200, 200]


def test_a_weak_tag_vouches_for_no_bytes(web: Web, tmp_path: Path) -> None:
    web.etag = 'W/"1"'
    assert [look(web, kept=Kept(tmp_path)), look(web, kept=Kept(tmp_path))] == [ROWS, ROWS]
    assert web.answers == [200, 200]


def test_the_pod_itself_is_not_asked(web: Web) -> None:
    with pytest.raises(Wrong, match="a loopback address"):
        look(web, limits=Limits())
    assert web.asked == []


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("169.254.169.254", "link-local"),
        ("::ffff:169.254.169.254", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("fd00:ec2::254", "link-local"),
        ("10.96.0.10", None),  # a Service of the tenant's
        ("192.168.1.5", None),
        ("93.184.216.34", None),
        ("fd12::1", None),
    ],
)
def test_what_is_not_the_tenant_s_is_refused_and_its_network_is_not(address: str, why: str | None) -> None:
    told = refused(address)
    assert (why in told if told and why else told) == (True if why else None)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Of 127.0.0.1, by nobody: a file with it, and one with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (tmp_path / "crt").write_bytes(made.public_bytes(pem))
    (tmp_path / "key").write_bytes(key.private_bytes(pem, private, plain))
    return tmp_path / "crt", tmp_path / "key"


def test_https_is_read_from_who_is_trusted_and_leads_to_nothing_less(
    web: Web, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302 if self.path == "/moved" else 200)
            self.send_header("Location", web.url)
            self.send_header("Content-Length", str(len(ROWS)))
            self.end_headers()
            self.wfile.write(ROWS)

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with serving(Handler, context) as url:
        secure = Web(url.replace("http://", "https://"))
        with pytest.raises(Wrong, match="its certificate is not trusted"):
            look(secure)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        assert look(secure) == ROWS
        with pytest.raises(Wrong, match="only https, or http from http, is followed"):
            look(secure, "/moved")
        with pytest.raises(Wrong, match="a loopback address"):
            look(secure, limits=Limits())


def test_nobody_home_and_no_such_name_may_pass() -> None:
    for url in ("http://127.0.0.1:9/qa.jsonl", "http://nobody.invalid/qa.jsonl"):
        with pytest.raises(Passing, match=url):
            read(Source("http", url), Path("/nonexistent"), Kept(), HERE, {}, sleep=lambda _: None)


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def take(store: Store, key: str, environ: dict[str, str] = KEYS, **more: Any) -> bytes:
    source = Source("s3", f"s3://models/{key}", endpoint=store.url, **more)
    return read(source, Path("/nonexistent"), Kept(), HERE, environ, sleep=lambda _: None)


def test_an_object_is_read_with_a_signature_from_the_right_region_at_the_version_asked_for(store: Store) -> None:
    store.objects, store.versions = {"a b/ü+.jsonl": ROWS}, {"v1": b"older"}
    assert take(store, "a b/ü+.jsonl") == ROWS
    assert take(store, "a b/ü+.jsonl", version="v1") == b"older"
    store.region, store.answers = "eu-central-1", []
    assert take(store, "a b/ü+.jsonl") == ROWS
    assert store.answers == [400, 200]


def test_a_public_object_asks_for_no_key(store: Store) -> None:
    store.public, store.objects = True, {"qa.jsonl": ROWS}
    assert take(store, "qa.jsonl", {}) == ROWS


@pytest.mark.parametrize(
    ("key", "environ", "more", "said"),
    [
        ("none.jsonl", KEYS, {"secret": "keys"}, "answers 404 NoSuchKey: correct spec.dataset.s3.uri"),
        ("qa.jsonl", {}, {}, "answers 403 AccessDenied: it is not public: put AWS_ACCESS_KEY_ID"),
        (
            "qa.jsonl",
            {**KEYS, "AWS_SECRET_ACCESS_KEY": "wrong"},
            {"secret": "keys"},
            "answers 403 SignatureDoesNotMatch: the key in Secret keys must be right",
        ),
    ],
)
def test_a_store_that_refuses_is_told_with_what_to_write(
    store: Store, key: str, environ: dict[str, str], more: dict[str, str], said: str
) -> None:
    store.objects = {"qa.jsonl": ROWS}
    with pytest.raises(Wrong) as problem:
        take(store, key, environ, **more)
    assert said in str(problem.value)
    assert "wrong" not in str(problem.value)


def test_an_object_that_is_cut_is_read_again(store: Store) -> None:
    store.objects, store.cuts = {"qa.jsonl": ROWS}, 1
    assert take(store, "qa.jsonl") == ROWS


def on_claim(mount: Path, path: str, limits: Limits = HERE) -> bytes:
    return read(Source("pvc", path, claim="data"), mount, Kept(), limits)


def test_a_file_on_a_claim_is_read_and_nothing_outside_of_it(tmp_path: Path) -> None:
    mount = tmp_path / "dataset"
    (mount / "folder").mkdir(parents=True)
    (mount / "folder/qa.jsonl").write_bytes(ROWS)
    (mount / "latest").symlink_to("folder/qa.jsonl")
    (tmp_path / "secret").write_text("not yours")
    (mount / "out").symlink_to(tmp_path / "secret")
    assert on_claim(mount, "/folder/qa.jsonl") == on_claim(mount, "/latest") == ROWS
    for path, said in (
        ("/out", "/out on claim data is a link out of the volume"),
        ("/none", "/none on claim data does not exist: correct spec.dataset.pvc.path"),
        ("/folder", "/folder on claim data is no file"),
    ):
        with pytest.raises(Wrong, match=said):
            on_claim(mount, path)
    with pytest.raises(Wrong, match="MiB that a dataset may have"):
        on_claim(mount, "/latest", Limits(bytes=10))


LABELLED = (Path(__file__).parents[2] / "data/label-studio-1.23.2.json").read_bytes()
"""What Label Studio 1.23.2 exported of four tasks: one labelled twice, one once, one skipped, one not labelled."""
LABELS = [
    {"question": "How do I return it?", "ref": "q1", "id": 1, "topic": ["returns", "orders"], "kind": "a", "stars": 4,
     "answer": ["Send it back.", "Send it back within 30 days."]},
    {"question": "Größe?", "ref": "q2", "id": 2, "topic": "orders", "answer": ["M", "Medium"]},
]  # fmt: skip


def test_what_people_labelled_is_a_row_a_task_whoever_did_it_when() -> None:
    assert [json.loads(line) for line in labels.rows(LABELLED).decode().splitlines()] == LABELS
    later = LABELLED.replace(b"2026-11-25", b"2027-01-01").replace(b'"annotator": 1', b'"annotator": 7')
    assert labels.rows(json.dumps(list(reversed(json.loads(later)))).encode()) == labels.rows(LABELLED)


@contextmanager
def label_studio() -> Iterator[tuple[str, list[str]]]:
    """As 1.23.2 answers: a legacy token, or one that a personal access token (a JSON Web Token) buys."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(self.path)
            right = self.path == "/api/token/refresh" and given == {"refresh": "a.b.c"}
            self.say(200 if right else 401, b'{"access": "short-lived"}' if right else b'{"detail": "invalid"}')

        def do_GET(self) -> None:
            asked.append(self.path)
            if self.headers.get("Authorization") not in ("Token legacy", "Bearer short-lived"):
                return self.say(401, b'{"detail": "Invalid token."}')
            there = self.path == "/api/projects/7/export?exportType=JSON_MIN"
            return self.say(200 if there else 404, LABELLED if there else b"<html>")

        def say(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as url:
        yield url, asked


def project(url: str, number: int, token: str) -> bytes:
    source = Source("labelStudio", str(number), endpoint=url, secret="labels")
    environ = {"LABEL_STUDIO_API_KEY": token}
    return read(source, Path("/nonexistent"), Kept(), HERE, environ, sleep=lambda _: None)


@pytest.mark.parametrize(("token", "requests"), [("legacy", 1), ("a.b.c", 2)])
def test_a_project_is_read_with_either_kind_of_token(token: str, requests: int) -> None:
    with label_studio() as (url, asked):
        assert project(url, 7, token) == labels.rows(LABELLED)
        assert len(asked) == requests


@pytest.mark.parametrize(
    ("number", "token", "said"),
    [
        (7, "wrong", "answers 401 Unauthorized: LABEL_STUDIO_API_KEY in Secret labels must be a token of somebody"),
        (7, "x.y.z", "answers 401 Unauthorized: LABEL_STUDIO_API_KEY in Secret labels must be a token of somebody"),
        (8, "legacy", "project 8 of Label Studio at http://127.0.0.1"),
        (8, "legacy", "answers 404 Not Found: correct spec.dataset.labelStudio.url and project"),
    ],
)
def test_what_a_person_must_mend_about_a_project_is_told(number: int, token: str, said: str) -> None:
    with label_studio() as (url, asked), pytest.raises(Wrong) as problem:
        project(url, number, token)
    assert said in str(problem.value)
    assert len(asked) == 1
