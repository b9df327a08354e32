"""Revisions that prompts are released together with (PromptRelease.spec.serviceRef.revision). Pure.

    pins(...)     which revisions the releases name, and what they are waiting for with them
    held(...)     why a candidate stays at weight 0: a release moves it, users of the model itself do not meet it yet
    told(...)     how they stand, in the status: the door and the release read it there

A pinned revision has pods for as long as a release needs it, whatever the service's own rollout does. Once the release
has reached everybody the service goes on to it by its own steps; a release that is rejected lets the pods go.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llmops.api import PromptRelease, Reason, names
from llmops.api.promptrelease import pin
from llmops.rollout.world import Problem

Object = dict[str, Any]
Home = tuple[str, str]
BY_SERVICE = "pins"
"""The Index of what follows."""
NEEDED = ("stable", "candidate")


@dataclass(frozen=True)
class Pin:
    """One revision that releases name."""

    asked: str  # as they write it
    digest: str | None  # None: there is no such revision
    waiting: str = ""  # a release that moves it with its prompt, and has not reached everybody
    idle: bool = False  # whether every release that names it was rejected


def of_release(raw: Object) -> list[Home]:
    """The service that a release runs on."""
    return [(raw["metadata"]["namespace"], raw["spec"]["serviceRef"]["name"])]


def of_revision(raw: Object) -> list[Home]:
    """The service that a released content pins a revision of."""
    reference = _reference(raw)
    return [(raw["metadata"]["namespace"], reference["name"])] if reference.get("revision") else []


def _reference(revision: Object) -> Object:
    spec = revision["spec"]
    found: Object = (spec.get("content") or {}).get("serviceRef") or {}
    return found if spec.get("ofKind") == PromptRelease.KIND else {}


def pins(known: Collection[str], releases: Iterable[Object], frozen: Iterable[Object]) -> tuple[Pin, ...]:
    """Of the service whose revisions have these digests; `frozen` are the contents of releases."""
    needed = [one for one in frozen if _state(one) in NEEDED]
    reached = {(one["spec"]["ofName"], pin(_reference(one)["revision"])) for one in needed if _state(one) == "stable"}
    found: dict[str, Pin] = {}
    for one in needed:
        _add(found, known, _reference(one)["revision"], waiting="", idle=False)
    for one in releases:
        reference, name = one["spec"]["serviceRef"], one["metadata"]["name"]
        if reference.get("revision"):
            waiting = "" if (name, pin(reference["revision"])) in reached else name
            idle = ((one.get("status") or {}).get("phase")) == "Rejected"
            _add(found, known, reference["revision"], waiting, idle)
    return tuple(found.values())


def _add(found: dict[str, Pin], known: Collection[str], asked: str, waiting: str, idle: bool) -> None:
    digest = next((one for one in known if one.startswith(pin(asked))), None)
    before = found.get(digest or asked)
    if before is not None:
        asked, waiting, idle = before.asked, before.waiting or waiting, before.idle and idle
    found[digest or asked] = Pin(asked, digest, waiting, idle)


def _state(revision: Object) -> str:
    return str((revision["metadata"].get("labels") or {}).get(names.STATE, ""))


def held(found: Iterable[Pin], digest: str) -> Problem | None:
    """Why this revision is not for the users of the model itself yet."""
    here = next((one for one in found if one.digest == digest and one.waiting), None)
    if here is None:
        return None
    who = f"PromptRelease {here.waiting}"
    if here.idle:
        told = f"{who}, which moves it together with its prompt, was rejected: change it back, or remove "
        return Problem(Reason.REFERENCE_NOT_READY, f"{told}serviceRef.revision there to roll it out by itself")
    told = f"{who} moves it together with its prompt: until that has reached everybody, nobody else meets it"
    return Problem(Reason.REFERENCE_NOT_READY, told)


IN_PLACE = "one revision of it replaces another in place: give it spec.rollout, with capacity: Wait"
ABROAD = "it is somebody else's API, and has no revisions of ours: remove serviceRef.revision"


def refused(found: Iterable[Pin], why: str) -> list[Object]:
    """status.pinned of a service that cannot keep a revision beside another."""
    return [{"revision": one.asked, "message": why} for one in found][:16]


def told(found: Iterable[Pin], homes: Mapping[str, Object], why_not: Mapping[str, str]) -> list[Object]:
    """status.pinned. `homes`: by digest, where a revision's pods are; `why_not`: what keeps them from being asked."""
    said: list[Object] = []
    for one in found:
        here: Object = {"revision": one.asked}
        if one.digest is not None:
            here |= {"digest": one.digest, **homes.get(one.digest, {})}
        problem = why_not.get(one.digest or "", "") or ("" if one.digest in homes else _absent(one))
        said.append(here | ({"message": problem[:1024]} if problem else {"ready": True}))
    return sorted(said, key=lambda one: str(one["revision"]))[:16]


def _absent(one: Pin) -> str:
    if one.idle:
        return "has no pods: every release that names it was rejected"
    return "is no revision of it: `kubectl get revisions` lists those there are, and spec.model makes new ones"
