"""Where weights come from: what a pod mounts, and what must be downloaded before it starts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from llmops.api.digest import digest, short
from llmops.api.llmservice import Adapter, ModelSource

Object = dict[str, Any]

MOUNT = "/models"
ADAPTERS = "/lora"  # a volume of the pod's own, where /models is not ours to write to
FETCHER = "fetch"  # the container that downloads
WORKS: Mapping[str, str] = {
    "hf": "The hub, or the mirror in LLMOPS_HUB_URL. The commit is looked up once; large files by the hub's SHA-256. "
    "A Secret's HF_TOKEN for gated and private models.",
    "s3": "One object, or all beneath a prefix, of Amazon S3 or the store in LLMOPS_S3_URL (MinIO, Ceph, a mirror). "
    "One object by the SHA-256 or at the version in spec.model.revision. A Secret's AWS_ACCESS_KEY_ID, "
    "AWS_SECRET_ACCESS_KEY and, of temporary keys, AWS_SESSION_TOKEN; public buckets without.",
    "gs": "As s3://, from Google Cloud Storage; the keys are a service account's HMAC keys.",
    "oci": "A model in a registry, or in its mirror in LLMOPS_OCI_URL: the files of an artifact (ORAS, ModelPack), or "
    "all in an image; one of them as oci://host/repository:tag#path/of/file.gguf. By the digest in "
    "spec.model.revision; each blob by its own. A pull Secret (kubernetes.io/dockerconfigjson) for private ones. With "
    "LLMOPS_IMAGE_VOLUMES and no cache the kubelet pulls and mounts it.",
    "https": "One file; by the SHA-256 in spec.model.revision where that is given.",
    "http": "One file, whose SHA-256 must be given.",
    "pvc": "Read from a claim of yours, read-only; nothing is copied.",
    "file": "Read from the engine's image.",
}
"""The schemes of spec.model.uri, and what is to be known of each."""
STORES = ("hf", "s3", "gs", "oci")  # whose address is a setting, and who ask for credentials
SHA256 = "sha256:"


Weights = ModelSource | Adapter


def every(model: ModelSource) -> tuple[Weights, ...]:
    """The model and its adapters."""
    return model, *model.adapters


@dataclass(frozen=True)
class Download:
    """One address to fetch to a path: what it must have (SHA-256), and which one of a store's is wanted."""

    uri: str
    path: str
    sha256: str = ""
    revision: str = ""


@dataclass(frozen=True)
class Source:
    """`path` is where the engine finds the model; `volume` what it mounts at /models, None for the image itself.

    `download` is the address to fetch into the volume, `sha256` what it must have, `revision` which one of a hub's is
    wanted; `shared` whether one Job does so for all replicas (else each pod does, into a volume of its own); `one_node`
    whether the volume lives on one node only. `adapters` are paths by name, `more` what is fetched for them.
    """

    path: str
    volume: Object | None = None
    claim: str | None = None
    download: str | None = None
    sha256: str = ""
    revision: str = ""
    shared: bool = False
    one_node: bool = False
    adapters: Mapping[str, str] = field(default_factory=dict)
    more: tuple[Download, ...] = ()

    @property
    def downloads(self) -> tuple[Download, ...]:
        """All that a pod or its Job must fetch, the model first."""
        model = (Download(self.download, self.path, self.sha256, self.revision),) if self.download else ()
        return (*model, *self.more)

    @property
    def scratch(self) -> bool:
        """Whether the adapters need a volume of their own."""
        return bool(self.more) and not self.download


def scheme(model: Weights) -> str:
    return urlsplit(model.uri).scheme


def given_claim(model: Weights) -> str | None:
    """The claim that the spec names, which is not ours."""
    return urlsplit(model.uri).netloc if scheme(model) == "pvc" else None


def is_downloaded(model: Weights) -> bool:
    return scheme(model) in (*STORES, "https", "http")


