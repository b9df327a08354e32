"""Kubeconfigs whose user logs in with a program: what it is told, what is sent, how long that is kept."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.kube.api_server import ApiServer, kubeconfig, write

from llmops import cli
from llmops.kube.client import Client
from llmops.kube.connection import Connection
from llmops.kube.errors import Forbidden, Unreachable
from llmops.kube.kubeconfig import connection, read
from llmops.kube.resources import CONFIG_MAP

V1, BETA = "client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"


class Program:
    """A login program: it writes down what it was told, and prints what the test laid there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "login").write_text('#!/bin/sh\necho "$1 $WHO $KUBERNETES_EXEC_INFO" >>"$0.told"\ncat "$0.answer"\n')
        (folder / "login").chmod(0o755)

    def prints(self, version: str = V1, expires: timedelta | None = None, **status: str) -> None:
        if expires is not None:
            status["expirationTimestamp"] = (datetime.now(UTC) + expires).strftime("%Y-%m-%dT%H:%M:%SZ")
        (self.folder / "login.answer").write_text(json.dumps({"apiVersion": version, "status": status}))

    def prints_certificate(self, files: Path, user: str) -> None:
        self.prints(clientCertificateData=(files / f"{user}.crt").read_text(),
                    clientKeyData=(files / f"{user}.key").read_text())  # fmt: skip

    @property
    def told(self) -> list[str]:
        """A line a run."""
        file = self.folder / "login.told"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


Connect = Callable[..., Connection]


@pytest.fixture
def connected(server: ApiServer, program: Program) -> Connect:
    def connect(cluster: dict[str, Any] | None = None, **given: Any) -> Connection:
        at = {"server": server.address, "certificate-authority": str(server.authority.folder / "ca.crt")}
        user = {"exec": {"apiVersion": V1, "command": "./login", "interactiveMode": "Never", **given}}
        return connection(read([write(program.folder / "config", kubeconfig(user, {**at, **(cluster or {})}))]))

    return connect


@pytest.mark.parametrize("version", [V1, BETA])
async def test_it_is_told_what_the_protocol_says(
    version: str, connected: Connect, server: ApiServer, program: Program
) -> None:
    program.prints(version, token="t")
    extensions = [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}}]
    settings = {"apiVersion": version, "args": ["eks"], "env": [{"name": "WHO", "value": "alice"}]}
    cluster = {"extensions": extensions, "tls-server-name": "api.example.org"}
    for provided in (False, True):
        async with Client(connected(cluster, **settings, provideClusterInfo=provided)) as client:
            await client.raw("/version")
    without, told = (line.removeprefix("eks alice ") for line in program.told)
    expected = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}}
    assert json.loads(without) == expected
    assert json.loads(told)["spec"]["cluster"] == {
        "server": server.address,
        "tls-server-name": "api.example.org",
        "certificate-authority-data": server.authority.data("ca.crt").replace("\n", ""),
        "config": {"audience": "a"},
    }
    assert [one.authorization for one in server.asked] == ["Bearer t"] * 2


async def test_a_token_is_kept_until_the_server_refuses_it_and_asked_for_once_by_many(
    connected: Connect, server: ApiServer, program: Program
) -> None:
    async with Client(connected()) as client:
        program.prints(token="first")
        await asyncio.gather(*(client.raw("/version") for _ in range(5)))
        assert len(program.told) == 1
        program.prints(token="second")
        server.refused = {"Bearer first"}
        await asyncio.gather(*(client.raw("/version", {"a": "body"}) for _ in range(3)))
        assert len(program.told) == 2
        assert {one.authorization for one in server.asked[-3:]} == {"Bearer second"}
        server.refused.add("Bearer second")  # and its next one is no better
        with pytest.raises(Forbidden, match=r"does not accept user alice of .*: Unauthorized"):
            await client.raw("/version")
        assert len(program.told) == 3


@pytest.mark.parametrize(("lives", "runs"), [(timedelta(hours=1), 1), (timedelta(seconds=3), 3), (None, 1)])
async def test_a_token_is_renewed_shortly_before_it_expires(
    lives: timedelta | None, runs: int, connected: Connect, server: ApiServer, program: Program
) -> None:
    async with Client(connected()) as client:
        for at in range(3):
            program.prints(expires=lives, token=f"t{at}")
            await client.raw("/version")
    assert len(program.told) == runs
    assert server.asked[-1].authorization == ("Bearer t2" if runs == 3 else "Bearer t0")


async def test_a_watch_logs_in_too(connected: Connect, server: ApiServer, program: Program) -> None:
    program.prints(token="t")
    async with Client(connected()) as client:
        assert [event async for event in client.watch(CONFIG_MAP, "shop", "1")] == []
    assert server.asked[0].authorization == "Bearer t"


async def test_a_certificate_is_shown_and_another_after_it_was_refused(
    connected: Connect, server: ApiServer, program: Program
) -> None:
    files = server.authority.folder
    async with Client(connected()) as client:
        program.prints_certificate(files, "alice")
        await client.raw("/version")
        program.prints_certificate(files, "alicia")
        server.refused = {"alice"}
        await client.raw("/version")
    assert [(one.shown, one.authorization) for one in server.asked] == [
        ("alice", None), ("alice", None), ("alicia", None),
    ]  # fmt: skip


