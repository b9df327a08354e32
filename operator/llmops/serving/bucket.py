"""s3://bucket/path and gs://bucket/path, one object or all beneath a prefix: over the HTTP API of S3.

    GET <endpoint>/<bucket>?list-type=2&prefix=…        ListObjectsV2, a thousand keys a page
    GET <endpoint>/<bucket>/<key>[?versionId=…]         the bytes

Source: https://docs.aws.amazon.com/AmazonS3/latest/API (API_ListObjectsV2). Addresses and signatures: llmops/s3.py.
"""

from __future__ import annotations

import re
import urllib.error
import urllib.request
import xml.etree.ElementTree as xml
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from llmops.s3 import Keys, Store, right_region, tag
from llmops.serving import transfer
from llmops.serving.files import File, check_room, inside, worth_it
from llmops.serving.refused import Refused

SCHEMES = ("s3://", "gs://")


def fetch_model(uri: str, path: Path, endpoint: str, version: str, sha256: str, keys: Keys | None) -> str:
    """Makes `path` the one object, or the folder of those beneath; returns what was done, in words.

    `version` is a version ID of a bucket that keeps versions, for one object only.
    """
    address = urlsplit(uri)
    key = address.path.strip("/")
    store = Store(endpoint, address.netloc, keys)
    store, files = listing(store, key, uri)
    one = next((each for each in files if each.name == key), None)
    chosen = [one] if one else worth_it(_beneath(files, key))
    if not chosen:
        raise Refused(f"{uri}: the bucket has nothing of that name: correct spec.model.uri")
    places = {each: path if one else path / each.name for each in chosen}
    path.parent.mkdir(parents=True, exist_ok=True)
    check_room(places, path.parent)
    for each, place in places.items():
        where = store.address(key if one else f"{key}/{each.name}", **({"versionId": version} if version else {}))
        transfer.fetch(where, place, sha256, store.headers)
    return f"{uri}: {len(chosen)} files, {sum(each.size for each in chosen) / 2**20:.1f} MiB"


def listing(store: Store, prefix: str, uri: str) -> tuple[Store, list[File]]:
    """All objects whose key begins so, and the store with the region that it turned out to have."""
    found: list[File] = []
    query = {"list-type": "2", "prefix": prefix}
    while True:
        try:
            page = _asked(store.address(**query), store)
        except urllib.error.HTTPError as problem:
            told = problem.read().decode(errors="replace")
            region = right_region(problem.code, told, problem.headers.get("x-amz-bucket-region"), store.region)
            if region is not None:
                store = replace(store, region=region)
                continue
            raise _refusal(uri, problem, told, store) from problem
        found += [File(each.findtext("Key", ""), int(each.findtext("Size", "0"))) for each in page.iter("Contents")]
        if page.findtext("IsTruncated") != "true":
            return store, found
        query["continuation-token"] = page.findtext("NextContinuationToken", "")


def _asked(address: str, store: Store) -> xml.Element:
    with transfer.opened(urllib.request.Request(address, headers=store.headers(address))) as reply:
        # its namespace differs from store to store, and says nothing
        return xml.fromstring(re.sub(rb'\sxmlns="[^"]*"', b"", reply.read(), count=1))


def _beneath(files: list[File], key: str) -> list[File]:
    """Named as they will lie in the folder; keys that end in a slash are how consoles draw folders."""
    return [
        replace(each, name=inside(each.name.removeprefix(f"{key}/")))
        for each in files
        if each.name.startswith(f"{key}/") and not each.name.endswith("/")
    ]


def _refusal(uri: str, problem: urllib.error.HTTPError, told: str, store: Store) -> Exception:
    code = tag(told, "Code") or str(problem.reason)
    says = f"{store.address()} answers {problem.code} {code} for {uri}: "
    if problem.code == 404:
        return Refused(says + "correct the bucket in spec.model.uri")
    if problem.code not in (301, 307, 400, 401, 403):
        return problem
    if store.keys is None:
        return Refused(
            says + "it is not public: put AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY into a Secret, and name that as "
            "spec.model.credentialsSecretRef"
        )
    return Refused(says + "the key in spec.model.credentialsSecretRef must be right, and may list and read the bucket")
