"""s3:// and gs://: a store over real sockets that checks them itself."""

from __future__ import annotations

import contextlib
import json
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.e2e.store import ID, SECRET, SESSION, Store
from tests.ports import free_port

from llmops.serving import fetch, progress

WEIGHTS = bytes(range(256)) * 4000


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("llmops.serving.transfer.time", SimpleNamespace(sleep=lambda _: None))
    with Store(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def signs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the store, which begins without any key."""
    del store
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


def run(store: Store, uri: str, path: Path, *more: str) -> int:
    return fetch.main([uri, str(path), f"--hub={store.url}", *more])


@pytest.mark.usefixtures("signs")
def test_one_object_is_a_file_whatever_its_name_has_in_it(store: Store, tmp_path: Path) -> None:
    key = "ü b+c/m~1 (2).gguf"
    store.objects = {key: WEIGHTS, key + ".other": b""}
    assert run(store, f"s3://models/{key}", tmp_path / "m") == 0
    assert (tmp_path / "m").read_bytes() == WEIGHTS


@pytest.mark.usefixtures("signs")
def test_a_prefix_is_a_folder_however_many_pages_it_has_and_its_neighbours_stay_away(
    store: Store, tmp_path: Path
) -> None:
    store.page = 2
    store.objects = {
        "llama/": b"", "llama/config.json": b"{}", "llama/model.safetensors": WEIGHTS, "llama/pytorch_model.bin": b"x",
        "llama/tok/merges.txt": b"a b", "llama-2/config.json": b"not this one",
    }  # fmt: skip
    assert run(store, "s3://models/llama/", tmp_path / "m") == 0
    found = {str(one.relative_to(tmp_path / "m")) for one in (tmp_path / "m").rglob("*") if one.is_file()}
    assert found == {"config.json", "model.safetensors", "tok/merges.txt"}
    assert (tmp_path / "m/model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.usefixtures("signs")
def test_a_bucket_of_another_region_is_asked_again_with_its_own(store: Store, tmp_path: Path) -> None:
    store.region, store.objects = "eu-central-1", {"m.gguf": WEIGHTS}
    assert run(store, "s3://models/m.gguf", tmp_path / "m") == 0
    assert store.answers == [400, 200, 200]


def test_temporary_keys_show_their_session(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.session, store.objects = True, {"m.gguf": WEIGHTS}
    for name, value in {"ACCESS_KEY_ID": ID, "SECRET_ACCESS_KEY": SECRET, "SESSION_TOKEN": SESSION}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    assert run(store, "s3://models/m.gguf", tmp_path / "m") == 0


def test_public_buckets_ask_for_no_key(store: Store, tmp_path: Path) -> None:
    store.public, store.objects = True, {"m.gguf": WEIGHTS}
    assert run(store, "gs://models/m.gguf", tmp_path / "m") == 0


@pytest.mark.usefixtures("signs")
def test_a_cut_download_goes_on_where_it_was_and_an_object_replaced_meanwhile_begins_anew(
    store: Store, tmp_path: Path
) -> None:
    store.objects, store.cuts = {"m.gguf": WEIGHTS}, 1
    assert run(store, "s3://models/m.gguf", tmp_path / "m") == 0
    assert (tmp_path / "m").read_bytes() == WEIGHTS
    assert store.answers == [200, 200, 206]
    store.objects, store.cuts, store.replaced = {"m.gguf": WEIGHTS}, 1, {"m.gguf": WEIGHTS[::-1]}
    assert run(store, "s3://models/m.gguf", tmp_path / "n") == 0
    assert (tmp_path / "n").read_bytes() == WEIGHTS[::-1]


@pytest.mark.usefixtures("signs")
def test_how_far_it_is_is_told_while_it_comes(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()  # its own is everybody's on this machine
    monkeypatch.setattr(progress, "serve", partial(progress.serve, port))
    store.objects = {"llama/a.safetensors": WEIGHTS, "llama/b.safetensors": WEIGHTS}
    store.half_seen.clear()
    with ThreadPoolExecutor(1) as other:
        ended = other.submit(run, store, "s3://models/llama", tmp_path / "m")
        seen: list[tuple[int, int]] = []
        while not ended.done():
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1) as reply:
                told = json.load(reply)
                seen.append((told["done"], told["total"]))
            if any(0 < done < total for done, total in seen):
                store.half_seen.set()
        assert ended.result() == 0
    assert {total for _, total in seen} <= {0, 2 * len(WEIGHTS)}
    far = [done for done, total in seen if total]
    assert far == sorted(far)
    assert any(0 < done < 2 * len(WEIGHTS) for done in far)


@pytest.mark.usefixtures("signs")
def test_a_version_of_one_object_can_be_pinned(store: Store, tmp_path: Path) -> None:
    store.objects, store.versions = {"m.gguf": b"new"}, {"v1": WEIGHTS}
    assert run(store, "s3://models/m.gguf", tmp_path / "m", "--revision=v1") == 0
    assert (tmp_path / "m").read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    ("uri", "key", "words"),
    [
        ("s3://models/m.gguf", "", "it is not public: put AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY into a Secret"),
        ("s3://models/m.gguf", "wrong", "answers 403 SignatureDoesNotMatch"),
        ("s3://models/m.gguf", "wrong", "the key in spec.model.credentialsSecretRef must be right, and may list"),
        ("s3://modles/m.gguf", SECRET, "answers 404 NoSuchBucket"),
        ("s3://models/n.gguf", SECRET, "the bucket has nothing of that name: correct spec.model.uri"),
        ("s3://models/up", SECRET, "there is a file '../../etc/passwd', which would lie outside"),
    ],
)
def test_what_a_person_must_mend_is_said(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    uri: str, key: str, words: str,
) -> None:  # fmt: skip
    store.objects = {"m.gguf": WEIGHTS, "up/../../etc/passwd": b"x"}
    if key:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ID)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key)
    assert run(store, uri, tmp_path / "m") == 2
    assert words in capsys.readouterr().out.splitlines()[-1]
