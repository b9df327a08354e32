"""Where a run's Job reads rows that the operator cannot read: a volume, an address on the web, an object in a bucket.

The operator may neither mount a claim nor see a key, so it hands over the address. All of it is in the run's key; what
stands behind the address is not, until the Job has read it and told its SHA-256.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmops.api.evaljob import Dataset


@dataclass(frozen=True)
class Source:
    """`address` is a path on the claim, a web address, or s3://bucket/key. `secret` is named so that another one is
    another run: a key that was wrong is mended by naming the right one."""

    kind: Literal["pvc", "http", "s3"]
    address: str
    claim: str = ""
    endpoint: str = ""
    version: str = ""
    secret: str = ""

    @property
    def told(self) -> str:
        """For sentences."""
        return f"{self.address} on claim {self.claim}" if self.kind == "pvc" else self.address


def source_of(dataset: Dataset, s3_url: str) -> Source | None:
    """None for rows that the operator reads itself; `s3_url` is the store of buckets without an endpoint."""
    if dataset.pvc is not None:
        return Source("pvc", dataset.pvc.path, claim=dataset.pvc.claim)
    if dataset.http is not None:
        return Source("http", dataset.http.url)
    if dataset.s3 is not None:
        secret = dataset.s3.credentials_secret_ref
        return Source(
            "s3",
            dataset.s3.uri,
            endpoint=dataset.s3.endpoint or s3_url,
            version=dataset.s3.version_id or "",
            secret=secret.name if secret else "",
        )
    return None
