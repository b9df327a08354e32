"""hf://: the hub's HTTP API over real sockets, its gate, and the other host that has the bytes."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from llmops.serving import fetch

COMMIT = "a" * 40
WEIGHTS = bytes(range(256)) * 4000
FILES = {
    "config.json": b"{}", "model.safetensors": WEIGHTS, "pytorch_model.bin": b"the same", "tok/merges.txt": b"a b",
    "original/consolidated.pth": b"the same", ".gitattributes": b"", "m-Q4.gguf": WEIGHTS[::-1],
}  # fmt: skip


class Server(ThreadingHTTPServer):
    """The hub, or (`cdn`) the host that it sends people to."""

    def __init__(self, cdn: Server | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.cdn, self.token, self.commit, self.files = cdn, "", COMMIT, dict(FILES)
        self.lie: dict[str, str] = {}
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        told = self.headers.get("Authorization")
        self.server.asked.append((self.path, told))
        if self.server.cdn is None:
            found = self.server.files.get(self.path.removeprefix("/bytes/"))
            return self._reply(200, found) if found is not None else self.send_error(503)
        if self.server.token and told != f"Bearer {self.server.token}":
            return self.send_error(401)
        if "/resolve/" in self.path:
            _, name = self.path.split(f"/acme/tiny/resolve/{self.server.commit}/")
            return self._reply(302, b"", f"{self.server.cdn.url}/bytes/{name}")
        if self.path.startswith("/api/models/acme/tiny/revision/"):
            return self._reply(200, json.dumps({"sha": self.server.commit, "siblings": self._siblings()}).encode())
        return self.send_error(404)

    def _siblings(self) -> list[object]:
        return [
            {"rfilename": self.server.lie.get(name, name), "size": len(data)}
            | ({"lfs": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}} if len(data) > 99 else {})
            for name, data in self.server.files.items()
        ]

    def _reply(self, status: int, body: bytes, location: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(None) as cdn, Server(cdn) as front:
        threads = [threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01}) for one in (cdn, front)]
        for thread in threads:
            thread.start()
        yield front
        for one in (cdn, front):
            one.shutdown()
        for thread in threads:
            thread.join()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmops.serving.transfer.time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.delenv("HF_TOKEN", raising=False)


def run(capsys: pytest.CaptureFixture[str], server: Server, uri: str, path: Path, *more: str) -> tuple[int, str]:
    status = fetch.main([uri, str(path), f"--hub={server.url}", *more])
    return status, capsys.readouterr().out.strip().splitlines()[-1]


def test_a_repository_comes_without_the_same_weights_twice(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "x" / "tiny"
    assert run(capsys, server, "hf://acme/tiny", folder) == (0, "acme/tiny at aaaaaaaaaa: 3 files, 1.0 MiB")
    found = {str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file()}
    assert found == {"config.json", "model.safetensors", "tok/merges.txt"}
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_one_file_of_a_repository_is_that_file(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x" / "m-Q4.gguf"
    assert run(capsys, server, "hf://acme/tiny/m-Q4.gguf", path)[0] == 0
    assert path.read_bytes() == WEIGHTS[::-1]
    status, told = run(capsys, server, "hf://acme/tiny/q8.gguf", tmp_path / "y" / "q8.gguf")
    assert status == 2
    assert told.startswith("acme/tiny has no file q8.gguf; it has config.json, model.safetensors")


def test_a_second_try_takes_the_commit_of_the_first_though_the_branch_has_moved(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "x" / "tiny"
    assert server.cdn
    lost = server.cdn.files.pop("tok/merges.txt")
    assert run(capsys, server, "hf://acme/tiny", folder)[0] == 1
    server.cdn.files["tok/merges.txt"], before = lost, len(server.asked)
    assert run(capsys, server, "hf://acme/tiny", folder)[0] == 0
    assert server.asked[before][0] == f"/api/models/acme/tiny/revision/{COMMIT}?blobs=true"
    assert not [path for path, _ in server.asked[before:] if path.endswith("model.safetensors")], "it was there"


def test_the_hub_is_shown_the_token_and_the_host_with_the_bytes_is_not(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.token = "hf_secret"
    status, told = run(capsys, server, "hf://acme/tiny", tmp_path / "x" / "tiny")
    assert status == 2
    assert "put a token under HF_TOKEN into a Secret, and name that as spec.model.credentialsSecretRef" in told
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    status, told = run(capsys, server, "hf://acme/tiny", tmp_path / "x" / "tiny")
    assert (status, "must accept the model's licence" in told, "hf_wrong" in told) == (2, True, False)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert run(capsys, server, "hf://acme/tiny", tmp_path / "x" / "tiny")[0] == 0
    assert server.cdn
    assert {told for _, told in server.cdn.asked} == {None}


def test_bytes_that_are_not_the_hubs_are_thrown_away(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert server.cdn
    server.cdn.files["model.safetensors"] = WEIGHTS[::-1]
    status, told = run(capsys, server, "hf://acme/tiny", tmp_path / "x" / "tiny")
    assert (status, "and the hub says sha256:" in told) == (2, True)
    assert not (tmp_path / "x" / "tiny" / "model.safetensors").exists()


@pytest.mark.parametrize("name", ["../../etc/cron.d/x", "/etc/passwd", "a/../../b"])
def test_a_file_that_would_lie_elsewhere_is_refused(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    server.lie = {"config.json": name}
    status, told = run(capsys, server, "hf://acme/tiny", tmp_path / "x" / "tiny")
    assert (status, "would lie outside" in told) == (2, True)
    assert not (tmp_path / "x").exists()


def test_a_volume_that_is_too_small_is_told_before_anything_is_downloaded(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        f_bavail, f_frsize = 10, 4096

    monkeypatch.setattr("llmops.serving.room.os.statvfs", lambda _: Full)
    status, told = run(capsys, server, "hf://acme/tiny", tmp_path / "x" / "tiny")
    assert (status, "write a larger spec.model.cache.size" in told) == (2, True)
    assert server.cdn
    assert server.cdn.asked == []


def test_a_repository_or_revision_that_is_not_there_is_named(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, told = run(capsys, server, "hf://acme/none", tmp_path / "x" / "none", "--revision=v1/x")
    assert status == 2
    assert told.endswith("answers 404 for acme/none at v1/x: correct spec.model.uri or spec.model.revision")
    assert server.asked[-1][0] == "/api/models/acme/none/revision/v1%2Fx?blobs=true"
