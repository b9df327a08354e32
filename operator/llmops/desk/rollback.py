"""`llmops rollback prel NAME`: back to a version that users had, at once; one write of its content and the annotation.

The Revision has the content, the history knows what users had, and llmops.rollout.hand says what may go back. Where Git
keeps the object, it will put its own content back: the patch for Git is printed, and the write only bridges the gap.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from llmops.api import PromptRelease, Revision, names, short
from llmops.api.common import KubernetesObject
from llmops.desk.change import CONTENT
from llmops.desk.objects import Unknown, resource
from llmops.desk.patch import digest_after, manager, toward, written
from llmops.kube.client import Client
from llmops.kube.errors import Conflict
from llmops.kube.resources import REVISION, Object
from llmops.release.content import content_digest
from llmops.rollout import hand
from llmops.rollout.state import State, read
from llmops.rollout.world import Wanted

SHORTEST_PREFIX = 6
TRIES = 5
"""The operator writes the status now and then; each time the decision is made anew from what is so."""


@dataclass(frozen=True)
class Back:
    """Where it goes, and what is written for it; no patch: nothing is to be done."""

    says: str
    patch: Object | None = None


async def rollback(kind: type[KubernetesObject], namespace: str, name: str, to: str | None, only_print: bool) -> int:
    """Write it, or with `only_print` say what to write."""
    if kind is not PromptRelease:
        raise Unknown(f"rollback is for a PromptRelease; of the others ({kind.KIND}) the old spec is applied again")
    async with await Client.connect() as client:
        for left in reversed(range(TRIES)):
            one = await client.get(resource(kind), namespace, name)
            labels = f"{names.OWNER_KIND}={kind.KIND},{names.OWNER_NAME}={name}"
            back = going_back(one, (await client.list(REVISION, namespace, labels))["items"], to)
            if back.patch is None or only_print:
                break
            try:
                patch = unless_changed(back.patch, one)
                await client.patch(resource(kind), namespace, name, patch, manager=names.PERSON)
                break
            except Conflict:
                if not left:
                    raise
    say(one, back, only_print)
    return 0


def unless_changed(patch: Object, one: Object) -> Object:
    """The patch for exactly this state of the object; somebody else's write makes it a Conflict."""
    return {**patch, "metadata": {**patch["metadata"], "resourceVersion": one["metadata"]["resourceVersion"]}}


def say(one: Object, back: Back, only_print: bool) -> None:
    """What happened; and where Git has the last word, what to commit, alone on stdout."""
    keeper, patch = manager(one), back.patch
    for_git = patch is not None and (only_print or keeper is not None)
    whose = f"PromptRelease {one['metadata']['namespace']}/{one['metadata']['name']}"
    planned = "would go" if only_print else "goes"
    print(f"{whose}: {planned if patch else 'stays'} {back.says}", file=sys.stderr if for_git else sys.stdout)
    if keeper is not None and patch is not None and not only_print:
        print(
            f"WARNING: {keeper} keeps this object as it is in Git and will put Git's content back, and users with it: "
            "commit this patch now, or stop its sync first",
            file=sys.stderr,
        )
    if for_git and patch is not None:
        print(written(_in_git(patch)), end="")


def _in_git(patch: Object) -> Object:
    """Without the removal of an annotation that Git does not have."""
    annotations = {key: value for key, value in patch["metadata"]["annotations"].items() if value is not None}
    metadata = {key: value for key, value in patch["metadata"].items() if key != "annotations"}
    return {**patch, "metadata": {**metadata, **({"annotations": annotations} if annotations else {})}}


# --- which version, and what it takes


