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
    DOES_NOT_FIT = "DoesNotFit", "The model does not fit on the accelerators; the message has the nearest that would."
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
    REFERENCE_MISSING = (
        "ReferenceMissing",
        "Something the spec refers to does not exist, or is of no use here; the message names it.",
    )
    REFERENCE_NOT_READY = "ReferenceNotReady", "Something the spec refers to is not ready yet; the message names it."
    REFERENCE_NOT_ALLOWED = "ReferenceNotAllowed", "What the spec refers to does not allow this namespace."
    NOT_OURS = "NotOurs", "An object with a child's name exists and is not ours; it is not taken over."
    UNSUPPORTED = "Unsupported", "The spec asks for something that this version cannot do; the message names the field."
    INVALID_SPEC = "InvalidSpec", "The spec contradicts itself in a way only the operator can see."
    API_REFUSED = "ApiRefused", "The API server refused a child; the message has its words."

    # serving
    DOES_NOT_FIT = "DoesNotFit", "The model does not fit on the accelerators; the message has the nearest that would."
    LICENSE_NOT_ACCEPTED = "LicenseNotAccepted", "The licence asks for acceptance: set spec.model.license.accepted."
    IN_IMAGE = "InImage", "The weights are in the engine's image."
    ON_VOLUME = "OnVolume", "The weights are on a volume that the pods mount."
    DOWNLOADING = "Downloading", "The weights are being downloaded."
    DOWNLOADED = "Downloaded", "The weights were downloaded and checked."
    DOWNLOAD_FAILED = "DownloadFailed", "The weights could not be downloaded; the message says why."
    UNSCHEDULABLE = "Unschedulable", "No node can take a pod; the message has the scheduler's words."
    QUOTA_EXCEEDED = (
        "QuotaExceeded",
        "A ResourceQuota leaves no room for a pod; the message says of what.",
    )
    OUT_OF_MEMORY = "OutOfMemory", "A container was ended because it needed more memory than its limit."
    IMAGE_NOT_PULLED = "ImageNotPulled", "A node cannot get an image; the message names it."
    CRASHING = "Crashing", "A container ends again and again; the message has its last words."
    ADAPTER_NOT_LOADED = (
        "AdapterNotLoaded", "A running pod did not take an adapter; the message has its words. It is tried again."
    )  # fmt: skip
    STARTING = "Starting", "Pods are starting or loading the model."
    NO_REPLICAS = "NoReplicas", "spec.replicas is 0: nothing serves."
    ASLEEP = "Asleep", "Nobody asked for spec.autoscaling.idleAfter: no pod runs, and the next request wakes one."
    NO_GATEWAY = "NoGateway", "No gateway has reported yet."

    # retrieval
    BUILDING = "Building", "A Job builds or measures a generation; queries go on with the one before."
    BUILD_FAILED = "BuildFailed", "The Job failed for good; the message has its words."
    GATES_FAILED = "GatesFailed", "The new generation missed a gate; it is kept but not served."
    NOT_BUILT = "NotBuilt", "Nothing has been built yet."
    SOURCES_INVALID = "SourcesInvalid", "A source is missing or empty; the message names it."
    DOCUMENTS_SKIPPED = "DocumentsSkipped", "Some documents could not be read; everything else is indexed."
    EMBEDDER_CHANGED = "EmbedderChanged", "The embedding service is not the one that embedded the passages."
    ENGINE_STARTING = "EngineStarting", "The vector database does not answer yet."
    ENGINE_REFUSED = (
        "EngineRefused",
        "An image does not open the vector database's volume; the message says why, and what to write.",
    )
    QUERY_SERVER_STARTING = "QueryServerStarting", "Not every query server is ready yet; the message says how many are."

    # evaluation
    TEMPLATE = "Template", "The EvalJob has no target: it waits to be filled in by releases."
    DATASET_INVALID = (
        "DatasetInvalid",
        "The dataset is missing, or rows in it are broken; the message has their numbers.",
    )
    RUN_FAILED = "RunFailed", "The Job failed for good; the message has its words."
    RUN_SKIPPED = "RunSkipped", "A time of the schedule came while the run before it was still going; it was left out."
    RUN_ERRORS = "RunErrors", "More than 2% of the requests failed, or of the answers got no mark: nothing was judged."
    THRESHOLDS_MET = "ThresholdsMet", "Every threshold's interval is on the good side."
    THRESHOLD_MISSED = "ThresholdMissed", "A threshold's whole interval is on the bad side."
    THRESHOLD_UNDECIDED = "ThresholdUndecided", "A threshold lies within its interval: more rows would be needed."

    # release
    CANDIDATE_FOUND = "CandidateFound", "The spec has a new content; an attempt at it begins."
    EVALUATING = "Evaluating", "The candidate's evaluations run; no user meets it."
    EVALUATION_FAILED = (
        "EvaluationFailed",
        "The candidate did not pass its evaluations: rejected before any user met it.",
    )
    EVALUATION_UNDECIDED = (
        "EvaluationUndecided",
        "The evaluations can tell neither pass nor fail: more rows are needed.",
    )
    EVALUATION_ERRORS = "EvaluationErrors", "The evaluations ended in errors, again and again; a person has to look."
    SHADOWING = "Shadowing", "The candidate answers real requests too, unseen; its answers are compared with stable's."
    STEP_BEGUN = "StepBegun", "A larger share of users meets the candidate from now on."
    GATHERING_EVIDENCE = "GatheringEvidence", "Users meet the candidate; not enough is known yet."
    NO_WORSE = "NoWorse", "The candidate was shown to be within the margin."
    CANDIDATE_WORSE = "CandidateWorse", "The evidence says that users fare worse with the candidate."
    INCONCLUSIVE = "Inconclusive", "Neither harm nor harmlessness was shown within maxDuration."
    SAMPLE_RATIO_MISMATCH = "SampleRatioMismatch", "Users do not meet the candidate in the published share."
    SIGNAL_DOUBTFUL = (
        "SignalDoubtful",
        "A signal that does not count users speaks against the candidate: a person has to decide.",
    )
    NO_EVIDENCE = "NoEvidence", "No user came; silence is neither success nor failure."
    GATEWAYS_BEHIND = "GatewaysBehind", "A gateway does not serve what the status says yet."
    AWAITING_APPROVAL = "AwaitingApproval", "It waits for the annotation llmops.dev/approve; the message says for what."
    NOTHING_TO_COMPARE = "NothingToCompare", "At 100% nothing would count as too much: a person has to decide."
    STABLE_UNKNOWN = "StableUnknown", "The status was lost, and the Revisions' labels do not tell which one is stable."
    APPROVED = "Approved", "A person approved the next step."
    ABORTED = "Aborted", "A person aborted the rollout."
    RETRIED = "Retried", "A person asked for another attempt."
    ROLLED_BACK_BY_HAND = (
        "RolledBackByHand",
        "A person went back to a version that users had before: all get it at once.",
    )
    ROLLBACK_IGNORED = "RollbackIgnored", "llmops.dev/rollback was passed over, once; the message says why."
    SUPERSEDED = "Superseded", "The spec has another content now."
    WITHDRAWN = "Withdrawn", "The spec has stable's content again."
    RELEASED = "Released", "The candidate is stable now."
    REJECTED = "Rejected", "This content was rejected; it is not tried again by itself."
    TEMPLATE_INVALID = "TemplateInvalid", "A template cannot be used; the message says where and why."

    # access
    KEY_DISABLED = "KeyDisabled", "spec.disabled is true: every request with this key is refused."
    KEY_EXPIRED = "KeyExpired", "Every key has expired; a new one is needed."
    BUDGET_SPENT = "BudgetSpent", "The period's budget is spent; requests are refused until the next one begins."

    CREDENTIAL_MISSING = (
        "CredentialMissing",
        "A gateway has no credential for the Provider: the message says where it goes.",
    )

    # gateway
