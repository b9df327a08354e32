"""Milvus as a cluster, run by the Milvus Operator: one that is made for the index, or one that is there already.

Of what is made we say little: where its objects lie, that its log lies there too (woodpecker, so there is no Pulsar to
run), and what becomes of its etcd. Which image runs, and all else, is the Milvus Operator's, or that of whoever changes
the Milvus object: no upgrade of ours moves data to a newer Milvus, from which there is no way back. Never its default
for objects: a MinIO in the cluster, whose images are no longer to be had.

Source: https://github.com/zilliztech/milvus-operator (v1.3), docs/administration.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from llmops.api import Reason, Settings, VectorIndex, names
from llmops.api.index_engine import ClusterEngine, ObjectStorage
from llmops.kube.resources import ENDPOINT_SLICE, MILVUS, VECTOR_INDEX, Object
from llmops.retrieval.engines.opener import NOT_OURS, Standing
from llmops.retrieval.engines.waits import Live, Waits

PORT = 19530
CLIENTS, PEERS = 2379, 2380  # of etcd
LONGEST = 47  # characters of its name: its etcd's pods have a label <name>-etcd-<hash>, of 63 at most
OF_SERVICE = "kubernetes.io/service-name"
NAME_LABEL, INSTANCE = "app.kubernetes.io/name", "app.kubernetes.io/instance"
PODS = {NAME_LABEL: "milvus"}
"""On what the Milvus Operator makes, and so on its Services' EndpointSlices."""
ETCD = {NAME_LABEL: "etcd"}
"""On the etcd of a Milvus, a release <name>-etcd of the chart etcd (milvus-io/milvus issue 24663 shows such a pod)."""
OPERATOR = {NAME_LABEL: "milvus-operator"}
"""On the Milvus Operator's own pods, in whatever namespace (its deploy/manifests/deployment.yaml)."""
NOT_INSTALLED = Waits(
    "engine Milvus in mode Cluster needs the Milvus Operator, which is not installed in this cluster (there is no kind "
    "Milvus of milvus.io/v1beta1): install its chart milvus-operator, or write spec.engine.mode Standalone or External",
    Reason.REFERENCE_MISSING,
)


class MilvusCluster:
    """A Milvus object, and who may talk to its pods."""

    def waits(self, index: VectorIndex, live: Live) -> Waits | None:
        """Until the Milvus Operator says that all is as asked for and a pod is there to be asked: what it says may be a
        minute old."""
        name, namespace = milvus_of(index), index.metadata.namespace
        found = live.get(MILVUS, namespace, name)
        if found is None:
            return _not_there(index)
        answers = _answers(live.list(ENDPOINT_SLICE, namespace, {OF_SERVICE: service_of(name)}))
        told = unready(found)
        if told is None and not answers:
            told = f"no pod behind its Service {service_of(name)} is ready"
        return Waits(f"Milvus {namespace}/{name}: {told}", answers=answers) if told else None

    def standing(self, index: VectorIndex, settings: Settings, live: Live) -> Standing:
        """Its image and its data are not ours."""
        return NOT_OURS

    def address(self, index: VectorIndex, settings: Settings) -> str:
        """The Service that the Milvus Operator makes."""
        service = service_of(milvus_of(index))
        return f"http://{service}.{index.metadata.namespace}.svc.{settings.cluster_domain}:{PORT}"

    def children(self, index: VectorIndex, settings: Settings, standing: Standing) -> list[Object]:
        """None where it is there already."""
        wanted = _wanted(index)
        return [_milvus(index, wanted, wanted.storage), _policy(index), _etcd_policy(index)] if wanted.storage else []


def milvus_of(index: VectorIndex) -> str:
    """The name of the Milvus object."""
    return _wanted(index).name or _own(index.metadata.name)


def of_index(raw: Object) -> str | None:
    """The same of an index as it was read; None where it has another engine."""
    engine = raw["spec"].get("engine") or {}
    if engine.get("mode") != "Cluster":
        return None
    return (engine.get("cluster") or {}).get("name") or _own(raw["metadata"]["name"])


def service_of(name: str) -> str:
    """The Service of a Milvus object."""
    return f"{name}-milvus"


def refused(index: VectorIndex) -> str | None:
    """What no rule of the kind can see."""
    own, wanted = _own(index.metadata.name), index.spec.engine.cluster
    if wanted is None:  # written before there was that rule
        return "engine Milvus in mode Cluster needs spec.engine.cluster: write its storage, or the name of a Milvus"
    if wanted.name == own:
        return f"spec.engine.cluster: Milvus {own} was made for this index: write storage as it was"
    if wanted.name is None and len(own) > LONGEST:
        return (
            f"metadata.name leaves room for {LONGEST - len(_own(''))} characters where a Milvus is made for the index: "
            "write a shorter one, or make a Milvus and write its name as spec.engine.cluster.name"
        )
    return None


