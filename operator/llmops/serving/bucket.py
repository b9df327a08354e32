"""s3://bucket/path and gs://bucket/path, one object or all beneath a prefix: over the HTTP API of S3.

    GET <endpoint>/<bucket>?list-type=2&prefix=…        ListObjectsV2, a thousand keys a page
    GET <endpoint>/<bucket>/<key>[?versionId=…]         the bytes

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API (API_ListObjectsV2, sig-v4-header-based-auth);
https://cloud.google.com/storage/docs/interoperability (the same requests, with a service account's HMAC keys).
Path-style addresses: MinIO, Ceph and mirrors have no DNS name for each bucket. Nobody is asked for a region: a store
that minds which one the signature names answers with the right one, and is asked again.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import urllib.error
import urllib.request
import xml.etree.ElementTree as xml
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

from llmops.serving import transfer
from llmops.serving.files import File, check_room, inside, worth_it
from llmops.serving.refused import Refused

SCHEMES = ("s3://", "gs://")
FIRST_REGION = "us-east-1"
NOTHING = hashlib.sha256(b"").hexdigest()
ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True)
class Keys:
    """An access key; `session` of temporary ones only."""

    id: str
    secret: str
    session: str = ""

    @staticmethod
    def of(environ: Mapping[str, str]) -> Keys | None:
        """As the usual variables have it; None (requests are not signed) without."""
        if not environ.get("AWS_ACCESS_KEY_ID"):
            return None
        session = environ.get("AWS_SESSION_TOKEN", "")
        return Keys(environ["AWS_ACCESS_KEY_ID"], environ.get("AWS_SECRET_ACCESS_KEY", ""), session)


@dataclass(frozen=True)
class Store:
    """Where a bucket is. `endpoint` may have {region} in it."""

    endpoint: str
    bucket: str
    keys: Keys | None
    region: str = FIRST_REGION

    def address(self, key: str = "", **query: str) -> str:
        path = f"/{self.bucket}/{quote(key, safe='/~')}" if key else f"/{self.bucket}"
        asked = urlencode(sorted(query.items()), quote_via=quote, safe="~")
        return self.endpoint.format(region=self.region).rstrip("/") + path + (f"?{asked}" if asked else "")

    def headers(self, address: str) -> dict[str, str]:
        """Those that sign a GET made now; a signature lives fifteen minutes."""
        return signed(address, self.region, self.keys, datetime.now(UTC)) if self.keys else {}


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
            region = _tag(told, "Region") or problem.headers.get("x-amz-bucket-region") or ""
            if problem.code in (301, 307, 400) and region not in ("", store.region):
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
    code = _tag(told, "Code") or str(problem.reason)
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


def _tag(told: str, name: str) -> str:
    found = re.search(f"<{name}>([^<]*)</{name}>", told)
    return found.group(1) if found else ""


def signed(address: str, region: str, keys: Keys, now: datetime) -> dict[str, str]:
    """Signature Version 4 of a GET without a body; Range and the like may be added, they are not signed."""
    url, moment = urlsplit(address), now.strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": url.netloc, "x-amz-content-sha256": NOTHING, "x-amz-date": moment}
    headers |= {"x-amz-security-token": keys.session} if keys.session else {}
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = "\n".join(("GET", url.path or "/", url.query, lines, names, NOTHING))
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    to_sign = "\n".join((ALGORITHM, moment, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{keys.secret}".encode()
    for part in scope.split("/"):
        key = _mac(key, part)
    proof = f"Credential={keys.id}/{scope},SignedHeaders={names},Signature={_mac(key, to_sign).hex()}"
    return {name: text for name, text in headers.items() if name != "host"} | {"Authorization": f"{ALGORITHM} {proof}"}


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
