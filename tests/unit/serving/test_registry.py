"""oci://: models in a registry. The server here speaks the distribution protocol, tokens and all, from memory."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.serving.seen import see

from llmops.serving import fetch, registry
from llmops.serving.plan import plan

Object = dict[str, Any]
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
WEIGHTS = b"GGUF" + bytes(range(256)) * 4000
LOGIN = "bob:a:secret"


class Registry(ThreadingHTTPServer):
    """`things` by address; with `login` only for tokens, which are good for one thing only."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.things: dict[str, tuple[str, bytes]] = {}
        self.login, self.tokens, self.cuts = "", 0, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def blob(self, content: bytes, kind: str = "application/octet-stream", **annotations: str) -> Object:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.things[f"/v2/acme/model/blobs/{digest}"] = kind, content
        told: Object = {"mediaType": kind, "digest": digest, "size": len(content)}
        return told | ({"annotations": annotations} if annotations else {})

    def file(self, name: str, content: bytes) -> Object:
        return self.blob(content, **{registry.TITLE: name})

    def push(self, tag: str, *layers: Object, **more: Any) -> str:
        manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "layers": layers, **more}).encode()
        digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        for name in (tag, digest):
            self.things[f"/v2/acme/model/manifests/{name}"] = MANIFEST, manifest
        return digest


class Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        server, path = self.server, self.path
        if path.startswith("/token?"):
            given = base64.b64encode(server.login.encode()).decode()
            if self.headers.get("Authorization") != f"Basic {given}":
                return self._send(401, "application/json", b"{}")
            assert "scope=repository%3Aacme%2Fmodel%3Apull" in path
            server.tokens += 1
            return self._send(200, "application/json", json.dumps({"token": f"t{server.tokens}"}).encode())
        if server.login and self.headers.get("Authorization") != f"Bearer t{server.tokens}":
            realm = f'Bearer realm="{server.url}/token",service="here",scope="repository:acme/model:pull"'
            return self._send(401, "application/json", b"{}", ("WWW-Authenticate", realm))
        if path not in server.things:
            return self._send(404, "application/json", b"{}")
        kind, content = server.things[path]
        if "/manifests/" in path and kind not in self.headers.get("Accept", ""):
            return self._send(404, "application/json", b"{}")
        return self._send(200, kind, content)

    def _send(self, status: int, kind: str, content: bytes, *more: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(content))), *more):
            self.send_header(name, value)
        self.end_headers()
        cut = self.server.cuts > 0 and "/blobs/" in self.path
        self.server.cuts -= cut
        self.wfile.write(content[: len(content) // 2] if cut else content)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.setattr("llmops.serving.transfer.time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.setattr("llmops.serving.registry.platform.machine", lambda: "x86_64")
    with Registry() as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield server
        server.shutdown()
        serving.join()


def run(capsys: pytest.CaptureFixture[str], here: Registry, uri: str, path: Path, *more: str) -> tuple[int, str]:
    status = fetch.main([uri, str(path), f"--hub={here.url}", *more])
    return status, capsys.readouterr().out.strip().splitlines()[-1]


def archive(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name.replace("__", "/"))
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("models/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return buffer.getvalue()


def files(folder: Path) -> dict[str, bytes]:
    return {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


def test_an_artifact_s_files_are_there_by_their_names(
    here: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here.push("1.0", here.file("config.json", b"{}"), here.file("weights/m.safetensors", WEIGHTS))
    status, told = run(capsys, here, "oci://reg.example/acme/model:1.0", tmp_path / "x" / "model")
    assert (status, told) == (0, "reg.example/acme/model at 1.0: 1.0 MiB")
    assert files(tmp_path / "x") == {"model/config.json": b"{}", "model/weights/m.safetensors": WEIGHTS}
    assert (
        run(capsys, here, "oci://reg.example/acme/model:1.0", tmp_path / "x" / "model")[1] == "model is there already"
    )


def test_an_image_s_layers_are_unpacked_one_over_the_other_and_its_links_left_out(
    here: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = "application/vnd.oci.image.layer.v1.tar"
    below = here.blob(archive(models__a=b"old", models__gone=b"x"), kind)
    above = here.blob(gzip.compress(archive(**{"models__a": WEIGHTS, "models__.wh.gone": b""})), f"{kind}+gzip")
    digest = here.push("latest", below, above)
    assert run(capsys, here, "oci://reg.example/acme/model", tmp_path / "m")[0] == 0
    assert files(tmp_path / "m") == {"models/a": WEIGHTS}
    one = tmp_path / "one" / "a"
    assert run(capsys, here, "oci://reg.example/acme/model:other#models/a", one, f"--revision={digest}")[0] == 0
    assert files(tmp_path / "one") == {"a": WEIGHTS}


def test_of_an_index_this_machine_s_image_is_taken_and_a_missing_one_is_said(
    here: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right, wrong = here.push("amd", here.file("m.gguf", WEIGHTS)), here.push("arm", here.file("m.gguf", b"arm"))
    both = [(right, "amd64"), (wrong, "arm64")]
    for tag, offered in (("both", both), ("arm-only", both[1:])):
        listed = [{"digest": digest, "platform": {"architecture": arch}} for digest, arch in offered]
        here.push(tag, manifests=listed)
    assert run(capsys, here, "oci://reg.example/acme/model:both#m.gguf", tmp_path / "m.gguf")[0] == 0
    assert (tmp_path / "m.gguf").read_bytes() == WEIGHTS
    refused = run(capsys, here, "oci://reg.example/acme/model:arm-only", tmp_path / "n")
    assert refused == (2, "oci://reg.example/acme/model:arm-only has nothing for amd64: push it for this architecture")


def test_a_private_one_is_opened_by_the_pull_secret_and_a_token_is_never_used_when_old(
    here: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here.push("1.0", here.file("a", b"a"), here.file("b", WEIGHTS))
    here.login = LOGIN
    status, told = run(capsys, here, "oci://reg.example/acme/model:1.0", tmp_path / "m")
    assert status == 2
    assert "it does not exist, or is private: name a pull Secret" in told
    user, _, password = LOGIN.partition(":")
    auths = {"auths": {"https://reg.example/v1/": {"username": user, "password": password}}}
    monkeypatch.setenv("OCI_LOGINS", json.dumps(auths))
    monkeypatch.setattr(registry, "FRESH_SECONDS", -1.0)  # each request comes later than a token lives
    assert run(capsys, here, "oci://reg.example/acme/model:1.0", tmp_path / "m")[0] == 0
    assert here.tokens >= 3
    monkeypatch.setenv("OCI_LOGINS", json.dumps({"auths": {"reg.example": {"auth": "d3Jvbmc6"}}}))
    told = run(capsys, here, "oci://reg.example/acme/model:1.0", tmp_path / "n")[1]
    assert "the login for reg.example in spec.model.credentialsSecretRef may not pull it" in told


def test_a_cut_blob_comes_again_and_a_false_one_is_refused(
    here: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = here.file("m.gguf", WEIGHTS)
    here.push("1.0", layer)
    here.cuts = 2
    assert run(capsys, here, "oci://reg.example/acme/model:1.0#m.gguf", tmp_path / "m.gguf")[0] == 0
    here.things[f"/v2/acme/model/blobs/{layer['digest']}"] = "application/octet-stream", b"other"
    status, told = run(capsys, here, "oci://reg.example/acme/model:1.0#m.gguf", tmp_path / "n.gguf")
    assert status == 2
    assert "the registry says" in told
    assert not (tmp_path / "n.gguf").exists()


@pytest.mark.parametrize(
    ("uri", "name", "sentence"),
    [
        ("oci://reg.example/acme/other:1.0", "m.gguf", "answers 404 for acme/other at 1.0: correct spec.model.uri"),
        ("oci://reg.example/acme/model:1.0#x.gguf", "m.gguf", "has no file x.gguf; it has m.gguf: write one"),
        ("oci://reg.example/acme/model:1.0", "../../etc/passwd", "would lie outside of the model's folder"),
    ],
)
def test_what_is_not_there_or_would_lie_elsewhere_is_refused(
    here: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str], uri: str, name: str, sentence: str
) -> None:
    here.push("1.0", here.file(name, WEIGHTS))
    status, told = run(capsys, here, uri, tmp_path / "m")
    assert status == 2
    assert sentence in told


def test_a_pod_gets_the_mirror_the_digest_and_the_pull_secret() -> None:
    digest = "sha256:" + "1" * 64
    uri = "oci://reg.example/acme/model:1.0#m.gguf"
    made = plan(see({"model": {"uri": uri, "revision": digest, "credentialsSecretRef": {"name": "pull"}}}))
    assert made.problem is None
    pod = next(one for one in made.children if one["kind"] == "Deployment")["spec"]["template"]["spec"]
    (fetcher,) = pod["initContainers"]
    assert fetcher["args"][1] == uri
    assert fetcher["args"][2].endswith("/m.gguf")
    assert fetcher["args"][3:] == ["--hub=https://{host}", f"--revision={digest}"]
    wanted = {"name": "pull", "key": ".dockerconfigjson"}
    assert fetcher["env"] == [{"name": "OCI_LOGINS", "valueFrom": {"secretKeyRef": wanted}}]
