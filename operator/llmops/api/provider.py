"""Provider: somebody's API, offered by the cluster's admin; tenants can neither read its key nor send it elsewhere."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from llmops.api.common import Access, Budget, Column, KubernetesObject, Model, Rule, Status


class ProviderSpec(Model):
    """Where it is, who may use it, for how much. Its credential is the data key of its name in Secret
    llmops-providers."""

    type: Literal["OpenAI", "Anthropic", "Cohere", "Gemini"]
    """How it is spoken to; OpenAI is also for everything compatible."""
    base_url: Annotated[
        str,
        Field(alias="baseURL", max_length=2048),
        Rule(
            "self.matches('^https://[^/ ?#@]+(/[^ ?#]*)?$')"
            " || self.matches('^http://[a-z0-9.-]+[.]svc([.]cluster[.]local)?(:[0-9]+)?(/[^ ?#]*)?$')",
            "write an https:// address such as https://api.openai.com/v1; plain http:// only for a Service"
            " (name.namespace.svc)",
        ),
    ]
    """Its address, up to /v1 or the like: https://api.openai.com/v1, https://api.anthropic.com/v1,
    https://api.cohere.com/v2, https://generativelanguage.googleapis.com/v1beta."""
    access: Access = Access()
    """Which namespaces may refer to it."""
    budget: Budget | None = None
    """For how much, all of them together."""


class ProviderStatus(Status):
    """Whether it can be used."""

    spent: Annotated[str, Field(max_length=32)] | None = None
    """Money in this period."""


class Provider(KubernetesObject):
    """Somebody's API behind the same door: its address, who may use it and for how much."""

    KIND: ClassVar[str] = "Provider"
    PLURAL: ClassVar[str] = "providers"
    SHORT: ClassVar[str] = "llmprov"
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("Type", ".spec.type"),
        Column("URL", ".spec.baseURL"),
        Column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
        Column("Reason", '.status.conditions[?(@.type=="Ready")].reason', wide=True),
        Column("Age", ".metadata.creationTimestamp", "date"),
    )
    spec: ProviderSpec
    """What is wanted."""
    status: ProviderStatus | None = None
    """What is so."""
