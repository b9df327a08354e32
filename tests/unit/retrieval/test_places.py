"""Where documents come from, each over its real protocol: files, HTTP, S3's API, git."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from wsgiref.simple_server import make_server

import pytest
from dulwich.repo import Repo
from dulwich.server import DictBackend
from dulwich.web import WSGIRequestHandlerLogger, WSGIServerLogger, make_wsgi_chain
from tests.e2e import store as s3
from tests.unit.retrieval.conftest import seen, work_of

from llmops.api import VectorIndex
from llmops.kube.cluster import Cluster
from llmops.retrieval.ingest.places import bucket, mounted, page, repository
from llmops.retrieval.ingest.places.listing import Listing, wanted
from llmops.retrieval.ingest.read import Reading, documents
from llmops.retrieval.sources import sources_of
from llmops.retrieval.work import SourceWork, content_sha256
from llmops.web import Limits, Passing, Wrong

HERE = Limits(what="document", refused=lambda _: None)  # our servers are on loopback
NOWHERE = Path("/nonexistent")


def source(kind: str, address: str = "", **more: Any) -> SourceWork:
    return SourceWork("docs", "Auto", "id", "text", kind=kind, address=address, **more)


def read(listing: Listing) -> dict[str, bytes]:
    return {one.name: one.read() for one in listing.files()}


@pytest.mark.parametrize(
    ("name", "include", "format_", "taken"),
    [
        ("a.md", (), "Auto", True),
        ("deep/er/a.PDF", (), "Auto", True),
        ("a.png", (), "Auto", False),
        (".git/a.md", (), "Auto", False),
        ("LICENSE", (), "Text", True),
        ("src/a.py", ("**/*.py",), "Auto", True),
        ("a.py", ("**/*.py",), "Auto", True),
        ("a.md", ("docs/*",), "Auto", False),
    ],
)
def test_files_are_chosen_by_globs_or_by_their_endings(
    name: str, include: tuple[str, ...], format_: str, taken: bool
) -> None:
    assert wanted(name, include, format_) is taken


def test_a_config_map_that_changed_since_the_plan_is_not_indexed(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("new")
    (tmp_path / "..data").mkdir()
    old = SourceWork("faq", "Auto", "id", "text", content_sha256({"a.md": b"old"}))
    planned = mounted.config_map(old, tmp_path, NOWHERE, patience=0)
    assert planned.version == old.sha256  # where its generation is there, nobody reads it
    with pytest.raises(Wrong, match="it changed meanwhile"):
        planned.files()
    now = SourceWork("faq", "Auto", "id", "text", content_sha256({"a.md": b"new"}))
    assert read(mounted.config_map(now, tmp_path, NOWHERE, patience=0)) == {"a.md": b"new"}


async def test_a_config_map_is_the_same_for_the_operator_and_the_job_whatever_its_bytes_are(tmp_path: Path) -> None:
    files = {"a.md": "one\r\ntwo\rä".encode(), "b.csv": b"\xef\xbb\xbfid,text\r\n", "c.pdf": b"%PDF\xff\xfe\x00"}
    text, binary = ("a.md", "b.csv"), {"c.pdf": base64.b64encode(files["c.pdf"]).decode()}
    given = {"metadata": {}, "data": {name: files[name].decode() for name in text}, "binaryData": binary}
    index = VectorIndex.model_validate(
        {"metadata": {"name": "faq", "namespace": "shop"},
         "spec": {"embedding": {"serviceRef": {"name": "minilm"}},
                  "sources": [{"name": "faq", "configMapRef": {"name": "shop-faq"}}]}}
    )  # fmt: skip
    (planned,), problem, _ = await sources_of(index, cast(Cluster, SimpleNamespace(get=lambda *_: given)))
    assert problem is None
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert read(mounted.config_map(planned, tmp_path, NOWHERE, patience=0)) == files


def test_a_volume_lists_its_documents_and_another_content_is_another_version(tmp_path: Path) -> None:
    (tmp_path / "manuals/de").mkdir(parents=True)
    (tmp_path / "manuals/a.md").write_text("a")
    (tmp_path / "manuals/de/b.txt").write_text("b")
    (tmp_path / "manuals/picture.png").write_text("c")
    (tmp_path / "secret.md").write_text("not beneath the path")
    look = partial(mounted.volume, source("pvc", "/manuals", claim="m"), tmp_path, NOWHERE)
    assert read(look()) == {"a.md": b"a", "de/b.txt": b"b"}
    before = look().version
    assert look().version == before
    (tmp_path / "manuals/a.md").write_text("aa")
    assert look().version != before
    with pytest.raises(Wrong, match="is not on claim m"):
        mounted.volume(source("pvc", "/other", claim="m"), tmp_path, NOWHERE)


def test_a_file_whose_name_is_no_utf8_is_a_document_too(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/gr\xf6\xdfe.md")).write_text("Boots run large.")
    volume = source("pvc", "/")
    listing = mounted.volume(volume, tmp_path, NOWHERE)
    (one,) = documents(replace(work_of(seen()), sources=(volume,)), {"docs": listing}, Reading())
    assert one.id == "docs/gr\ufffd\ufffde.md"


def test_a_link_out_of_a_volume_is_not_followed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "volume", tmp_path / "outside.md"
    inside.mkdir()
    outside.write_text("of the node")
    (inside / "a.md").symlink_to(outside)
    (linked,) = mounted.volume(source("pvc", "/"), inside, NOWHERE).files()
    with pytest.raises(Wrong, match="out of the volume"):
        linked.read()


class Web(BaseHTTPRequestHandler):
    """One page with an ETag; `server.etag` and `server.status` are what it is to say."""

    def do_GET(self) -> None:
        server: Any = self.server
        server.asked.append(self.headers.get("If-None-Match"))
        known = server.etag and self.headers.get("If-None-Match") == server.etag
        self.send_response(304 if known else server.status)
        self.send_header("Content-Type", f"{server.kind}; charset={server.charset}")
        if server.etag:
            self.send_header("ETag", server.etag)
        body = b"" if known else server.body
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not on the tests' output."""


