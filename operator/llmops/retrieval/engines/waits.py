"""Why an engine cannot be built in now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from llmops.api import Reason
from llmops.kube.resources import Object, Resource


@dataclass(frozen=True)
class Waits:
    """Nothing new is begun; `answers` where searches go on meanwhile, as while a cluster is upgraded."""

    sentence: str
    reason: Reason = Reason.ENGINE_STARTING
    answers: bool = False


STARTING = Waits("the vector database is starting")


class Live(Protocol):
    """The objects that are there, as the cluster's cache has them."""

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object | None: ...

    def list(
        self, resource: Resource, namespace: str | None = None, labels: dict[str, str] | None = None
    ) -> list[Object]: ...
