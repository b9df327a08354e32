"""An API server that says what it was asked with: real TLS, real certificates, and a proxy before it."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM


def kubeconfig(user: dict[str, Any], cluster: dict[str, Any], context: str = "here") -> dict[str, Any]:
    return {
        "current-context": context,
        "contexts": [{"name": context, "context": {"cluster": "c", "user": "alice"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "alice", "user": user}],
    }


def write(path: Path, content: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))
    return path


class Authority:
    """Signs certificates, into files of a folder: NAME.crt and NAME.key. Like EKS's it has no key identifier."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        folder.mkdir(exist_ok=True)
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        self._write("ca", self._builder(self._name, self._key, True).sign(self._key, hashes.SHA256()), self._key)

    def sign(self, name: str, *names: x509.GeneralName) -> None:
        """A certificate for a server of these names, or for a user."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        self._write(name, builder.sign(self._key, hashes.SHA256()), key)

    def data(self, file: str) -> str:
        """As a kubeconfig has it that a person folded."""
        return base64.encodebytes((self.folder / file).read_bytes()).decode()

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, ca: bool) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return x509.CertificateBuilder(
            self._name, subject, key.public_key(), x509.random_serial_number(), now - timedelta(1), now + timedelta(1)
        ).add_extension(x509.BasicConstraints(ca, None), critical=True)

    def _write(self, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (self.folder / f"{name}.crt").write_bytes(certificate.public_bytes(PEM))
        (self.folder / f"{name}.key").write_bytes(private)


@dataclass
class Asked:
    """One request, as the server saw it."""

    path: str
    authorization: str | None
    shown: str | None  # the name in the client's certificate
    called: str | None  # the name that the client meant to reach
    headers: dict[str, list[str]]


@dataclass
class ApiServer:
    """Answers every request with an empty list, and 401 where its credentials are among the `refused`."""

    authority: Authority
    port: int = 0
    refused: set[str | None] = field(default_factory=set)
    asked: list[Asked] = field(default_factory=list)
    tunnels: list[bytes] = field(default_factory=list)  # what a proxy was asked to reach
    proxy: str = ""

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def _answer(self, request: web.Request) -> web.Response:
        tls: Any = request.get_extra_info("ssl_object")
        subject = dict(pair for one in (tls.getpeercert() or {}).get("subject", ()) for pair in one)
        headers = {name.lower(): request.headers.getall(name) for name in request.headers}
        authorization, called = request.headers.get("authorization"), self._called.pop("name", None)
        asked = Asked(request.path, authorization, subject.get("commonName"), called, headers)
        self.asked.append(asked)
        if {asked.authorization, asked.shown} & self.refused:
            return web.json_response({"kind": "Status", "message": "Unauthorized"}, status=401)
        return web.json_response({"items": [], "metadata": {"resourceVersion": "1"}})

    def __post_init__(self) -> None:
        self._called: dict[str, str | None] = {}

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ApiServer]:
        """For as long as the block."""
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        files = self.authority.folder
        tls.load_cert_chain(files / "server.crt", files / "server.key")
        tls.load_verify_locations(files / "ca.crt")
        tls.verify_mode = ssl.CERT_OPTIONAL
        tls.sni_callback = lambda _, name, __: self._called.update(name=name)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        proxy = await asyncio.start_server(self._tunnel, "127.0.0.1", 0)
        self.port = runner.addresses[0][1]
        self.proxy = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            proxy.close()
            await runner.cleanup()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A proxy that leads here, wherever it was asked to lead."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.tunnels.append(head.split(b"\r\n")[0])
        from_us, to_us = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

        async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        await asyncio.gather(pass_on(reader, to_us), pass_on(from_us, writer))
