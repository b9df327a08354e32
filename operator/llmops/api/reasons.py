"""Every condition and every reason once, with its sentence; docs/reference/reasons.md is generated from here.

A member's value is what stands in `status.conditions[].reason`; its `.sentence` is for the documentation, while the
condition's own message names the object and the fix. Add yours under your room's heading.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class _Told(StrEnum):
    """A text with a sentence."""

    sentence: str

    def __new__(cls, value: str, sentence: str) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        return member

    def __str__(self) -> str:
        return str(self.value)


class ConditionType(_Told):
    """What conditions speak of."""

    READY = "Ready", "This generation of the spec fully serves."
    AVAILABLE = "Available", "Users are served, by this generation or an older one."
    RECONCILING = "Reconciling", "The operator is still working towards the spec."
    STALLED = "Stalled", "The operator cannot go on by itself; the message says what would help."
    # serving
    MODEL_CACHED = "ModelCached", "The model's weights are where the pods read them."
    SCHEDULED = "Scheduled", "Every pod found a node."
    GATEWAY_SYNCED = "GatewaySynced", "Every ready gateway said that it serves this."
    LICENSE_ACCEPTED = "LicenseAccepted", "The licence of the weights was accepted, or asks for no acceptance."
    # retrieval
    ENGINE_READY = "EngineReady", "The vector database answers."
    SOURCES_READ = "SourcesRead", "Every source could be read completely."
    BUILT = "Built", "The generation that the spec asks for was built."
    GATES_PASSED = "GatesPassed", "The generation that the spec asks for passed its gates."
    EMBEDDING_MATCHES = "EmbeddingMatches", "Questions are embedded by the model that embedded the passages."
    # evaluation
    DATASET_VALID = "DatasetValid", "Every row of the dataset could be read."
    TARGET_REACHABLE = "TargetReachable", "The target exists and answers."
    COMPLETE = "Complete", "The run came to its end."
    THRESHOLDS_MET = "ThresholdsMet", "Every threshold was met."
    # release
    VALID = "Valid", "The release's templates, variables and references make sense."
    EVALUATED = "Evaluated", "The offline gates were passed."
    HEALTHY = "Healthy", "Nothing speaks against the candidate."
    # access
    WITHIN_BUDGET = "WithinBudget", "There is money left in this period."


class Reason(_Told):
    """Why a condition is what it is."""

    # every kind
    AS_WANTED = "AsWanted", "Everything is as the spec says."
    FIRST_SEEN = "FirstSeen", "The object is new; nothing is known yet."
    IN_PROGRESS = "InProgress", "The operator is on its way; the message says to what."
    SUSPENDED = "Suspended", "spec.suspend is true: nothing new begins."
    REFERENCE_MISSING = "ReferenceMissing", "Something the spec refers to does not exist; the message names it."
    REFERENCE_NOT_READY = "ReferenceNotReady", "Something the spec refers to is not ready yet; the message names it."
    REFERENCE_NOT_ALLOWED = "ReferenceNotAllowed", "What the spec refers to does not allow this namespace."
    NOT_OURS = "NotOurs", "An object with a child's name exists and is not ours; it is not taken over."
    UNSUPPORTED = "Unsupported", "The spec asks for something that this version cannot do; the message names the field."
    INVALID_SPEC = "InvalidSpec", "The spec contradicts itself in a way only the operator can see."
    API_REFUSED = "ApiRefused", "The API server refused a child; the message has its words."

    # serving

    # retrieval

    # evaluation
    TEMPLATE = "Template", "The EvalJob has no target: it waits to be filled in by releases."
    DATASET_INVALID = (
        "DatasetInvalid",
        "The dataset is missing, or rows in it are broken; the message has their numbers.",
    )
    RUN_FAILED = "RunFailed", "The Job failed for good; the message has its words."
    RUN_ERRORS = "RunErrors", "More than 2% of the requests failed, so nothing was judged."
    THRESHOLDS_MET = "ThresholdsMet", "Every threshold's interval is on the good side."
    THRESHOLD_MISSED = "ThresholdMissed", "A threshold's whole interval is on the bad side."
    THRESHOLD_UNDECIDED = "ThresholdUndecided", "A threshold lies within its interval: more rows would be needed."

    # release

    # access

    # gateway
