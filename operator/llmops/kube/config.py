"""Where the API server is, and who we are to it: the pod's service account, or what a kubeconfig's context says."""

from __future__ import annotations

import os
from contextvars import ContextVar
from pathlib import Path

from llmops.kube import kubeconfig
from llmops.kube.connection import Connection, NoCluster
from llmops.kube.trust import trusting

IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
CONTEXT: ContextVar[str | None] = ContextVar("CONTEXT", default=None)
"""The kubeconfig's context that the command line names; without one the current."""


def load() -> Connection:
    """KUBECONFIG, else the pod's account (unless a context is named), else ~/.kube/config."""
    return _of_this_pod() if _in_pod() else kubeconfig.connection(_kubeconfig(), CONTEXT.get())


def namespace() -> str:
    """Where commands look that name none: the context's, or the pod's."""
    if _in_pod():
        return (IN_CLUSTER / "namespace").read_text().strip()
    try:
        return str(_kubeconfig().chosen(CONTEXT.get()).get("namespace") or "default")
    except NoCluster:
        return "default"  # who needs the cluster is told then


def _in_pod() -> bool:
    return not os.environ.get("KUBECONFIG") and not CONTEXT.get() and (IN_CLUSTER / "token").exists()


def _kubeconfig() -> kubeconfig.Kubeconfig:
    given = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    return kubeconfig.read([Path(one) for one in given.split(os.pathsep) if one])


def _of_this_pod() -> Connection:
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    trust = trusting(IN_CLUSTER / "ca.crt")
    host = f"[{host}]" if ":" in host else host
    return Connection(f"https://{host}:{port}", trust, token_file=IN_CLUSTER / "token")
