"""GatewayKey: who may come through the door, to which models, how often and for how much. Only hashes, never keys."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import Field

from llmops.api.common import (
    MOST_GROUPS,
    Budget,
    Column,
    Group,
    KubernetesObject,
    Model,
    Preserved,
    Rule,
    Status,
    matches,
)
from llmops.api.tenants import MOST, TenantName


class KeyHash(Model):
    """One key of the holder."""

    sha256: Annotated[
        str,
        Field(max_length=128),
        matches(
            "[0-9a-f]{64}",
            "write the SHA-256 of the whole key in 64 small hex digits, never the key itself; llmops key create"
            " prints it",
        ),
    ]
    """SHA-256 of the whole key."""
    expires_at: datetime | None = None
    """From then on it is refused."""


class KeyLimits(Model):
    """How often."""

    requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    """Requests."""
    tokens_per_minute: Annotated[int, Field(ge=1, le=1_000_000_000_000)] | None = None
    """Tokens, in and out."""
    concurrency: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Requests at a time."""


class GatewayKeySpec(Model):
    """Who, what, how often, for how much."""

    RULES = (
        Rule(
            "self.keys.all(a, self.keys.exists_one(b, b.sha256 == a.sha256))",
            "the same hash is listed twice: remove one",
        ),
    )
    keys: Annotated[list[KeyHash], Field(min_length=1, max_length=3)]
    """Up to three, for rotation."""
    disabled: bool = False
    """Refuse all of them at once."""
    owner: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """Who holds it, for reports."""
    models: Annotated[
        list[
            Annotated[
                str,
                Field(min_length=1, max_length=160),
                matches(
                    r"(prompt:)?([*]|([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?([a-z0-9]([-a-z0-9.]*[a-z0-9])?|[*]))",
                    'write a model such as support or shop/support, a prompt such as "prompt:support-answer", or "*"',
                ),
            ]
        ],
        Field(max_length=64),
    ] = ["*", "prompt:*"]
    """What it opens: models, or prompts after prompt:, of this namespace or as namespace/name; * is all of them."""
    groups: Annotated[list[Group], Field(max_length=MOST_GROUPS)] = []
    """The groups its holder belongs to: what of an index with query.permissions the holder's prompts find."""
    tenants: Annotated[list[TenantName], Field(max_length=MOST)] = []
    """The tenants whose documents its holder's prompts may find in an index with query.tenants; "*" is all of this
    namespace's. A holder of one need not name it."""
    limits: KeyLimits = KeyLimits()
    """How often."""
    budget: Budget | None = None
    """For how much."""


class GatewayKeyStatus(Status):
    """What it was used for."""

    spent: Annotated[str, Field(max_length=32)] | None = None
    """Money in this period."""
    requests: int | None = None
    """Requests in this period."""
    tokens: int | None = None
    """Tokens in this period."""
    period_start: Annotated[str, Field(max_length=40)] | None = None
    """When this period began."""
    memory: Preserved | None = None
    """What of each gateway's sums is already counted, so that nothing is counted twice."""


class GatewayKey(KubernetesObject):
    """A holder of keys to the door: which models, how often, for how much. Hashes may sit in Git."""

    KIND: ClassVar[str] = "GatewayKey"
    PLURAL: ClassVar[str] = "gatewaykeys"
    SHORT: ClassVar[str] = "gk"
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
        Column("Owner", ".spec.owner"),
        Column("Spent", ".status.spent"),
        Column("Budget", ".spec.budget.amount"),
        Column("Requests", ".status.requests", "integer"),
        Column("Reason", '.status.conditions[?(@.type=="Ready")].reason', wide=True),
        Column("Age", ".metadata.creationTimestamp", "date"),
    )
    spec: GatewayKeySpec
    """What is wanted."""
    status: GatewayKeyStatus | None = None
    """What is so."""
