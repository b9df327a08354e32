"""How to reach the API server, and as whom: the pod's service account, else the kubeconfig's current context."""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_KEPT = 60.0  # seconds: the kubelet replaces the file long before the old token expires


class NoCluster(Exception):
    """Neither in a pod nor with a usable kubeconfig; the sentence says what to set."""


@dataclass
class Connection:
    """Address, trust and credentials of one API server."""

    server: str
    trust: ssl.SSLContext | None
    token: str | None = None
    token_file: Path | None = None
    _read: tuple[float, str] = field(default=(-TOKEN_KEPT, ""), repr=False)

    def headers(self) -> dict[str, str]:
        """The credentials of the next request; a projected token is read again once a minute, for it rotates."""
        if self.token_file is None:
            return {"authorization": f"Bearer {self.token}"} if self.token else {}
        at, token = self._read
        if time.monotonic() - at > TOKEN_KEPT:
            token = self.token_file.read_text().strip()
            self._read = (time.monotonic(), token)
        return {"authorization": f"Bearer {token}"}


def load() -> Connection:
    """KUBECONFIG, else the pod's account, else ~/.kube/config."""
    given = os.environ.get("KUBECONFIG")
    if given:
        return _kubeconfig(Path(given))
    if (IN_CLUSTER / "token").exists():
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
        trust = ssl.create_default_context(cafile=str(IN_CLUSTER / "ca.crt"))
        host = f"[{host}]" if ":" in host else host
        return Connection(f"https://{host}:{port}", trust, token_file=IN_CLUSTER / "token")
    return _kubeconfig(Path.home() / ".kube" / "config")


def _kubeconfig(path: Path) -> Connection:
    if not path.is_file():
        raise NoCluster(f"no cluster to talk to: {path} is not there; set KUBECONFIG to a kubeconfig, or run in a pod")
    config = yaml.safe_load(path.read_text())
    context = _named(config, "contexts", config.get("current-context"))["context"]
    cluster = _named(config, "clusters", context["cluster"])["cluster"]
    user = _named(config, "users", context["user"]).get("user") or {}
    if "exec" in user or "auth-provider" in user:
        raise NoCluster(
            f"{path}: user {context['user']} logs in with a plugin, which is not supported here: use a token"
        )
    trust = _trust(cluster, user) if cluster["server"].startswith("https") else None
    token_file = Path(user["tokenFile"]) if "tokenFile" in user else None
    return Connection(cluster["server"].rstrip("/"), trust, user.get("token"), token_file)


def _named(config: dict[str, Any], section: str, name: str | None) -> dict[str, Any]:
    for one in config.get(section) or []:
        if one["name"] == name:
            return dict(one)
    raise NoCluster(f"the kubeconfig has no {name!r} under {section}: write its current-context")


def _trust(cluster: dict[str, Any], user: dict[str, Any]) -> ssl.SSLContext:
    authority = cluster.get("certificate-authority-data")
    trust = ssl.create_default_context(
        cafile=cluster.get("certificate-authority"),
        cadata=base64.b64decode(authority).decode() if authority else None,
    )
    if cluster.get("insecure-skip-tls-verify"):
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    if "client-certificate-data" in user:
        # the ssl module reads client certificates from files only: a private one, gone at once
        with tempfile.NamedTemporaryFile("wb", suffix=".pem") as pem:
            pem.write(
                base64.b64decode(user["client-certificate-data"]) + b"\n" + base64.b64decode(user["client-key-data"])
            )
            pem.flush()
            trust.load_cert_chain(pem.name)
    elif "client-certificate" in user:
        trust.load_cert_chain(user["client-certificate"], user["client-key"])
    return trust
