"""A cluster somebody already has: used when asked for by name, never started, stopped or guessed."""

from __future__ import annotations

import os
from pathlib import Path


class NotOurs(Exception):
    """Something was asked for that would change a cluster not made here."""


def kubeconfig() -> Path:
    path = Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
    if not path.is_file():
        raise NotOurs(f"--cluster=current needs a kubeconfig, and {path} is not there; set KUBECONFIG to one file")
    return path


def refuse_down() -> None:
    raise NotOurs("this cluster was not made by `make cluster-up`, so `cluster-down` leaves it alone")
