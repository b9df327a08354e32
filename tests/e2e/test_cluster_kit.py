"""The test cluster itself: a second one beside the first, in namespaces of its own, killed and taken away.

These tests stand on no fixture: each command runs as a person's would, only inside `unshare`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster import choose, processes

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.geteuid() != 0 or choose.choose() != "node", reason="the own node needs root"),
]

SUFFIX = "-kit-test"
RUN = Path(f"/run/llmops-operator{SUFFIX}")
CACHE = Path.home() / ".cache" / "llmops-operator"
CHECKOUT = Path(__file__).parents[2]


class Elsewhere:
    """A network and a mount namespace held open by a sleeping process, to run commands in."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(("unshare", "--net", "--mount", "sleep", "3600"))
        while os.readlink(f"/proc/{self._holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            time.sleep(0.01)
        self("ip", "link", "set", "lo", "up")
        for shared in ("/var/lib/kubelet", "/var/lib/cni", "/var/log/containers"):  # fixed places, one per machine
            self("mount", "-t", "tmpfs", "none", shared)

    def __call__(self, *command: str, timeout: float = 600) -> str:
        inside = ("nsenter", f"--target={self._holder.pid}", "--net", "--mount", *command)
        environment = {**os.environ, "LLMOPS_CLUSTER_SUFFIX": SUFFIX, "PYTHONPATH": str(CHECKOUT)}
        done = subprocess.run(inside, cwd=CHECKOUT, env=environment, text=True, capture_output=True, timeout=timeout)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def kit(self, command: str) -> None:
        self(sys.executable, "-m", "tests.cluster", command, "--cluster=node")

    def kubectl(self, *arguments: str) -> str:
        kubectl = next(CACHE.glob("bin-*/kubectl"))
        return self(str(kubectl), f"--kubeconfig={CACHE}/cluster{SUFFIX}/kubeconfig", *arguments)

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    place = Elsewhere()
    try:
        yield place
    finally:
        place.kit("down")
        place.close()
        shutil.rmtree(CACHE / f"containerd{SUFFIX}", ignore_errors=True)


def pids() -> dict[str, int]:
    files = (RUN / "pids").glob("*.json")
    return {file.stem: json.loads(file.read_text())["pid"] for file in files if processes.recorded(file)}


def left_over(elsewhere: Elsewhere) -> list[str]:
    """Everything of this cluster that a look at the machine finds."""
    mounts = elsewhere("cat", "/proc/mounts").splitlines()
    rules = elsewhere("iptables-save").splitlines()
    links = elsewhere("ip", "-brief", "link").splitlines()
    groups = (Path(folder) for folder, _, _ in os.walk("/sys/fs/cgroup"))  # others come and go meanwhile
    files = [RUN, CACHE / f"cluster{SUFFIX}", *(one for one in groups if one.name.endswith(SUFFIX))]
    return [
        *(line for line in command_lines() if SUFFIX in line),
        *(line for line in mounts if SUFFIX in line),
        *(line for line in links if not line.startswith("lo ")),
        *(line for line in rules if line.startswith(("-A", ":KUBE"))),
        *elsewhere("ip", "route").splitlines(),
        *(str(path) for path in files if path.exists()),
    ]


def command_lines() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes().decode(errors="replace").replace("\0", " ")


def test_a_cluster_starts_and_a_second_start_finds_it_running(elsewhere: Elsewhere) -> None:
    elsewhere.kit("up")
    before = pids()
    elsewhere.kit("up")
    assert pids() == before


def test_what_was_killed_is_started_again_and_the_objects_are_still_there(elsewhere: Elsewhere) -> None:
    elsewhere.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    before = pids()
    for name in ("etcd", "kube-apiserver", "containerd", "kubelet"):
        os.kill(before[name], signal.SIGKILL)
    elsewhere.kit("up")
    assert elsewhere.kubectl("get", "configmap", "kept", "-o", "jsonpath={.data.a}") == "b"
    assert pids()["kube-scheduler"] == before["kube-scheduler"]
    assert set(pids()) == set(before)


def test_down_leaves_nothing_even_when_everything_was_killed_before(elsewhere: Elsewhere) -> None:
    for pid in pids().values():
        os.kill(pid, signal.SIGKILL)
    elsewhere.kit("down")
    assert left_over(elsewhere) == []


def test_a_new_cluster_after_that_has_no_memory_of_the_old_one(elsewhere: Elsewhere) -> None:
    elsewhere.kit("up")
    assert "kept" not in elsewhere.kubectl("get", "configmaps", "-o", "name")
    elsewhere.kit("down")
    assert left_over(elsewhere) == []
