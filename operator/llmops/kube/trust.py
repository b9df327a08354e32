"""TLS with an API server: whom to believe, and which certificate to show."""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path


def trusting(file: Path | None = None, data: bytes | None = None) -> ssl.SSLContext:
    """Believes the authorities (PEM) in a file, or these, or the system's where none are given."""
    trust = ssl.create_default_context(cafile=file, cadata=data.decode("ascii", "ignore") if data else None)
    # Python 3.13 asks more of certificates than kubectl does: EKS's authorities have no key identifier (RFC 5280 lets
    # them), and every handshake would fail
    trust.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return trust


def show(trust: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """From the next handshake on."""
    # the ssl module reads client certificates from files only: a private one, gone at once
    with tempfile.NamedTemporaryFile("wb", suffix=".pem") as pem:
        pem.write(certificate + b"\n" + key)
        pem.flush()
        trust.load_cert_chain(pem.name)
