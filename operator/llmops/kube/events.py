"""Events: what happened to an object, in words, where `kubectl describe` shows it.

The same words about the same object are one event with a count, written at most every five minutes; one object may
cause a burst of twenty and then one a minute. So an object that flaps for a week costs people and etcd little.
"""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from llmops.api import names
from llmops.kube.client import Client
from llmops.kube.errors import ApiError, NotFound
from llmops.kube.resources import EVENT, Object

log = logging.getLogger(__name__)

AGAIN_SECONDS = 300.0
BURST = 20
REFILL_SECONDS = 60.0
KNOWN = 10_000  # objects and sayings remembered; beyond, all are forgotten, which costs a few events too many


@dataclass
class _Said:
    """One saying about one object: the event's name, how often it was meant, when it was written."""

    name: str
    count: int
    written: float


class Events:
    """One a process. An event is a courtesy: if it cannot be written, the work goes on."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._said: dict[tuple[str, str, str], _Said] = {}
        self._left: dict[str, tuple[float, float]] = {}  # object -> how many it may still cause, as of when

    async def tell(self, obj: Object, reason: str, message: str, type_: str) -> None:
        """Says it, counts it, or leaves it."""
        uid, now = obj["metadata"]["uid"], time.monotonic()
        said = self._said.get((uid, reason, message))
        if said is not None:
            said.count += 1
            if now - said.written < AGAIN_SECONDS:
                return
        if not self._may(uid, now):
            log.debug("too many events of %s: %s %s", obj["metadata"]["name"], reason, message)
            return
        try:
            if said is None or not await self._count(obj, said):
                made = await self._client.create(EVENT, event(obj, reason, message, type_, datetime.now(UTC)))
                said = _Said(made["metadata"]["name"], 1, now)
            said.written = now
            self._remember((uid, reason, message), said)
        except ApiError as problem:
            log.info("event %s of %s not written: %s", reason, obj["metadata"]["name"], problem)

    async def _count(self, obj: Object, said: _Said) -> bool:
        """Writes the count into the event; False if it has expired (an hour after it was made)."""
        series = {"count": said.count, "lastObservedTime": _stamp(datetime.now(UTC))}
        try:
            await self._client.patch(EVENT, _namespace(obj), said.name, {"series": series})
        except NotFound:
            return False
        return True

    def _may(self, uid: str, now: float) -> bool:
        left, then = self._left.get(uid, (BURST, now))
        left = min(BURST, left + (now - then) / REFILL_SECONDS)
        self._left[uid] = (max(0.0, left - 1), now)
        return left >= 1

    def _remember(self, what: tuple[str, str, str], said: _Said) -> None:
        if len(self._said) >= KNOWN:
            self._said.clear()
            self._left.clear()
        self._said[what] = said


def event(obj: Object, reason: str, message: str, type_: str, now: datetime) -> Object:
    """An events.k8s.io/v1 Event about the object."""
    metadata = obj["metadata"]
    unique = hashlib.sha256(f"{metadata['uid']}{reason}{message}{_stamp(now)}".encode()).hexdigest()[:16]
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {"name": f"{metadata['name']}.{unique}", "namespace": _namespace(obj)},
        "regarding": {
            "apiVersion": obj["apiVersion"], "kind": obj["kind"], "name": metadata["name"],
            "namespace": _namespace(obj), "uid": metadata["uid"],
        },
        "reason": reason[:128],
        "note": message[:1024],
        "type": type_,
        "action": reason[:128],
        "eventTime": _stamp(now),
        "reportingController": f"{names.GROUP}/operator",
        "reportingInstance": names.FIELD_MANAGER,
    }  # fmt: skip


def _namespace(obj: Object) -> str:
    return str(obj["metadata"].get("namespace") or "default")


def _stamp(now: datetime) -> str:
    return now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
