"""The cluster's certificates and kubeconfigs, made with the openssl command (the standard library signs nothing)."""

from __future__ import annotations

import base64
import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .layout import API, API_SERVICE_IP, DOMAIN, KUBECONFIG, NODE, NODE_IP, STATE

PKI = STATE / "pki"
DAYS = "365"
API_NAMES = (
    "DNS:kubernetes", "DNS:kubernetes.default", "DNS:kubernetes.default.svc", f"DNS:kubernetes.default.svc.{DOMAIN}",
    "DNS:localhost", f"IP:{API_SERVICE_IP}", f"IP:{NODE_IP}", "IP:127.0.0.1",
)  # fmt: skip


@dataclass(frozen=True)
class Identity:
    """A certificate: its name and group are what RBAC sees; names are the addresses it serves on."""

    file: str
    user: str
    group: str = ""
    names: tuple[str, ...] = ()
    authority: str = "ca"


IDENTITIES = (
    Identity("apiserver", "kube-apiserver", names=API_NAMES),
    Identity("kubelet-server", NODE, names=(f"DNS:{NODE}", f"IP:{NODE_IP}")),
    Identity("apiserver-to-kubelet", "kube-apiserver-kubelet-client", "system:masters"),
    Identity("front-proxy", "front-proxy-client", authority="front-proxy-ca"),
    Identity("admin", "llmops-admin", "system:masters"),
    Identity("controller-manager", "system:kube-controller-manager"),
    Identity("scheduler", "system:kube-scheduler"),
    Identity("proxy", "system:kube-proxy"),
    Identity("kubelet", f"system:node:{NODE}", "system:nodes"),
)
KUBECONFIGS = ("admin", "controller-manager", "scheduler", "proxy", "kubelet")


def make() -> None:
    """Make all of them unless they are there; the last file written says that none is missing."""
    if KUBECONFIG.exists():
        return
    PKI.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in ("ca", "front-proxy-ca"):
        openssl("req", "-x509", *new_key(name), "-days", DAYS, "-subj", f"/CN=llmops-operator-{name}",
                "-out", str(PKI / f"{name}.crt"))  # fmt: skip
    for identity in IDENTITIES:
        sign(identity)
    openssl("genrsa", "-out", str(PKI / "service-accounts.key"), "2048")
    for name in KUBECONFIGS:
        write_private(PKI / f"{name}.kubeconfig", json.dumps(build_kubeconfig(name), indent=1))
    write_private(KUBECONFIG, (PKI / "admin.kubeconfig").read_text())


def new_key(name: str) -> tuple[str, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(PKI / f"{name}.key"))


def sign(identity: Identity) -> None:
    subject = f"/O={identity.group}/CN={identity.user}" if identity.group else f"/CN={identity.user}"
    request, authority = PKI / f"{identity.file}.csr", PKI / identity.authority
    openssl("req", "-new", *new_key(identity.file), "-subj", subject, "-out", str(request))
    lines = ["keyUsage=digitalSignature", "extendedKeyUsage=serverAuth,clientAuth"]
    if identity.names:
        lines.append("subjectAltName=" + ",".join(identity.names))
    with tempfile.NamedTemporaryFile("w", suffix=".cnf") as extensions:
        extensions.write("\n".join(lines))
        extensions.flush()
        openssl("x509", "-req", "-in", str(request), "-CA", f"{authority}.crt", "-CAkey", f"{authority}.key",
                "-CAcreateserial", "-days", DAYS, "-extfile", extensions.name,
                "-out", str(PKI / f"{identity.file}.crt"))  # fmt: skip
    request.unlink()


def openssl(*arguments: str) -> None:
    subprocess.run(("openssl", *arguments), check=True, capture_output=True)


def build_kubeconfig(name: str) -> dict[str, object]:
    """A kubeconfig that carries its certificates, so that it can be copied anywhere on this machine."""
    user = {
        "client-certificate-data": encoded(PKI / f"{name}.crt"),
        "client-key-data": encoded(PKI / f"{name}.key"),
    }
    cluster = {"server": API, "certificate-authority-data": encoded(PKI / "ca.crt")}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "llmops-operator",
        "clusters": [{"name": "llmops-operator", "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "llmops-operator", "context": {"cluster": "llmops-operator", "user": name}}],
    }


def encoded(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()


def write_private(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)
