"""Where a run's Job reads rows that the operator cannot read: a volume, the web, a bucket, Label Studio, the gateways.

The operator may neither mount a claim nor see a key or what users ask, so it hands over the address. All of it is in
the run's key; what stands behind the address is not, until the Job has read it and told its SHA-256.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmops.api import Settings, names
from llmops.api.evaljob import EvalJobSpec
from llmops.s3 import VARIABLES

RECORDED = "Recorded"
"""The version of a traffic source whose answers are the users' own."""
TOKEN = "LABEL_STUDIO_API_KEY"
"""The data key of the Secret: the name that Label Studio's own SDK reads."""


@dataclass(frozen=True)
class Source:
    """`address` is a path on the claim, a web address, s3://bucket/key, a project's number, or a PromptRelease's
    namespace/name. `secret` is named so that another one is another run: a key that was wrong is mended by naming the
    right one."""

    kind: Literal["pvc", "http", "s3", "labelStudio", "traffic"]
    address: str
    claim: str = ""
    endpoint: str = ""
    version: str = ""
    secret: str = ""
    sample: int | None = None

    @property
    def credentials(self) -> tuple[str, ...]:
        """The data keys of the Secret."""
        return (TOKEN,) if self.kind == "labelStudio" else VARIABLES

    @property
    def told(self) -> str:
        """For sentences."""
        if self.kind == "labelStudio":
            return f"project {self.address} of Label Studio at {self.endpoint}"
        if self.kind == "traffic":
            return f"traffic of PromptRelease {self.address}"
        return f"{self.address} on claim {self.claim}" if self.kind == "pvc" else self.address


def source_of(spec: EvalJobSpec, namespace: str, settings: Settings) -> Source | None:
    """None for rows that the operator reads itself, and for a template's traffic."""
    dataset = spec.dataset
    if dataset is None:
        return None
    if dataset.pvc is not None:
        return Source("pvc", dataset.pvc.path, claim=dataset.pvc.claim)
    if dataset.http is not None:
        return Source("http", dataset.http.url)
    if dataset.s3 is not None:
        secret = dataset.s3.credentials_secret_ref
        return Source(
            "s3",
            dataset.s3.uri,
            endpoint=dataset.s3.endpoint or settings.s3_url,
            version=dataset.s3.version_id or "",
            secret=secret.name if secret else "",
        )
    if dataset.label_studio is not None:
        labels = dataset.label_studio
        secret = labels.credentials_secret_ref
        return Source("labelStudio", str(labels.project), endpoint=labels.url.rstrip("/"), secret=secret.name)
    if dataset.traffic is not None:
        release = dataset.traffic.prompt_ref or (spec.target.prompt_ref if spec.target else None)
        if release is not None:
            return Source(
                "traffic",
                names.qualified(namespace, release.name),
                endpoint=settings.gateway_pods_url,
                version=dataset.traffic.answers,
                sample=dataset.traffic.sample,
            )
    return None
