"""The Dockerfile's targets, built on this machine and loaded into the cluster: `make images`.

Where Docker and kind are, they do both. On the own node buildah builds (no daemon, no registry: the base image comes
from debootstrap) and layers.py hands containerd only what it does not have yet, so the way from an edit to a running
pod is a few seconds. Nothing is built twice: buildah keeps every step, keyed by what it reads.
"""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import debian, given, kind, layers
from .layout import CACHE, CHECKOUT, IMAGES, KUBECONFIG, RUN
from .progress import Progress

TARGETS = (
    "operator", "evaluate", "retrieval", "llamacpp", "milvus-lite", "milvus", "demo-models", "bentoml", "demo-bento",
    "openllm", "demo-openllm", "benchmark",
)  # fmt: skip
MODELS = CHECKOUT / "build" / "models"
STORAGE = CACHE / "buildah"
BUILDAH = ("buildah", "--root", str(STORAGE), "--runroot", str(RUN / "buildah"), "--storage-driver", "overlay")
BASE = "localhost/llmops/base:bookworm-1"  # count up when PACKAGES changes
PACKAGES = "python3,python3-venv,ca-certificates,libgomp1,libstdc++6"
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
PIP_KEYS = ("index-url", "extra-index-url", "trusted-host", "timeout", "proxy")


def image_of(target: str) -> str:
    return f"docker.io/llmops/{target}:dev"


def load(which: str, targets: list[str], progress: Progress) -> None:
    """Build the targets (all of them if none is named) and have the cluster know them."""
    if which == "current":
        raise given.NotOurs(
            "your cluster takes images from a registry: build the Dockerfile's targets and push them there"
        )
    unknown = set(targets) - set(TARGETS)
    if unknown:
        raise RuntimeError(f"no such target: {', '.join(sorted(unknown))}; the Dockerfile has {', '.join(TARGETS)}")
    if not KUBECONFIG.exists():
        raise RuntimeError("there is no cluster to load images into; `make cluster-up` starts one")
    if which == "node":
        debian.ensure(progress)
        make_base(progress)
    for target in targets or TARGETS:
        if target.startswith("demo-") and not any(MODELS.glob("*.gguf")):
            raise RuntimeError(f"no models in {MODELS}; `make models` writes them")
        progress(f"image {target}: building")
        if which == "kind":
            build_with_docker(target)
            kind.load(image_of(target))
        else:
            build_with_buildah(target)
            sent = layers.load(STORAGE, image_of(target))
            progress(f"image {target}: {'loaded, ' + str(sent // 1024) + ' KiB new' if sent else 'unchanged'}")


def make_base(progress: Progress) -> None:
    """Debian with Python, from Debian's packages: what `debian:bookworm-slim` is where a registry can be reached."""
    if run(*BUILDAH, "images", "-q", "--filter", f"reference={BASE}"):
        return
    progress("base image from Debian's packages, once a machine (about a minute)")
    IMAGES.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="base-", dir=IMAGES))
    try:
        run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(root))
        for waste in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
            shutil.rmtree(root / waste, ignore_errors=True)
            (root / waste).mkdir(parents=True, exist_ok=True)
        container = run(*BUILDAH, "from", "scratch").strip()
        run(*BUILDAH, "add", "-q", container, str(root), "/")
        run(*BUILDAH, "commit", "-q", "--rm", container, BASE)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def build_with_buildah(target: str) -> None:
    """This machine's package index and authorities are lent to the build and do not stay in the image."""
    pip = IMAGES / "pip.conf"
    pip.write_text(pip_settings())
    run(
        *BUILDAH, "bud", "--quiet", "--layers", "--pull-never", "--isolation=chroot", "--network=host",
        f"--build-arg=BASE_IMAGE={BASE}", f"--volume={pip}:/etc/pip.conf:ro",
        f"--volume={os.environ.get('SSL_CERT_FILE', AUTHORITIES)}:{AUTHORITIES}:ro",
        f"--target={target}", f"--tag={image_of(target)}", str(CHECKOUT),
    )  # fmt: skip


def build_with_docker(target: str) -> None:
    run("docker", "build", "--quiet", f"--target={target}", f"--tag={image_of(target)}", str(CHECKOUT))


def pip_settings() -> str:
    """Where this machine's pip finds packages: its configuration files', then its environment's."""
    said = configparser.RawConfigParser()
    said.read(["/etc/pip.conf", Path.home() / ".config/pip/pip.conf", Path.home() / ".pip/pip.conf"])
    found = dict(said["global"]) if said.has_section("global") else {}
    names = {key: "PIP_" + key.replace("-", "_").upper() for key in PIP_KEYS}
    found |= {key: os.environ[name] for key, name in names.items() if name in os.environ}
    lines = [f"{key} = {found[key]}" for key in PIP_KEYS if key in found]
    return "\n".join(("[global]", f"cert = {AUTHORITIES}", *lines, ""))


def run(*command: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout[-1500:]}{done.stderr[-3000:]}")
    return done.stdout
