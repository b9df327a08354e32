"""A status in words: where it stands, why, the evidence with the numbers to recompute it, and what you can do. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmops.kube.resources import Object

ENDED = ("Released", "Rejected")
"""Phases in which no candidate moves any more."""
ROLLOUTS = ("stable", "candidate", "pinned", "rejected")
"""What the status of an object has whose contents go to users by steps."""


def explained(one: Object, releases: bool = False) -> list[str]:
    """Lines for a person; `releases` adds what only a rollout has."""
    metadata, status = one["metadata"], one.get("status") or {}
    lines = [f"{one['kind']} {metadata['namespace']}/{metadata['name']}"]
    if not status:
        return [*lines, "  Nothing was reported yet: is the operator running, and does it watch this namespace?"]
    if status.get("observedGeneration") != metadata.get("generation"):
        lines.append("  The operator has not yet seen the latest change; what follows speaks of the one before.")
    lines += [f"  {line}" for line in _conditions(status)]
    if releases or any(name in status for name in ROLLOUTS):
        lines += [f"  {line}" for line in _rollout(one, status)]
    elif "phase" in status:
        lines.append(f"  Phase: {status['phase']}")
    return lines


def _conditions(status: Object) -> Iterator[str]:
    for condition in status.get("conditions") or []:
        said = condition.get("message") or condition.get("reason", "")
        yield f"{condition['type']} is {condition['status']}: {said}"


def _rollout(one: Object, status: Object) -> Iterator[str]:
    yield f"Phase: {status.get('phase', 'unknown')}" + (
        f" (held from {status['heldFrom']})" if status.get("heldFrom") else ""
    )
    stable, candidate = status.get("stable") or {}, status.get("candidate") or {}
    if stable:
        yield (
            f"Users are served {_version(stable)}" + (f" since {stable['since']}" if stable.get("since") else "") + "."
        )
        if why := _why_stable(status, stable):
            yield f"It became stable: {why}."
    else:
        yield "No version was released yet."
    if candidate:
        yield from _candidate(one, status, candidate)
    for pinned in status.get("pinned") or []:
        stands = "ready" if pinned.get("ready") else pinned.get("message") or "not ready"
        yield f"Prompts are released together with its revision {pinned['revision']}: {stands}."
    for rejected in status.get("rejected") or []:
        why = rejected.get("message") or rejected.get("reason")
        yield f"{_version(rejected)}, attempt {rejected.get('attempt', 1)}, was rejected: {why}"


def _why_stable(status: Object, stable: dict[str, Any]) -> str:
    """By evidence, or rolled back by hand: the newest release of this content that is remembered."""
    released = (one for one in status.get("history") or [] if one.get("outcome") == "Released")
    found: Object = next((one for one in released if one.get("digest") == stable.get("digest")), {})
    return str(found.get("message") or "").rstrip(".")


def _candidate(one: Object, status: Object, candidate: dict[str, Any]) -> Iterator[str]:
    attempt, weight = candidate.get("attempt", 1), candidate.get("weight", 0)
    units = candidate.get("units", 0)
    over = status.get("phase") in ENDED
    stands = "was tried" if over else "is on its way"
    yield f"{_version(candidate)} {stands}, attempt {attempt}: {weight}% of users; {units} met it."
    if "pairs" in candidate:
        wanted = ((one.get("spec") or {}).get("rollout") or {}).get("shadow") or {}
        share = f"it answers {candidate['shadow']}% of users too, unseen: " if candidate.get("shadow") else "unseen, "
        needed = f" of {wanted.get('minSamples', 200)}" if candidate.get("shadow") else ""
        yield f"{share}{candidate['pairs']}{needed} users were answered by both.".capitalize()
    if candidate.get("score"):
        yield f"Its evaluation: {candidate['score']}."
    for evidence in candidate.get("evidence") or []:
        yield from _evidence(evidence)
    if over:
        return
    if candidate.get("eta"):
        yield f"Next step expected: {candidate['eta']}."
    name, namespace = one["metadata"]["name"], one["metadata"]["namespace"]
    steps = ((one.get("spec") or {}).get("rollout") or {}).get("steps") or []
    step = candidate.get("step") or 0
    if 0 < step <= len(steps) and steps[step - 1].get("pause") == "Approval":
        yield f"Step {step} ends with an approval: llmops approve {one['kind'].lower()} {name} -n {namespace}"
    yield f"To stop it: llmops abort {one['kind'].lower()} {name} -n {namespace}"


def _evidence(evidence: dict[str, Any]) -> Iterator[str]:
    candidate, stable = _failed(evidence.get("candidate")), _failed(evidence.get("stable"))
    yield f"{evidence['signal']}: {candidate} failed with the candidate, {stable} with stable."
    if evidence.get("pairs"):
        worse, _, differed = evidence["pairs"].partition("/")
        yield f"  unseen: only one of the two answers failed for {differed} users, the candidate's for {worse} of them"
    yield f"  evidence of harm {evidence.get('eValue', '?')}; taken back at {evidence.get('rollbackAt', '?')}"
    if "notWorse" in evidence:
        yield f"  evidence of being no worse {evidence['notWorse']}; goes on from {evidence.get('advanceAt', '?')}"
    for row in evidence.get("weights") or []:
        yield (
            f"  at {row['weight']}%: n={row.get('failures', 0)} failed of N={row.get('units', 0)},"
            f" of them x={row.get('candidateFailures', 0)} in the candidate"
        )


def _failed(counted: str | None) -> str:
    """`7/90` as people say it."""
    failed, _, units = (counted or "?/?").partition("/")
    share = f" ({int(failed) / int(units):.1%})" if failed.isdigit() and units.isdigit() and int(units) else ""
    return f"{failed} of {units} users{share}"


def _version(what: dict[str, Any]) -> str:
    return f"version {what.get('version') or '?'} ({(what.get('digest') or '')[:10] or 'no digest'})"
