"""Kubeconfigs, read as kubectl reads them (client-go's clientcmd).

The files that $KUBECONFIG names are merged, those that are not there passed over: of two entries of one name the first
counts, whole. Paths in a file are relative to it, and data counts before a file. Of a user's credentials a tokenFile
that is there counts first, then a token, or a username with its password; a certificate is shown beside them. A program
(plugin.py) is asked only where there is none of these. Without TLS no credentials are sent. (As kubectl 1.34 does.)
"""

from __future__ import annotations

import base64
import contextlib
import os
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import yaml

from llmops.kube.connection import Connection, Headers, NoCluster
from llmops.kube.plugin import Plugin, program
from llmops.kube.trust import show, trusting

Entry = Mapping[str, Any]
SECTIONS = {"clusters": "cluster", "users": "user", "contexts": "context"}
FILES = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
EXTENSION = "client.authentication.k8s.io/exec"


@dataclass(frozen=True)
class Kubeconfig:
    """All files in one."""

    where: str
    sections: Mapping[str, Mapping[str, Entry]]
    current: str

    def chosen(self, context: str | None = None) -> Entry:
        """The context of this name, or the current one."""
        return self.named("contexts", context or self.current)

    def named(self, section: str, name: str) -> Entry:
        """An entry, or what there is instead."""
        there = self.sections[section]
        if name not in there:
            known = ", ".join(sorted(there)) or "none"
            wanted = f"{SECTIONS[section]} {name!r}" if name else "current-context"
            raise NoCluster(f"{self.where}: there is no {wanted}: {section} are {known}; write one of them")
        return there[name]


def read(paths: Sequence[Path]) -> Kubeconfig:
    """Merged."""
    there = [path for path in dict.fromkeys(paths) if path.exists()]
    where = ", ".join(str(path) for path in there or paths)
    if not there:
        raise NoCluster(f"no cluster to talk to: {where} is not there; set KUBECONFIG to a kubeconfig, or run in a pod")
    sections: dict[str, dict[str, Entry]] = {section: {} for section in SECTIONS}
    current = ""
    for path in there:
        try:
            config = yaml.safe_load(path.read_text()) or {}
            current = current or config.get("current-context") or ""
            for section, word in SECTIONS.items():
                for one in config.get(section) or []:
                    sections[section].setdefault(one["name"], _placed(one.get(word) or {}, path.parent.absolute()))
        except (yaml.YAMLError, AttributeError, KeyError, TypeError, UnicodeDecodeError) as problem:
            raise NoCluster(f"{path} is no kubeconfig ({type(problem).__name__}): mend it, or set KUBECONFIG") from None
    return Kubeconfig(where, sections, current)


def _placed(entry: Entry, folder: Path) -> Entry:
    """Its relative paths from its file's folder; a command without a slash is looked for in $PATH."""
    placed = dict(entry) | {name: str(folder / entry[name]) for name in FILES if entry.get(name)}
    command = (entry.get("exec") or {}).get("command") or ""
    if os.sep in command:
        placed["exec"] = {**entry["exec"], "command": str(folder / command)}
    return placed


def connection(config: Kubeconfig, context: str | None = None) -> Connection:
    """What a context means; without one the current."""
    chosen = config.chosen(context)
    cluster = config.named("clusters", chosen.get("cluster") or "")
    user = config.named("users", chosen["user"]) if chosen.get("user") else {}
    whose = f"user {chosen.get('user') or '(none)'} of {config.where}"
    server = str(cluster.get("server") or "").rstrip("/")
    address = urlsplit(server)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise NoCluster(f"{config.where}: cluster {chosen['cluster']}: server is {server!r}: write https://HOST:PORT")
    made = Connection(
        server, None, headers=_as_somebody_else(whose, user), whose=whose,
        proxy=_proxy(address, cluster), server_name=cluster.get("tls-server-name"),
    )  # fmt: skip
    if address.scheme == "https":
        try:
            made.trust = _trust(whose, cluster, user)
            _give_credentials(made, cluster, user)
        except (OSError, ValueError) as problem:
            raise NoCluster(f"{whose}, cluster {chosen['cluster']}: {problem}") from problem
    return made


