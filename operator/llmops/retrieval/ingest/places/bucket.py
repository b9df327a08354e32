"""Objects in a bucket, by S3's HTTP API.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API (API_ListObjectsV2).
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as xml
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from llmops.retrieval.ingest.places.listing import MOST_BYTES, File, Listing, Unreadable, version_of, wanted
from llmops.retrieval.ingest.places.page import LIMITS, refusal
from llmops.retrieval.work import SourceWork
from llmops.s3 import VARIABLES, Keys, Store, right_region, tag
from llmops.web import Limits, Reply, get

CAN = "the key must be right, and may list and read the bucket"


def look(source: SourceWork, _: Path, secret: Path, limits: Limits = LIMITS) -> Listing:
    """All objects beneath the prefix, or the one of that name."""
    where = urlsplit(source.address)
    given = {one: (secret / one).read_text().strip() for one in VARIABLES if (secret / one).is_file()}
    store, prefix = Store(source.endpoint, where.netloc, Keys.of(given)), where.path.lstrip("/")
    files, entries, query = [], [], {"list-type": "2", "prefix": prefix}
    while True:
        store, reply = _asked(source, store, limits, **query)
        # its namespace differs from store to store, and says nothing
        page = xml.fromstring(re.sub(rb'\sxmlns="[^"]*"', b"", reply.body, count=1))
        for one in page.iter("Contents"):
            key, size = one.findtext("Key", ""), int(one.findtext("Size", "0"))
            name = _inside(key, prefix)
            if name is not None and (key == prefix or wanted(name, source.include, source.format)):
                entries.append((name, size, one.findtext("ETag", "")))
                files.append(File(name, _reader(source, store, key, size, limits)))
        if page.findtext("IsTruncated") != "true":
            break
        query["continuation-token"] = page.findtext("NextContinuationToken", "")
    return Listing(version_of(entries), lambda: files)


def _inside(key: str, prefix: str) -> str | None:
    """As it is called beneath the prefix; keys that end in a slash are how consoles draw folders."""
    if key.endswith("/"):
        return None
    if key == prefix:
        return key.rpartition("/")[2]
    folder = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
    return key.removeprefix(folder) if key.startswith(folder) else None


def _reader(source: SourceWork, store: Store, key: str, size: int, limits: Limits) -> Callable[[], bytes]:
    def read() -> bytes:
        if size > MOST_BYTES:
            raise Unreadable(f"it has more than {MOST_BYTES >> 20} MiB")
        return _asked(source, store, limits, key)[1].body

    return read


def _no_key(source: SourceWork) -> str:
    if source.secret:
        return f"there is no AWS_ACCESS_KEY_ID in Secret {source.secret}, or no such Secret"
    return ("it is not public: put AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY into a Secret, and name that as "
            "s3.credentialsSecretRef")  # fmt: skip


def _asked(source: SourceWork, store: Store, limits: Limits, key: str = "", **query: str) -> tuple[Store, Reply]:
    """A store that minds the region is asked again with the right one, which is remembered."""
    for _ in range(3):
        address = store.address(key, **query)
        reply = get(address, store.headers(address), limits, follow=False)
        told = reply.body[:10_000].decode(errors="replace")
        region = right_region(reply.status, told, reply.headers.get("x-amz-bucket-region"), store.region)
        if reply.status == 200 or region is None:
            break
        store = replace(store, region=region)
    if reply.status == 200:
        return store, reply
    help_ = "correct the bucket in s3.uri" if reply.status == 404 else CAN if store.keys else _no_key(source)
    said = replace(reply, reason=tag(told, "Code") or reply.reason)
    raise refusal(f"source {source.name}: {source.address} at {source.endpoint}", said, help_)
