"""Kubeconfigs mean here what they mean to kubectl: which entries count, what is sent, what is refused."""

from __future__ import annotations

import base64
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.unit.kube.api_server import ApiServer, Authority, kubeconfig, write

from llmops.kube import config
from llmops.kube.client import Client
from llmops.kube.connection import NoCluster
from llmops.kube.errors import Forbidden, Unreachable
from llmops.kube.kubeconfig import connection, read


async def ask(content: dict[str, Any], folder: Path) -> None:
    async with Client(connection(read([write(folder / "config", content)]))) as client:
        await client.raw("/version")


def basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


@pytest.mark.parametrize(
    ("user", "authorization", "shown"),
    [
        ({}, None, None),
        ({"token": "t1"}, "Bearer t1", None),
        ({"tokenFile": "token"}, "Bearer from-file", None),
        ({"token": "t1", "tokenFile": "token"}, "Bearer from-file", None),
        ({"token": "t1", "tokenFile": "nothing"}, "Bearer t1", None),
        ({"username": "a", "password": "b:c"}, basic("a:b:c"), None),
        ({"client-certificate": "alice.crt", "client-key": "alice.key"}, None, "alice"),
        ({"client-certificate-data": "alice.crt", "client-key-data": "alice.key"}, None, "alice"),
        ({"client-certificate-data": "alice.crt", "client-key": "alice.key"}, None, "alice"),
        ({"client-certificate": "nothing", "client-certificate-data": "alice.crt", "client-key": "alice.key"}, None,
         "alice"),
        ({"token": "t1", "client-certificate": "alice.crt", "client-key": "alice.key"}, "Bearer t1", "alice"),
        ({"token": "t1", "exec": {"command": "never-run"}}, "Bearer t1", None),
        ({"username": "a", "password": "b", "exec": {"command": "never-run"}}, basic("a:b"), None),
        ({"client-certificate": "alice.crt", "client-key": "alice.key", "exec": {"command": "never-run"}}, None,
         "alice"),
        ({"token": "t1", "auth-provider": {"name": "gcp"}}, "Bearer t1", None),
    ],
)  # fmt: skip
async def test_each_way_to_log_in_is_what_the_server_sees(
    user: dict[str, Any], authorization: str | None, shown: str | None, server: ApiServer, tmp_path: Path
) -> None:
    for file in ("alice.crt", "alice.key", "ca.crt"):
        (tmp_path / file).write_bytes((server.authority.folder / file).read_bytes())
    (tmp_path / "token").write_text("from-file\n")
    given = {name: server.authority.data(to) if name.endswith("-data") else to for name, to in user.items()}
    await ask(kubeconfig(given, {"server": server.address, "certificate-authority": "ca.crt"}), tmp_path)
    assert (server.asked[0].authorization, server.asked[0].shown) == (authorization, shown)


async def test_who_acts_as_somebody_else_says_so_in_every_request(server: ApiServer, tmp_path: Path) -> None:
    user = {"token": "t", "as": "bob", "as-uid": "7", "as-groups": ["a", "b"], "as-user-extra": {"why/x": ["1"]}}
    await ask(kubeconfig(user, {"server": server.address, "certificate-authority-data": data(server)}), tmp_path)
    seen = server.asked[0].headers
    assert (seen["impersonate-user"], seen["impersonate-group"]) == (["bob"], ["a", "b"])
    assert (seen["impersonate-uid"], seen["impersonate-extra-why%2fx"]) == (["7"], ["1"])


def data(server: ApiServer) -> str:
    return server.authority.data("ca.crt")


async def test_the_server_is_believed_as_the_cluster_says(server: ApiServer, tmp_path: Path) -> None:
    at = {"server": server.address}
    named = {**at, "certificate-authority-data": data(server), "tls-server-name": "other.example.org"}
    with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
        await ask(kubeconfig({"token": "t"}, at), tmp_path)  # the system's authorities do not know it
    with pytest.raises(Unreachable, match="Hostname mismatch"):
        await ask(kubeconfig({"token": "t"}, named), tmp_path)
    assert server.asked == []
    await ask(kubeconfig({"token": "t"}, {**named, "tls-server-name": "api.example.org"}), tmp_path)
    assert server.asked[0].called == "api.example.org"
    await ask(kubeconfig({"token": "t"}, {**at, "insecure-skip-tls-verify": True}), tmp_path)
    assert len(server.asked) == 2


