"""A vector database that is ours: one server in one pod, its data on a volume. lite.py and standalone.py say what runs
in the pod; the rest is the same for all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llmops.api import Settings, VectorIndex, names
from llmops.api.index_engine import EngineStorage
from llmops.kube.resources import DEPLOYMENT, VECTOR_INDEX, Object
from llmops.retrieval.engines import opener
from llmops.retrieval.engines.opener import Standing
from llmops.retrieval.engines.waits import STARTING, Live, Waits
from llmops.retrieval.pods import BUILD, RESTRICTED_POD, selector, sized


def held(index: VectorIndex, went_back: bool) -> bool:
    """What the data went back to may be seen by whom it might be seen then, and be whose it was: with permissions or
    tenants nobody finds anything in it before it was built on."""
    query = index.spec.query
    return went_back and (query.permissions is not None or query.tenants is not None)


@dataclass(frozen=True)
class Server:
    """`word` ends the names of its objects and labels its pod: engines of an index never share a volume, so one may be
    replaced by another while it still answers."""

    word: str
    port: int
    container: Callable[[Settings], Object]
    grace: int = 30

    def name(self, index: VectorIndex) -> str:
        """Of the Deployment, Service, volume and NetworkPolicy."""
        return f"{index.metadata.name}-index-{self.word}"

    def waits(self, index: VectorIndex, live: Live) -> Waits | None:
        """Until its pod is available."""
        found = live.get(DEPLOYMENT, index.metadata.namespace, self.name(index)) or {}
        return None if (found.get("status") or {}).get("availableReplicas") else STARTING

    def standing(self, index: VectorIndex, settings: Settings, live: Live) -> Standing:
        """Which image it runs, and what its volume says to that."""
        return opener.observe(index, self.name(index), self.word, self._image(index, settings), live)

    def _image(self, index: VectorIndex, settings: Settings) -> str:
        return index.spec.engine.image or str(self.container(settings)["image"])

    def address(self, index: VectorIndex, settings: Settings) -> str:
        """As pods in the cluster reach it."""
        return f"http://{self.name(index)}.{index.metadata.namespace}.svc.{settings.cluster_domain}:{self.port}"

    def children(self, index: VectorIndex, settings: Settings, standing: Standing) -> list[Object]:
        """Volume, who may talk to it, pod, Service, in the order they are applied: an engine whose data may go back is
        closed before it starts, and opened when its volume has said that they did not."""
        image = self._chosen(index, settings, standing)
        policy = self._policy(index, held(index, standing.went_back or standing.opened != image))
        return [self._claim(index), policy, self._deployment(index, image, settings, standing), self._service(index)]

    def _chosen(self, index: VectorIndex, settings: Settings, standing: Standing) -> str:
        """The image that it runs: the wanted one, unless its volume refuses that."""
        return (standing.refusal.was if standing.refusal else "") or self._image(index, settings)

    def _claim(self, index: VectorIndex) -> Object:
        """Without owner reference it outlives the index (deletionPolicy Retain); an index of that name finds it."""
        storage = index.spec.engine.storage or EngineStorage()
        keeps: Object = {"ownerReferences": []} if index.spec.deletion_policy == "Retain" else {}
        placed = {"storageClassName": storage.storage_class} if storage.storage_class else {}
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": self.name(index), **keeps},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": str(storage.size)}},
                **placed,
            },
        }

    def _deployment(self, index: VectorIndex, image: str, settings: Settings, standing: Standing) -> Object:
        labels = selector(index, self.word)
        first, ours = opener.build(index, image, standing, settings), self.container(settings)
        size = sized(ours["resources"], index.spec.engine.resources)
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": self.name(index)},
            "spec": {
                "replicas": 1,
                # Two on one volume would corrupt it. Where there are two all the same (a pod is deleted, a node lost),
                # the second comes no further than the first one's lock on the files: both engines take one (tried).
                # So this is no StatefulSet, which after a lost node starts none until a person removes that node.
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": labels},
                "revisionHistoryLimit": 2,
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "automountServiceAccountToken": False,
                        "enableServiceLinks": False,
                        "securityContext": RESTRICTED_POD,
                        "terminationGracePeriodSeconds": self.grace,
                        **({"initContainers": first} if first else {}),
                        "containers": [{**ours, "image": image, "resources": size}],
                        "volumes": [
                            {"name": "data", "persistentVolumeClaim": {"claimName": self.name(index)}},
                            {"name": "tmp", "emptyDir": {}},
                        ],
                    },
                },
            },
        }

    def _service(self, index: VectorIndex) -> Object:
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": self.name(index)},
            "spec": {
                "selector": selector(index, self.word),
                "ports": [{"name": "engine", "port": self.port, "targetPort": "engine"}],
            },
        }

    def _policy(self, index: VectorIndex, builds_only: bool) -> Object:
        """Only this index's own pods may reach it. It asks for no password: one would have to lie in a Secret, and the
        operator may neither read nor write Secrets."""
        labels = selector(index, BUILD) if builds_only else names.labels(VECTOR_INDEX.kind, index.metadata.name)
        own = {"podSelector": {"matchLabels": labels}}
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": self.name(index)},
            "spec": {
                "podSelector": {"matchLabels": selector(index, self.word)},
                "policyTypes": ["Ingress"],
                "ingress": [{"from": [own], "ports": [{"port": self.port, "protocol": "TCP"}]}],
            },
        }
