"""Taking the own node away: every process, mount, namespace, cgroup, interface and rule, whoever died before.

Nothing here asks containerd or the kubelet for help, since they may be dead: containers are found by the cgroup that
all of them are in, shims by our socket in their command line, mounts by our directories.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from . import components, network, processes
from .layout import CGROUP, CONTAINERD_SOCKET, RUN, STATE, STORE

# The kubelet first, or it starts again what is being ended.
ORDER = ("kubelet", "kwok", "volumes", "kube-proxy", "kube-scheduler", "kube-controller-manager")
LAST = ("containerd", "kube-apiserver", "etcd")


def remove_node() -> None:
    for name in ORDER:
        processes.stop(RUN / "pids" / f"{name}.json")
    kill_until_none(containers)
    kill_until_none(shims)
    forget_containers()
    for name in LAST:
        processes.stop(RUN / "pids" / f"{name}.json")
    network.remove()
    unmount()
    remove_cgroups()
    remove_files()


def cgroups() -> list[Path]:
    """Our cgroup in each hierarchy (v1 has one per controller, v2 one in all)."""
    root = Path("/sys/fs/cgroup")
    return [path for path in (root / CGROUP, *root.glob(f"*/{CGROUP}")) if path.is_dir()]


def make_cgroups() -> None:
    """The kubelet wants its root to exist in every hierarchy."""
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        (root / CGROUP).mkdir(exist_ok=True)
        return
    for controller in root.iterdir():
        if controller.is_dir() and not controller.is_symlink() and (controller / "cgroup.procs").exists():
            (controller / CGROUP).mkdir(exist_ok=True)
    copy_cpuset(root / "cpuset")


def copy_cpuset(root: Path) -> None:
    """In v1 a new cpuset is empty, and nothing can run in an empty one."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (root / CGROUP / name).exists():
            (root / CGROUP / name).write_text((root / name).read_text())


def containers() -> Iterator[int]:
    for group in cgroups():
        for folder, _, _ in os.walk(group):  # which goes on where one is removed meanwhile
            with contextlib.suppress(OSError):
                yield from (int(line) for line in Path(folder, "cgroup.procs").read_text().split())


def shims() -> Iterator[int]:
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            with contextlib.suppress(OSError):
                words = (directory / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if words[0].endswith("containerd-shim-runc-v2") and str(CONTAINERD_SOCKET) in words:
                    yield int(directory.name)


def kill_until_none(find: Callable[[], Iterator[int]]) -> None:
    deadline = time.monotonic() + 20
    while (left := {pid for pid in find() if processes.started_at(pid) is not None}) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def unmount() -> None:
    """Deepest first; a busy one is detached, so that the directories below can be removed."""
    ours = (f"{RUN}/", f"{STATE}/", f"{STORE}/")
    points = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for point in sorted((p for p in points if p.startswith(ours)), key=len, reverse=True):
        subprocess.run(("umount", "--lazy", point), check=False, capture_output=True)


def remove_cgroups() -> None:
    for group in cgroups():
        for path in sorted((p for p in group.rglob("*") if p.is_dir()), key=lambda p: len(p.parts), reverse=True):
            with contextlib.suppress(OSError):
                path.rmdir()
        with contextlib.suppress(OSError):
            group.rmdir()


def forget_containers() -> None:
    """Have containerd drop its records of the containers just killed; its images stay for the next start."""
    if not STORE.exists() or not shutil.which("containerd"):
        return
    with contextlib.suppress(processes.NotStarted):
        processes.ensure(components.containerd())
        for kind in ("tasks", "containers"):
            names = ctr(kind, "list", "--quiet").split()
            if names:
                ctr(kind, "delete", *names)


def ctr(*arguments: str) -> str:
    command = ("ctr", "--address", str(CONTAINERD_SOCKET), "--namespace", "k8s.io", *arguments)
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout


def remove_files() -> None:
    """Our directories, and the two places of the system that the kubelet and the CNI library insist on."""
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and str(link.readlink()).startswith(f"{STATE}/"):
            link.unlink()
    for result in Path("/var/lib/cni/results").glob("*"):
        if f"{RUN}/" in result.read_text(errors="replace"):
            result.unlink()
    shutil.rmtree(RUN, ignore_errors=True)
    shutil.rmtree(STATE, ignore_errors=True)
