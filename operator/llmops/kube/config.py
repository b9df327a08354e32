"""Where the API server is, and who we are to it: the pod's service account, or what a kubeconfig's context says."""

from __future__ import annotations

import os
from contextvars import ContextVar
from pathlib import Path

from llmops.kube import kubeconfig
from llmops.kube.connection import Connection
from llmops.kube.trust import trusting

IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
CONTEXT: ContextVar[str | None] = ContextVar("CONTEXT", default=None)
"""The kubeconfig's context that the command line names; without one the current."""


def load() -> Connection:
    """KUBECONFIG, else the pod's account (unless a context is named), else ~/.kube/config."""
    context, given = CONTEXT.get(), os.environ.get("KUBECONFIG")
    if not given and not context and (IN_CLUSTER / "token").exists():
        return _of_this_pod()
    paths = [Path(one) for one in given.split(os.pathsep) if one] if given else [Path.home() / ".kube" / "config"]
    return kubeconfig.connection(kubeconfig.read(paths), context)


def _of_this_pod() -> Connection:
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    trust = trusting(IN_CLUSTER / "ca.crt")
    host = f"[{host}]" if ":" in host else host
    return Connection(f"https://{host}:{port}", trust, token_file=IN_CLUSTER / "token")
