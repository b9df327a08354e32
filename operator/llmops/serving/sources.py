"""Where weights come from: what a pod mounts, and what must be downloaded before it starts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from llmops.api.digest import digest, short
from llmops.api.llmservice import ModelSource

Object = dict[str, Any]

MOUNT = "/models"
FETCHER = "fetch"  # the container that downloads
WORKS: Mapping[str, str] = {
    "hf": "The hub, or the mirror in LLMOPS_HUB_URL. The commit is looked up once; large files by the hub's SHA-256. "
    "A Secret's HF_TOKEN for gated and private models.",
    "s3": "One object, or all beneath a prefix, of Amazon S3 or the store in LLMOPS_S3_URL (MinIO, Ceph, a mirror). "
    "One object by the SHA-256 or at the version in spec.model.revision. A Secret's AWS_ACCESS_KEY_ID, "
    "AWS_SECRET_ACCESS_KEY and, of temporary keys, AWS_SESSION_TOKEN; public buckets without.",
    "gs": "As s3://, from Google Cloud Storage; the keys are a service account's HMAC keys.",
    "https": "One file; by the SHA-256 in spec.model.revision where that is given.",
    "http": "One file, whose SHA-256 must be given.",
    "pvc": "Read from a claim of yours, read-only; nothing is copied.",
    "file": "Read from the engine's image.",
}
"""The schemes of spec.model.uri, and what is to be known of each."""
STORES = ("hf", "s3", "gs")  # whose address is a setting, and who ask for credentials
SHA256 = "sha256:"


@dataclass(frozen=True)
class Source:
    """`path` is where the engine finds the model; `volume` what it mounts at /models, None for the image itself.

    `download` is the address to fetch into the volume, `sha256` what it must have, `revision` which one of a hub's is
    wanted; `shared` whether one Job does so for all replicas (else each pod does, into a volume of its own); `one_node`
    whether the volume lives on one node only.
    """

    path: str
    volume: Object | None = None
    claim: str | None = None
    download: str | None = None
    sha256: str = ""
    revision: str = ""
    shared: bool = False
    one_node: bool = False


def scheme(model: ModelSource) -> str:
    return urlsplit(model.uri).scheme


def given_claim(model: ModelSource) -> str | None:
    """The claim that the spec names, which is not ours."""
    return urlsplit(model.uri).netloc if scheme(model) == "pvc" else None


def is_downloaded(model: ModelSource) -> bool:
    return scheme(model) in (*STORES, "https", "http")


def is_file(model: ModelSource) -> bool | None:
    """Whether it is one file (else a folder); None where only the volume or the image knows."""
    if scheme(model) == "hf":
        return urlsplit(model.uri).path.rstrip("/").count("/") > 1
    if scheme(model) in ("s3", "gs"):
        return model.uri.endswith((".gguf", ".safetensors"))
    return True if is_downloaded(model) else None


def is_shared(model: ModelSource) -> bool:
    """One download for all replicas."""
    return is_downloaded(model) and model.cache is not None and model.cache.access_mode != "PerReplica"


def download_name(child: str, model: ModelSource) -> str:
    """The Job's. A larger volume is a new Job, since the one before may have found it full."""
    size = model.cache.size if model.cache else None
    return f"{child}-fetch-{short(digest({'uri': model.uri, 'revision': model.revision, 'size': size}))}"


def source(model: ModelSource, claim_name: str) -> Source:
    """ValueError where this version cannot fetch from such an address (plan.py asks before)."""
    address = urlsplit(model.uri)
    match address.scheme:
        case "file":
            return Source(address.path)
        case "pvc":
            volume = {"persistentVolumeClaim": {"claimName": address.netloc, "readOnly": True}}
            return Source(f"{MOUNT}{address.path}", volume, claim=address.netloc)
        case _ if is_downloaded(model):
            return _downloaded(model, claim_name)
        case _:
            raise ValueError(f"{model.uri}: no source for {address.scheme}://")


def _downloaded(model: ModelSource, claim_name: str) -> Source:
    # a folder for each address and revision, so that another revision never meets a half-written file
    folder = short(digest({"uri": model.uri, "revision": model.revision}))
    address = model.uri.rstrip("/") if scheme(model) in STORES else model.uri
    path = f"{MOUNT}/{folder}/{urlsplit(address).path.rsplit('/', 1)[-1] or 'model'}"
    revision = model.revision or ""
    digest_given = revision.startswith(SHA256)
    sha256, revision = (revision.removeprefix(SHA256), "") if digest_given else ("", revision)
    if not is_shared(model):
        size = {"sizeLimit": model.cache.size} if model.cache else {}
        return Source(path, {"emptyDir": size}, download=model.uri, sha256=sha256, revision=revision)
    assert model.cache is not None
    return Source(
        path,
        {"persistentVolumeClaim": {"claimName": claim_name}},
        claim=claim_name,
        download=model.uri,
        sha256=sha256,
        revision=revision,
        shared=True,
        one_node=model.cache.access_mode == "ReadWriteOnce",
    )
