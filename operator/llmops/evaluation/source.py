"""Where a run's Job reads rows that the operator cannot read: a volume, the web, a bucket, Label Studio.

The operator may neither mount a claim nor see a key, so it hands over the address. All of it is in the run's key; what
stands behind the address is not, until the Job has read it and told its SHA-256.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmops.api.evaljob import Dataset
from llmops.s3 import VARIABLES

TOKEN = "LABEL_STUDIO_API_KEY"
"""The data key of the Secret: the name that Label Studio's own SDK reads."""


@dataclass(frozen=True)
class Source:
    """`address` is a path on the claim, a web address, s3://bucket/key, or a project's number. `secret` is named so
    that another one is another run: a key that was wrong is mended by naming the right one."""

    kind: Literal["pvc", "http", "s3", "labelStudio"]
    address: str
    claim: str = ""
    endpoint: str = ""
    version: str = ""
    secret: str = ""

    @property
    def credentials(self) -> tuple[str, ...]:
        """The data keys of the Secret."""
        return (TOKEN,) if self.kind == "labelStudio" else VARIABLES

    @property
    def told(self) -> str:
        """For sentences."""
        if self.kind == "labelStudio":
            return f"project {self.address} of Label Studio at {self.endpoint}"
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
    if dataset.label_studio is not None:
        labels = dataset.label_studio
        secret = labels.credentials_secret_ref
        return Source("labelStudio", str(labels.project), endpoint=labels.url.rstrip("/"), secret=secret.name)
    return None