def _data(entry: Entry, name: str) -> bytes | None:
    """Of a field that has a file's name, or its content with -data."""
    if entry.get(f"{name}-data"):
        return base64.b64decode("".join(entry[f"{name}-data"].split()), validate=True)
    return Path(entry[name]).read_bytes() if entry.get(name) else None


def _trust(whose: str, cluster: Entry, user: Entry) -> ssl.SSLContext:
    authority = _data(cluster, "certificate-authority")
    trust = trusting(data=authority)
    if cluster.get("insecure-skip-tls-verify"):
        if authority:
            raise NoCluster(
                f"{whose}: its cluster has insecure-skip-tls-verify beside a certificate-authority: remove one"
            )
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    certificate, key = _data(user, "client-certificate"), _data(user, "client-key")
    if certificate:
        if not key:
            raise NoCluster(f"{whose}: write client-key or client-key-data too, or remove its client-certificate")
        show(trust, certificate, key)
    return trust


def _give_credentials(made: Connection, cluster: Entry, user: Entry) -> None:
    token, name = user.get("token"), user.get("username")
    if token and name:
        raise NoCluster(f"{made.whose} has a token and a username: remove one")
    file = Path(user["tokenFile"]) if user.get("tokenFile") else None
    if file and (file.exists() or not token):
        file.read_bytes()  # else the first request tells, and not in a sentence
        made.token_file = file
    elif token:
        made.token = token
    elif name:
        pair = base64.b64encode(f"{name}:{user.get('password') or ''}".encode()).decode()
        made.headers = (*made.headers, ("authorization", f"Basic {pair}"))
    elif user.get("client-certificate") or user.get("client-certificate-data"):
        pass  # shown already
    elif user.get("exec"):
        assert made.trust is not None
        made.log_in = Plugin(program(made.whose, user["exec"], _told(cluster)), made.trust)
    elif user.get("auth-provider"):
        raise NoCluster(
            f"{made.whose} has an auth-provider, which kubectl gave up too: write exec with your cloud's login program "
            "(gke-gcloud-auth-plugin, kubelogin), or a token"
        )


def _told(cluster: Entry) -> Entry:
    """The cluster as a program is told of it; its authorities always as data."""
    authority = _data(cluster, "certificate-authority")
    fields = ("server", "tls-server-name", "insecure-skip-tls-verify", "proxy-url", "disable-compression")
    told = {name: cluster[name] for name in fields if cluster.get(name)}
    if authority:
        told["certificate-authority-data"] = base64.b64encode(authority).decode()
    for one in cluster.get("extensions") or []:
        if one.get("name") == EXTENSION:
            told["config"] = one.get("extension")
    return told


def _as_somebody_else(whose: str, user: Entry) -> Headers:
    """Impersonation: left out it would act with more rights than the kubeconfig means."""
    groups, extra = user.get("as-groups") or [], user.get("as-user-extra") or {}
    if not user.get("as"):
        if groups or extra or user.get("as-uid"):
            raise NoCluster(f"{whose}: as-uid, as-groups and as-user-extra need as: write whom to act as")
        return ()
    return (
        ("impersonate-user", user["as"]),
        *([("impersonate-uid", user["as-uid"])] if user.get("as-uid") else []),
        *(("impersonate-group", group) for group in groups),
        *((f"impersonate-extra-{quote(key, safe='')}", value) for key, values in extra.items() for value in values),
    )


def _proxy(server: SplitResult, cluster: Entry) -> str | None:
    """The cluster's, else the environment's; that one never to this machine itself."""
    proxy = cluster.get("proxy-url") or _of_environment(server)
    if proxy and urlsplit(proxy).scheme not in ("http", "https"):
        raise NoCluster(
            f"the proxy {proxy} to {server.netloc} is not spoken here: write an http:// or https:// one as proxy-url"
        )
    return proxy


def _of_environment(server: SplitResult) -> str | None:
    host = server.hostname or ""
    with contextlib.suppress(ValueError):
        if ip_address(host).is_loopback:
            return None
    if host == "localhost" or proxy_bypass(host):
        return None
    return getproxies_environment().get(server.scheme)
