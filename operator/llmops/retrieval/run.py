"""One Job that was begun, as the cluster has it: what it was handed, what it reported, how it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from llmops.kube.resources import Object
from llmops.retrieval import outcome
from llmops.retrieval.children import INPUT, TOLD
from llmops.retrieval.estimate import Estimate
from llmops.retrieval.outcome import Outcome
from llmops.retrieval.work import FAILURE, OUTCOME, PROGRESS, WAITING


@dataclass(frozen=True)
class Run:
    """One Job that was begun: what it reported, how it ended."""

    key: str
    job: Object | None
    results: Object | None

    @property
    def outcome(self) -> Outcome | None:
        """What it left behind, if it came to its end."""
        text = self._data.get(OUTCOME)
        try:
            return outcome.loads(text) if text else None
        except ValueError:
            return None  # of another version: it is measured again

    @property
    def failure(self) -> str | None:
        """Why it failed for good, in its own words or the Job controller's."""
        ended = self.ended
        if ended is None or ended["type"] != "Failed":
            return None
        return str(self._data.get(FAILURE) or ended.get("message") or "the Job failed")

    @property
    def waiting(self) -> Estimate | None:
        """What it would have had to embed, and did not, as nobody had approved it."""
        text = self._data.get(WAITING)
        try:
            return Estimate(**json.loads(text)) if text and self.outcome is None else None
        except (TypeError, ValueError):
            return None  # of another version: it is asked again

    @property
    def memory(self) -> str | None:
        """The most that its Job may take."""
        limits = [(one.get("resources") or {}).get("limits") or {} for one in self._pod.get("containers") or []]
        return str(limits[0]["memory"]) if limits and "memory" in limits[0] else None

    @property
    def input(self) -> str | None:
        """The name of the ConfigMap that hands it its work."""
        volumes = self._pod.get("volumes") or []
        return next((one["configMap"]["name"] for one in volumes if one["name"] == INPUT), None)

    @property
    def told(self) -> str | None:
        """The digest of what it was told beyond its key; None where an operator of before began it."""
        return (((self.job or {}).get("metadata") or {}).get("annotations") or {}).get(TOLD)

    @property
    def progress(self) -> Mapping[str, Any]:
        """How far it is; empty where that cannot be read."""
        with suppress(ValueError):
            found = json.loads(self._data.get(PROGRESS) or "{}")
            return found if isinstance(found, dict) else {}
        return {}

    @property
    def ended(self) -> Mapping[str, Any] | None:
        conditions = ((self.job or {}).get("status") or {}).get("conditions") or []
        return next(
            (one for one in conditions if one["type"] in ("Complete", "Failed") and one["status"] == "True"), None
        )

    @property
    def goes_on(self) -> bool:
        """Whether its Job may still do something."""
        return self.job is not None and not self.ended

    @property
    def begun(self) -> str:
        """When its Job was created, or, where that is gone, the ConfigMap that was made for it just before."""
        return str(((self.job or self.results or {}).get("metadata") or {}).get("creationTimestamp", ""))

    @property
    def _pod(self) -> Mapping[str, Any]:
        return (((self.job or {}).get("spec") or {}).get("template") or {}).get("spec") or {}

    @property
    def _data(self) -> Mapping[str, str]:
        return (self.results or {}).get("data") or {}
