"""An API server, and who signs for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import ip_address

import pytest
from cryptography import x509
from tests.unit.kube.api_server import ApiServer, Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    one = Authority(tmp_path_factory.mktemp("pki"))
    one.sign("server", x509.DNSName("api.example.org"), x509.IPAddress(ip_address("127.0.0.1")))
    for user in ("alice", "alicia"):
        one.sign(user)
    return one


@pytest.fixture
async def server(authority: Authority) -> AsyncIterator[ApiServer]:
    async with ApiServer(authority).serving() as one:
        yield one
