"""The test cluster's pure parts: pid files, archives, recipes, the choice of a cluster, what is built again."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from tests.cluster import binaries, choose, given, images, layers, processes, scratch, storage


def record(pid: int, started: int | None, file: Path) -> Path:
    file.write_text(json.dumps({"pid": pid, "started": started, "command": ["x"]}))
    return file


def test_a_pid_file_names_the_process_it_was_written_for(tmp_path: Path) -> None:
    file = record(os.getpid(), processes.started_at(os.getpid()), tmp_path / "x.json")
    assert processes.recorded(file) is not None


def test_a_pid_that_the_kernel_gave_to_somebody_else_is_not_ours(tmp_path: Path) -> None:
    started = processes.started_at(os.getpid())
    assert started is not None
    file = record(os.getpid(), started - 1, tmp_path / "x.json")
    assert processes.recorded(file) is None
    assert processes.stop(file) is False  # and this very test is still running
    assert not file.exists()


@pytest.mark.parametrize("text", ["", "{", '{"pid": 1}', '{"pid": "no"}'])
def test_a_torn_pid_file_is_no_process(text: str, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    assert processes.recorded(file) is None


def test_the_same_program_gives_the_same_archive_byte_for_byte(tmp_path: Path) -> None:
    program = tmp_path / "pause"
    program.write_bytes(b"\x7fELF")
    first = scratch.build_archive(program, "llmops.dev/pause:1", tmp_path / "a.tar").read_bytes()
    os.utime(program, (1, 1))
    assert scratch.build_archive(program, "llmops.dev/pause:1", tmp_path / "b.tar").read_bytes() == first


def test_a_recipe_and_the_files_give_back_the_very_tar(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a").write_bytes(b"hello")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        layers.add(archive, "a", b"hello")
    tar = buffer.getvalue()
    steps = [
        {"type": layers.BYTES, "payload": base64.b64encode(tar[:512]).decode()},
        {"type": layers.FILE, "name": "./a", "size": 5},
        {"type": layers.BYTES, "payload": base64.b64encode(tar[517:]).decode()},
    ]
    recipe = tmp_path / "recipe.gz"
    recipe.write_bytes(gzip.compress("\n".join(map(json.dumps, steps)).encode()))
    assert layers.Joined(layers.assemble(recipe, tmp_path / "files")).read(len(tar)) == tar


def claim(**spec: object) -> storage.Object:
    meta = {"name": "c", "namespace": "n", "uid": "u"}
    resources = {"requests": {"storage": "1Gi"}}
    return {"metadata": meta, "spec": {"storageClassName": "s", "resources": resources, "accessModes": ["A"], **spec}}


def test_a_claim_wants_a_volume_until_it_names_one() -> None:
    assert storage.wants_volume(claim(), {"s"})
    assert not storage.wants_volume(claim(volumeName="v"), {"s"})
    assert not storage.wants_volume(claim(), {"another"})


def test_only_a_released_volume_of_ours_loses_its_data(tmp_path: Path) -> None:
    volume = storage.build_volume(claim(), tmp_path)
    assert not storage.is_abandoned(volume)
    assert storage.is_abandoned({**volume, "status": {"phase": "Released"}})
    assert not storage.is_abandoned({"metadata": {}, "spec": volume["spec"], "status": {"phase": "Released"}})


def test_a_cluster_that_was_given_is_never_taken_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMOPS_CLUSTER", "current")
    with pytest.raises(given.NotOurs, match="leaves it alone"):
        choose.down()


def test_a_kubeconfig_in_the_environment_alone_does_not_choose_that_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/etc/kubernetes/admin.conf")
    monkeypatch.delenv("LLMOPS_CLUSTER", raising=False)
    assert choose.choose() in ("kind", "node")


def test_a_misspelt_choice_is_told_the_right_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMOPS_CLUSTER", "kindd")
    with pytest.raises(ValueError, match="current, kind, node"):
        choose.choose()


def test_every_target_of_the_dockerfile_is_built_and_no_other() -> None:
    lines = (images.CHECKOUT / "Dockerfile").read_text().splitlines()
    stages = {line.rpartition(" AS ")[2] for line in lines if line.startswith("FROM ")}
    assert stages - {"base", "code", "milvus-unpacked"} == set(images.TARGETS)


def test_every_program_has_a_module_that_pins_it() -> None:
    for source in binaries.NODE:
        assert len(binaries.pinned(source)) == 64


def test_the_build_is_lent_this_machines_package_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://packages.example/simple")
    assert "index-url = https://packages.example/simple" in images.pip_settings()
