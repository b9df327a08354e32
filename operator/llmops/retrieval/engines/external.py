"""An engine that is already there: nothing of it is ours, neither its data nor its health."""

from __future__ import annotations

from llmops.api import Settings, VectorIndex
from llmops.kube.resources import Object
from llmops.retrieval.engines.opener import NOT_OURS, Standing
from llmops.retrieval.engines.waits import Live, Waits


class External:
    """An address."""

    def waits(self, index: VectorIndex, live: Live) -> Waits | None:
        """For nothing: whether it answers is told by those who ask it."""
        return None

    def standing(self, index: VectorIndex, settings: Settings, live: Live) -> Standing:
        """Its image and its data are not ours."""
        return NOT_OURS

    def address(self, index: VectorIndex, settings: Settings) -> str:
        assert index.spec.engine.external is not None  # a rule of the kind
        return index.spec.engine.external.uri

    def children(self, index: VectorIndex, settings: Settings, standing: Standing) -> list[Object]:
        return []
