"""Kubernetes and its companions, compiled once a machine from their Go modules at the versions go/*/go.mod pin.

go.sum holds every module's hash, so what is built is what was reviewed. A program that is there is never built again:
the directory carries Kubernetes' version, and a program of another version has another file name's marker beside it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass

from .debian import CannotInstall
from .layout import BIN, HERE, KUBERNETES
from .progress import Progress


@dataclass(frozen=True)
class Source:
    """One program: the module under go/ that pins it, the package that is its main, its size in seconds."""

    name: str
    module: str
    package: str
    seconds: int  # on two cores with nothing cached
    stamp: str = ""  # linker flags that tell it its version


_MAJOR, _MINOR, _ = KUBERNETES.removeprefix("v").split(".")
_VERSION = {"gitVersion": KUBERNETES, "gitMajor": _MAJOR, "gitMinor": _MINOR, "gitTreeState": "clean"}
_STAMP = " ".join(f"-X k8s.io/component-base/version.{key}={value}" for key, value in _VERSION.items())


def _kubernetes(name: str, seconds: int) -> Source:
    return Source(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", seconds, _STAMP)


NODE = (
    _kubernetes("kube-apiserver", 440),
    _kubernetes("kubectl", 15),
    _kubernetes("kube-controller-manager", 60),
    _kubernetes("kube-scheduler", 8),
    _kubernetes("kubelet", 60),
    _kubernetes("kube-proxy", 10),
    Source("etcd", "kubernetes", "go.etcd.io/etcd/server/v3", 10),
    Source("pause", "pause", ".", 2),
    Source("coredns", "coredns", ".", 60),
    Source("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok", 90),
    Source("helm", "helm", "helm.sh/helm/v3/cmd/helm", 75),
)


def ensure(sources: tuple[Source, ...], progress: Progress) -> None:
    """Build what is missing."""
    wanted = [source for source in sources if not built(source)]
    if not wanted:
        return
    if not shutil.which("go"):
        raise CannotInstall("please install Go 1.26 or newer (the cluster is compiled from source), or start Docker")
    total = sum(source.seconds for source in wanted)
    progress(f"compiling {len(wanted)} programs from Go modules, once a machine: about {total / 60:.0f} min")
    for source in wanted:
        with Telling(progress, f"compiling {source.name}"):
            build(source)


def built(source: Source) -> bool:
    marker = BIN / f".{source.name}"
    return (BIN / source.name).exists() and marker.exists() and marker.read_text() == pinned(source)


def pinned(source: Source) -> str:
    """What the program depends on: its module's files and its flags."""
    files = sorted((HERE / "go" / source.module).iterdir())
    text = b"".join(file.read_bytes() for file in files) + source.stamp.encode()
    return hashlib.sha256(text).hexdigest()


def build(source: Source) -> None:
    BIN.mkdir(parents=True, exist_ok=True)
    part = BIN / f"{source.name}.part"
    command = ("go", "build", "-mod=readonly", "-trimpath", "-ldflags", f"-s -w {source.stamp}", "-o", str(part))
    done = subprocess.run(
        (*command, source.package), check=False, capture_output=True, text=True,
        cwd=HERE / "go" / source.module, env={**os.environ, "CGO_ENABLED": "0"},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"compiling {source.name} failed:\n{done.stderr[-3000:]}")
    part.rename(BIN / source.name)
    (BIN / f".{source.name}").write_text(pinned(source))


class Telling:
    """Say a sentence now and again every 30 seconds, until the block ends."""

    def __init__(self, progress: Progress, sentence: str) -> None:
        self._progress, self._sentence, self._done = progress, sentence, threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True)

    def _tell(self) -> None:
        start = time.monotonic()
        while not self._done.wait(30):
            self._progress(f"{self._sentence} ({time.monotonic() - start:.0f} s)")

    def __enter__(self) -> None:
        self._progress(self._sentence)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
