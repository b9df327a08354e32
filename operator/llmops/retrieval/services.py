"""The LLMServices that an index asks: its embedder, and who reads its passages again. Each by its own Service in this
namespace, with the identity of what runs behind it."""

from __future__ import annotations

from llmops.api import LLMService, VectorIndex, names
from llmops.api.common import Pricing
from llmops.api.quantities import seconds
from llmops.kube.cluster import Cluster
from llmops.kube.resources import LLM_SERVICE
from llmops.retrieval import abroad
from llmops.retrieval.referred import Missing
from llmops.retrieval.work import EmbeddingWork, RerankWork


def embedder_of(index: VectorIndex, cluster: Cluster) -> EmbeddingWork | Missing:
    """Who embeds passages and questions."""
    spec = index.spec.embedding
    raw = cluster.get(LLM_SERVICE, index.metadata.namespace, spec.service_ref.name)
    if raw is not None and "external" in raw["spec"]:
        return abroad.work(LLMService.model_validate(raw), raw.get("status") or {}, index, cluster)
    found = _service(index, cluster, spec.service_ref.name, "Embed", "refer to one with spec.model.task Embed")
    if isinstance(found, Missing):
        return found
    return EmbeddingWork(*found, spec.query_prefix, spec.document_prefix, spec.batch_size)


def pricing_of(index: VectorIndex, cluster: Cluster) -> Pricing | None:
    """What its embedder's tokens cost."""
    raw = cluster.get(LLM_SERVICE, index.metadata.namespace, index.spec.embedding.service_ref.name)
    return LLMService.model_validate(raw).spec.pricing if raw else None


def through_door(index: VectorIndex, cluster: Cluster) -> bool:
    """Whether its pods ask the door for vectors; told by the spec even while the service is not ready, so that the
    query server is not replaced back and forth."""
    memory = (index.status.memory if index.status else None) or {}
    raw = cluster.get(LLM_SERVICE, index.metadata.namespace, index.spec.embedding.service_ref.name)
    return bool(memory.get("throughDoor")) or "external" in ((raw or {}).get("spec") or {})


def reranker_of(index: VectorIndex, cluster: Cluster) -> RerankWork | Missing | None:
    """Who reads the first passages again; None where nobody is asked to."""
    spec = index.spec.query.rerank
    if spec is None:
        return None
    sentence = "refer in spec.query.rerank to one with spec.model.task Rerank"
    found = _service(index, cluster, spec.service_ref.name, "Rerank", sentence)
    if isinstance(found, Missing):
        return found
    return RerankWork(*found, spec.candidates, seconds(spec.timeout))


def _service(index: VectorIndex, cluster: Cluster, name: str, task: str, needs: str) -> tuple[str, str, str] | Missing:
    """Its address, the name it knows itself by, and the digest of its stable revision."""
    namespace = index.metadata.namespace
    what = f"LLMService {namespace}/{name}"
    raw = cluster.get(LLM_SERVICE, namespace, name)
    if raw is None:
        return Missing(f"{what} does not exist: create it, with spec.model.task {task}")
    service = LLMService.model_validate(raw)
    if service.spec.model is None:
        return Missing(f"{what} is somebody else's API; that is not available yet here: refer to one with spec.model")
    if service.spec.model.task != task:
        return Missing(f"{what} has the task {service.spec.model.task}: {needs}")
    status = raw.get("status") or {}
    digest = (status.get("stable") or {}).get("digest")
    listed = {one["type"]: one for one in status.get("conditions") or []}
    if not digest or (listed.get("Available") or {}).get("status") != "True":
        why = (listed.get("Ready") or {}).get("message")
        return Missing(f"{what} does not serve yet{f': {why}' if why else ''}", exists=True)
    url = f"http://{name}-llm.{namespace}.svc.{cluster.settings.cluster_domain}/v1"
    return url, names.qualified(namespace, name), digest
