"""The download: whole, resumed, checked, and told in one sentence when it cannot be."""

from __future__ import annotations

import hashlib
import shlex
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from llmops.serving import fetch, transfer

CONTENT = bytes(range(256)) * 9000


class Weights(ThreadingHTTPServer):
    """Serves CONTENT with ranges; cuts the first `cuts` replies in the middle; remembers what was asked."""

    cuts = 0
    content = CONTENT
    marked = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/m.gguf"


class Handler(BaseHTTPRequestHandler):
    server: Weights

    def do_GET(self) -> None:
        if self.path != "/m.gguf":
            return self.send_error(404)
        asked, etag = self.headers.get("Range"), f'"{hashlib.sha256(self.server.content).hexdigest()[:8]}"'
        self.server.ranges.append(asked)
        same = self.headers.get("If-Range") in (None, etag)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and same else 0
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if self.server.marked:
            self.send_header("ETag", etag)
        self.end_headers()
        if self.server.cuts > 0:
            self.server.cuts -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def weights() -> Iterator[Weights]:
    with Weights() as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield server
        server.shutdown()
        serving.join()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmops.serving.transfer.time", SimpleNamespace(sleep=lambda _: None))


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str]:
    status = fetch.main([str(one) for one in args])
    return status, capsys.readouterr().out.strip().splitlines()[-1]


def test_a_file_is_there_whole_or_not_at_all(
    weights: Weights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a" / "m.gguf"
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert run(capsys, weights.url, path, f"--sha256={digest}") == (0, "m.gguf: 2.2 MiB")
    assert path.read_bytes() == CONTENT
    assert [one.name for one in path.parent.iterdir()] == ["m.gguf"]
    assert run(capsys, weights.url, path) == (0, "m.gguf is there already")
    assert len(weights.ranges) == 1


def test_adapters_come_after_the_model_and_their_failure_is_named(
    weights: Weights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, adapter = tmp_path / "m" / "m.gguf", tmp_path / "a b" / "a.gguf"
    assert run(capsys, weights.url, model, f"--also={shlex.join([weights.url, str(adapter)])}")[0] == 0
    assert model.read_bytes() == adapter.read_bytes() == CONTENT
    wrong = shlex.join([weights.url, str(tmp_path / "w"), f"--sha256={'0' * 64}"])
    assert run(capsys, weights.url, model, f"--also={wrong}")[0] == 2
    assert not (tmp_path / "w").exists()


def test_a_download_that_is_cut_goes_on_where_it_was(
    weights: Weights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights.cuts = 2
    assert run(capsys, weights.url, tmp_path / "m.gguf")[0] == 0
    assert (tmp_path / "m.gguf").read_bytes() == CONTENT
    half = len(CONTENT) // 2
    assert weights.ranges == [None, f"bytes={half}-", f"bytes={half + half // 2}-"]


def test_halves_of_two_different_files_are_never_joined(
    weights: Weights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights.cuts = transfer.TRIES
    assert run(capsys, weights.url, tmp_path / "m.gguf")[0] == 1
    weights.content = CONTENT[::-1]
    assert run(capsys, weights.url, tmp_path / "m.gguf")[0] == 0
    assert (tmp_path / "m.gguf").read_bytes() == CONTENT[::-1]


def test_without_a_mark_of_the_file_a_cut_download_begins_anew(
    weights: Weights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights.cuts, weights.marked = 1, False
    assert run(capsys, weights.url, tmp_path / "m.gguf")[0] == 0
    assert weights.ranges == [None, None]


def test_other_bytes_than_promised_are_thrown_away_and_not_tried_again(
    weights: Weights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, told = run(capsys, weights.url, tmp_path / "m.gguf", f"--sha256={'0' * 64}")
    assert status == 2
    assert f"has sha256:{hashlib.sha256(CONTENT).hexdigest()}, and spec.model.revision says" in told
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_does_not_exist_is_not_tried_again(
    weights: Weights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, told = run(capsys, weights.url + "x", tmp_path / "m.gguf")
    assert (status, "answers 404 Not Found: check the address" in told) == (2, True)


def test_a_server_that_is_away_may_come_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, told = run(capsys, "http://127.0.0.1:9/m.gguf", tmp_path / "m.gguf")
    assert (status, "Connection refused" in told) == (1, True)


def test_a_full_volume_says_which_field_makes_it_larger(
    weights: Weights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.gguf.part").symlink_to("/dev/full")
    status, told = run(capsys, weights.url, tmp_path / "m.gguf")
    assert (status, told) == (2, "the volume is full: write a larger spec.model.cache.size")
