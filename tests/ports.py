"""A port for a process that is told its own and binds it later."""

from __future__ import annotations

import os
import random
import socket

# Below what the kernel gives away by itself (from 32768, to port 0 and to every outgoing connection: such a port is
# often taken again before its process binds it) and below the cluster's node ports.
# Workers of one run (pytest-xdist) draw at the same time: each has the ports of its own number.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_OURS = range(20_000 + _WORKER, 30_000, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
_PORTS = iter(random.sample(_OURS, len(_OURS)))


def free_port() -> int:
    """One that nobody listens on and that no call before has given to this process."""
    return next(port for port in _PORTS if not _listens(port))


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