@pytest.fixture
def web() -> Iterator[Any]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        made: Any = server
        made.etag, made.status, made.body, made.asked = '"one"', 200, b"<p>Closed.</p>", []
        made.charset, made.kind = "utf-8", "text/html"
        made.url = f"http://127.0.0.1:{server.server_port}/help"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield made
        server.shutdown()


def test_a_page_that_has_not_changed_is_not_sent_again(web: Any) -> None:
    first = page.look(source("http", web.url), NOWHERE, NOWHERE, HERE)
    assert read(first) == {"help.html": b"<p>Closed.</p>"}
    again = page.look(source("http", web.url, version=first.version), NOWHERE, NOWHERE, HERE)
    assert again.version == first.version
    assert web.asked == [None, '"one"']
    assert read(again) == {"help.html": b"<p>Closed.</p>"}  # another source changed, so this one is read after all
    web.etag, web.body = '"two"', b"<p>Open.</p>"
    assert page.look(source("http", web.url, version=first.version), NOWHERE, NOWHERE, HERE).version != first.version


@pytest.mark.parametrize(
    ("charset", "body", "taken"),
    [
        ("windows-1251", "сапоги".encode("windows-1251"), "сапоги".encode()),
        ("iso-8859-1", "Größe".encode(), "Größe".encode()),  # what many servers say of whatever they send
        ("iso-8859-1", "5 € – „gut“".encode("cp1252"), "5 € – „gut“".encode()),  # and of Windows' letters
        ("iso-8859-1", "Gr\u00f6\u00dfe \u009d".encode("latin-1"), "Gr\u00f6\u00dfe \u009d".encode()),
        ("no-such-thing", b"Gr\xf6\xdfe", b"Gr\xf6\xdfe"),
        ("utf\0", b"Gr\xf6\xdfe", b"Gr\xf6\xdfe"),
        ("undefined", b"Gr\xf6\xdfe", b"Gr\xf6\xdfe"),
    ],
)
def test_what_a_server_says_of_the_letters_it_sends_is_minded_where_they_are_no_utf8(
    web: Any, charset: str, body: bytes, taken: bytes
) -> None:
    web.charset, web.body = charset, body
    assert read(page.look(source("http", web.url), NOWHERE, NOWHERE, HERE)) == {"help.html": taken}


@pytest.mark.parametrize("kind", ["application/pdf", "application/octet-stream"])
def test_what_is_no_text_has_no_letters_whatever_a_server_says(web: Any, kind: str) -> None:
    web.kind, web.charset, web.body = kind, "iso-8859-1", b"%PDF\xe2\xe3\xcf\xd3"
    (read_back,) = read(page.look(source("http", web.url), NOWHERE, NOWHERE, HERE)).values()
    assert read_back == web.body


def test_a_server_without_tags_is_known_by_what_it_sends(web: Any) -> None:
    web.etag = ""
    first = page.look(source("http", web.url), NOWHERE, NOWHERE, HERE)
    assert page.look(source("http", web.url, version=first.version), NOWHERE, NOWHERE, HERE).version == first.version
    web.body = b"<p>Open.</p>"
    assert page.look(source("http", web.url), NOWHERE, NOWHERE, HERE).version != first.version


