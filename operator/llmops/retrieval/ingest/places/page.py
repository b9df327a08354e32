"""A file on the web: one conditional request tells whether it has changed (RFC 9110, section 13)."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from llmops.retrieval.ingest.places.listing import File, Listing
from llmops.retrieval.work import SourceWork
from llmops.web import Limits, Passing, Reply, Wrong, get

LIMITS = Limits(what="document")
WAITS = frozenset({408, 425, 429})
TYPES = {"text/html": ".html", "application/xhtml+xml": ".html", "application/pdf": ".pdf", "text/markdown": ".md",
         "application/x-ndjson": ".jsonl", "text/csv": ".csv"}  # fmt: skip

TEXTS = re.compile(r"text/|application/(.*[+])?(xml|json|x-ndjson|csv)$")
LATIN = ("iso-8859-1", "latin-1", "latin1", "us-ascii", "ascii")


def look(source: SourceWork, mount: Path, secret: Path, limits: Limits = LIMITS) -> Listing:
    """Its ETag (a strong one) or its digest; what source.version knows already is not sent again."""
    tag = source.version.partition(" ")[0]
    reply = get(source.address, {"If-None-Match": tag} if tag.startswith('"') else {}, limits)
    if reply.status == 304:
        return Listing(source.version, lambda: look(replace(source, version=""), mount, secret, limits).files())
    if reply.status != 200:
        raise refusal(f"source {source.name}: {source.address}", reply, "correct http.url; it is read without any "
                      "credential")  # fmt: skip
    name, etag = _name(source.address, reply), reply.headers.get("ETag") or ""
    version = etag if etag.startswith('"') else hashlib.sha256(reply.body).hexdigest()
    return Listing(f"{version} {name}", lambda: [File(name, lambda: _as_utf8(reply))])


def _as_utf8(reply: Reply) -> bytes:
    """Where the head alone says in which encoding a text is: a file has no such head. Servers say Latin-1 of Windows'
    letters too, as browsers know (https://encoding.spec.whatwg.org, names and labels), and give a PDF an encoding."""
    kind, charset = reply.headers.get_content_type(), reply.headers.get_content_charset() or ""
    tries = ("cp1252", "latin-1") if charset in LATIN else (charset,)
    for one in ("utf-8", *tries) if TEXTS.match(kind) and charset else ():
        with suppress(LookupError, ValueError):  # whatever it calls an encoding
            return reply.body.decode(one).encode()
    return reply.body


def _name(url: str, reply: Reply) -> str:
    """The last part of the address; with the ending of what it said it is, where the address has none."""
    name = unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2]) or "index"
    kind = (reply.headers.get_content_type() if reply.headers else "") or ""
    return name if "." in name.strip(".") else name + TYPES.get(kind, "")


def refusal(what: str, reply: Reply, help_: str) -> Exception:
    """A status that may pass by itself, or one for which a person must act."""
    said = f"{what} answers {reply.status} {reply.reason}".rstrip()
    passing = reply.status in WAITS or reply.status >= 500
    return Passing(said) if passing else Wrong(f"{said}: {help_}")
