"""The names everything agrees on: the API group, labels, annotations, the audience of tokens, endings of children."""

from __future__ import annotations

GROUP = "llmops.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
FIELD_MANAGER = "llmops-operator"
PERSON = "llmops"
"""The manager of fields that a person set with the command; the operator owns no field of a spec, ever."""
CATEGORY = "llmops"

MANAGED_BY = "app.kubernetes.io/managed-by"
OWNER_KIND = "llmops.dev/owner-kind"
OWNER_NAME = "llmops.dev/owner-name"
STATE = "llmops.dev/state"
WATCH = "llmops.dev/watch"

APPROVE = "llmops.dev/approve"
RETRY = "llmops.dev/retry"
ABORT = "llmops.dev/abort"
ROLLBACK = "llmops.dev/rollback"

STATES = ("candidate", "stable", "rejected", "retired")

AUDIENCE = "llmops"
"""The audience of service-account tokens that the gateway accepts."""

KEY_PREFIX = "llmops_"
"""A key reads llmops_<namespace>.<name>.<secret>."""

MAX_NAME = 40
"""Our objects' names, so that the names of their children fit into 63 characters."""


def labels(kind: str, name: str) -> dict[str, str]:
    """What every child carries; `kind` is its owner's, such as LLMService."""
    return {MANAGED_BY: FIELD_MANAGER, OWNER_KIND: kind, OWNER_NAME: name}


def subject(namespace: str, name: str) -> str:
    """How gateways and the operator speak of the rollout of a service's revisions; a release is `namespace/name`."""
    return f"llm/{namespace}/{name}"


def of_subject(text: str) -> tuple[bool, str]:
    """(whether it is a service's, `namespace/name`)."""
    return (True, text.partition("/")[2]) if text.count("/") > 1 else (False, text)


def qualified(namespace: str, name: str) -> str:
    """`namespace/name`, the form in which models, releases and keys are spoken of."""
    return f"{namespace}/{name}"