@pytest.mark.parametrize(("status", "kind"), [(404, Wrong), (403, Wrong), (503, Passing), (429, Passing)])
def test_a_page_that_is_refused_says_whether_waiting_helps(web: Any, status: int, kind: type[Exception]) -> None:
    web.status, web.etag = status, ""
    with pytest.raises(kind, match=f"answers {status}"):
        page.look(source("http", web.url), NOWHERE, NOWHERE, HERE)


@pytest.fixture
def objects() -> Iterator[s3.Store]:
    with s3.Store(("127.0.0.1", 0)) as server:
        server.objects = {"docs/a.md": b"a", "docs/de/b.md": b"b", "docs/c.png": b"c", "docs/d/": b"", "docsx.md": b"x"}
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    (tmp_path / "AWS_ACCESS_KEY_ID").write_text(s3.ID)
    (tmp_path / "AWS_SECRET_ACCESS_KEY").write_text(f"{s3.SECRET}\n")
    return tmp_path


def test_a_bucket_lists_page_by_page_in_the_region_that_it_has(objects: s3.Store, keys: Path) -> None:
    objects.page, objects.region = 2, "eu-central-1"
    asked = source("s3", "s3://models/docs", endpoint=objects.url)
    found = bucket.look(asked, NOWHERE, keys, HERE)
    assert read(found) == {"a.md": b"a", "de/b.md": b"b"}
    assert bucket.look(asked, NOWHERE, keys, HERE).version == found.version
    assert read(bucket.look(source("s3", "s3://models/docs/c.png", endpoint=objects.url), NOWHERE, keys, HERE)) == {
        "c.png": b"c"
    }


def test_a_bucket_that_wants_a_key_says_where_to_write_it(objects: s3.Store) -> None:
    with pytest.raises(Wrong, match=r"name that as s3\.credentialsSecretRef"):
        bucket.look(source("s3", "s3://models/docs", endpoint=objects.url), NOWHERE, NOWHERE, HERE)
    with pytest.raises(Wrong, match="there is no AWS_ACCESS_KEY_ID in Secret store"):
        bucket.look(source("s3", "s3://models/docs", endpoint=objects.url, secret="store"), NOWHERE, NOWHERE, HERE)


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[tuple[Repo, str]]:
    made = Repo.init(str(tmp_path / "repo"), mkdir=True)
    (tmp_path / "repo/docs").mkdir()
    commit(made, {"README.md": "read me", "docs/a.md": "one"})
    served: dict[str, Any] = {"/docs.git": made}
    app = make_wsgi_chain(DictBackend(served))
    server = make_server("127.0.0.1", 0, app, handler_class=WSGIRequestHandlerLogger, server_class=WSGIServerLogger)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield made, f"http://127.0.0.1:{server.server_port}/docs.git"
    server.shutdown()
    server.server_close()
    made.close()


def commit(made: Repo, files: dict[str, str]) -> str:
    for name, text in files.items():
        Path(made.path, name).write_text(text)
    made.get_worktree().stage(list(files))
    who = b"Larch <larch@example.org>"
    return made.get_worktree().commit(message=b"more", committer=who, author=who).decode()


def test_a_repository_is_read_at_the_commit_that_its_branch_names(repo: tuple[Repo, str]) -> None:
    made, url = repo
    look = partial(repository.look, source("git", url, ref="HEAD", path="/docs"), NOWHERE, NOWHERE)
    first = look()
    assert first.version == made.head().decode()
    assert read(first) == {"a.md": b"one"}
    second = commit(made, {"docs/b.md": "two"})
    assert look().version == second
    assert read(look()) == {"a.md": b"one", "b.md": b"two"}
    branch = repository.look(source("git", url, ref="master", path="/"), NOWHERE, NOWHERE)
    assert set(read(branch)) == {"README.md", "docs/a.md", "docs/b.md"}
    pinned = repository.look(source("git", url, ref=first.version, path="/"), NOWHERE, NOWHERE)
    assert set(read(pinned)) == {"README.md", "docs/a.md"}


def test_a_repository_without_the_branch_or_the_path_says_so(repo: tuple[Repo, str]) -> None:
    _, url = repo
    with pytest.raises(Wrong, match=r"no branch or tag 'nope': correct git\.ref"):
        repository.look(source("git", url, ref="nope", path="/"), NOWHERE, NOWHERE)
    with pytest.raises(Wrong, match=r"correct git\.path"):
        read(repository.look(source("git", url, ref="HEAD", path="/nope"), NOWHERE, NOWHERE))
    with pytest.raises((Wrong, Passing), match="docs: "):
        repository.look(source("git", url.replace("docs.git", "other.git"), ref="HEAD", path="/"), NOWHERE, NOWHERE)
