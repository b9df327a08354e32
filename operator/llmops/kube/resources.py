"""The resources we read or write, each with what its address needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmops.api import names

Object = dict[str, Any]


@dataclass(frozen=True)
class Resource:
    """A kind of object and where the API server keeps it."""

    group: str  # "" is the core group
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    optional: bool = False  # another project's, which a cluster may not have

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, sub: str | None = None) -> str:
        """The address; without namespace every namespace, without name the collection."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        middle = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{root}{middle}/{self.plural}" + (f"/{name}" if name else "") + (f"/{sub}" if sub else "")

    @staticmethod
    def of(obj: Object) -> Resource:
        """The resource of an object by its apiVersion and kind."""
        return BY_KIND[obj["apiVersion"], obj["kind"]]


DEPLOYMENT = Resource("apps", "v1", "deployments", "Deployment")
STATEFUL_SET = Resource("apps", "v1", "statefulsets", "StatefulSet")
SERVICE = Resource("", "v1", "services", "Service")
CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")
PVC = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
POD = Resource("", "v1", "pods", "Pod")
SERVICE_ACCOUNT = Resource("", "v1", "serviceaccounts", "ServiceAccount")
NODE = Resource("", "v1", "nodes", "Node", namespaced=False)
NAMESPACE = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
EVENT = Resource("events.k8s.io", "v1", "events", "Event")
JOB = Resource("batch", "v1", "jobs", "Job")
PDB = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
HPA = Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
SCALED_OBJECT = Resource("keda.sh", "v1alpha1", "scaledobjects", "ScaledObject", optional=True)
LEADER_WORKER_SET = Resource("leaderworkerset.x-k8s.io", "v1", "leaderworkersets", "LeaderWorkerSet", optional=True)
MILVUS = Resource("milvus.io", "v1beta1", "milvuses", "Milvus", optional=True)
NETWORK_POLICY = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
ROLE = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDING = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
LEASE = Resource("coordination.k8s.io", "v1", "leases", "Lease")
ENDPOINT_SLICE = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
LLM_SERVICE = Resource(names.GROUP, names.VERSION, "llmservices", "LLMService")
VECTOR_INDEX = Resource(names.GROUP, names.VERSION, "vectorindexes", "VectorIndex")
EVAL_JOB = Resource(names.GROUP, names.VERSION, "evaljobs", "EvalJob")
PROMPT_RELEASE = Resource(names.GROUP, names.VERSION, "promptreleases", "PromptRelease")
GATEWAY_KEY = Resource(names.GROUP, names.VERSION, "gatewaykeys", "GatewayKey")
PROVIDER = Resource(names.GROUP, names.VERSION, "providers", "Provider")
REVISION = Resource(names.GROUP, names.VERSION, "revisions", "Revision")

ALL = tuple(value for value in list(globals().values()) if isinstance(value, Resource))
BY_KIND = {(one.api_version, one.kind): one for one in ALL}
