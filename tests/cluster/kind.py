"""kind, where Docker runs: what a laptop or a hosted CI uses. The cluster has a name that only this kit gives."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from .layout import KUBECONFIG, STATE
from .progress import Progress

NAME = "llmops-operator"


def usable() -> bool:
    """Both commands are there and a Docker daemon answers."""
    return bool(shutil.which("kind")) and docker_runs()


def docker_runs() -> bool:
    if not shutil.which("docker"):
        return False
    return subprocess.run(("docker", "info"), check=False, capture_output=True, timeout=20).returncode == 0


def is_ours() -> bool:
    """Whether the cluster that is up is kind's (the mark is written by `up`)."""
    return (STATE / "kind").exists()


def up(progress: Progress) -> Path:
    STATE.mkdir(parents=True, exist_ok=True)
    (STATE / "kind").touch()
    if NAME not in kind("get", "clusters").split():
        progress("kind create cluster (the node image is downloaded the first time)")
        kind("create", "cluster", f"--name={NAME}", "--wait=120s", f"--kubeconfig={KUBECONFIG}")
    kind("export", "kubeconfig", f"--name={NAME}", f"--kubeconfig={KUBECONFIG}")
    # `create --wait` does not wait for the account that every pod needs.
    wait = ("wait", "--for=create", "serviceaccount/default", "--timeout=60s")
    subprocess.run(("kubectl", f"--kubeconfig={KUBECONFIG}", *wait), check=True, capture_output=True)
    return KUBECONFIG


def down() -> None:
    kind("delete", "cluster", f"--name={NAME}", f"--kubeconfig={KUBECONFIG}")
    shutil.rmtree(STATE, ignore_errors=True)


def load(image: str) -> None:
    kind("load", "docker-image", image, f"--name={NAME}")


def kind(*arguments: str) -> str:
    return subprocess.run(("kind", *arguments), check=True, capture_output=True, text=True).stdout
