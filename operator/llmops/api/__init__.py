"""The contract: what users write and read, as pydantic models; nothing here does any I/O.

A kind is a class with `spec`, `status` and `metadata`; `LLMService.model_validate(raw)` reads an object as the API
server gives it. Descriptions, bounds, defaults and CEL rules stand in the same classes, and the CRDs in crds/ are
generated from them (`make generate`, crd.py): the API server enforces them, and `llmops validate` runs the very same
CRDs offline (admission.py). Everything that more than one room must spell the same way lives here too: names and
labels (names.py), conditions and reasons (reasons.py), settings (settings.py), digests (digest.py), what a gateway
reports (report.py), prompt templates with their cost bound (templates.py), durations and quantities (quantities.py).
"""

from llmops.api.common import Access, Budget, Condition, KubernetesObject, LabelSelector, Metadata, Model, Ref
from llmops.api.digest import digest, short
from llmops.api.evaljob import EvalJob
from llmops.api.gatewaykey import GatewayKey
from llmops.api.llmservice import LLMService
from llmops.api.promptrelease import PromptRelease
from llmops.api.provider import Provider
from llmops.api.reasons import ConditionType, Reason
from llmops.api.revision import Revision
from llmops.api.settings import Settings
from llmops.api.vectorindex import VectorIndex

KINDS: tuple[type[KubernetesObject], ...] = (
    LLMService,
    VectorIndex,
    EvalJob,
    PromptRelease,
    GatewayKey,
    Provider,
    Revision,
)

__all__ = [
    "KINDS",
    "Access",
    "Budget",
    "Condition",
    "ConditionType",
    "EvalJob",
    "GatewayKey",
    "KubernetesObject",
    "LLMService",
    "LabelSelector",
    "Metadata",
    "Model",
    "PromptRelease",
    "Provider",
    "Reason",
    "Ref",
    "Revision",
    "Settings",
    "VectorIndex",
    "digest",
    "short",
]