def going_back(one: Object, revisions: Sequence[Object], to: str | None) -> Back:
    """The change that takes users back to `to`, else to what was stable before; Unknown says what there is instead."""
    release = PromptRelease.parse(one)
    state = read(release.status, release.spec.rollout)
    kept = {found["spec"]["digest"]: found for found in revisions}
    digest = _before(one, state, kept) if to is None else _named(one, state, kept, to)
    version = kept[digest]["spec"].get("version") or short(digest)
    where = f"{version} ({short(digest)})"
    if state.stable is not None and state.stable.digest == digest:
        if content_digest(release) == digest:
            return Back(f"with {where}, which is stable and in the spec")
        return Back(f"back to {where}, which is stable: what is on its way is withdrawn", _patch(one, kept[digest]))
    value = f"{digest}/{hand.attempt_of(state, digest)}"
    why = hand.why_not(state, Wanted(digest, version, release.spec.rollout), value)
    if why is not None:
        raise Unknown(why)
    stable = f" from {state.stable.version} ({short(state.stable.digest)})" if state.stable else ""
    told = f"back{stable} to {where}: all users at once; llmops explain prel {release.metadata.name} -n "
    return Back(f"{told}{release.metadata.namespace} tells how they fare", _patch(one, kept[digest], value))


def _patch(one: Object, revision: Object, annotation: str | None = None) -> Object:
    """The Revision's content in place of the spec's; without an annotation an old one goes."""
    frozen, metadata = Revision.parse(revision).spec, one["metadata"]
    present = {field: one["spec"][field] for field in CONTENT[PromptRelease.KIND] if field in one["spec"]}
    patch = {
        "apiVersion": one["apiVersion"],
        "kind": one["kind"],
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "annotations": {names.ROLLBACK: annotation},
        },
        "spec": {"version": frozen.version or short(frozen.digest), **toward(present, frozen.content)},
    }
    if digest_after(one, patch) != frozen.digest:
        raise Unknown(
            f"Revision {revision['metadata']['name']} does not read as {short(frozen.digest)} here: another version of "
            "llmops wrote it, so go back with the operator's own version of this command"
        )
    return patch


def _before(one: Object, state: State, kept: Mapping[str, Object]) -> str:
    """What was stable before; not while something else is on its way, since it is not clear then what is meant."""
    metadata, moving, stable = one["metadata"], state.candidate, state.stable
    there = _there_is(state, kept)
    if moving is not None and state.phase != "Rejected" and stable is not None:
        abort = f"llmops abort prel {metadata['name']} -n {metadata['namespace']}"
        taken = (
            "is being taken back already" if state.phase == "RollingBack" else f"is on its way: {abort} takes it back"
        )
        raise Unknown(
            f"{moving.version} {taken}, and users keep {stable.version}; to leave that too, write --to, one of {there}"
        )
    before = state.before
    if before is None or before.digest is None:
        raise Unknown(f"no version was stable before: there is {there}")
    if before.digest not in kept:
        raise Unknown(f"{before.version} ({short(before.digest)}) was stable before, and its Revision is gone: {there}")
    return before.digest


def _named(one: Object, state: State, kept: Mapping[str, Object], to: str) -> str:
    """By its label, or by the beginning of its digest. Labels may be used again: what users had is meant first."""
    found = [digest for digest, revision in kept.items() if to == revision["spec"].get("version")]
    if not found and len(to) >= SHORTEST_PREFIX:
        found = [digest for digest in kept if digest.startswith(to)]
    had = [digest for digest in found if state.released(digest)]
    there = _there_is(state, kept)
    if len(had or found) > 1:
        raise Unknown(f"--to {to} may be any of {', '.join(map(short, had or found))}: write more of one of {there}")
    if not found:
        raise Unknown(
            f"--to {to} names no version of PromptRelease {one['metadata']['name']}: write the version, or at least "
            f"{SHORTEST_PREFIX} characters of the digest, of {there}"
        )
    return (had or found)[0]


def _there_is(state: State, kept: Mapping[str, Object]) -> str:
    return ", ".join(_told(state, kept)) or "none"


def _told(state: State, kept: Mapping[str, Object]) -> Iterator[str]:
    """What users had and whose content is still there, newest first."""
    had = [one.digest for one in state.history if one.outcome == "Released" and one.digest]
    for digest in dict.fromkeys(had):
        if digest in kept:
            stable = ", stable" if state.stable and state.stable.digest == digest else ""
            rejected = ", rejected since" if state.rejection(digest) else ""
            yield f"{kept[digest]['spec'].get('version')} ({short(digest)}{stable}{rejected})"