def is_file(model: Weights) -> bool | None:
    """Whether it is one file (else a folder); None where only the volume or the image knows."""
    if scheme(model) == "hf":
        return urlsplit(model.uri).path.rstrip("/").count("/") > 1
    if scheme(model) == "oci":
        return bool(urlsplit(model.uri).fragment)
    if scheme(model) in ("s3", "gs"):
        return model.uri.endswith((".gguf", ".safetensors"))
    return True if is_downloaded(model) else None


def is_shared(model: ModelSource) -> bool:
    """One download for all replicas."""
    return is_downloaded(model) and model.cache is not None and model.cache.access_mode != "PerReplica"


def download_name(child: str, model: ModelSource) -> str:
    """The Job's. A larger volume is a new Job, since the one before may have found it full."""
    wanted: Object = {"uri": model.uri, "revision": model.revision, "size": model.cache.size if model.cache else None}
    if model.adapters:
        wanted["adapters"] = [[one.uri, one.revision] for one in model.adapters]
    return f"{child}-fetch-{short(digest(wanted))}"


def source(model: ModelSource, claim_name: str, image_volume: bool = False) -> Source:
    """ValueError where this version cannot fetch from such an address (plan.py asks before)."""
    where = _image(model) if image_volume else _source(model, claim_name)
    if not model.adapters:
        return where
    base = MOUNT if where.download else ADAPTERS
    paths = {one.name: _adapter_path(one, base) for one in model.adapters}
    fetched = [one for one in model.adapters if is_downloaded(one)]
    return replace(where, adapters=paths, more=tuple(_wanted(one, paths[one.name]) for one in fetched))


def _adapter_path(adapter: Adapter, base: str) -> str:
    path = urlsplit(adapter.uri).path
    if not is_downloaded(adapter):
        return f"{MOUNT}{path}" if scheme(adapter) == "pvc" else path
    return _place(adapter, base)


def _source(model: ModelSource, claim_name: str) -> Source:
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


def _image(model: ModelSource) -> Source:
    """Pulled once a node: a tag may mean another image on the next one, a digest never."""
    inside = urlsplit(model.uri).fragment.strip("/")
    volume = {"image": {"reference": reference(model), "pullPolicy": "IfNotPresent"}}
    return Source(f"{MOUNT}/{inside}" if inside else MOUNT, volume)


def reference(model: Weights) -> str:
    """What a container runtime calls the image: spec.model.revision, a digest or a tag, is in place of the uri's."""
    address = urlsplit(model.uri)
    whole = f"{address.netloc}{address.path}".rstrip("/")
    if not model.revision:
        return whole
    registry, _, repository = whole.partition("/")
    name = f"{registry}/{repository.partition('@')[0].partition(':')[0]}"
    return f"{name}{'@' if model.revision.startswith(SHA256) else ':'}{model.revision}"


def _place(model: Weights, base: str) -> str:
    """A folder for each address and revision, so that another revision never meets a half-written file."""
    folder = short(digest({"uri": model.uri, "revision": model.revision}))
    address = urlsplit(model.uri.rstrip("/") if scheme(model) in STORES else model.uri)
    return f"{base}/{folder}/{(address.fragment or address.path).rsplit('/', 1)[-1] or 'model'}"


def folders(model: ModelSource) -> set[str]:
    """The names of the folders on a volume that it needs."""
    return {short(digest({"uri": one.uri, "revision": one.revision})) for one in every(model) if is_downloaded(one)}


def _wanted(model: Weights, path: str) -> Download:
    revision = model.revision or ""
    if revision.startswith(SHA256) and scheme(model) != "oci":
        return Download(model.uri, path, sha256=revision.removeprefix(SHA256))
    return Download(model.uri, path, revision=revision)


def _downloaded(model: ModelSource, claim_name: str) -> Source:
    wanted = _wanted(model, _place(model, MOUNT))
    path, sha256, revision = wanted.path, wanted.sha256, wanted.revision
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