def unready(milvus: Object) -> str | None:
    """What its status lacks. The conditions alone are those of an earlier spec until its generation was observed, also
    the one that says that all is updated (milvus-operator issue 187)."""
    status, spec = milvus.get("status") or {}, milvus.get("spec") or {}
    if milvus["metadata"].get("deletionTimestamp"):
        return "it is being deleted"
    if int(status.get("observedGeneration") or 0) < milvus["metadata"]["generation"]:
        return "the Milvus Operator has not seen its spec yet: is it running?"
    said = {one["type"]: one for one in status.get("conditions") or []}
    for condition in ("MilvusReady", "MilvusUpdated"):
        one = said.get(condition) or {}
        if one.get("status") != "True":
            return f"{condition} is {one.get('status', 'not said yet')}{_why(one, said)}"
    wanted, runs = (spec.get("components") or {}).get("image"), status.get("currentImage")
    if wanted and runs and wanted != runs:  # older Milvus Operators do not say what runs
        return f"it still runs {runs} and is to run {wanted}"
    return None


def _why(condition: Object, said: dict[str, Object]) -> str:
    """In the Milvus Operator's words, those on what it waits for first."""
    waited_for = [said[one] for one in ("EtcdReady", "StorageReady", "MsgStreamReady") if one in said]
    lacking = [f"{one['type']}: {one.get('message') or one.get('reason')}" for one in waited_for
               if one.get("status") != "True"]  # fmt: skip
    told = [*lacking, *filter(None, [condition.get("message") or condition.get("reason")])]
    return f" ({'; '.join(told)})" if told else ""


def _not_there(index: VectorIndex) -> Waits:
    what = f"Milvus {index.metadata.namespace}/{milvus_of(index)}"
    if _wanted(index).name is None:
        return Waits(f"{what} is being made")
    told = f"{what} does not exist: create it, with the Milvus Operator installed, or correct spec.engine.cluster.name"
    return Waits(told, Reason.REFERENCE_MISSING)


def _answers(slices: list[Object]) -> bool:
    endpoints = [one for each in slices for one in each.get("endpoints") or []]
    return any((one.get("conditions") or {}).get("ready") is not False for one in endpoints)


def _wanted(index: VectorIndex) -> ClusterEngine:
    assert index.spec.engine.cluster is not None  # see refused()
    return index.spec.engine.cluster


def _own(index: str) -> str:
    """Its Service must not be called as that of mode Standalone: both are there while the one replaces the other."""
    return f"{index}-index-cluster"


def _milvus(index: VectorIndex, wanted: ClusterEngine, storage: ObjectStorage) -> Object:
    policy, address = index.spec.deletion_policy, urlsplit(storage.endpoint)
    secure = address.scheme == "https"
    return {
        "apiVersion": MILVUS.api_version,
        "kind": MILVUS.kind,
        "metadata": {"name": milvus_of(index), **_keeps(index)},
        "spec": {
            "mode": "cluster",
            "components": {"queryNode": {"replicas": wanted.replicas}} if wanted.replicas else {},
            "config": {"minio": {
                "bucketName": storage.bucket,
                "rootPath": f"{index.metadata.namespace}/{milvus_of(index)}",
                "useSSL": secure,
            }},
            "dependencies": {
                "msgStreamType": "woodpecker",
                "etcd": {"inCluster": {"deletionPolicy": policy, "pvcDeletion": policy == "Delete"}},
                "storage": {
                    "external": True,
                    "type": "S3",
                    "endpoint": address.netloc if address.port else f"{address.netloc}:{443 if secure else 80}",
                    "secretRef": storage.credentials_secret_ref.name,
                },
            },
        },
    }  # fmt: skip


def _policy(index: VectorIndex) -> Object:
    """Only this index's own pods may reach it, and its own pods one another: it asks for no password."""
    own = _pods(names.labels(VECTOR_INDEX.kind, index.metadata.name))
    pods = _pods(_of_milvus(index))
    return _ingress(index, milvus_of(index), pods, [{"from": [pods]}, {"from": [own], "ports": _tcp(PORT)}])


def _etcd_policy(index: VectorIndex) -> Object:
    """Only Milvus may reach its etcd, which asks for no password either, and who looks whether it is well: the Milvus
    Operator connects to it (pkg/controllers/conditions.go), and without an answer calls no Milvus ready."""
    name = f"{milvus_of(index)}-etcd"
    etcd = _pods({**ETCD, INSTANCE: name})
    looks = {"namespaceSelector": {}, **_pods(OPERATOR)}
    clients = {"from": [_pods(_of_milvus(index)), etcd, looks], "ports": _tcp(CLIENTS)}
    return _ingress(index, name, etcd, [clients, {"from": [etcd], "ports": _tcp(PEERS)}])


def _of_milvus(index: VectorIndex) -> dict[str, str]:
    return {**PODS, INSTANCE: milvus_of(index)}


def _pods(labels: dict[str, str]) -> Object:
    return {"podSelector": {"matchLabels": labels}}


def _tcp(port: int) -> list[Object]:
    return [{"port": port, "protocol": "TCP"}]


def _ingress(index: VectorIndex, name: str, pods: Object, ingress: list[Object]) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, **_keeps(index)},
        "spec": {**pods, "policyTypes": ["Ingress"], "ingress": ingress},
    }


def _keeps(index: VectorIndex) -> Object:
    """Without owner reference it outlives the index (deletionPolicy Retain); an index of that name finds it."""
    return {"ownerReferences": []} if index.spec.deletion_policy == "Retain" else {}
