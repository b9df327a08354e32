"""One request of a Job, within limits of size, time and redirects, and never to where it has nothing to look for.

The pod is the tenant's: its namespace's network, other pods and Services are fair addresses. Refused are those that are
not: the pod itself (loopback), and the link-local addresses where a cloud keeps the credentials of its nodes. The peer
of the open connection is asked, not the name, which may mean something else a moment after it was looked up.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from urllib.parse import quote, urljoin, urlsplit

CHUNK = 1 << 16
SAFE = "/%:@!$&'()*+,;=~?"  # of an address that may be quoted already
REDIRECTS = (301, 302, 303, 307, 308)
METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200")))


class Wrong(Exception):
    """Trying again would not help; the sentence says what would."""


class Passing(Exception):
    """This may pass by itself."""


@dataclass(frozen=True)
class Reply:
    """What was answered, after redirects."""

    status: int
    reason: str
    body: bytes
    headers: Message = field(default_factory=Message)


def refused(address: str) -> str | None:
    """Why no connection is kept to this IP address."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.is_loopback or ip.is_unspecified:
        return "a loopback address, which is the Job's own pod"
    if ip.is_link_local or ip in METADATA:
        return "a link-local address, where nodes find their own credentials"
    return None


@dataclass(frozen=True)
class Limits:
    """What one answer may cost; `what` it is, for sentences."""

    what: str = "dataset"
    bytes: int = 64 << 20
    seconds: float = 120.0
    silence: float = 20.0
    redirects: int = 5
    refused: Callable[[str], str | None] = refused


def get(
    url: str, headers: Mapping[str, str], limits: Limits, follow: bool = True, posted: bytes | None = None
) -> Reply:
    """Wrong or Passing where there is no answer; any status is an answer. With `posted` it is a POST."""
    end = time.monotonic() + limits.seconds
    for _ in range(limits.redirects + 1):
        try:
            reply = _once(url, headers, limits, end, posted)
        except ssl.SSLCertVerificationError as problem:
            raise Wrong(f"{url}: its certificate is not trusted ({problem.verify_message})") from problem
        except (http.client.InvalidURL, UnicodeError, ValueError) as problem:
            raise Wrong(f"{url} is no web address ({problem})") from problem
        except (OSError, http.client.HTTPException) as problem:
            raise Passing(f"{url}: {problem or type(problem).__name__}") from problem
        location = reply.headers.get("Location")
        if not follow or reply.status not in REDIRECTS or not location:
            return reply
        url = _next(url, urljoin(url, location))
    raise Wrong(f"{url}: more than {limits.redirects} redirects")


def _next(here: str, there: str) -> str:
    scheme = urlsplit(there).scheme
    if scheme not in ("http", "https") or (scheme == "http" and urlsplit(here).scheme == "https"):
        raise Wrong(f"{here} redirects to {there}: only https, or http from http, is followed")
    return there


def _once(url: str, headers: Mapping[str, str], limits: Limits, end: float, posted: bytes | None) -> Reply:
    where = urlsplit(url)
    connection = _connection(where.scheme, where.hostname or "", where.port, min(limits.silence, limits.seconds))
    try:
        connection.connect()
        sock: socket.socket = connection.sock
        if why := limits.refused(sock.getpeername()[0]):
            raise Wrong(f"{url} is at {why}: no {limits.what} is read from there")
        path = quote(where.path or "/", safe=SAFE) + (f"?{quote(where.query, safe=SAFE)}" if where.query else "")
        verb = "GET" if posted is None else "POST"
        connection.request(verb, path, body=posted, headers={"Host": where.netloc.rpartition("@")[2], **headers})
        reply = connection.getresponse()
        bare = reply.status in (*REDIRECTS, 304)  # which may well have the Content-Length of what they do not bring
        body = b"" if bare else _body(url, reply, limits, end)
        return Reply(reply.status, reply.reason, body, reply.headers)
    finally:
        connection.close()


def _connection(scheme: str, host: str, port: int | None, timeout: float) -> http.client.HTTPConnection:
    if scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=timeout, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, port, timeout=timeout)


def _body(url: str, reply: http.client.HTTPResponse, limits: Limits, end: float) -> bytes:
    promised = reply.headers.get("Content-Length")
    size = int(promised) if promised and promised.isdigit() else None
    read = bytearray()
    while True:
        if max(size or 0, len(read)) > limits.bytes:
            raise Wrong(f"{url} has more than the {limits.bytes / 2**20:g} MiB that a {limits.what} may have")
        if time.monotonic() > end:
            raise Passing(f"{url} did not come within {limits.seconds:g} s ({len(read)} bytes did)")
        chunk = reply.read1(CHUNK)
        if not chunk:
            break
        read += chunk
    if size is not None and len(read) < size:
        raise Passing(f"{url} was cut after {len(read)} of {size} bytes")
    return bytes(read)
