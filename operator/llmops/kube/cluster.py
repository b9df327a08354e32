"""What a reconcile sees of the cluster: reads from the cache, and writes that skip what is already so."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from llmops.api import Settings, names
from llmops.kube.cache import Cache
from llmops.kube.client import Client
from llmops.kube.compare import already
from llmops.kube.errors import Conflict, NotFound, NotOurs
from llmops.kube.events import Events
from llmops.kube.resources import JOB, NETWORK_POLICY, PDB, REVISION, SERVICE, Object, Resource

APPLIED = "llmops.dev/applied"
"""Annotation: the digest of what we last applied. It tells of fields that we set once and now leave out."""

IMMUTABLE = (REVISION, JOB)
"""Of these no field is ever left out later."""
SELDOM = (SERVICE, PDB, NETWORK_POLICY)
"""Made with every workload, and hardly ever changed afterwards: what a change costs does not matter."""


@dataclass(frozen=True)
class Applied:
    """What came of an apply: how many children were written, how many were already so."""

    written: int
    skipped: int


class Cluster:
    """One for the whole process. `reports` is put here by the process that polls gateways (control/reports.py)."""

    def __init__(self, client: Client, cache: Cache, settings: Settings) -> None:
        self.client, self.cache, self.settings = client, cache, settings
        self.reports: Any = None
        self._events = Events(client)

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        """From the cache: may be a moment old. For what cannot be undone use fresh()."""
        return self.cache.get(resource, namespace, name)

    def find(self, resource: Resource, index: str, key: Hashable) -> list[Object]:
        """What a controller's Index knows under this key: who refers to an object, without a walk."""
        return self.cache.find(resource, index, key)

    def list(
        self, resource: Resource, namespace: str | None = None, labels: dict[str, str] | None = None
    ) -> list[Object]:
        return self.cache.list(resource, namespace, labels)

    async def fresh(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        """From the API server itself."""
        try:
            return await self.client.get(resource, namespace, name)
        except NotFound:
            return None

    async def apply(self, children: Sequence[Object], owner: Object) -> Applied:
        """Makes the children so, in order. Adds our labels and, unless a child sets its own list, the owner reference.

        NotOurs where an object of that name carries another owner's label or none: it is never taken over.
        """
        written = 0
        for child in children:
            written += await self._apply(_dressed(child, owner), owner)
        return Applied(written, len(children) - written)

    async def _apply(self, child: Object, owner: Object) -> bool:
        resource, metadata = Resource.of(child), child["metadata"]
        live = self._live(resource, metadata)
        if live is None and resource in (*IMMUTABLE, *SELDOM) and await self._created(resource, child):
            return True
        if live is None:
            # the cache may be a moment behind, and an apply would silently take over what is there
            live = await self.fresh(resource, metadata["namespace"], metadata["name"])
        if live is not None:
            _refuse_foreign(live, child, owner)
            if _leaving(live, owner) or already(child, live):
                return False
            if resource in SELDOM:
                await self._own(resource, metadata)
        self.cache.learn(resource, await self.client.apply(resource, child))
        return True

    async def _created(self, resource: Resource, child: Object) -> bool:
        """Half the price of an apply, and nobody else's can be taken over. What is created has no owner of its fields
        by apply, so a field that is left out later would stay: for what loses none, or is made ours first (_own)."""
        if not self.cache.follows(resource):
            return False  # then it may well be there
        try:
            self.cache.learn(resource, await self.client.create(resource, child))
        except Conflict:
            return False  # it is there; whose it is, is looked at next
        return True

    async def _own(self, resource: Resource, metadata: Object) -> None:
        """Makes the fields that we created ours by apply (as client-go's csaupgrade does), so that those that an apply
        leaves out go."""
        live = await self.fresh(resource, metadata["namespace"], metadata["name"])
        held = (live or {}).get("metadata", {}).get("managedFields") or []
        ours = [one for one in held if one["manager"] == names.FIELD_MANAGER and "subresource" not in one]
        if live is None or not ours or any(one["operation"] == "Apply" for one in ours):
            return
        converted = [{**one, "operation": "Apply"} if one is ours[0] else one for one in held]
        patch = {"metadata": {"resourceVersion": live["metadata"]["resourceVersion"], "managedFields": converted}}
        await self.client.patch(resource, metadata["namespace"], metadata["name"], patch)

    def _live(self, resource: Resource, metadata: Object) -> Object | None:
        if not self.cache.follows(resource):
            return None
        return self.cache.get(resource, metadata.get("namespace"), metadata["name"])

    async def prune(self, owner: Object, keep: Sequence[Object], resources: Collection[Resource]) -> int:
        """Deletes the owner's children of these resources that are not in `keep`; returns how many.

        What a child makes may carry the child's labels (KEDA's HorizontalPodAutoscaler does), and is not the owner's.
        """
        metadata = owner["metadata"]
        kept = {(child["kind"], child["metadata"]["name"]) for child in keep}
        labels = names.labels(owner["kind"], metadata["name"])
        gone = 0
        for resource in resources:
            for child in self.list(resource, metadata["namespace"], labels):
                name = child["metadata"]["name"]
                if (resource.kind, name) in kept or _controller(child) not in (None, metadata["uid"]):
                    continue
                if not child["metadata"].get("deletionTimestamp"):
                    await self.delete(resource, metadata["namespace"], name, uid=child["metadata"]["uid"])
                    gone += 1
        return gone

    async def delete(self, resource: Resource, namespace: str | None, name: str, uid: str | None = None) -> None:
        """Gone already is as good as deleted."""
        try:
            await self.client.delete(resource, namespace, name, uid)
        except NotFound:
            pass
        except Conflict:
            if uid is None:
                raise

    async def report(self, obj: Object, status: Object) -> bool:
        """Writes the status if it says something new; True if written.

        Carries the resourceVersion it was computed from, so two writers cannot undo each other: the loser gets
        Conflict, and looks again. Fields that are absent in `status` are removed.
        """
        status = {"observedGeneration": obj["metadata"].get("generation", 0), **status}
        old = obj.get("status") or {}
        status = orjson.loads(orjson.dumps(status))
        if _filled(status) == _filled(old):
            return False
        patch = {
            "metadata": {"resourceVersion": obj["metadata"]["resourceVersion"]},
            "status": {**{key: None for key in old if key not in status}, **_exact(old, status)},
        }
        resource, metadata = Resource.of(obj), obj["metadata"]
        new = await self.client.patch(resource, metadata["namespace"], metadata["name"], patch, sub="status")
        self.cache.learn(resource, new)
        return True

    async def event(self, obj: Object, reason: str, message: str, type: str = "Normal") -> None:
        """Tells people, as `kubectl describe` shows; said again within five minutes it is not repeated (events.py)."""
        await self._events.tell(obj, str(reason), message, type)


def _dressed(child: Object, owner: Object) -> Object:
    """The child with namespace, labels, owner reference and the digest of it all."""
    given = child["metadata"]
    metadata = {**given, "namespace": given.get("namespace") or owner["metadata"]["namespace"]}
    metadata["labels"] = {**(given.get("labels") or {}), **names.labels(owner["kind"], owner["metadata"]["name"])}
    if "ownerReferences" not in given:
        metadata["ownerReferences"] = [owner_reference(owner)]
    whole = {**child, "metadata": metadata}
    digest = hashlib.sha256(orjson.dumps(whole, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
    metadata["annotations"] = {**(given.get("annotations") or {}), APPLIED: digest}
    return whole


def owner_reference(owner: Object) -> Object:
    """So that the garbage collector deletes the child after its owner."""
    metadata = owner["metadata"]
    named = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": metadata["name"], "uid": metadata["uid"]}
    return {**named, "controller": True, "blockOwnerDeletion": False}


def _refuse_foreign(live: Object, child: Object, owner: Object) -> None:
    metadata = live["metadata"]
    what = f"{child['kind']} {child['metadata']['namespace']}/{metadata['name']}"
    wanted = names.labels(owner["kind"], owner["metadata"]["name"])
    controller = _controller(live)
    # by the reference too: if somebody took a label off, it is put back
    if controller != owner["metadata"]["uid"] and not wanted.items() <= (metadata.get("labels") or {}).items():
        raise NotOurs(
            f"{what} exists and is not of {owner['kind']} {owner['metadata']['name']}: "
            f"rename one of the two, or delete that {child['kind']}"
        )


def _leaving(live: Object, owner: Object) -> bool:
    """Being deleted, or about to be with an earlier owner of that name: its end brings the turn that makes it anew."""
    return bool(live["metadata"].get("deletionTimestamp")) or _controller(live) not in (None, owner["metadata"]["uid"])


def _controller(live: Object) -> str | None:
    references = live["metadata"].get("ownerReferences") or []
    return next((str(ref["uid"]) for ref in references if ref.get("controller")), None)


def _filled(value: Any) -> Any:
    """Without what is empty: the server adds [] and {} by itself where a schema has them as defaults."""
    if not isinstance(value, dict):
        return value
    return {key: inner for key, found in value.items() if (inner := _filled(found)) not in (None, [], {})}


def _exact(old: Any, new: Any) -> Any:
    """A merge patch that leaves exactly `new`: what is gone at any depth is set to null."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return {**{key: None for key in old if key not in new}, **{key: _exact(old.get(key), new[key]) for key in new}}
