"""What signs a GET to a store that speaks S3's HTTP API, and which address an object has there: for all who read one.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API (sig-v4-header-based-auth);
https://cloud.google.com/storage/docs/interoperability (the same requests, with a service account's HMAC keys).
Path-style addresses: MinIO, Ceph and mirrors have no DNS name for each bucket. Nobody is asked for a region: a store
that minds which one the signature names answers with the right one (`right_region`), and is asked again.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, urlencode, urlsplit

FIRST_REGION = "us-east-1"
NOTHING = hashlib.sha256(b"").hexdigest()
ALGORITHM = "AWS4-HMAC-SHA256"
VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""As a Secret names them, and a pod's environment; the last of temporary keys only."""


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
        return self.endpoint.replace("{region}", self.region).rstrip("/") + path + (f"?{asked}" if asked else "")

    def headers(self, address: str) -> dict[str, str]:
        """Those that sign a GET made now; a signature lives fifteen minutes."""
        return signed(address, self.region, self.keys, datetime.now(UTC)) if self.keys else {}


def right_region(status: int, told: str, header: str | None, region: str) -> str | None:
    """The region to ask again with, where a refusal says that `region` was the wrong one."""
    found = tag(told, "Region") or header or ""
    return found if status in (301, 307, 400) and found not in ("", region) else None


def tag(told: str, name: str) -> str:
    """The text of an element of an error's XML."""
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
