"""Where weights come from: what a pod mounts, and what must be downloaded before it starts. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from llmops.api.digest import digest
from llmops.api.llmservice import LLMService

Object = dict[str, Any]

MOUNT = "/models"
WORKS = ("file", "pvc", "https", "http")


@dataclass(frozen=True)
class Source:
    """`path` is where the engine finds the model; `volume` what it mounts at /models, None for the image itself.

    `download` is the address to fetch into the volume; `shared` whether one Job does so for all replicas (else each
    pod does, into a volume of its own).
    """

    path: str
    volume: Object | None = None
    claim: str | None = None
    download: str | None = None
    shared: bool = False


def source(service: LLMService, claim_name: str) -> Source | None:
    """None where this version cannot fetch from such an address."""
    model = service.spec.model
    assert model is not None
    address = urlsplit(model.uri)
    match address.scheme:
        case "file":
            return Source(path=address.path)
        case "pvc":
            volume = {"persistentVolumeClaim": {"claimName": address.netloc, "readOnly": True}}
            return Source(f"{MOUNT}{address.path}", volume, claim=address.netloc)
        case "https" | "http":
            # a folder for each address and revision, so that another revision never meets a half-written file
            folder = digest({"uri": model.uri, "revision": model.revision})[:10]
            path = f"{MOUNT}/{folder}/{address.path.rsplit('/', 1)[-1] or 'model'}"
            if model.cache is None or model.cache.access_mode == "PerReplica":
                size = {"sizeLimit": model.cache.size} if model.cache else {}
                return Source(path, {"emptyDir": size}, download=model.uri)
            volume = {"persistentVolumeClaim": {"claimName": claim_name, "readOnly": False}}
            return Source(path, volume, claim=claim_name, download=model.uri, shared=True)
        case _:
            return None
