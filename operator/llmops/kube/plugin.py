"""Logging in with another program, as kubectl does: client-go's credential plugins, client.authentication.k8s.io.

A kubeconfig's `exec` names it: `aws eks get-token`, `gke-gcloud-auth-plugin`, `kubelogin`. It prints an ExecCredential
with a token, a client certificate, or both, which are kept until shortly before they expire or until the API server
refuses them; nothing is kept on disk. What it says on stderr, and what it asks a person, goes to the terminal.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import ssl
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from llmops.kube.connection import Login, NoCluster, bearer
from llmops.kube.errors import Unreachable
from llmops.kube.trust import show

VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
MODES = ("Never", "IfAvailable", "Always")
EARLY = 10.0  # seconds before the end that credentials are renewed: a request takes some, and clocks differ


@dataclass(frozen=True)
class Program:
    """What a kubeconfig says of it; `whose` begins every sentence about it."""

    whose: str
    version: str
    command: str
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    mode: str = "IfAvailable"
    hint: str = ""
    cluster: Mapping[str, Any] | None = None


def program(whose: str, given: Mapping[str, Any], cluster: Mapping[str, Any]) -> Program:
    """From a user's `exec`; `cluster` is what the program is told where provideClusterInfo says so."""
    version, command = given.get("apiVersion"), given.get("command")
    if version not in VERSIONS:
        raise NoCluster(f"{whose}: exec.apiVersion is {version!r}: write one of {', '.join(VERSIONS)}")
    if not command:
        raise NoCluster(f"{whose}: exec.command is missing: write the program that prints the credentials")
    mode = given.get("interactiveMode") or ("IfAvailable" if version != VERSIONS[0] else None)
    if mode not in MODES:
        raise NoCluster(f"{whose}: exec.interactiveMode is {mode!r}: write one of {', '.join(MODES)}")
    return Program(
        whose, version, command, tuple(str(one) for one in given.get("args") or ()),
        tuple((one["name"], str(one["value"])) for one in given.get("env") or ()),
        mode, given.get("installHint") or "", cluster if given.get("provideClusterInfo") else None,
    )  # fmt: skip


class Plugin:
    """One program's credentials, for all requests of a connection."""

    def __init__(self, program: Program, trust: ssl.SSLContext) -> None:
        self._program, self._trust = program, trust
        self._login: Login | None = None
        self._one_at_a_time = asyncio.Lock()  # it may ask a person

    async def __call__(self, refused: Login | None) -> Login:
        """Those that are good now."""
        async with self._one_at_a_time:
            if self._login is None or self._login is refused or self._login.expires - EARLY < time.time():
                self._login = self._taken(await _asked(self._program))
            return self._login

    def _taken(self, status: Mapping[str, Any]) -> Login:
        token, whose = status.get("token"), self._program.whose
        certificate, key = status.get("clientCertificateData"), status.get("clientKeyData")
        if not token and not (certificate and key):
            raise Unreachable(f"{whose}: {self._program.command} printed no token, and no certificate with its key")
        headers = bearer(token) if token else ()
        try:
            expires = _seconds(status.get("expirationTimestamp"))
            if certificate and key:
                show(self._trust, certificate.encode(), key.encode())
                headers += (("connection", "close"),)  # one left open would go on with the certificate of before
        except (ssl.SSLError, ValueError) as problem:
            raise Unreachable(f"{whose}: what {self._program.command} printed cannot be used: {problem}") from problem
        return Login(headers, expires)


def _seconds(timestamp: str | None) -> float:
    if not timestamp:
        return math.inf
    at = datetime.fromisoformat(timestamp)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


async def _asked(program: Program) -> Mapping[str, Any]:
    """The `status` that it prints."""
    whose, command = program.whose, program.command
    code, printed = await _run(program)
    if code != 0:
        raise Unreachable(f"{whose}: {command} failed with exit code {code}: run it by hand, or log in again")
    try:
        credential = json.loads(printed)
        version, status = credential["apiVersion"], dict(credential["status"])
    except (ValueError, KeyError, TypeError):
        raise Unreachable(f"{whose}: {command} did not print an ExecCredential with a status") from None
    if version != program.version:
        raise Unreachable(f"{whose}: {command} printed {version}, but exec.apiVersion is {program.version}: mend it")
    return status


async def _run(program: Program) -> tuple[int, bytes]:
    """Its exit code and output. Whoever stops waiting ends it."""
    here = program.mode != "Never" and sys.stdin is not None and sys.stdin.isatty()
    if program.mode == "Always" and not here:
        raise Unreachable(f"{program.whose}: {program.command} asks a person, and standard input is no terminal")
    spec: dict[str, Any] = {"interactive": here} | ({"cluster": program.cluster} if program.cluster else {})
    info = {"apiVersion": program.version, "kind": "ExecCredential", "spec": spec}
    environment = {**os.environ, **dict(program.environment), "KUBERNETES_EXEC_INFO": json.dumps(info)}
    try:
        running = await asyncio.create_subprocess_exec(
            program.command, *program.arguments, env=environment,
            stdin=sys.stdin if here else asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
    except OSError as problem:
        hint = f"\n\n{program.hint}" if program.hint else ": install it, or mend exec.command"
        raise Unreachable(f"{program.whose}: {program.command} cannot be run ({problem.strerror}){hint}") from None
    try:
        printed, _ = await running.communicate()
    except BaseException:
        if running.returncode is None:
            running.kill()
            await running.wait()
        raise
    return running.returncode or 0, printed
