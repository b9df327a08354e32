"""Provider: somebody's API, offered by the cluster's admin; tenants can neither read its key nor send it elsewhere."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from llmops.api.common import Access, Budget, Column, KubernetesObject, Model, Preserved, Pricing, Rule, Status


class ModelPricing(Pricing):
    """What the tokens of one model cost."""

    model: Annotated[str, Field(min_length=1, max_length=253)]
    """Its name there; * is every model that has no entry of its own."""


class ProviderSpec(Model):
    """Where it is, who may use it, for how much. Its credential is the data key of its name in Secret
    llmops-providers."""

    RULES = (
        Rule(
            "!has(self.budget) || !has(self.pricing)"
            " || self.pricing.all(p, p.currency == (has(self.budget.currency) ? self.budget.currency : 'USD'))",
            "spec.pricing and spec.budget are in different currencies: write both in the same",
        ),
    )
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
    """For how much, all of them together: by the prices in spec.pricing, and where that has none by the service's."""
    pricing: Annotated[list[ModelPricing], Field(max_length=200)] = []
    """What tokens cost here, whatever services write; * keeps anybody from writing that theirs cost nothing."""

    def price(self, model: str) -> Pricing | None:
        """Of one model."""
        by_name = {one.model: one for one in self.pricing}
        return by_name.get(model) or by_name.get("*")


class ProviderStatus(Status):
    """Whether it can be used."""

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


class Provider(KubernetesObject):
    """Somebody's API behind the same door: its address, who may use it and for how much."""

    KIND: ClassVar[str] = "Provider"
    PLURAL: ClassVar[str] = "providers"
    SHORT: ClassVar[str] = "llmprov"
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("Type", ".spec.type"),
        Column("URL", ".spec.baseURL"),
        Column("Spent", ".status.spent"),
        Column("Budget", ".spec.budget.amount"),
        Column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
        Column("Reason", '.status.conditions[?(@.type=="Ready")].reason', wide=True),
        Column("Age", ".metadata.creationTimestamp", "date"),
    )
    spec: ProviderSpec
    """What is wanted."""
    status: ProviderStatus | None = None
    """What is so."""