@pytest.mark.parametrize("given", ["cluster", "environment"])
async def test_a_proxy_is_asked_to_lead_to_the_server(
    given: str, server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = {"server": "https://api.example.org:6443", "certificate-authority-data": data(server)}
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    if given == "cluster":
        cluster["proxy-url"] = server.proxy
    else:
        monkeypatch.setenv("HTTPS_PROXY", server.proxy)
    await ask(kubeconfig({"token": "t"}, cluster), tmp_path)
    assert server.tunnels == [b"CONNECT api.example.org:6443 HTTP/1.1"]
    assert server.asked[0].authorization == "Bearer t"
    if given == "environment":  # nor to this machine, nor where it says not to
        await ask(kubeconfig({"token": "t"}, {**cluster, "server": server.address}), tmp_path)
        monkeypatch.setenv("NO_PROXY", "example.org")
        assert connection(read([tmp_path / "config"])).proxy is None
        assert connection(read([write(tmp_path / "x", kubeconfig({}, cluster))])).proxy is None
        assert len(server.tunnels) == 1


async def test_a_token_that_is_refused_is_told_as_whose_it_is(server: ApiServer, tmp_path: Path) -> None:
    server.refused = {"Bearer old"}
    with pytest.raises(Forbidden, match=r"does not accept user alice of .*config: Unauthorized"):
        await ask(kubeconfig({"token": "old"}, {"server": server.address, "certificate-authority-data": data(server)}),
                  tmp_path)  # fmt: skip
    assert len(server.asked) == 1


async def test_a_server_that_answers_nothing_is_told_in_words(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = f"https://127.0.0.1:{silent.getsockname()[1]}"
        made = connection(read([write(tmp_path / "config", kubeconfig({"token": "t"}, {"server": server}))]))
        async with Client(made, timeout=0.2) as client:
            with pytest.raises(Unreachable, match=r"^GET /version: TimeoutError$"):
                await client.raw("/version")


async def test_without_tls_no_credentials_leave(tmp_path: Path) -> None:
    made = connection(read([write(tmp_path / "config", kubeconfig({"token": "t"}, {"server": "http://h:80/"}))]))
    assert (made.server, (await made.login()).headers) == ("http://h:80", ())


@pytest.mark.parametrize(
    ("user", "cluster", "told"),
    [
        ({"auth-provider": {"name": "oidc"}}, {}, "auth-provider, which kubectl gave up too: write exec"),
        ({"token": "t", "username": "a"}, {}, "a token and a username: remove one"),
        ({"client-certificate-data": "YQ=="}, {}, "write client-key or client-key-data too"),
        ({"client-certificate": "nothing", "client-key": "k"}, {}, "nothing"),
        ({"tokenFile": "nothing"}, {}, "nothing"),
        ({"as-groups": ["g"]}, {}, "as-groups and as-user-extra need as"),
        ({}, {"server": ""}, "server is '': write https://HOST:PORT"),
        ({}, {"server": "api:6443"}, "server is 'api:6443': write https://HOST:PORT"),
        ({}, {"certificate-authority": "nothing"}, "nothing"),
        ({}, {"certificate-authority-data": "?"}, "cluster c: "),
        ({}, {"proxy-url": "socks5://p:1"}, r"the proxy socks5://p:1 to h:6443 is not spoken here: write an http://"),
        ({"exec": {"command": "x"}}, {}, "exec.apiVersion is None: write one of client.authentication.k8s.io/v1,"),
        ({"exec": {"apiVersion": "client.authentication.k8s.io/v1alpha1", "command": "x"}}, {}, "v1alpha1.: write"),
        ({"exec": {"apiVersion": "client.authentication.k8s.io/v1"}}, {}, "exec.command is missing"),
        ({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "x"}}, {},
         "exec.interactiveMode is None: write one of Never, IfAvailable, Always"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_with_what_to_write(
    user: dict[str, Any], cluster: dict[str, Any], told: str, tmp_path: Path
) -> None:
    written = write(tmp_path / "config", kubeconfig(user, {"server": "https://h:6443", **cluster}))
    with pytest.raises(NoCluster, match=told):
        connection(read([written]))


def test_an_authority_beside_no_verification_is_refused(authority: Authority, tmp_path: Path) -> None:
    cluster = {"certificate-authority-data": authority.data("ca.crt"), "insecure-skip-tls-verify": True}
    written = write(tmp_path / "config", kubeconfig({}, {"server": "https://h:6443", **cluster}))
    with pytest.raises(NoCluster, match="remove one"):
        connection(read([written]))


def test_of_two_entries_of_one_name_the_first_files_counts_whole(tmp_path: Path) -> None:
    first = write(tmp_path / "a/config", {
        "users": [{"name": "alice", "user": {"tokenFile": "t"}}],
        "contexts": [{"name": "far", "context": {"cluster": "far", "user": "alice"}}],
    })  # fmt: skip
    (tmp_path / "a/t").write_text("first")
    second = write(tmp_path / "b/config", kubeconfig({"username": "u", "token": "second"}, {"server": "https://near"}))
    third = write(tmp_path / "c", kubeconfig({}, {"server": "https://never"}, "other") | {
        "clusters": [{"name": "far", "cluster": {"server": "https://far", "tls-server-name": "f"}}],
    })  # fmt: skip
    merged = read([first, tmp_path / "nothing", second, third, first])
    assert merged.current == "here"
    near, far = connection(merged), connection(merged, "far")
    assert (near.server, near.token_file, near.token) == ("https://near", tmp_path / "a/t", None)
    assert (far.server, far.server_name) == ("https://far", "f")
    with pytest.raises(NoCluster, match="there is no context 'nowhere': contexts are far, here, other; write one"):
        connection(merged, "nowhere")


@pytest.mark.parametrize(
    ("command", "run"),
    [("login", "login"), ("./login", "{}/login"), ("../bin/login", "{}/../bin/login"), ("/opt/login", "/opt/login")],
)
def test_a_command_with_a_slash_is_relative_to_the_file(command: str, run: str, tmp_path: Path) -> None:
    written = write(tmp_path / "config", kubeconfig({"exec": {"command": command}}, {}))
    assert read([written]).named("users", "alice")["exec"]["command"] == run.format(tmp_path)


@pytest.mark.parametrize("text", ["[]", "a: [", "users: [{user: {}}]", "users: {alice: {}}", "\xff"])
def test_a_file_that_is_no_kubeconfig_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "config").write_bytes(text.encode("latin-1"))
    with pytest.raises(NoCluster, match=r"config( is no kubeconfig|: there is no current-context)"):
        connection(read([tmp_path / "config"]))


def test_the_environment_names_files_the_command_line_a_context_and_a_pod_its_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority
) -> None:
    far = write(tmp_path / "far", kubeconfig({}, {"server": "https://far"}, "far"))
    near = write(tmp_path / "near", kubeconfig({}, {"server": "https://near"}, "near"))
    near.write_text(near.read_text().replace("name: c", "name: n").replace("cluster: c", "cluster: n"))
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(["", str(far), str(near)]))
    assert (config.load().server, config.namespace()) == ("https://far", "default")
    monkeypatch.setattr(config, "IN_CLUSTER", tmp_path / "account")
    (tmp_path / "account").mkdir()
    (tmp_path / "account/token").write_text("of the pod")
    (tmp_path / "account/namespace").write_text("llmops-system")
    (tmp_path / "account/ca.crt").write_bytes((authority.folder / "ca.crt").read_bytes())
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:1")
    assert config.load().server == "https://far"  # KUBECONFIG counts in a pod too
    monkeypatch.delenv("KUBECONFIG")
    made = config.load()
    assert config.namespace() == "llmops-system"
    assert (made.server, made.proxy, made.token_file) == ("https://[fd00::1]:443", None, tmp_path / "account/token")
    monkeypatch.setenv("HOME", str(tmp_path))
    mine = kubeconfig({}, {"server": "https://home"}, "mine")
    mine["contexts"][0]["context"]["namespace"] = "shop"
    write(tmp_path / ".kube/config", mine)
    token = config.CONTEXT.set("mine")
    try:
        assert (config.load().server, config.namespace()) == ("https://home", "shop")
    finally:
        config.CONTEXT.reset(token)