@pytest.mark.parametrize("mode", ["Always", "IfAvailable"])
async def test_it_may_ask_the_person_at_the_terminal(
    mode: str, connected: Connect, server: ApiServer, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = os.openpty()
    (program.folder / "login").write_text(
        '#!/bin/sh\nread code\necho "$KUBERNETES_EXEC_INFO" >"$0.told"\n'
        f'printf \'{{"apiVersion": "{V1}", "status": {{"token": "%s"}}}}\' "$code"\n'
    )
    with os.fdopen(ours, "wb"), os.fdopen(theirs) as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        os.write(ours, b"1234\n")
        async with Client(connected(interactiveMode=mode)) as client:
            await client.raw("/version")
    assert server.asked[0].authorization == "Bearer 1234"
    assert json.loads(program.told[0])["spec"] == {"interactive": True}


@pytest.mark.parametrize(
    ("printed", "given", "told"),
    [
        (
            "",
            {"command": "no-such-login", "installHint": "See X."},
            r"cannot be run \(No such.*\n\nSee X",
        ),
        ("", {"command": "./nothing"}, r"nothing cannot be run \(No such file.*: install it, or mend exec.command"),
        ("", {"command": "false"}, "false failed with exit code 1: run it by hand, or log in again"),
        ("", {"interactiveMode": "Always"}, "login asks a person, and standard input is no terminal"),
        ("token", {}, "did not print an ExecCredential with a status"),
        ({}, {}, "did not print an ExecCredential with a status"),
        ({"status": "t"}, {}, "did not print an ExecCredential with a status"),
        ({"apiVersion": BETA, "status": {"token": "t"}}, {}, "v1beta1, but exec.apiVersion is .*/v1: mend it"),
        ({"status": {}}, {}, "printed no token, and no certificate with its key"),
        ({"status": {"clientKeyData": "k"}}, {}, "printed no token, and no certificate with its key"),
        ({"status": {"clientKeyData": "k", "clientCertificateData": "c"}}, {}, "login printed cannot be used: "),
        ({"status": {"token": "t", "expirationTimestamp": "soon"}}, {}, "login printed cannot be used: .*soon"),
    ],
)
async def test_a_program_that_gives_no_credentials_is_told_about_with_what_to_do(
    printed: Any, given: dict[str, Any], told: str, connected: Connect, server: ApiServer, program: Program
) -> None:
    answer = printed if isinstance(printed, str) else json.dumps({"apiVersion": V1, **printed})
    (program.folder / "login.answer").write_text(answer)
    async with Client(connected(**given)) as client:
        with pytest.raises(Unreachable, match=told) as raised:
            await client.raw("/version")
    assert str(raised.value).startswith(f"user alice of {program.folder / 'config'}: ")
    assert server.asked == []


async def test_a_program_that_nobody_waits_for_any_more_is_ended(connected: Connect, program: Program) -> None:
    (program.folder / "login").write_text('#!/bin/sh\necho $$ >"$0.pid"\nexec sleep 60\n')
    async with Client(connected()) as client:
        asking = asyncio.create_task(client.raw("/version"))
        pid = program.folder / "login.pid"
        async with asyncio.timeout(10):
            while not (pid.exists() and pid.read_text()):
                await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)


async def test_a_command_of_a_person_logs_in_with_the_context_it_names(
    connected: Connect, server: ApiServer, program: Program, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    connected()
    other = kubeconfig({"token": "plain"}, {"server": "https://127.0.0.1:1"}, "elsewhere")
    for section, word in (("clusters", "cluster"), ("users", "user")):
        other[section][0]["name"] = other["contexts"][0]["context"][word] = "elsewhere"
    monkeypatch.setenv("KUBECONFIG", f"{write(program.folder / 'first', other)}:{program.folder / 'config'}")
    program.prints(token="t")
    assert await asyncio.to_thread(cli.main, ["status", "-A"]) == 2
    assert server.asked == []
    assert "Cannot connect to host 127.0.0.1:1 " in capsys.readouterr().err
    assert await asyncio.to_thread(cli.main, ["status", "-A", "--context", "here"]) == 0
    assert {one.authorization for one in server.asked} == {"Bearer t"}
    assert len(program.told) == 1
    server.asked.clear()
    here = program.folder / "config"
    here.write_text(here.read_text().replace("user: alice", "user: alice\n    namespace: shop"))
    assert await asyncio.to_thread(cli.main, ["status", "vi", "--context", "here"]) == 0
    assert await asyncio.to_thread(cli.main, ["status", "vi", "--context", "here", "-n", "lab"]) == 0
    assert [one.path for one in server.asked] == [
        f"/apis/llmops.dev/v1alpha1/namespaces/{namespace}/vectorindexes" for namespace in ("shop", "lab")
    ]
    assert await asyncio.to_thread(cli.main, ["explain", "vi", "faq", "--context", "nowhere"]) == 2
    assert "there is no context 'nowhere': contexts are elsewhere, here" in capsys.readouterr().err
