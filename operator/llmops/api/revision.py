"""Revision: what a PromptRelease or an LLMService was at one moment, frozen. Written by the operator only."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from llmops.api import names
from llmops.api.common import Column, KubernetesObject, Model, Preserved, Rule, matches


class RevisionSpec(Model):
    """The frozen content."""

    of_kind: Literal["PromptRelease", "LLMService"]
    """The kind it is a revision of."""
    of_name: Annotated[str, Field(min_length=1, max_length=63)]
    """The object it is a revision of."""
    digest: Annotated[
        str, Field(max_length=64), matches("[0-9a-f]{64}", "write the content's digest, 64 small hex digits")
    ]
    """The identity of the content."""
    version: Annotated[str, Field(max_length=63)] | None = None
    """Its label for people."""
    content: Preserved
    """The content, as it was in the spec, with images resolved."""


class Revision(KubernetesObject):
    """What a release or a service was at one moment, frozen; the label llmops.dev/state says what became of it."""

    KIND: ClassVar[str] = "Revision"
    PLURAL: ClassVar[str] = "revisions"
    SHORT: ClassVar[str] = "rev"
    SUBRESOURCE: ClassVar[bool] = False
    NAME_RULES: ClassVar[tuple[Rule, ...]] = (
        Rule("self.metadata.name.size() <= 63", "metadata.name is too long: write at most 63 characters"),
    )
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("Kind", ".spec.ofKind"),
        Column("Name of", ".spec.ofName"),
        Column("Version", ".spec.version"),
        Column("State", ".metadata.labels.llmops\\.dev/state"),
        Column("Digest", ".spec.digest", wide=True),
        Column("Age", ".metadata.creationTimestamp", "date"),
    )
    spec: Annotated[
        RevisionSpec, Rule("self == oldSelf", "a Revision is frozen: make a new one instead of changing it")
    ]
    """What was so, for ever."""

    @property
    def state(self) -> str:
        """candidate, stable, rejected or retired; empty where the label is missing."""
        return self.metadata.labels.get(names.STATE, "")
